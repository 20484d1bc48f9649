"""Reading and writing straight-line Relax functions: what all Relax passes here share.

A pass walks the bindings in order, maps old variables to new expressions and writes a new dataflow block. Names of
variables are kept exactly (``BlockBuilder`` would number repeated ones): they are the model file's tensor names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

Env = dict[Any, Any]
"""Old variable -> new expression: a variable, a constant, or a tuple of those."""


class DataflowWriter:
    """Collects the bindings of a new function with the parameters and attributes of an old one."""

    def __init__(self, func: relax.Function) -> None:
        self._func = func
        self._bindings: list[tuple[relax.Var, relax.Expr]] = []
        self._values: dict[Any, relax.Expr] = {}
        self._builder = relax.BlockBuilder()

    def normalize(self, value: relax.Expr) -> relax.Expr:
        """``value`` with its type inferred."""
        return self._builder.normalize(value)

    def emit(self, value: relax.Expr, name: str) -> relax.Var:
        """Bind ``value`` to a new variable."""
        value = self.normalize(value)
        var = relax.DataflowVar(name, value.ty)
        self._bindings.append((var, value))
        self._values[var] = value
        return var

    def value_of(self, expr: relax.Expr) -> Any:
        """What was bound to ``expr``; None for parameters and constants."""
        return self._values.get(expr)

    def finish(self, result: relax.Expr, params: Sequence[relax.Var] | None = None) -> relax.Function:
        """The function that returns ``result``; bindings it does not need are left out.

        Parameters
        ----------
        result : a variable, a constant, or a (nested) tuple of those
        params : new parameters; those of the old function if None
        """
        bindings = self._live(result)
        rename = {v: relax.Var(v.name, v.ty) for v in variables(result) if v in self._values}
        body = self._builder.normalize(substitute(result, rename))
        written = [
            relax.VarBinding(rename.get(v, v), self._builder.normalize(substitute(value, rename)) if rename else value)
            for v, value in bindings
        ]
        blocks = [relax.DataflowBlock(written)] if written else []
        new = relax.Function(
            list(self._func.params) if params is None else list(params),
            self._builder.normalize(relax.SeqExpr(blocks, body)),
            is_pure=True,
        )
        return new.with_attrs(dict(self._func.attrs)) if self._func.attrs else new

    def _live(self, result: relax.Expr) -> list[tuple[relax.Var, relax.Expr]]:
        needed = set(variables(result))
        live = []
        for var, value in reversed(self._bindings):
            if var in needed:
                live.append((var, value))
                needed.update(variables(value))
        return live[::-1]


def bindings_of(func: relax.Function) -> list[tuple[relax.Var, relax.Expr]]:
    """All (variable, value) pairs of a straight-line function, in order."""
    return [(b.var, b.value) for block in func.body.blocks for b in block.bindings]


def is_straight_line(func: Any) -> bool:
    """Whether ``func`` is a Relax function without branches, nested functions or run-time shape checks."""
    if not isinstance(func, relax.Function) or not isinstance(func.body, relax.SeqExpr):
        return False
    if not all(isinstance(b, relax.VarBinding) for block in func.body.blocks for b in block.bindings):
        return False
    return not any(isinstance(v, relax.If | relax.Function) for _, v in bindings_of(func))


def map_functions(mod: tvm.IRModule, rewrite: Callable[[relax.Function], relax.Function]) -> tvm.IRModule:
    """A copy of ``mod`` with ``rewrite`` applied to each straight-line Relax function; the rest is kept.

    ``rewrite`` gets functions without bindings of mere variables, constants and tuples. A function it gives back as it
    is stays as it was.
    """
    result = mod.clone()
    for name, func in mod.functions_items():
        if is_straight_line(func):
            plain = _without_aliases(func)
            new = rewrite(plain)
            if new is not plain:
                result.update_func(name, new)
    return result


def _without_aliases(func: relax.Function) -> relax.Function:
    if not any(is_atom(v) for _, v in bindings_of(func)):
        return func
    return rewrite_bindings(func, lambda _writer, _var, call: call)


def rewrite_bindings(
    func: relax.Function, visit: Callable[[DataflowWriter, relax.Var, relax.Expr], relax.Expr]
) -> relax.Function:
    """Rewrite ``func`` one binding at a time.

    Parameters
    ----------
    visit : gets the writer, the old variable and its value in terms of new variables; gives the new value: a call,
        which is emitted under the old name, or a variable, constant or tuple, which takes the variable's place
    """
    writer = DataflowWriter(func)
    env: Env = {}
    for var, value in bindings_of(func):
        value = substitute(value, env)
        if not is_atom(value):
            value = writer.normalize(value)
        new = visit(writer, var, value) if isinstance(value, relax.Call) else value
        env[var] = new if is_atom(new) else writer.emit(new, var.name)
    return writer.finish(substitute(func.body.body, env))


def is_atom(expr: relax.Expr) -> bool:
    """Whether ``expr`` may stand where a variable may: a variable, a constant, or a tuple of those."""
    if isinstance(expr, relax.Tuple):
        return all(is_atom(f) for f in expr.fields)
    return isinstance(expr, relax.Var) or is_const(expr)


def substitute(expr: relax.Expr, env: Env) -> relax.Expr:
    """``expr`` with variables replaced; the same object where nothing changes."""
    if not env:
        return expr
    if isinstance(expr, relax.Var):
        return env.get(expr, expr)
    if isinstance(expr, relax.Tuple):
        fields = [substitute(f, env) for f in expr.fields]
        return expr if _same(fields, expr.fields) else relax.Tuple(fields)
    if isinstance(expr, relax.TupleGetItem):
        source = substitute(expr.tuple_value, env)
        if isinstance(source, relax.Tuple):
            return source.fields[expr.index]
        return expr if source is expr.tuple_value else relax.TupleGetItem(source, expr.index)
    if isinstance(expr, relax.Call):
        args = [substitute(a, env) for a in expr.args]
        return expr if _same(args, expr.args) else with_args(expr, args)
    return expr


def with_args(call: relax.Call, args: Sequence[relax.Expr]) -> relax.Call:
    """The same operator and attributes on other arguments."""
    return relax.Call(call.op, list(args), attrs=call.attrs, ty_args=list(call.ty_args))


def users_of(func: relax.Function) -> Counter[Any]:
    """How often each variable is used, as an argument or as a result."""
    counts: Counter[Any] = Counter()
    for _, value in bindings_of(func):
        counts.update(variables(value))
    counts.update(variables(func.body.body))
    return counts


def is_call(expr: Any, *names: str) -> bool:
    """Whether ``expr`` calls one of the Relax operators ``names`` (without the prefix "relax.")."""
    return called(expr) in names


def called(expr: Any) -> str:
    """Name of the Relax operator that ``expr`` calls, without the prefix "relax."; "" where it calls none."""
    return str(expr.op.name)[6:] if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op) else ""


def is_const(expr: Any) -> bool:
    """Whether ``expr`` is a tensor constant."""
    return isinstance(expr, tvm.ir.GenericConst)


def array_of(const: Any) -> NDArray[Any]:
    """The value of a tensor constant."""
    return np.asarray(const.value.numpy())


def name_of(expr: relax.Expr) -> str:
    """Name of a variable; "const" for what has none."""
    return str(expr.name) if isinstance(expr, relax.Var) else "const"


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """Static shape of a tensor expression."""
    return tuple(int(d) for d in expr.ty.shape.values)


def dtype_of(expr: relax.Expr) -> str:
    """Element type of a tensor expression; "" for what is no tensor (tuples, shapes)."""
    return str(expr.ty.dtype) if isinstance(expr.ty, relax.TensorType) else ""


def ints(values: Any) -> tuple[Any, ...]:
    """An array attribute as a tuple of integers."""
    return tuple(int(v) for v in values)


def permuted(expr: relax.Expr, axes: Sequence[int]) -> relax.Expr:
    """``expr`` with its axes permuted: a reshape where only axes of size 1 move."""
    shape = shape_of(expr)
    if keeps_order(shape, axes):
        return relax.op.reshape(expr, [shape[a] for a in axes])
    return relax.op.permute_dims(expr, list(axes))


def keeps_order(shape: Sequence[int], axes: Sequence[int]) -> bool:
    """Whether permuting a tensor of ``shape`` leaves its bytes as they are."""
    moved = [a for a in axes if shape[a] != 1]
    return moved == sorted(moved)


def permutation_of(call: relax.Call) -> tuple[int, ...]:
    """Axes of a ``permute_dims`` call, non-negative."""
    rank = len(shape_of(call.args[0]))
    axes = call.attrs.axes
    return tuple(int(a) % rank for a in axes) if axes is not None else tuple(range(rank))[::-1]


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``axes``."""
    return tuple(int(a) for a in np.argsort(axes))


def is_identity(axes: Sequence[int]) -> bool:
    """Whether ``axes`` permutes nothing."""
    return list(axes) == list(range(len(axes)))


def variables(expr: Any) -> Iterator[relax.Var]:
    """Variables that ``expr`` uses, with repetitions."""
    if isinstance(expr, relax.Var):
        yield expr
    elif isinstance(expr, relax.Tuple):
        for field in expr.fields:
            yield from variables(field)
    elif isinstance(expr, relax.TupleGetItem):
        yield from variables(expr.tuple_value)
    elif isinstance(expr, relax.Call):
        for arg in expr.args:
            yield from variables(arg)


def _same(new: Sequence[Any], old: Sequence[Any]) -> bool:
    return all(a is b or a.same_as(b) for a, b in zip(new, old, strict=True))
