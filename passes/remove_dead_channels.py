"""``RemoveDeadChannels``: channels that are constant, or that nobody reads, are not computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import WEIGHTED, get_dead_macs, is_tinyml_call, op_name, params_of, with_dead_macs
from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    Env,
    array_of,
    bindings_of,
    called,
    is_atom,
    is_const,
    map_functions,
    shape_of,
    substitute,
    with_args,
)
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.passes.channels.graph import ChannelGraph, Node
from tvm_tiny.passes.channels.taps import contributions
from tvm_tiny.passes.channels.ties import RESHAPES
from tvm_tiny.quant.fixed_point import wrap_int32

_BINARY = ("qadd", "qsub", "qmul")


@relax_pass
class RemoveDeadChannels:
    """Take out channels (of the last axis) that make no difference to any output of the model.

    Before: ``qconv2d(qconv2d(x, w0, b0), w1, b1)``, ``w0[k]`` all zero
    After: ``qconv2d(qconv2d(x, w0 without k, b0 without k), w1[..., without k], b1 + what channel k adds)``

    A channel goes if nobody reads it, or if it has one value c whatever the input, and all who read it can do without:
    c joins the bias of a convolution or dense layer where its effect is the same at every position. Where taps reach
    into the padding, which stands for the zero point, that takes c equal to the zero point, or weights of zero there;
    otherwise the channel stays. Operators that work channel by channel pass the question on. Constants are found by
    bounding every channel's values, so that what follows from them (and what always meets a clamp) is found as well.
    Operands of sums and products that are constant altogether become constants.

    Tensors that are the model's inputs and outputs keep all channels; any other keeps one at least.

    Parameters
    ----------
    multiple : tensors keep dead channels up to a multiple of so many: kernels work on several at once
    """

    def __init__(self, multiple: int = 1) -> None:
        self.multiple = multiple

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, lambda f: _with_dead_macs(f, _remove(_constant_operands(f), self.multiple)))


def _constant_operands(func: relax.Function) -> relax.Function:
    """Operands of sums and products that are one value per channel, as constants."""
    graph = ChannelGraph(func)
    env: Env = {}
    writer = DataflowWriter(func)
    changed = False
    for var, value in bindings_of(func):
        value = substitute(value, env)
        if is_tinyml_call(value) and op_name(value) in _BINARY:
            node = graph.nodes[var]
            for i, channels in enumerate(node.inputs):
                other, shape = value.args[1 - i], shape_of(var)
                if channels is None or is_const(other) or shape_of(other) != shape:
                    continue
                if channels.values.constant.all() and len(channels.dead) == shape[-1]:
                    row = channels.values.low.astype(np.int8).reshape((1,) * (len(shape) - 1) + (-1,))
                    args = list(value.args)
                    args[i] = relax.const(row)
                    value, changed = with_args(value, args), True
        env[var] = value if is_atom(value) else writer.emit(value, var.name)
    return writer.finish(substitute(func.body.body, env)) if changed else func


def _remove(func: relax.Function, multiple: int) -> relax.Function:
    graph = ChannelGraph(func)
    graph.settle(multiple)
    if not any(t.dead.any() for tensors in graph.tensors.values() for t in tensors):
        return func
    writer = DataflowWriter(func)
    env: Env = {}
    for var, value in bindings_of(func):
        new = substitute(value, env)
        if isinstance(value, relax.Call):
            new = _smaller(graph.nodes[var], new)
        env[var] = new if is_atom(new) else writer.emit(new, var.name)
    return writer.finish(substitute(func.body.body, env))


def _smaller(node: Node, call: relax.Call) -> relax.Call:
    """``node.call`` on its kept channels.

    Parameters
    ----------
    call : the same call on smaller tensors; its own type is of no use
    """
    if not any(t.dead.any() for t in (*node.inputs, *node.outputs) if t is not None):
        return call
    name = called(node.call)
    if name in RESHAPES:
        return relax.op.reshape(call.args[0], (*shape_of(node.call)[:-1], len(node.outputs[0].kept)))
    if name == "split":
        return _smaller_split(node, call)
    rule = _RULES.get(op_name(node.call)) if is_tinyml_call(call) else None
    return call if rule is None else rule(node, call)


def _smaller_mixing(node: Node, call: relax.Call) -> relax.Call:
    (data,), (out,) = node.inputs, node.outputs
    assert data is not None
    weight, bias, *scaling = (array_of(a) for a in call.args[1:])
    gone = np.flatnonzero(data.dead)
    known = gone[data.values.constant[gone]]
    # Constants act alike at all positions or are zero points; what is no constant has weights of zero.
    effect = contributions(node.call, known)[0] @ (data.values.low[known] - params_of(call).input_zero_point)
    bias = wrap_int32(bias.astype(np.int64) + effect).astype(np.int32)
    return _weighted(call, weight[out.kept][..., data.kept], out.kept, bias, scaling)


def _smaller_depthwise(node: Node, call: relax.Call) -> relax.Call:
    weight, bias, *scaling = (array_of(a) for a in call.args[1:])
    kept = node.outputs[0].kept
    return _weighted(call, weight[..., kept], kept, bias, scaling)


def _weighted(
    call: relax.Call,
    weight: NDArray[np.int8],
    kept: NDArray[np.intp],
    bias: NDArray[np.int32],
    scaling: Sequence[NDArray[np.int32]],
) -> relax.Call:
    arrays = (weight, bias[kept], *(s[kept] for s in scaling))
    return with_args(call, [call.args[0], *(relax.const(np.ascontiguousarray(a)) for a in arrays)])


def _smaller_binary(node: Node, call: relax.Call) -> relax.Call:
    """Constant operands lose the same channels."""
    out = node.outputs[0]
    args = [
        relax.const(np.ascontiguousarray(array_of(a)[..., out.kept]))
        if is_const(a) and shape_of(a)[-1] == len(out.dead)
        else a
        for a in call.args
    ]
    return with_args(call, args)


def _smaller_split(node: Node, call: relax.Call) -> relax.Call:
    """Along the channels the parts begin elsewhere."""
    axis = int(node.call.attrs.axis)
    if axis % len(shape_of(node.call.args[0])) != len(shape_of(node.call.args[0])) - 1:
        return call
    points = np.cumsum([len(o.kept) for o in node.outputs])[:-1]
    return relax.op.split(call.args[0], [int(p) for p in points], axis)


_RULES: dict[str, Callable[[Node, relax.Call], relax.Call]] = {
    "qconv2d": _smaller_mixing,
    "qdense": _smaller_mixing,
    "qdepthwise_conv2d": _smaller_depthwise,
    **dict.fromkeys(_BINARY, _smaller_binary),
}


def _macs_by_name(func: relax.Function) -> dict[str, int]:
    """Multiply-accumulates of each layer with weights, padded taps included."""
    macs: dict[str, int] = {}
    for var, call in bindings_of(func):
        if is_tinyml_call(call) and op_name(call) in WEIGHTED:
            weight = math.prod(shape_of(call.args[1]))
            positions = math.prod(shape_of(var)[:-1])
            macs[var.name] = macs.get(var.name, 0) + positions * weight
    return macs


def _with_dead_macs(before: relax.Function, after: relax.Function) -> relax.Function:
    if after is before:
        return before
    now = _macs_by_name(after)
    lost = {name: macs - now.get(name, 0) for name, macs in _macs_by_name(before).items()}
    known = get_dead_macs(before)
    merged = {n: lost.get(n, 0) + known.get(n, 0) for n in {**known, **lost}}
    return with_dead_macs(after, {n: m for n, m in merged.items() if m})
