"""Lowers one whole function: goes through its bindings and asks ``Lowering`` for integer forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.errors import UnsupportedOperatorError
from tvm_tiny.ops import is_tinyml_call, make_call
from tvm_tiny.passes._dataflow import (
    bindings_of,
    dtype_of,
    is_call,
    is_const,
    name_of,
    shape_of,
    users_of,
    with_args,
)
from tvm_tiny.passes.qdq.lowering import MOVEMENT, Goal, Lowering, Rule, operator_name, quantization_or_refuse
from tvm_tiny.passes.qdq.reader import UINT8_OFFSET, CannotLowerError, QParams, remake
from tvm_tiny.quant import lut
from tvm_tiny.quant.params import QuantizeParams


def lower_function(func: relax.Function, rounding: str, rules: Mapping[str, Rule]) -> relax.Function:
    """The integer form of a QDQ function.

    Raises
    ------
    UnsupportedOperatorError
        lists all operators between dequantize and quantize that have none
    """
    return _Driver(func, rounding, rules).run()


class _Driver:
    def __init__(self, func: relax.Function, rounding: str, rules: Mapping[str, Rule]) -> None:
        self._func = func
        self._low = Lowering(func, rounding, rules)
        self._problems: list[str] = []

    def run(self) -> relax.Function:
        users = users_of(self._func)
        for param in self._func.params:
            if dtype_of(param) == "uint8" and users[param]:
                self._low.ints[param] = self._low.lookup(param, _from_uint8(), "uint8_to_int8", param.name)
        bindings = bindings_of(self._func)
        clipped = {v.args[0] for _, v in bindings if is_call(v, "clip") and users[v.args[0]] == 1}
        for var, value in bindings:
            if var in clipped and is_call(value, "quantize"):
                continue  # the clip behind it asks, with its bounds
            try:
                self._bind(var, value)
            except CannotLowerError as error:
                self._refuse(error, var, value)
                self._low.ints[var] = relax.Var(var.name, relax.TensorType(shape_of(var), "int8"))
        result = self._result(self._func.body.body)
        if self._problems:
            raise _unsupported(self._problems)
        return self._low.writer.finish(result)

    def _refuse(self, error: CannotLowerError, var: relax.Expr, value: relax.Expr) -> None:
        operator = error.operator or operator_name(value)
        self._problems.append(f"{operator} for tensor '{name_of(var)}': {error}")

    def _bind(self, var: relax.Var, value: relax.Expr) -> None:
        if is_call(value, "quantize"):
            self._low.ints[var] = self._low.lower(value.args[0], Goal(quantization_or_refuse(value), var.name))
        elif is_call(value, "clip") and dtype_of(var) in ("int8", "uint8"):
            self._low.ints[var] = self._clip_integers(var, value)
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self._low.ints:
            self._low.ints[var] = self._low.emit(
                relax.TupleGetItem(self._low.ints[value.tuple_value], value.index), var.name
            )
        elif isinstance(value, relax.Call) and not is_call(value, "dequantize"):
            if any(a in self._low.ints for a in _tensors(value)):
                self._low.ints[var] = self._move_integers(var, value)
            elif all(a in self._low.floats or is_const(a) for a in _tensors(value)):
                self._low.floats[var] = self._float_call(value, var.name)

    def _clip_integers(self, var: relax.Var, call: relax.Call) -> relax.Expr:
        offset = UINT8_OFFSET if dtype_of(var) == "uint8" else 0
        goal = Goal(QParams(1.0, 0), var.name)
        goal = goal.clamped(*(int(a.value) - offset for a in call.args[1:]))
        if call.args[0] in self._low.ints:
            return self._low.requantize(self._low.ints[call.args[0]], goal.q, goal, "clamp")
        source = self._low.reader.value(call.args[0])
        return self._low.lower(source.args[0], replace(goal, q=quantization_or_refuse(source)))

    def _move_integers(self, var: relax.Var, call: relax.Call) -> relax.Expr:
        """Data movement that the model has on integer tensors already, and operators that are integer ones."""
        if is_tinyml_call(call) and dtype_of(var) == "int8":
            return self._low.emit(with_args(call, [self._low.ints.get(a, a) for a in call.args]), var.name)
        offset = UINT8_OFFSET if dtype_of(call.args[0]) == "uint8" else 0
        if is_call(call, "concat"):
            fields = [self._low.ints.get(f, f) for f in self._low.reader.fields(call.args[0])]
            return self._low.emit(with_args(call, [relax.Tuple(fields)]), var.name)
        if is_call(call, "split", *MOVEMENT):
            return self._low.emit(remake(call, self._low.ints[call.args[0]], zero_point=-offset), var.name)
        raise CannotLowerError("works on integers in a way that is not known here")

    def _float(self, expr: relax.Expr) -> relax.Expr:
        """The float ``expr`` in the new function: what lies behind the last dequantize."""
        if expr in self._low.floats or not isinstance(expr, relax.Var):
            return self._low.floats.get(expr, expr)
        value = self._low.reader.value(expr)
        const = self._low.reader.constant(expr)
        if const is not None:
            result = relax.const(const.real)
        elif self._low.exact_params(expr) is not None:
            data, q = self._low.exact(expr)
            result = self._low.emit(
                make_call("dequantize", [data], QuantizeParams(q.scale, q.zero_point, "float32")), expr.name
            )
        elif isinstance(value, relax.TupleGetItem):
            result = self._low.emit(relax.TupleGetItem(self._float(value.tuple_value), value.index), expr.name)
        elif isinstance(value, relax.Call) and not is_call(value, "dequantize"):
            result = self._float_call(value, expr.name)
        else:
            raise CannotLowerError("is not quantized to 8 bits per tensor")
        self._low.floats[expr] = result
        return result

    def _float_call(self, call: relax.Call, name: str) -> relax.Expr:
        args = [
            relax.Tuple([self._float(f) for f in a.fields]) if isinstance(a, relax.Tuple) else self._float(a)
            for a in call.args
        ]
        return self._low.emit(with_args(call, args), name)

    def _result(self, expr: relax.Expr) -> relax.Expr:
        value = self._low.reader.value(expr)
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self._result(f) for f in value.fields])
        if expr in self._func.params:
            return expr
        dtype = dtype_of(expr)
        if dtype == "uint8":
            return self._low.lookup(self._low.ints[expr], _to_uint8(), "int8_to_uint8", name_of(expr))
        if dtype == "int8":
            return self._low.ints[expr]
        try:
            return self._float(expr)
        except CannotLowerError as error:
            self._refuse(error, expr, value)
            return expr


def _tensors(call: relax.Call) -> list[relax.Expr]:
    args: list[relax.Expr] = []
    for arg in call.args:
        args.extend(arg.fields if isinstance(arg, relax.Tuple) else [arg])
    return [a for a in args if isinstance(a, relax.Var) or is_const(a)]


def _from_uint8() -> NDArray[np.int8]:
    return (lut.table_inputs("uint8") - UINT8_OFFSET).astype(np.int8)


def _to_uint8() -> NDArray[np.uint8]:
    return (lut.table_inputs("int8") + UINT8_OFFSET).astype(np.uint8)


def _unsupported(problems: list[str]) -> UnsupportedOperatorError:
    noun = "operator" if len(problems) == 1 else "operators"
    return UnsupportedOperatorError(
        f"{len(problems)} {noun} cannot be turned into integer arithmetic:\n" + "\n".join(f"  {p}" for p in problems),
        hints=(
            "quantize the whole model to int8, weights and activations, with a calibration set",
            "replace these operators, or move them behind the last DEQUANTIZE, where they run in float32",
        ),
    )
