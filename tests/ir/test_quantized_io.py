"""QuantizedIo."""

from __future__ import annotations

import tvm
from tvm import relax

from tests.integer_layers import REVERSED, lookup
from tests.relax_builder import apply, assert_left_alone, module
from tvm_tiny.ops import IoTensor, ModelIo, get_io, make_call, with_io
from tvm_tiny.passes import QuantizedIo
from tvm_tiny.quant.params import QuantizeParams

op = relax.op
FLOAT, INT8 = ((2, 3), "float32"), ((2, 3), "int8")


def q(x: relax.Expr, scale: float = 0.5, zero_point: int = 3) -> relax.Call:
    return make_call("quantize", [x], QuantizeParams(scale, zero_point, "int8"))


def dq(x: relax.Expr, scale: float = 0.25, zero_point: int = -1) -> relax.Call:
    return make_call("dequantize", [x], QuantizeParams(scale, zero_point, "float32"))


def with_model_io(mod: tvm.IRModule, inputs: tuple[IoTensor, ...], outputs: tuple[IoTensor, ...]) -> tvm.IRModule:
    return tvm.IRModule({"main": with_io(mod["main"], ModelIo(inputs, outputs))})


def test_edges_go_and_the_io_says_how_to_convert() -> None:
    before = module(lambda bb, x: dq(bb.emit(lookup(bb.emit(q(x)), REVERSED))), x=FLOAT)
    before = with_model_io(before, (IoTensor("in:0"),), (IoTensor("out:0"),))
    after = apply(QuantizedIo(), before)
    expected = module(lambda bb, x: lookup(x, REVERSED), x=INT8)
    inputs = (IoTensor("in:0", 0.5, 3, "float32"),)
    outputs = (IoTensor("out:0", 0.25, -1, "float32"),)
    tvm.ir.assert_structural_equal(after, with_model_io(expected, inputs, outputs))
    assert get_io(after["main"]) == ModelIo(inputs, outputs)
    assert after["main"].params[0].name == "x"


def test_several_inputs_and_outputs() -> None:
    """x quantized twice alike goes; y quantized in two ways stays; so do an int8 input and an output of floats."""

    def before(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var, z: relax.Var) -> list[relax.Expr]:
        xs = [bb.emit(lookup(bb.emit(q(x)), REVERSED)) for _ in range(2)]
        ys = [bb.emit(q(y, 0.5)), bb.emit(q(y, 0.25))]
        return [bb.emit(dq(xs[0])), bb.emit(dq(bb.emit(op.concat([*xs, *ys, z], 0)))), bb.emit(op.exp(y))]

    def expected(bb: relax.BlockBuilder, x: relax.Var, y: relax.Var, z: relax.Var) -> list[relax.Expr]:
        xs = [bb.emit(lookup(x, REVERSED)) for _ in range(2)]
        ys = [bb.emit(q(y, 0.5)), bb.emit(q(y, 0.25))]
        return [xs[0], bb.emit(op.concat([*xs, *ys, z], 0)), bb.emit(op.exp(y))]

    after = apply(QuantizedIo(), module(before, x=FLOAT, y=FLOAT, z=INT8))
    io = get_io(after["main"])
    assert [t.host_dtype for t in io.inputs] == ["float32", None, None]
    assert [t.host_dtype for t in io.outputs] == ["float32", "float32", None]
    want = module(expected, x=INT8, y=FLOAT, z=INT8)["main"]
    assert [p.ty for p in after["main"].params] == [p.ty for p in want.params]
    assert [str(t.dtype) for t in after["main"].ret_ty.fields] == ["int8", "int8", "float32"]


def test_integer_edges_are_left_alone() -> None:
    assert_left_alone(QuantizedIo(), module(lambda bb, x: lookup(x, REVERSED), x=INT8))
    assert_left_alone(QuantizedIo(), module(lambda bb, x: op.exp(x), x=FLOAT))
