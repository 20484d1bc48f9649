"""Sums, products and activations of quantized tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tvm import relax

from tvm_tiny.ops import make_call
from tvm_tiny.passes._dataflow import called
from tvm_tiny.passes.qdq.reader import CannotLowerError, clip_bounds
from tvm_tiny.passes.qdq.rules_linear import lower_with_bias
from tvm_tiny.quant import scales
from tvm_tiny.quant.params import AddParams, MulParams

if TYPE_CHECKING:
    from tvm_tiny.passes.qdq.lowering import Goal, Lowering

_OPERATORS: dict[str, tuple[str, Callable[..., AddParams | MulParams]]] = {
    "add": ("qadd", scales.add_params),
    "subtract": ("qsub", scales.sub_params),
    "multiply": ("qmul", scales.mul_params),
}


def lower_add(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    biased = lower_with_bias(low, call, goal)
    return lower_binary(low, call, goal) if biased is None else biased


def lower_binary(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    if any(low.exact_params(a) is None for a in call.args):
        raise CannotLowerError("an operand is not quantized to 8 bits per tensor")
    (a, a_q), (b, b_q) = (low.exact(x) for x in call.args)
    name, make_params = _OPERATORS[called(call)]
    params = make_params(
        a_q.scale,
        a_q.zero_point,
        b_q.scale,
        b_q.zero_point,
        goal.q.scale,
        goal.q.zero_point,
        rounding=low.rounding,
    )
    params = replace(params, clamp_min=goal.clamp[0], clamp_max=goal.clamp[1])
    return low.emit(make_call(name, [a, b], params), goal.name)


def lower_activation(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    """relu and clip become the clamp of what they are applied to."""
    low_bound, high_bound = clip_bounds(call) if called(call) == "clip" else (0.0, None)
    clamp = scales.clamp_range(low_bound, high_bound, goal.q.scale, goal.q.zero_point)
    return low.lower(call.args[0], goal.clamped(*clamp))
