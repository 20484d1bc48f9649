"""Layers that run interleaved give the bits of layers that run one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.native import build_library
from tests.planner_graphs import programs
from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny import compiler, planner
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.errors import OptionError
from tvm_tiny.planner.assemble import assemble, place_program
from tvm_tiny.planner.views import without_views

BOARD = "tinyml/qemu-m7"
PHASES = tuple(p for p in Phase if p is not Phase.shrink)  # each try compiles five models
BOARDS = (BOARD, "tinyml/qemu-m3")


class Network:
    """A random int8 network, written layer by layer."""

    def __init__(self, seed: int) -> None:
        self.writer = TfliteWriter()
        self.rng = np.random.default_rng(seed)

    def _weight(self, shape: tuple[int, ...], axis: int) -> TensorRef:
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = self.rng.uniform(0.002, 0.02, shape[axis]).tolist()
        return self.writer.const(f"w{len(self.writer.tensors)}", values, scale=scales, axis=axis)

    def conv(self, x: TensorRef, channels: int, kernel: tuple[int, int], **options: Any) -> TensorRef:
        weight = self._weight((channels, *kernel, x.shape[3]), 0)
        return self.writer.conv2d(x, weight, out_scale=0.05, out_zp=3, **options)

    def depthwise(self, x: TensorRef, kernel: tuple[int, int], **options: Any) -> TensorRef:
        weight = self._weight((1, *kernel, x.shape[3]), 3)
        return self.writer.depthwise_conv2d(x, weight, out_scale=0.04, out_zp=-7, **options)

    def add(self, a: TensorRef, b: TensorRef) -> TensorRef:
        return self.writer.add(a, b, out_scale=0.06, out_zp=1)


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    """Convolutions, pools, residual adds, parallel branches; odd sizes, strides, single rows and columns."""
    net = Network(draw(st.integers(0, 2**32)))
    height, width = draw(st.sampled_from([(9, 7), (12, 8), (17, 5), (1, 13), (13, 1), (6, 6), (25, 3)]))
    channels = draw(st.integers(1, 5))
    if draw(st.booleans()):
        x = net.writer.input("x", [1, height, width, channels], scale=0.05, zero_point=-2)
    else:
        x = net.writer.input("x", [1, channels, height, width], scale=0.05, zero_point=-2)
        x = net.writer.transpose(x, (0, 2, 3, 1))
    live = [x]
    for _ in range(draw(st.integers(2, 6))):
        kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 4)))
        stride = (draw(st.sampled_from((1, 1, 2, 3))), draw(st.sampled_from((1, 1, 2))))
        fits = kernel[0] <= x.shape[1] and kernel[1] <= x.shape[2]
        padding = draw(st.sampled_from(("SAME", "VALID"))) if fits else "SAME"
        kind = draw(st.sampled_from(("conv", "point", "depthwise", "pool", "add", "add", "branch", "move")))
        same = [t for t in live if t.shape == x.shape]
        if kind == "conv":
            x = net.conv(x, draw(st.integers(1, 9)), kernel, stride=stride, padding=padding)
        elif kind == "point":
            x = net.conv(x, draw(st.integers(1, 9)), (1, 1), activation="relu")
        elif kind == "depthwise":
            x = net.depthwise(x, kernel, stride=stride, padding=padding)
        elif kind == "pool":
            pool = draw(st.sampled_from((net.writer.avg_pool2d, net.writer.max_pool2d)))
            x = pool(x, kernel, stride=stride, padding=padding)
        elif kind == "add":
            x = net.add(x, draw(st.sampled_from(same)))
        elif kind == "move":
            x = moved(draw, net, x)
        else:
            other = net.conv(net.conv(x, 3, (1, 1)), 4, kernel, stride=stride)
            x = net.add(net.conv(x, 4, kernel, stride=stride), other)
        live.append(x)
    x = net.conv(x, 2, (1, 1))
    net.writer.output(net.writer.transpose(x, (0, 3, 1, 2)) if draw(st.booleans()) else x)
    return net.writer.finish()


def moved(draw: st.DrawFn, net: Network, x: TensorRef) -> TensorRef:
    """Something that only moves data: concatenation, split, slice or padding along any axis of the image."""
    kind, axis = draw(st.sampled_from(("concat", "split", "slice", "pad"))), draw(st.integers(1, 3))
    w = net.writer
    if kind == "concat":
        parts = [net.conv(x, x.shape[3], (3, 3)), net.conv(x, x.shape[3], (1, 1))]
        return w.concatenation(parts, axis)
    if kind == "split" and x.shape[axis] % 2 == 0:
        first, second = w.split(x, axis, 2)
        return net.add(second, first)
    if kind == "pad":
        return w.pad(x, [(0, 0), *(((draw(st.integers(0, 2)), draw(st.integers(0, 3)))) for _ in range(3))])
    begin = [0, *(draw(st.integers(0, (n - 1) // 2)) for n in x.shape[1:])]
    return w.strided_slice(x, begin, list(x.shape), [1, *(draw(st.integers(1, 2)) for _ in range(3))])


def any_program(draw: st.DrawFn) -> Callable[..., planner.Choice]:
    """Plans with stages, groups, segments and recomputation drawn at random where operators can share one."""

    def choose(graph: planner.Graph, *_: Any, **__: Any) -> planner.Choice:
        graph = without_views(graph)
        program = draw(programs(graph, upside_down=False))
        return planner.measure(assemble(graph, place_program(graph, program), 0))

    return choose


def any_views(draw: st.DrawFn) -> Callable[..., planner.Graph]:
    """Some of the copies that could be views."""
    return lambda graph, _: planner.with_views(graph, lambda op: draw(st.booleans()))


def assert_same(models: list[CompiledModel], folder: Path) -> bool:
    """Hold all models against the first one; false where two inputs give one output, which shows little."""
    library = build_library(models, folder)
    (given,) = models[0].report()["inputs"]
    rng = np.random.default_rng(7)
    outputs = []
    for _ in range(2):
        x = rng.integers(-128, 128, given["shape"]).astype(np.int8)
        expected, *others = [library.run(m.module_name, [x])[0] for m in models]
        outputs.append(expected)
        for model, got in zip(models[1:], others, strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=model.module_name, strict=True)
    return bool((outputs[0] != outputs[1]).any())


# More of them, under more options: tests/models/test_fuzz.py, and `make fuzz`.
@pytest.mark.slow
@settings(max_examples=8, phases=PHASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    model = data.draw(networks())
    board = data.draw(st.sampled_from(BOARDS))
    ways: list[dict[str, Any]] = [{"fusion": "off"}, {"fusion": "rows"}, {}, {"max_overhead": 0.5, "objective": "ram"}]
    models = [compile_model(model, board, module_name=f"way{i}", **way) for i, way in enumerate(ways)]
    arenas = [m.plan.arena_bytes for m in models]
    # Of plans within one percent the fastest is taken.
    assert max(arenas) <= 1.01 * arenas[0], arenas
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler.planner, "choose", any_program(data.draw))
        patch.setattr(planner, "find_views", any_views(data.draw))
        models.append(compile_model(model, board, module_name="drawn"))
    assume(assert_same(models, tmp_path_factory.mktemp("random")))


def residual_network() -> bytes:
    net = Network(3)
    x = net.writer.input("x", [1, 32, 32, 3], scale=0.05, zero_point=0)
    x = net.conv(x, 8, (3, 3), name="first")
    y = net.conv(net.conv(x, 8, (3, 3)), 8, (3, 3))
    x = net.add(x, y)
    y = net.conv(net.conv(x, 16, (3, 3), stride=(2, 2)), 16, (3, 3))
    x = net.add(net.conv(x, 16, (1, 1), stride=(2, 2)), y)
    net.writer.output(net.writer.avg_pool2d(x, (2, 2), stride=(2, 2), padding="VALID", name="last"))
    return net.writer.finish()


def test_residuals_and_strides_share_a_stage(tmp_path: Path) -> None:
    models = [
        compile_model(residual_network(), BOARD, fusion=f, module_name=n) for f, n in (("off", "plain"), ("auto", "f"))
    ]
    assert assert_same(models, tmp_path)
    plain, fused = (m.report()["plan"] for m in models)
    assert all(len(stage["operators"]) == 1 for stage in plain["stages"])
    (stage,) = fused["stages"]
    assert (stage["operators"][0], stage["operators"][-1], len(stage["operators"])) == ("first", "last", 9)
    assert 2 * fused["arena_bytes"] < plain["arena_bytes"]


def test_rows_of_channels_become_planes(tmp_path: Path) -> None:
    """An operator that takes NCHW for rows of channels writes what is then read as planes."""
    net = Network(8)
    x = net.writer.input("x", [1, 3, 9, 4], scale=0.05, zero_point=-2)
    x = net.writer.transpose(net.add(net.add(x, x), x), (0, 2, 3, 1))
    net.writer.output(net.writer.transpose(net.conv(x, 5, (3, 3)), (0, 3, 1, 2)))
    model = net.writer.finish()
    models = [compile_model(model, BOARD, fusion=f, module_name=f) for f in ("off", "rows", "auto")]
    assert assert_same(models, tmp_path)
    given = np.random.default_rng(3).integers(-128, 128, (1, 3, 9, 4)).astype(np.int8)
    interpreter = pytest.importorskip("tflite_micro").runtime.Interpreter.from_bytes(model)
    interpreter.set_input(given, 0)
    interpreter.invoke()
    (tmp_path / "off").mkdir()
    (got,) = build_library(models[:1], tmp_path / "off").run("off", [given])
    np.testing.assert_array_equal(got, interpreter.get_output(0))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.tflite").write_bytes(residual_network())
    for fusion, stages in (("auto", 1), ("off", 9)):
        archive = str(tmp_path / f"{fusion}.tar")
        assert main(["compile", str(tmp_path / "m.tflite"), "--fusion", fusion, "-o", archive]) == 0
        capsys.readouterr()
        assert main(["inspect", "--json", archive]) == 0
        assert len(json.loads(capsys.readouterr().out)["plan"]["stages"]) == stages
        assert main(["inspect", archive]) == 0
        assert ("Stages: layers that run interleaved" in capsys.readouterr().out) == (fusion == "auto")


def test_unknown_fusion() -> None:
    with pytest.raises(OptionError, match="--fusion 'on' is unknown"):
        compile_model(residual_network(), BOARD, fusion="on")
