"""Arrays to bytes and back: names, batches, dtypes, quantization at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fake_archive import tensor
from tvm_tiny.errors import InputDataError
from tvm_tiny.measure.tensors import join_outputs, split_inputs, split_rows

X = tensor("x", "x", [1, 3], "int8", scale=0.5, zero_point=-1)
W = tensor("w", "w", [2], "int16")
F = tensor("f", "f", [4], "int8", scale=0.25, zero_point=3, host_dtype="float32")


def test_batch_and_single() -> None:
    x, w = np.arange(6, dtype=np.int8).reshape(2, 1, 3), np.array([[1, 2], [3, -1]], np.int16)
    assert split_inputs([X, W], {"x": x, "w": w}) == (
        [[b"\0\1\2", b"\1\0\2\0"], [b"\3\4\5", b"\3\0\xff\xff"]],
        True,
    )
    assert split_inputs([X, W], {"w": w[0], "x": x[1]}) == ([[b"\3\4\5", b"\1\0\2\0"]], False)


def test_a_lone_input_may_be_called_inputs() -> None:
    assert split_inputs([X], {"inputs": np.zeros((1, 3), np.int8)}) == ([[b"\0\0\0"]], False)


def test_quantized_on_the_host_half_away_from_zero() -> None:
    values = np.array([0.125, -0.125, 1000.0, -0.375], np.float32)
    ((data,),), _ = split_inputs([F], {"f": values})
    assert np.frombuffer(data, np.int8).tolist() == [4, 2, 127, 1]


def test_outputs_are_stacked_and_dequantized() -> None:
    rows = [[b"\3\4\2\x80", b"\1\0\2\0"], [b"\0\0\0\0", b"\0\1\0\0"]]
    outputs = join_outputs([F, W], rows, batched=True)
    assert outputs["f"].dtype == np.float32
    assert outputs["f"].tolist() == [[0.0, 0.25, -0.25, -32.75], [-0.75] * 4]
    assert outputs["w"].tolist() == [[1, 2], [256, 0]]
    assert join_outputs([W], [[b"\1\0\2\0"]], batched=False)["w"].shape == (2,)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no 'x', no 'w'"),
        ({"x": np.zeros((1, 3), np.int8)}, "no 'w'"),
        ({"x": np.zeros((1, 3), np.int8), "w": np.zeros(2, np.int16), "y": np.zeros(1)}, "unknown 'y'"),
        ({"x": np.zeros((1, 4), np.int8), "w": np.zeros(2, np.int16)}, r"'x' has shape \[1, 4\], expected \[1, 3\]"),
        ({"x": np.zeros(3, np.int8), "w": np.zeros(2, np.int16)}, r"'x' has shape \[3\]"),
        ({"x": np.zeros((1, 3), np.uint8), "w": np.zeros(2, np.int16)}, "'x' has dtype uint8, expected int8"),
        (
            {"x": np.zeros((2, 1, 3), np.int8), "w": np.zeros((3, 2), np.int16)},
            "different numbers of inferences: 'x' 2",
        ),
        ({"x": np.zeros((1, 1, 3), np.int8), "w": np.zeros(2, np.int16)}, "'w' 1, no batch"),
        ({"x": np.zeros((0, 1, 3), np.int8), "w": np.zeros((0, 2), np.int16)}, "the batch of inputs is empty"),
    ],
)
def test_inputs_that_do_not_fit(arrays: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(InputDataError, match=words):
        split_inputs([X, W], arrays)


def test_floats_for_an_integer_input_get_a_hint() -> None:
    with pytest.raises(InputDataError, match="dtype float32, expected int8") as caught:
        split_inputs([X], {"x": np.zeros((1, 3), np.float32)})
    assert caught.value.hints[0] == "quantize it: clip(round(x / 0.5) + -1).astype('int8')"
    assert "--quantized-io" in caught.value.hints[1]
    with pytest.raises(InputDataError, match="dtype float64, expected float32"):
        split_inputs([F], {"f": np.zeros(4)})


def test_rows_of_an_image() -> None:
    pixels = np.arange(24, dtype=np.int16).reshape(1, 2, 4, 3)
    image = tensor("i", "i", [1, 2, 4, 3], "int16")
    by_rows = split_rows({"rows": 2, "row_bytes": 24, "axis": 1}, image, pixels.tobytes())
    assert by_rows == [pixels[:, y].tobytes() for y in range(2)]
    # The same bytes taken for two planes of four rows: a row comes with all its planes.
    of_planes = split_rows({"rows": 4, "row_bytes": 12, "axis": 2}, image, pixels.tobytes())
    assert of_planes == [pixels[:, :, y].tobytes() for y in range(4)]
    pieces = split_rows({"rows": 8, "row_bytes": 6, "axis": None}, image, pixels.tobytes())
    assert b"".join(pieces) == pixels.tobytes()
    assert {len(piece) for piece in pieces} == {6}
