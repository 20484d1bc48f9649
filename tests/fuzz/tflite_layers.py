"""The layers that random TFLite networks are made of, and how often each occurs."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import tflite_compute as compute
from tests.fuzz import tflite_moves as moves
from tests.fuzz.tflite_network import Layer, TfliteNetwork
from tests.tflite_graph import TensorRef

Table = tuple[tuple[Layer, int], ...]


def _of(function: Callable[[TfliteNetwork, TensorRef, str], TensorRef | None], argument: str) -> Layer:
    return lambda n, x: function(n, x, argument)


ADD, SUB, MUL = (_of(compute.binary, method) for method in ("add", "sub", "mul"))
AVERAGE, MAXIMUM = (_of(compute.pool, method) for method in ("avg_pool2d", "max_pool2d"))
FUNCTIONS: Table = (
    *((_of(compute.unary, code), 1) for code in ("LEAKY_RELU", "HARD_SWISH", "RELU", "RELU6")),
    *((_of(compute.unary, code), 1) for code in ("RELU_N1_TO_1", "RELU_0_TO_1")),
    (lambda n, x: n.writer.logistic(x), 1),
    (lambda n, x: n.writer.tanh(x), 1),
)
ANYTHING: Table = (
    (compute.conv, 12),
    (compute.depthwise, 8),
    (compute.inverted_residual, 5),
    (compute.dense, 4),
    (ADD, 6),
    (SUB, 2),
    (MUL, 3),
    (AVERAGE, 3),
    (MAXIMUM, 3),
    (compute.mean, 3),
    (compute.softmax, 1),
    *FUNCTIONS,
    (moves.concatenation, 3),
    (moves.split, 2),
    (moves.split_v, 1),
    (moves.strided_slice, 3),
    (moves.pad, 3),
    (moves.reshape, 2),
    (moves.transpose, 2),
    (moves.resize, 2),
    (moves.requantize, 1),
)
IMAGES: Table = (
    (compute.conv, 20),
    (compute.depthwise, 16),
    (compute.inverted_residual, 10),
    (ADD, 10),
    (SUB, 1),
    (MUL, 2),
    (AVERAGE, 4),
    (MAXIMUM, 4),
    (compute.mean, 2),
    (compute.dense, 1),
    *FUNCTIONS,
    (moves.concatenation, 4),
    (moves.split, 1),
    (moves.strided_slice, 2),
    (moves.pad, 3),
    (moves.resize, 1),
)
