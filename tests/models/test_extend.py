"""Operators and passes from outside of the package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax, tirx

from tests.evaluate import evaluate
from tests.integer_layers import conv
from tests.native import build_library
from tests.onnx_qdq import OnnxWriter, quantized
from tests.relax_builder import calls, const, int8, module, simplified
from tests.tflite_writer import TfliteWriter
from tvm_tiny import planner
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import ArtifactError, OptionError, UnsupportedOperatorError
from tvm_tiny.extend import converter, register_operator
from tvm_tiny.frontend import extension, load_model, onnx_converters, tflite_converters_compute
from tvm_tiny.frontend.graph import Operator
from tvm_tiny.frontend.onnx_constraints import ONNX
from tvm_tiny.frontend.tflite_constraints import TFLITE
from tvm_tiny.ops import OPS, Kernel, OpDef, infer_broadcast, load_network, make_call, params_of
from tvm_tiny.passes import relax_pass
from tvm_tiny.quant import lut, reference
from tvm_tiny.quant.params import LookupParams
from tvm_tiny.schedules import RULES, Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder
from tvm_tiny.schedules.cortex_m.elementwise import elementwise
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of
from tvm_tiny.targets import Cpu

Array = NDArray[Any]
SHAPE = (1, 6, 5, 4)


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """What a test registers is gone behind it."""
    kept: list[Any] = [OPS, RULES, reference.OPERATORS, tflite_converters_compute.COMPUTE, onnx_converters.CONVERTERS]
    kept += [TFLITE.signatures, ONNX.signatures, TFLITE.constraints, ONNX.constraints, extension._added]
    before = [each.copy() for each in kept]
    yield
    for each, content in zip(kept, before, strict=True):
        each.clear()
        each.extend(content) if isinstance(each, list) else each.update(content)


@dataclass(frozen=True)
class _Zero:
    zero_point: int


def _difference(p: _Zero, a: Array, b: Array) -> Array:
    wide: Array = np.abs(a.astype(np.int64) - b)
    return np.minimum(wide + p.zero_point, 127).astype(np.int8)


class _AbsDifference(CortexMScheduleRule):
    operators = ("abs_difference",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: _Zero = params_of(call)

        def prepare(_: KernelBuilder) -> Any:
            def function(a: Any, b: Any) -> Any:
                a, b = a.astype("int32"), b.astype("int32")
                return tirx.min(tirx.max(a - b, b - a) + p.zero_point, tirx.const(127, "int32"))

            return function

        return elementwise("abs_difference", call.args, shape_of(call), "int8", prepare)


def _register(name: str = "abs_difference") -> None:
    register_operator(
        OpDef(name, ("a", "b"), _Zero, infer_broadcast, elementwise=True),
        reference_numpy=_difference,
        rule=_AbsDifference(),
    )


def _convert(op: Operator, inputs: list[Any]) -> Any:
    quantization = op.outputs[0].quantization
    assert quantization is not None
    return make_call("abs_difference", inputs, _Zero(quantization.zero_point))


def _model(dtype: str = "int8") -> bytes:
    w = TfliteWriter()
    scale = 0.5 if dtype == "int8" else None
    x, y = (w.input(name, SHAPE, scale, dtype=dtype) for name in ("x", "y"))
    pooled = w.max_pool2d(x, (3, 3), stride=(1, 1), padding="SAME")
    z = w.tensor("z", SHAPE, dtype, scale, -100 if dtype == "int8" else 0)
    w.operator("CUSTOM AbsDifference", [pooled, y], [z])
    w.output(w.max_pool2d(z, (2, 2), stride=(1, 1), padding="SAME", name="out"))
    return w.finish()


def test_a_custom_operator_of_tflite_is_exact_and_runs_row_by_row(tmp_path: Path) -> None:
    _register()
    converter("tflite", "CUSTOM AbsDifference", inputs=2)(_convert)
    model = compile_model(_model())
    rng = np.random.default_rng(0)
    x, y = int8(rng, *SHAPE), int8(rng, *SHAPE)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-128)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    z = np.minimum(np.abs(windows.max((-1, -2)).astype(int) - y) - 100, 127)
    padded = np.pad(z, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-128)
    wanted = np.lib.stride_tricks.sliding_window_view(padded, (2, 2), axis=(1, 2)).max((-1, -2))

    (native,) = build_library([model], tmp_path).run("default", [x, y])
    np.testing.assert_array_equal(native, wanted)
    (evaluated,) = evaluate(simplified(load_model(_model())), x, y)
    np.testing.assert_array_equal(evaluated, wanted)
    assert [op.kind for op in model.plan.graph.ops] == [planner.Kind.ROWS] * 3


def test_an_operator_of_onnx_joins_those_in_front_of_it(tmp_path: Path) -> None:
    @converter("onnx", "Elu")
    def elu(op: Operator, inputs: list[Any]) -> Any:
        x, y = op.require(0).quantization, op.outputs[0].quantization
        assert x is not None
        assert y is not None
        table = lut.function_table(np.tanh, x.scale, x.zero_point, y.scale, y.zero_point)
        return make_call("lookup", [inputs[0], const(table, "int8")], LookupParams("mine", "int8"))

    w = OnnxWriter((1, 3, 8, 8))
    y = w.node("Conv", ["x", w.weight(4, 3, 3, 3)], "c", kernel_shape=[3, 3])
    y = w.node("Conv", [w.node("Elu", [y], "e"), w.weight(4, 4, 1, 1)], "y", kernel_shape=[1, 1])
    found = calls(simplified(load_model(quantized(w, tmp_path, "y"))))
    assert [c for c in found if c != "permute_dims"] == [
        *("tinyml.quantize", "tinyml.qconv2d", "tinyml.lookup", "tinyml.qconv2d", "tinyml.dequantize"),
    ]


def test_channels_that_only_such_an_operator_reads_stay() -> None:
    """Of the weights some are zero, so the channels would go if nothing were known of who reads them."""
    _register()
    weight = np.ones((8, 3, 3, 2), np.int8)
    weight[1:6] = 0

    def body(bb: Any, x: Any) -> Any:
        a, b = (bb.emit(conv(x, weight), name) for name in "ab")
        return bb.emit(make_call("abs_difference", [a, b], _Zero(0)), "y")

    mod = module(body, x=((1, 6, 5, 2), "int8"))
    x = int8(np.random.default_rng(0), 1, 6, 5, 2)
    np.testing.assert_array_equal(evaluate(simplified(mod), x)[0], evaluate(mod, x)[0])


def test_permutations_go_past_an_elementwise_operator() -> None:
    _register()

    def planes(bb: Any, x: Any, z: Any) -> Any:
        a, b = (bb.emit(relax.op.permute_dims(bb.emit(conv(y)), [0, 3, 1, 2])) for y in (x, z))
        y = bb.emit(make_call("abs_difference", [a, b], _Zero(0)))
        scaled = bb.emit(make_call("abs_difference", [y, const([[[[1]], [[2]], [[3]], [[4]]]], "int8")], _Zero(0)))
        return bb.emit(relax.op.permute_dims(scaled, [0, 2, 3, 1]), "y")

    mod = module(planes, x=((1, 6, 5, 2), "int8"), z=((1, 6, 5, 2), "int8"))
    result = simplified(mod)
    assert calls(result) == ["tinyml.qconv2d", "tinyml.qconv2d", *["tinyml.abs_difference"] * 2]
    rng = np.random.default_rng(0)
    given = [int8(rng, 1, 6, 5, 2) for _ in range(2)]
    np.testing.assert_array_equal(evaluate(result, *given)[0], evaluate(mod, *given)[0])


def test_the_command_line_knows_what_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _register()
    converter("tflite", "CUSTOM AbsDifference", inputs=2)(_convert)
    monkeypatch.chdir(tmp_path)
    Path("model.tflite").write_bytes(_model())
    rng = np.random.default_rng(0)
    np.savez("x.npz", x=int8(rng, *SHAPE), y=int8(rng, *SHAPE))
    for command in (
        "compile model.tflite -o model.tar --target tinyml/qemu-m4",
        "run model.tar --device native --inputs x.npz --compare reference --json validation.json",
        "inspect model.tar --dump-graph graph.onnx",
    ):
        assert main(command.split()) == 0, command
    layers = json.loads(Path("validation.json").read_text(encoding="utf-8"))["layers"]
    assert [(layer["op"], layer["differing"]) for layer in layers][1] == ("abs_difference", 0)


def test_a_network_with_an_unregistered_operator_says_what_is_missing() -> None:
    _register("there_only")
    mod = module(lambda bb, a, b: make_call("there_only", [a, b], _Zero(0)), a=((1, 4), "int8"), b=((1, 4), "int8"))
    network = tvm.ir.save_json(mod).replace("there_only", "somewhere_else")
    with pytest.raises(ArtifactError, match=r"operator relax\.tinyml\.somewhere_else, which is not part") as caught:
        load_network(network)
    assert "import the module that registers it first" in caught.value.hints[0]


def test_without_a_converter_it_is_not_supported() -> None:
    with pytest.raises(UnsupportedOperatorError, match="CUSTOM AbsDifference 'z': not a supported operator"):
        load_model(_model())


def test_only_int8_arrives() -> None:
    _register()
    converter("tflite", "CUSTOM AbsDifference", inputs=2)(_convert)
    with pytest.raises(UnsupportedOperatorError, match="is float32. Its inputs and its output are int8") as caught:
        load_model(_model("float32"))
    assert "full int8" in caught.value.hints[0]


def test_wrong_number_of_inputs() -> None:
    converter("tflite", "CUSTOM AbsDifference")(_convert)
    with pytest.raises(UnsupportedOperatorError, match="it has 2 inputs, not 1"):
        load_model(_model())


def test_what_the_package_has_is_not_replaced() -> None:
    with pytest.raises(OptionError, match=r"operator relax\.tinyml\.qadd is there already"):
        _register("qadd")
    with pytest.raises(OptionError, match="operator ADD of TensorFlow Lite has a converter already"):
        converter("tflite", "ADD")(_convert)
    with pytest.raises(OptionError, match="no model format is called 'keras'") as caught:
        converter("keras", "Add")(_convert)  # type: ignore[arg-type]
    assert "tflite, onnx" in caught.value.hints[0]


def test_registering_again_replaces() -> None:
    for _ in range(2):
        _register()
        converter("tflite", "CUSTOM AbsDifference", inputs=2)(_convert)
    load_model(_model())


def test_an_extra_pass_runs_at_the_end_of_its_phase(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    @relax_pass
    class Look:
        def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
            seen.append(calls(mod))
            return mod

    w = TfliteWriter()
    x = w.input("x", (1, 4), 0.5)
    y = w.reshape(w.reshape(x, (2, 2)), (4, 1))
    w.output(w.logistic(y))
    compile_model(w.finish(), extra_passes={"integers": [Look()], "simplify": [Look(), Look()]})
    assert seen == [["reshape", "reshape", "tinyml.lookup"], *[["reshape", "tinyml.lookup"]] * 2]


def test_extra_passes_that_are_no_good() -> None:
    @relax_pass
    class Break:
        def transform_module(self, mod: tvm.IRModule, _context: Any) -> tvm.IRModule:
            stray = relax.Var("stray", relax.TensorType((1, 4), "int8"))
            return module(lambda bb, x: bb.emit(relax.op.add(x, stray)), x=((1, 4), "int8"))

    source = module(lambda bb, x: bb.emit(relax.op.abs(x)), x=((1, 4), "int8"))
    with pytest.raises(OptionError, match="no phase is called 'late'") as caught:
        compile_model(source, extra_passes={"late": [Break()]})
    assert "integers, edges, layout, simplify" in caught.value.hints[0]
    with pytest.raises(OptionError, match="not well-formed behind phase 'simplify': Var stray is not defined"):
        compile_model(source, extra_passes={"simplify": [Break()]})
