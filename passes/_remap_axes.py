"""Operators on permuted tensors: ``op(permute(x)) = permute(op'(x))``, with the axes in ``op'`` remapped.

``axes`` is the permutation of the inputs: axis ``i`` of ``permute_dims(x, axes)`` is axis ``axes[i]`` of ``x``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tvm import relax

from tvm_tiny.ops import OPS, is_tinyml_call, make_call, op_name, params_of
from tvm_tiny.passes._dataflow import called, ints, inverse, with_args

Axes = tuple[int, ...]
Remap = Callable[[relax.Call, Sequence[relax.Expr], Axes], tuple[relax.Call, Axes]]
"""(call, its tensors before the permutation, axes) -> (call on those, permutation of its result)"""

# Not dequantize: behind it the data are four times as large.
_ONE_TENSOR = ("tinyml.lookup", "tinyml.quantize", "tinyml.qsoftmax", "nn.relu", "clip")
_TWO_TENSORS = ("add", "subtract", "multiply")


def operands_of(call: relax.Call) -> list[relax.Expr]:
    """Tensors of ``call`` whose axes are those of its result."""
    if not call.args:
        return []
    if isinstance(call.args[0], relax.Tuple):
        return list(call.args[0].fields)
    if _is_elementwise(call):
        return list(call.args)
    return list(call.args[:2] if called(call) in _TWO_TENSORS else call.args[:1])


def remap_of(call: relax.Call, axes: Axes) -> Remap | None:
    """How ``call`` goes with its axes in another order, None if it does not: softmax keeps its last one."""
    if called(call) == "tinyml.qsoftmax" and axes[-1] != len(axes) - 1:
        return None
    return _elementwise if _is_elementwise(call) else _REMAPS.get(called(call))


def _is_elementwise(call: relax.Call) -> bool:
    return is_tinyml_call(call) and OPS[op_name(call)].elementwise


def _elementwise(call: relax.Call, bases: Sequence[relax.Expr], axes: Axes) -> tuple[relax.Call, Axes]:
    return with_args(call, [*bases, *call.args[len(bases) :]]), axes


def _concat(call: relax.Call, bases: Sequence[relax.Expr], axes: Axes) -> tuple[relax.Call, Axes]:
    return relax.op.concat(list(bases), axis=axes[int(call.attrs.axis) % len(axes)]), axes


def _split(call: relax.Call, bases: Sequence[relax.Expr], axes: Axes) -> tuple[relax.Call, Axes]:
    sections = call.attrs.indices_or_sections
    cuts = list(ints(sections)) if hasattr(sections, "__len__") else int(sections)
    return relax.op.split(bases[0], cuts, axis=axes[int(call.attrs.axis) % len(axes)]), axes


def _slice(call: relax.Call, bases: Sequence[relax.Expr], axes: Axes) -> tuple[relax.Call, Axes]:
    which, *bounds = ([int(v) for v in a.fields] for a in call.args[1:])
    which = [axes[a % len(axes)] for a in which]
    inbound = bool(call.attrs.assume_inbound)
    return relax.op.strided_slice(bases[0], which, *bounds, assume_inbound=inbound), axes


def _pad(call: relax.Call, bases: Sequence[relax.Expr], axes: Axes) -> tuple[relax.Call, Axes]:
    width = ints(call.attrs.pad_width)
    moved = [w for i in inverse(axes) for w in width[2 * i : 2 * i + 2]]
    return relax.op.nn.pad(bases[0], moved, str(call.attrs.pad_mode), float(call.attrs.pad_value)), axes


def _mean(call: relax.Call, bases: Sequence[relax.Expr], axes: Axes) -> tuple[relax.Call, Axes]:
    params = params_of(call)
    reduced = tuple(sorted(axes[a] for a in params.axes))
    if not params.keepdims:
        kept = [a for i, a in enumerate(axes) if i not in params.axes]
        axes = tuple(sorted(kept).index(a) for a in kept)
    return make_call("qmean", list(bases), replace(params, axes=reduced)), axes


_REMAPS: dict[str, Remap] = {
    **dict.fromkeys((*_ONE_TENSOR, *_TWO_TENSORS), _elementwise),
    "concat": _concat,
    "split": _split,
    "strided_slice": _slice,
    "nn.pad": _pad,
    "tinyml.qmean": _mean,
}
