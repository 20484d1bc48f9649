"""Data movement between dequantize and quantize: the same on integers."""

from __future__ import annotations

from tvm import relax

from tvm_tiny.passes._dataflow import is_call, name_of, with_args
from tvm_tiny.passes.qdq.lowering import Goal, Lowering
from tvm_tiny.passes.qdq.reader import remake


def lower_movement(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    """Move first, in the quantization of the input where it has one, then bring the result to the goal's."""
    source = call.args[0]
    q = low.exact_params(source) or goal.q
    if low.same(q, goal.q) and not is_call(call, "nn.pad"):
        return low.emit(remake(call, low.lower(source, goal.named(name_of(source)))), goal.name)
    data = low.lower(source, Goal(q, name_of(source)))
    moved = low.emit(remake(call, data, q.zero_point, q.scale), low.step_to(goal, q).name)
    return low.requantize(moved, q, goal)


def lower_concat(low: Lowering, call: relax.Call, goal: Goal) -> relax.Expr:
    """Each part is brought to the goal's quantization, then all are joined."""
    parts = [low.lower(f, goal.named(name_of(f))) for f in low.reader.fields(call.args[0])]
    return low.emit(with_args(call, [relax.Tuple(parts)]), goal.name)
