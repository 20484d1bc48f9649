"""Makes the bundled demo: trains, quantizes, writes ``digits.tflite``, ``digits.onnx`` and ``digits_test.npz``.

    python -m tvm_tiny.demo.train_demo_model [DIRECTORY]

The data are scikit-learn's 1,797 handwritten digits of 8x8 pixels (from the UCI "Optical Recognition of Handwritten
Digits" data set). A run takes about 15 seconds and gives the same bytes each time. Needs the ``test`` extra.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.cli.tensor_files import npz_bytes

from .network import Array, forward, new_network, train
from .onnx_writer import to_onnx
from .quantize import quantize_images, quantize_network
from .tflite_writer import to_tflite

SEED = 0
EPOCHS = 30
HELD_OUT = 360
IMAGE_SHAPE = (8, 8, 1)


def make_files(directory: Path) -> None:
    """Write the three files into ``directory`` and print the accuracies."""
    images, labels = load_digits()
    rng = np.random.RandomState(SEED)
    order = rng.permutation(len(images))
    test, training = order[:HELD_OUT], order[HELD_OUT:]
    layers = train(new_network(rng), images[training], labels[training], rng, epochs=EPOCHS)
    network = quantize_network(layers, images[training])

    model = to_tflite(network, IMAGE_SHAPE)
    (directory / "digits.tflite").write_bytes(model)
    (directory / "digits.onnx").write_bytes(to_onnx(network, IMAGE_SHAPE))

    inputs = quantize_images(images[test], network.input)[:, np.newaxis]
    outputs = run_reference(model, inputs)
    # numpy.savez writes other bytes on other Python versions.
    arrays = {"inputs": inputs, "labels": labels[test].astype(np.uint8), "outputs": outputs}
    (directory / "digits_test.npz").write_bytes(npz_bytes(arrays))

    accuracy_float = np.mean(forward(layers, images[test])[-1].argmax(axis=1) == labels[test])
    accuracy_int8 = np.mean(outputs[:, 0].argmax(axis=1) == labels[test])
    print(f"held-out images: {HELD_OUT}, accuracy: {accuracy_float:.2%} in float64, {accuracy_int8:.2%} in int8")


def load_digits() -> tuple[Array, NDArray[np.int64]]:
    """Images float64 [1797, 8, 8, 1] in [0, 1] and labels int64 [1797]."""
    from sklearn import datasets

    data = datasets.load_digits()
    return data.images[..., np.newaxis] / 16.0, data.target.astype(np.int64)


def run_reference(model: bytes, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
    """Outputs [n, 1, 10] of TFLite Micro's interpreter for each of ``inputs`` [n, 1, H, W, C]."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model)
    outputs = []
    for image in inputs:
        interpreter.set_input(image, 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).copy())
    return np.stack(outputs)


if __name__ == "__main__":
    make_files(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
