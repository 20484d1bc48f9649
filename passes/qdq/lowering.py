"""Lowering on demand: each ``quantize`` asks for the integer form of what it quantizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import has_float_semantics, make_call
from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    called,
    dtype_of,
    is_call,
    name_of,
    permuted,
    with_args,
)
from tvm_tiny.passes.qdq.reader import (
    CannotLowerError,
    QdqReader,
    QParams,
    pad_value,
    quantization,
)
from tvm_tiny.passes.qdq.unary import UnaryTree, read_unary, unary_table
from tvm_tiny.quant import lut, reference
from tvm_tiny.quant.params import LookupParams, QuantizeParams

FULL = (-128, 127)
MOVEMENT = ("reshape", "squeeze", "expand_dims", "flatten", "permute_dims", "strided_slice", "nn.pad")
"""Data movement of one tensor: the same on floats and on integers."""
_EXACT = (*MOVEMENT, "nn.relu", "nn.max_pool2d")
"""Operators whose float result lies on the quantization grid of their input."""


@dataclass(frozen=True)
class Goal:
    """The integer tensor that is asked for.

    clamp : its values are clamped to this closed interval
    name : of the tensor in the model file
    """

    q: QParams
    name: str
    clamp: tuple[int, int] = FULL

    def clamped(self, low: int, high: int) -> Goal:
        """The same, clamped to [low, high], too."""
        lowest, highest = self.clamp
        return replace(self, clamp=(min(max(low, lowest), highest), max(min(high, highest), lowest)))

    def named(self, name: str) -> Goal:
        return replace(self, name=name)


Rule = Callable[["Lowering", relax.Call, Goal], relax.Expr]
"""Emits the integer form of a float call; raises ``CannotLowerError``."""


class Lowering:
    """State and shared steps of the lowering of one function.

    ints : old int8 and uint8 variables (and tuples of those) -> new int8 ones
    floats : old float variables -> new ones, as far as they are there
    """

    def __init__(self, func: relax.Function, rounding: str, rules: Mapping[str, Rule]) -> None:
        self.rounding = rounding
        self._of_floats = has_float_semantics(func)
        self.reader = QdqReader(func)
        self.writer = DataflowWriter(func)
        self.ints: dict[Any, relax.Expr] = {p: p for p in func.params if dtype_of(p) == "int8"}
        self.floats: dict[Any, relax.Expr] = {p: p for p in func.params if dtype_of(p) not in ("int8", "uint8")}
        self._rules = rules
        self._lowered: dict[tuple[Any, QParams, tuple[int, int]], relax.Expr] = {}

    def emit(self, value: relax.Expr, name: str) -> relax.Expr:
        return self.writer.emit(value, name)

    def permute(self, data: relax.Expr, axes: list[int], name: str) -> relax.Expr:
        """``data`` with permuted axes; itself where nothing moves."""
        return data if axes == sorted(axes) else self.emit(permuted(data, axes), name)

    def lookup(self, data: relax.Expr, table: NDArray[Any], function: str, name: str) -> relax.Expr:
        params = LookupParams(function=function, out_dtype=str(table.dtype))
        return self.emit(make_call("lookup", [data, relax.const(table)], params), name)

    def requantize(self, data: relax.Expr, q: QParams, goal: Goal, function: str = "requantize") -> relax.Expr:
        """``data``, quantized by ``q``, as ``goal`` wants it; itself where that is the same."""
        table = self.requantize_table(q, goal)
        if (table == lut.table_inputs("int8")).all():
            return data
        return self.lookup(data, table, function, goal.name)

    def requantize_table(self, q: QParams, goal: Goal) -> NDArray[np.int8]:
        table = lut.requantize_table(q.scale, q.zero_point, goal.q.scale, goal.q.zero_point, self.rounding)
        return np.clip(table, *goal.clamp).astype(np.int8)

    def same(self, q: QParams, other: QParams) -> bool:
        """Whether the two quantizations give all int8 values the same meaning."""
        return bool((self.requantize_table(q, Goal(other, "")) == lut.table_inputs("int8")).all())

    def step_to(self, goal: Goal, q: QParams) -> Goal:
        """A tensor quantized by ``q`` from which ``requantize`` makes ``goal``; ``goal`` itself if that is the same."""
        if self.same(q, goal.q):
            return goal
        return Goal(q, f"{goal.name}_unscaled")

    def lower(self, expr: relax.Expr, goal: Goal) -> relax.Expr:
        """The integer form of the float ``expr``."""
        key = (expr, goal.q, goal.clamp)
        if key not in self._lowered:
            try:
                self._lowered[key] = self._lower(expr, goal)
            except CannotLowerError as error:
                error.operator = error.operator or operator_name(self.reader.value(expr))
                raise
        return self._lowered[key]

    def exact_params(self, expr: relax.Expr) -> QParams | None:
        """The quantization on whose grid the float ``expr`` lies exactly; None where there is none."""
        value = self.reader.value(expr)
        if isinstance(value, relax.TupleGetItem):
            source = self.reader.value(value.tuple_value)
            return self.exact_params(source.args[0]) if is_call(source, "split") else None
        if is_call(value, "dequantize"):
            return quantization(value)
        if is_call(value, "concat"):
            found = [self.exact_params(f) for f in self.reader.fields(value.args[0])]
            first = found[0]
            return first if first and all(q and self.same(q, first) for q in found) else None
        if not is_call(value, *_EXACT):
            return None
        q = self.exact_params(value.args[0])
        if q and is_call(value, "nn.pad") and not _pads_within(value, q):
            return None
        return q

    def exact(self, expr: relax.Expr) -> tuple[relax.Expr, QParams]:
        """The integer tensor that the float ``expr`` is the exact image of, and its quantization."""
        q = self.exact_params(expr)
        if q is None:
            raise CannotLowerError("its input is not quantized to 8 bits per tensor")
        return self.lower(expr, Goal(q, name_of(expr))), q

    def operand(self, expr: relax.Expr, goal: Goal) -> tuple[relax.Expr, QParams]:
        """Like ``exact``; an operand that is not quantized by itself is brought to the quantization of ``goal``."""
        if self.exact_params(expr) is not None:
            return self.exact(expr)
        return self.lower(expr, Goal(goal.q, name_of(expr))), goal.q

    def _lower(self, expr: relax.Expr, goal: Goal) -> relax.Expr:
        value = self.reader.value(expr)
        if is_call(value, "dequantize"):
            return self._lower_dequantize(value, goal)
        tree = None if self._clamps_pool(value) else read_unary(self, expr)
        if tree is not None:
            return self._lower_unary(tree, goal)
        if isinstance(value, relax.TupleGetItem):
            return self._lower_split(value, goal)
        if called(value) not in self._rules:
            return self._quantize(expr, goal)
        if not is_call(value, *MOVEMENT) and expr in self.floats:
            return self._quantize(expr, goal)
        return self._rules[called(value)](self, value, goal)

    def _clamps_pool(self, value: relax.Expr) -> bool:
        """Whether ``value`` is an activation that a pool does in passing, though its input is exact."""
        return is_call(value, "nn.relu", "clip") and is_call(self.reader.value(value.args[0]), "nn.max_pool2d")

    def _lower_dequantize(self, call: relax.Call, goal: Goal) -> relax.Expr:
        q = quantization_or_refuse(call)
        const = self.reader.constant(call)
        if const is None:
            return self.requantize(self.ints[call.args[0]], q, goal)
        table = self.requantize_table(q, goal)
        return relax.const(table[const.values.astype(np.int64) + 128])

    def _lower_unary(self, tree: UnaryTree, goal: Goal) -> relax.Expr:
        data, q = self.exact(tree.leaf)
        table = np.clip(unary_table(tree, q, goal.q, self.rounding, of_floats=self._of_floats), *goal.clamp).astype(
            np.int8
        )
        return self.lookup(data, table, tree.title, goal.name)

    def _lower_split(self, item: relax.TupleGetItem, goal: Goal) -> relax.Expr:
        call = self.reader.value(item.tuple_value)
        if not is_call(call, "split"):
            raise CannotLowerError("gives several tensors")
        q = self.exact_params(call.args[0]) or goal.q
        key = (call, q, FULL)
        if key not in self._lowered:
            data = self.lower(call.args[0], Goal(q, name_of(call.args[0])))
            self._lowered[key] = self.emit(with_args(call, [data]), name_of(item.tuple_value))
        part = self.emit(relax.TupleGetItem(self._lowered[key], item.index), goal.name)
        return self.requantize(part, q, goal)

    def _quantize(self, expr: relax.Expr, goal: Goal) -> relax.Expr:
        const = self.reader.constant(expr)
        if expr not in self.floats and const is None:
            raise CannotLowerError("has no integer form")
        params = QuantizeParams(goal.q.scale, goal.q.zero_point, "int8")
        if const is not None:
            return relax.const(np.clip(reference.quantize(params, const.real), *goal.clamp).astype(np.int8))
        result = self.emit(make_call("quantize", [self.floats[expr]], params), goal.name)
        return self.requantize(result, goal.q, goal, "clamp")


def operator_name(value: relax.Expr) -> str:
    """The operator as an error names it."""
    return str(value.args[0].name_hint) if is_call(value, "call_tir") else called(value)


def quantization_or_refuse(call: relax.Call) -> QParams:
    """``quantization``, or an error."""
    q = quantization(call)
    if q is None:
        raise CannotLowerError("is not quantized to 8 bits per tensor")
    return q


def _pads_within(call: relax.Call, q: QParams) -> bool:
    try:
        pad_value(call, q.scale, q.zero_point)
    except CannotLowerError:
        return False
    return True
