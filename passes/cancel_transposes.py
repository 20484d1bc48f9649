"""``CancelTransposes``: permutations of axes move down through a network until they meet and cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    array_of,
    bindings_of,
    inverse,
    is_atom,
    is_call,
    is_const,
    is_identity,
    keeps_order,
    map_functions,
    name_of,
    permutation_of,
    permuted,
    shape_of,
    substitute,
    variables,
    with_args,
)
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.passes._remap_axes import operands_of, remap_of


@relax_pass
class CancelTransposes:
    """Move ``permute_dims`` behind the operators that follow it, until it meets its inverse or an edge.

    Before: ``permute(lookup(permute(qconv2d(x), NHWC->NCHW)), NCHW->NHWC)``
    After: ``lookup(qconv2d(x))``

    Axes of mean, concat, split, slice and pad are remapped, constant operands permuted, and a flattened permutation in
    front of a dense layer goes into the order of its weights. An operator whose inputs are only partly permuted is
    moved past where that costs less than it saves. So of the permutations that ``LowerQdq`` puts around the operators
    of an NCHW model those at its edges remain.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, lambda func: _Sinker(func).run())


@dataclass(frozen=True, eq=False)
class _View:
    """``permute_dims(base, axes)``, not written yet.

    flat : all axes but the first are then flattened into one
    """

    base: relax.Expr
    axes: tuple[int, ...]
    name: str
    flat: bool = False


class _Sinker:
    """Goes through one function; an old variable becomes a new expression or a view of one."""

    def __init__(self, func: relax.Function) -> None:
        self._func = func
        self._writer = DataflowWriter(func)
        self._env: dict[Any, relax.Expr] = {}
        self._views: dict[Any, _View] = {}
        self._written: dict[tuple[Any, ...], relax.Expr] = {}

    def run(self) -> relax.Function:
        for var, value in bindings_of(self._func):
            self._bind(var, value)
        return self._writer.finish(self._plain(self._with_items(self._func.body.body)))

    def _bind(self, var: relax.Var, value: relax.Expr) -> None:
        if isinstance(value, relax.Call):
            args = [self._with_items(a) for a in value.args]
            value = with_args(value, args) if any(map(_is_tuple, value.args)) else value
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in self._views:
            view = self._views[value.tuple_value]
            self._bind_view(var, relax.TupleGetItem(view.base, value.index), view.axes)
        elif not (isinstance(value, relax.Call) and self._moved(var, value)):
            new = self._plain(value)
            self._env[var] = new if is_atom(new) else self._writer.emit(new, var.name)

    def _moved(self, var: relax.Var, call: relax.Call) -> bool:
        """Bind ``var``, if a permutation can be moved behind ``call``."""
        if is_call(call, "permute_dims"):
            return self._permute(var, call)
        if is_call(call, "reshape", "flatten"):
            return self._flatten(var, call)
        if is_call(call, "tinyml.qdense"):
            return self._dense(var, call)
        operands = operands_of(call)
        view = next((v for v in map(self._view, operands) if v is not None), None)
        remap = None if view is None else remap_of(call, view.axes)
        if view is None or remap is None:
            return False
        bases = self._bases(operands, view.axes)
        if bases is None:
            return False
        new, axes = remap(call, bases, view.axes)
        self._bind_view(var, new, axes)
        return True

    def _permute(self, var: relax.Var, call: relax.Call) -> bool:
        axes, view = permutation_of(call), self._view(call.args[0])
        if view is not None and view.flat:
            return False
        base = self._plain(call.args[0]) if view is None else view.base
        if view is not None:
            axes = tuple(view.axes[a] for a in axes)
        if is_identity(axes):
            self._env[var] = base
        elif is_const(base) or keeps_order(shape_of(base), axes):
            self._env[var] = self._permuted(base, axes, var.name)
        else:
            self._views[var] = _View(base, axes, var.name)
        return True

    def _flatten(self, var: relax.Var, call: relax.Call) -> bool:
        """Flattening all but the first axis of a view is left to a dense layer behind it."""
        view, shape = self._view(call.args[0]), shape_of(var)
        if view is None or view.axes[0] != 0 or len(shape) != 2 or shape[0] != shape_of(view.base)[0]:
            return False
        self._views[var] = replace(view, name=var.name, flat=True)
        return True

    def _dense(self, var: relax.Var, call: relax.Call) -> bool:
        """Its weights are read in the order in which the data lie."""
        view = self._view(call.args[0])
        if view is None or not view.flat or not is_const(call.args[1]):
            return False
        weight, shape = array_of(call.args[1]), shape_of(view.base)
        key = (view.base, "flat")
        if key not in self._written:
            self._written[key] = self._writer.emit(_flat(view.base), view.name)
        order = np.arange(weight.shape[1]).reshape(shape[1:]).transpose([a - 1 for a in view.axes[1:]])
        reordered = np.empty_like(weight)
        reordered[:, order.reshape(-1)] = weight
        args = [self._written[key], relax.const(reordered), *call.args[2:]]
        self._env[var] = self._writer.emit(with_args(call, args), var.name)
        return True

    def _bases(self, operands: Sequence[relax.Expr], axes: tuple[int, ...]) -> list[relax.Expr] | None:
        """What the operands are permutations (by ``axes``) of; None where treating them so does not pay.

        An operand that is no view, its rank filled up with axes of size 1, becomes one of its inverse permutation.
        """
        views = [v for v in map(self._view, operands) if v is not None]
        others = [self._plain(x) for x in operands if self._view(x) is None]
        if any(v.flat or v.axes != axes for v in views) or any(len(shape_of(x)) > len(axes) for x in others):
            return None
        saved = sum(self._cost(base, axes) for base in {v.base for v in views})
        if sum(self._cost(x, inverse(axes)) for x in others) >= saved:
            return None
        return [self._base(x, axes) for x in operands]

    def _cost(self, expr: relax.Expr, axes: tuple[int, ...]) -> int:
        """Permutations of data that permuting ``expr`` (filled up to as many axes) adds to the program."""
        shape = shape_of(expr)
        wide = (1,) * (len(axes) - len(shape)) + shape
        return 0 if is_const(expr) or keeps_order(wide, axes) or (expr, axes) in self._written else 1

    def _base(self, operand: relax.Expr, axes: tuple[int, ...]) -> relax.Expr:
        view = self._view(operand)
        if view is not None:
            return view.base
        expr = self._plain(operand)
        shape = shape_of(expr)
        wide = (1,) * (len(axes) - len(shape)) + shape
        if wide != shape and is_const(expr):
            expr = relax.const(array_of(expr).reshape(wide))
        elif wide != shape:
            expr = self._writer.emit(relax.op.reshape(expr, wide), f"{name_of(expr)}_wide")
        return self._permuted(expr, inverse(axes), f"{name_of(expr)}_transposed")

    def _bind_view(self, var: relax.Var, value: relax.Expr, axes: tuple[int, ...]) -> None:
        """Emit ``value`` and bind ``var`` to its permutation."""
        result = self._writer.emit(value, var.name)
        if is_identity(axes):
            self._env[var] = result
        else:
            self._views[var] = _View(result, axes, f"{var.name}_transposed")

    def _view(self, expr: relax.Expr) -> _View | None:
        return self._views.get(expr) if isinstance(expr, relax.Var) else None

    def _plain(self, expr: relax.Expr) -> relax.Expr:
        """``expr`` in new variables; the views it needs are written."""
        for var in variables(expr):
            if var in self._views and var not in self._env:
                view = self._views[var]
                result = self._permuted(view.base, view.axes, view.name)
                self._env[var] = self._writer.emit(_flat(result), view.name) if view.flat else result
        return substitute(expr, self._env)

    def _with_items(self, expr: relax.Expr) -> relax.Expr:
        """A permuted tuple (of a split) as the tuple of its items."""
        if not _is_tuple(expr) or expr not in self._views:
            return expr
        items = [relax.Var(expr.name, ty) for ty in expr.ty.fields]
        for i, item in enumerate(items):
            self._bind(item, relax.TupleGetItem(expr, i))
        return relax.Tuple(items)

    def _permuted(self, expr: relax.Expr, axes: tuple[int, ...], name: str) -> relax.Expr:
        """``permute_dims(expr, axes)``, written once."""
        if is_const(expr):
            return relax.const(np.ascontiguousarray(np.transpose(array_of(expr), axes)))
        if (expr, axes) not in self._written:
            self._written[expr, axes] = self._writer.emit(permuted(expr, axes), name)
        return self._written[expr, axes]


def _is_tuple(expr: relax.Expr) -> bool:
    return isinstance(expr, relax.Var) and isinstance(expr.ty, tvm.ir.TupleType)


def _flat(expr: relax.Expr) -> relax.Call:
    shape = shape_of(expr)
    return relax.op.reshape(expr, [shape[0], int(np.prod(shape[1:]))])
