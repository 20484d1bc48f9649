"""The bundled model: small, accurate, reproducible, and its stored outputs are the reference's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_tiny import demo
from tvm_tiny.demo import train_demo_model
from tvm_tiny.demo.quantize import Activation, quantize_images

FILES = (demo.TFLITE, demo.ONNX, demo.TEST_SET)


@pytest.fixture(scope="module")
def held_out() -> dict[str, np.typing.NDArray[Any]]:
    with np.load(demo.TEST_SET) as file:
        return dict(file)


def test_all_files_together_are_under_100_kb() -> None:
    assert sum(file.stat().st_size for file in FILES) < 100_000


def test_accuracy_on_the_held_out_images(held_out: dict[str, np.typing.NDArray[Any]]) -> None:
    assert len(held_out["labels"]) == 360
    assert np.mean(held_out["outputs"][:, 0].argmax(axis=1) == held_out["labels"]) > 0.95


def test_stored_outputs_are_the_reference_s(held_out: dict[str, np.typing.NDArray[Any]]) -> None:
    outputs = train_demo_model.run_reference(demo.TFLITE.read_bytes(), held_out["inputs"])
    np.testing.assert_array_equal(outputs, held_out["outputs"])


def test_stored_images_are_the_data_set_s(held_out: dict[str, np.typing.NDArray[Any]]) -> None:
    images, labels = train_demo_model.load_digits()
    quantized = quantize_images(images, Activation("image", float(np.float32(1 / 255)), -128))
    known = {image.tobytes(): int(label) for image, label in zip(quantized, labels, strict=True)}
    for image, label in zip(held_out["inputs"], held_out["labels"], strict=True):
        assert known[image.tobytes()] == label


def test_the_onnx_model_classifies_alike(held_out: dict[str, np.typing.NDArray[Any]]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(demo.ONNX, providers=["CPUExecutionProvider"])
    images = (held_out["inputs"][:, 0].astype(np.float32) + 128) / np.float32(255)
    classes = [int(session.run(None, {"image": i.transpose(2, 0, 1)[None]})[0].argmax()) for i in images]
    # Float arithmetic between the int8 tensors: the odd image at the border of two classes may fall on the other side.
    assert np.mean(np.array(classes) == held_out["labels"]) > 0.95
    assert np.mean(np.array(classes) == held_out["outputs"][:, 0].argmax(axis=1)) > 0.99


@pytest.mark.slow
def test_training_again_gives_the_same_bytes(tmp_path: Path) -> None:
    train_demo_model.make_files(tmp_path)
    for file in FILES:
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
