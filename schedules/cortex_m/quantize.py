"""Edges between float32 and integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from tvm_tiny.ops import Kernel, op_name, params_of
from tvm_tiny.quant.params import QuantizeParams
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, as_expr, value
from tvm_tiny.schedules.cortex_m.elementwise import elementwise
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of
from tvm_tiny.targets import Cpu


class Quantize(CortexMScheduleRule):
    """QUANTIZE divides in float32, as TFLite Micro does; multiplying by the inverse would not be exact."""

    operators = ("quantize", "dequantize")

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: QuantizeParams = params_of(call)
        if op_name(call) == "dequantize":
            return elementwise("dequantize", call.args, shape_of(call), "float32", _dequantize(p))
        return elementwise("quantize", call.args, shape_of(call), p.dtype, _quantize(p))


def _quantize(p: QuantizeParams) -> Callable[[KernelBuilder], Callable[[Any], Any]]:
    limits = np.iinfo(p.dtype)

    def prepare(b: KernelBuilder) -> Callable[[Any], Any]:
        scale = _scale(b, p)
        return lambda x: value("tinyml_quantize", x, scale, p.zero_point, int(limits.min), int(limits.max))

    return prepare


def _dequantize(p: QuantizeParams) -> Callable[[KernelBuilder], Callable[[Any], Any]]:
    def prepare(b: KernelBuilder) -> Callable[[Any], Any]:
        scale = _scale(b, p)
        return lambda x: value("tinyml_dequantize", x.astype("int32"), scale, p.zero_point, dtype="float32")

    return prepare


def _scale(b: KernelBuilder, p: QuantizeParams) -> Any:
    """The scale from memory: TVM prints float literals with seven digits, which is not exact."""
    return b.constant("scale", np.array([p.scale], np.float32))[as_expr(0)]
