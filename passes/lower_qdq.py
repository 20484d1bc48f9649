"""``LowerQdq``: float operators between dequantize and quantize become integer operators."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_tiny.errors import OptionError
from tvm_tiny.ops import register_ops
from tvm_tiny.passes._dataflow import bindings_of, is_call, map_functions
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.passes.qdq.driver import lower_function
from tvm_tiny.passes.qdq.rules import RULES
from tvm_tiny.quant.params import ROUNDINGS


@relax_pass
class LowerQdq:
    """Turn QDQ graphs into integer operators with TFLite Micro's fixed-point arithmetic.

    Before: ``quantize(relu(add(conv2d(dequantize(x), dequantize(w)), dequantize(b))))``
    After: ``tinyml.qconv2d(x, w, b, multiplier, shift)``, the activation being its clamp

    The integer operator takes the name of the quantized tensor. All spatial operators come out as NHWC; around those of
    NCHW models stand ``permute_dims`` (see ``CancelTransposes``). uint8 tensors become int8 ones. Float operators in
    front of the first quantize and behind the last dequantize stay float.

    Parameters
    ----------
    rounding : "tflm" (rounds twice, TFLite Micro's default) or "single"

    Raises
    ------
    UnsupportedOperatorError
        lists all operators between dequantize and quantize that have no integer form
    """

    def __init__(self, rounding: str = "tflm") -> None:
        if rounding not in ROUNDINGS:
            raise OptionError(f"unknown rounding '{rounding}'", hints=[f"known: {', '.join(ROUNDINGS)}"])
        self.rounding = rounding

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        register_ops()
        return map_functions(mod, self._lower)

    def _lower(self, func: relax.Function) -> relax.Function:
        if not any(is_call(v, "quantize", "dequantize") for _, v in bindings_of(func)):
            return func
        return lower_function(func, self.rounding, RULES)
