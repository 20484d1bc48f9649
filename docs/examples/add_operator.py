"""Adds an operator that tvm-tiny does not have, from outside: MAXIMUM of two tensors, in TFLite and ONNX files.

    python docs/examples/add_operator.py

docs/adding_an_operator.md goes through the parts. What is only a function of one quantized tensor (ELU, GELU, a table
of your own) needs no kernel: see the second converter.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper
from tvm import relax, tirx

import tvm_tiny
from tvm_tiny.extend import converter, register_operator
from tvm_tiny.measure import run_model
from tvm_tiny.ops import OpDef, infer_broadcast, make_call, params_of
from tvm_tiny.quant import lut
from tvm_tiny.quant.fixed_point import clamp_to_int8, quantize_multiplier, requantize
from tvm_tiny.quant.params import LookupParams
from tvm_tiny.schedules.cortex_m.elementwise import elementwise
from tvm_tiny.schedules.cortex_m.requantize import Requantizer
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of


# 1. Parameters: numbers that are known when a model is compiled.
@dataclass(frozen=True)
class MaximumParams:
    """Each input is brought to the output's scale; one multiplier (Q0.31) and shift (positive to the left) for each."""

    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    output_zero_point: int


# 2. What it computes, in NumPy: kernels are held against this, byte for byte.
def maximum(params: MaximumParams, *inputs: np.ndarray) -> np.ndarray:
    a, b = (
        requantize(x.astype(np.int64) - zero_point, multiplier, shift, "tflm")
        for x, zero_point, multiplier, shift in zip(
            inputs, params.zero_points, params.multipliers, params.shifts, strict=True
        )
    )
    return clamp_to_int8(np.maximum(a, b), params.output_zero_point, -128, 127)


# 3. Its kernel: TIR, here by the helper that loops over elements (row by row, so that it can join stages).
class Maximum(CortexMScheduleRule):
    operators = ("maximum",)

    def apply(self, call, cpu, choose):
        p = params_of(call)
        scaled = [
            Requantizer(np.array([m], np.int32), np.array([s], np.int32), 255, p.output_zero_point, -128, 127, "tflm")
            for m, s in zip(p.multipliers, p.shifts, strict=True)
        ]

        def larger(*elements):
            values = [
                r.scalar(x.astype("int32") - zero_point)
                for r, x, zero_point in zip(scaled, elements, p.zero_points, strict=True)
            ]
            return tirx.max(*values)

        return elementwise("maximum", call.args, shape_of(call), "int8", lambda builder: larger)


register_operator(
    OpDef("maximum", ("a", "b"), MaximumParams, infer_broadcast, elementwise=True),
    reference_numpy=maximum,
    rule=Maximum(),
)


# 4. Where model files have it. Inputs arrive as int8 expressions, scales with the file's own tensors.
@converter("onnx", "Max", inputs=2)
@converter("tflite", "MAXIMUM", inputs=2)
def convert_maximum(op, inputs):
    scales = [op.require(i).quantization for i in (0, 1)]
    out = op.outputs[0].quantization
    multipliers, shifts = zip(*(quantize_multiplier(q.scale / out.scale) for q in scales), strict=True)
    params = MaximumParams(tuple(q.zero_point for q in scales), multipliers, shifts, out.zero_point)
    return make_call("maximum", inputs, params)


# A function of one tensor is a table of 256 values: a converter is all it takes.
@converter("onnx", "Elu")
def convert_elu(op, inputs):
    x, out, alpha = op.require(0).quantization, op.outputs[0].quantization, op.attributes.get("alpha", 1.0)

    def elu(real):
        return real if real >= 0 else alpha * math.expm1(real)

    table = lut.function_table(elu, x.scale, x.zero_point, out.scale, out.zero_point)
    return make_call("lookup", [inputs[0], relax.const(table)], LookupParams("elu", "int8"))


# A model with both: maximum(elu(x), y), int8 in and out. Files hold scales in float32.
SCALES = {name: float(np.float32(s)) for name, s in {"x": 0.05, "y": 0.04, "e": 0.03, "z": 0.05}.items()}


def quantized(name, zero_point):
    return [
        helper.make_tensor(f"{name}_scale", TensorProto.FLOAT, (), [SCALES[name]]),
        helper.make_tensor(f"{name}_zero", TensorProto.INT8, (), [zero_point]),
    ]


def dequantize(name):
    return helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_scale", f"{name}_zero"], [name])


def quantize(name):
    return helper.make_node("QuantizeLinear", [f"{name}_float", f"{name}_scale", f"{name}_zero"], [f"{name}_q"])


def int8_tensor(name):
    return helper.make_tensor_value_info(name, TensorProto.INT8, [1, 4, 6, 5])


nodes = [dequantize("x"), dequantize("y")]
nodes += [helper.make_node("Elu", ["x"], ["e_float"]), quantize("e"), dequantize("e")]
nodes += [helper.make_node("Max", ["e", "y"], ["z_float"]), quantize("z")]
constants = [*quantized("x", 3), *quantized("y", -7), *quantized("e", -20), *quantized("z", -10)]
graph = helper.make_graph(nodes, "example", [int8_tensor("x_q"), int8_tensor("y_q")], [int8_tensor("z_q")], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
onnx.checker.check_model(model)

compiled = tvm_tiny.compile(model, target="tinyml/qemu-m4")
compiled.export("example.tar")
print("layers:", [layer["op"] for layer in compiled.report()["layers"]])

rng = np.random.default_rng(0)
x, y = (rng.integers(-128, 128, (10, 1, 4, 6, 5), dtype=np.int8) for _ in range(2))
(z,) = run_model("example.tar", device="native", inputs={"x_q": x, "y_q": y}).outputs.values()

# The same in NumPy: the table of ELU, then the reference of MAXIMUM.
table = lut.function_table(lambda real: real if real >= 0 else math.expm1(real), SCALES["x"], 3, SCALES["e"], -20)
factors = [quantize_multiplier(SCALES[name] / SCALES["z"]) for name in ("e", "y")]
expected = maximum(MaximumParams((-20, -7), *zip(*factors, strict=True), -10), table[x.astype(int) + 128], y)
print("bytes that differ from NumPy:", np.count_nonzero(z != expected), "of", z.size)
assert np.array_equal(z, expected)
