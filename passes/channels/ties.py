"""Which channels of an operator's inputs and outputs belong together: they stay or go as one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, op_name, params_of
from tvm_tiny.ops.movement import slices_of, split_points
from tvm_tiny.passes._dataflow import called, is_atom, permutation_of, shape_of
from tvm_tiny.passes._evaluate import tensor_args

RESHAPES = ("reshape", "flatten", "squeeze", "expand_dims")
_CHANNELWISE = ("qavg_pool2d", "qmax_pool2d", "qresize2d")
_BINARY = ("qadd", "qsub", "qmul")
_WITH_PARAMETERS = ("qconv2d", "qdepthwise_conv2d", "qdense", "lookup")
"""Their first argument is the only one with channels; weights and the like follow it."""


@dataclass(frozen=True)
class Tie:
    """Channel ``input_channels[i]`` of an input belongs to ``output_channels[i]`` of an output.

    input : index in ``tensors_of(call)``
    """

    input: int
    output: int
    input_channels: NDArray[np.intp]
    output_channels: NDArray[np.intp]


def tensors_of(call: relax.Call) -> list[relax.Expr]:
    """The call's tensors, those of tuples one by one; weights and the like only where they come as operands."""
    args = tensor_args(call)[:1] if is_tinyml_call(call) and op_name(call) in _WITH_PARAMETERS else tensor_args(call)
    found: list[relax.Expr] = []
    for arg in args:
        found += list(arg.fields) if isinstance(arg, relax.Tuple) else [arg]
    return found


def ties_of(call: relax.Call) -> list[Tie] | None:
    """The ties of ``call``; None for operators that mix channels, or of which nothing is known here.

    An input channel without a tie is needed for every output.
    """
    tensors = tensors_of(call)
    if not tensors or not all(map(is_atom, tensors)) or not all(shape_of(t) for t in tensors):
        return None
    if is_tinyml_call(call):
        return _of_integers(call, tensors)
    return _of_movement(call, tensors)


def _of_integers(call: relax.Call, tensors: list[relax.Expr]) -> list[Tie] | None:
    name, channels = op_name(call), np.arange(shape_of(call)[-1])
    if name in _BINARY:
        # An operand with one channel for all is tied to none.
        return [Tie(i, 0, channels, channels) for i, t in enumerate(tensors) if shape_of(t)[-1] == len(channels)]
    if name in _CHANNELWISE or (name == "lookup" and len(shape_of(call)) > 0):
        return [Tie(0, 0, channels, channels)]
    if name == "qmean" and len(shape_of(tensors[0])) - 1 not in params_of(call).axes:
        return [Tie(0, 0, channels, channels)]
    if name == "qdepthwise_conv2d":
        inputs = shape_of(tensors[0])[-1]
        # One channel in, several out: each of them may go on its own.
        return [] if inputs == 1 else [Tie(0, 0, channels // (len(channels) // inputs), channels)]
    return None


def _of_movement(call: relax.Call, tensors: list[relax.Expr]) -> list[Tie] | None:
    name, last = called(call), len(shape_of(tensors[0])) - 1
    sizes = [shape_of(t)[-1] for t in tensors]
    every = np.arange(sizes[0])
    if name in RESHAPES:
        return _of_reshape(shape_of(tensors[0]), shape_of(call))
    if name == "permute_dims":
        return [Tie(0, 0, every, every)] if permutation_of(call)[-1] == last else None
    if name == "nn.pad":
        ends = [int(w) for w in call.attrs.pad_width][-2:]
        return [Tie(0, 0, every, every)] if str(call.attrs.pad_mode) == "constant" and not any(ends) else None
    if name == "strided_slice":
        return None if any(axis == last for axis, *_ in slices_of(call)) else [Tie(0, 0, every, every)]
    if name == "concat":
        if int(call.attrs.axis) % (last + 1) != last:
            return [Tie(i, 0, every, every) for i in range(len(tensors))]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        return [Tie(i, 0, np.arange(n), starts[i] + np.arange(n)) for i, n in enumerate(sizes)]
    if name == "split":
        return _of_split(call, sizes[0], int(call.attrs.axis) % (last + 1) == last)
    return None


def _of_split(call: relax.Call, size: int, along_channels: bool) -> list[Tie]:
    points = split_points(call)
    if not along_channels:
        return [Tie(0, i, np.arange(size), np.arange(size)) for i in range(len(points) + 1)]
    bounds = [0, *points, size]
    return [Tie(0, i, np.arange(begin, end), np.arange(end - begin)) for i, (begin, end) in enumerate(pairwise(bounds))]


def _of_reshape(before: tuple[int, ...], after: tuple[int, ...]) -> list[Tie] | None:
    """The last axis stays, or takes in whole axes in front of it."""
    if not after or after[-1] % before[-1]:
        return None
    merged, axis = before[-1], len(before) - 1
    while merged < after[-1] and axis > 0:
        axis -= 1
        merged *= before[axis]
    outputs = np.arange(after[-1])
    return [Tie(0, 0, outputs % before[-1], outputs)] if merged == after[-1] else None
