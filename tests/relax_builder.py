"""Small Relax modules for tests of passes, and what holds for every pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_tiny.passes._dataflow import bindings_of, called
from tvm_tiny.pipeline import Options, relax_phases

Spec = tuple[tuple[int, ...], str]
"""Shape and dtype."""


def module(body: Callable[..., Any], **params: Spec) -> tvm.IRModule:
    """A module with one function ``main(**params)``.

    Parameters
    ----------
    body : gets a ``BlockBuilder`` and the parameters; gives the result, or a list of results
    """
    variables = [relax.Var(n, relax.TensorType(shape, dtype)) for n, (shape, dtype) in params.items()]
    builder = relax.BlockBuilder()
    with builder.function("main", variables):
        with builder.dataflow():
            result = body(builder, *variables)
            if isinstance(result, list):
                output = relax.Tuple([builder.emit_output(r) for r in result])
            else:
                output = builder.emit_output(result)
        builder.emit_func_output(output)
    return builder.get()


def apply(each: Callable[[tvm.IRModule], tvm.IRModule], mod: tvm.IRModule) -> tvm.IRModule:
    """``each(mod)``, checked: well-formed, and a second time changes nothing."""
    result = each(mod)
    relax.analysis.well_formed(result)
    tvm.ir.assert_structural_equal(each(result), result)
    return result


def simplified(mod: tvm.IRModule, options: Options | None = None) -> tvm.IRModule:
    """``mod`` behind all Relax passes of the pipeline, each of which must leave its own result alone."""
    for phase in relax_phases(options or Options()).values():
        for each in phase:
            mod = apply(each, mod)
    return mod


def assert_left_alone(each: Callable[[tvm.IRModule], tvm.IRModule], mod: tvm.IRModule) -> None:
    tvm.ir.assert_structural_equal(each(mod), mod)


def calls(mod: tvm.IRModule) -> list[str]:
    """Names of the operators of ``main``, in order."""
    return [called(v) for _, v in bindings_of(mod["main"]) if isinstance(v, relax.Call)]


def call_named(mod: tvm.IRModule, operator: str) -> relax.Call:
    """The only call of ``operator`` in ``main``."""
    (found,) = [v for _, v in bindings_of(mod["main"]) if called(v) == operator]
    return found


def const(value: Any, dtype: str) -> relax.Expr:
    return relax.const(np.asarray(value, dtype=dtype))


def quantize(x: Any, scale: float, zero_point: int, dtype: str = "int8") -> relax.Expr:
    return relax.op.quantize(x, const(scale, "float32"), const(zero_point, dtype), axis=0, out_dtype=dtype)


def dequantize(x: Any, scale: Any, zero_point: int = 0, axis: int = 0) -> relax.Expr:
    """Per tensor, or along ``axis`` where ``scale`` is a list."""
    points = const(np.full(np.shape(scale), zero_point), "int32")
    return relax.op.dequantize(x, const(scale, "float32"), points, axis=axis)


def int8(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, shape, dtype=np.int8)
