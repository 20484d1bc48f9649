"""Blocks in slices of their expanded channels give the bits of whole blocks, in less memory where space is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.test_fusion import BOARD, BOARDS, Network, assert_same
from tests.native import build_library
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import MemoryBudgetError, OptionError


def block(
    height: int, width: int, channels: int, expanded: int, outputs: int, *, residual: bool = False, **depthwise: Any
) -> bytes:
    """A block behind a first layer; its layers are called expand, depthwise and project."""
    net = Network(5)
    x = net.conv(net.writer.input("x", [1, height, width, channels], scale=0.05, zero_point=2), channels, (1, 1))
    y = net.conv(x, expanded, (1, 1), name="expand", activation="relu6")
    y = net.depthwise(y, (3, 3), name="depthwise", **depthwise)
    y = net.conv(y, outputs, (1, 1), name="project")
    net.writer.output(net.add(x, y) if residual else y)
    return net.writer.finish()


@pytest.mark.parametrize(
    ("model", "tiles"),
    [
        (block(2, 2, 16, 96, 16, residual=True), 4),
        (block(1, 1, 7, 37, 13), 4),
        (block(3, 2, 5, 3, 3, stride=(2, 2)), 3),
    ],
    ids=["residual", "odd", "one channel a slice"],
)
def test_the_same_bits(model: bytes, tiles: int, tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [{"fusion": "off"}, {"fusion": "rows"}, {}, {"caller_io": True}]
    models = [compile_model(model, BOARD, channel_tiles="off", module_name="whole")]
    for i, way in enumerate(ways):
        models.append(
            compile_model(model, BOARDS[i % 2], channel_tiles=f"{tiles}@project", module_name=f"tiled{i}", **way)
        )
    assert assert_same(models, tmp_path)
    assert [m.report()["executed_macs"] for m in models] == [models[0].report()["executed_macs"]] * len(models)
    assert sum(layer["op"] == "qconv2d_accumulate" for layer in models[1].report()["layers"]) == tiles


def test_the_bits_of_the_interpreter(tmp_path: Path) -> None:
    runtime = pytest.importorskip("tflite_micro").runtime
    model = block(2, 3, 12, 50, 9)
    compiled = compile_model(model, BOARD, channel_tiles="3@project")
    library, interpreter = build_library([compiled], tmp_path), runtime.Interpreter.from_bytes(model)
    for seed in range(3):
        x = np.random.default_rng(seed).integers(-128, 128, (1, 2, 3, 12)).astype(np.int8)
        interpreter.set_input(x, 0)
        interpreter.invoke()
        np.testing.assert_array_equal(library.run("default", [x])[0], interpreter.get_output(0))


def test_auto_takes_what_is_smaller() -> None:
    model = block(2, 2, 16, 512, 16)
    whole = compile_model(model, BOARD, channel_tiles="off", objective="ram").plan
    tiled = compile_model(model, BOARD, objective="ram").plan
    assert 3 * tiled.ram_bytes < whole.ram_bytes
    assert compile_model(model, BOARD).plan.ram_bytes >= whole.ram_bytes, "by default layers stay whole"
    assert compile_model(model, BOARD, objective="ram", max_overhead=1.0).plan.ram_bytes >= whole.ram_bytes
    # Where only slices fit, they are taken without being asked for.
    bound = (tiled.ram_bytes + whole.ram_bytes) // 2
    assert compile_model(model, BOARD, ram=bound).plan.ram_bytes <= bound
    with pytest.raises(MemoryBudgetError):
        compile_model(model, BOARD, ram=bound, channel_tiles="off")


def test_auto_keeps_blocks_whose_sums_are_larger() -> None:
    report = compile_model(block(8, 8, 16, 32, 16), BOARD, objective="ram").report()
    assert all(layer["op"] != "requantize" for layer in report["layers"])


def test_errors() -> None:
    model = block(2, 2, 4, 8, 4)
    for tiles, message in (
        ("2", "expected auto, off or N@LAYER"),
        ("2@expand", "does not end a block"),
        ("2@nowhere", "no such layer"),
        ("9@project", "the block has 8 expanded channels"),
    ):
        with pytest.raises(OptionError, match=message):
            compile_model(model, BOARD, channel_tiles=tiles)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.tflite").write_bytes(block(2, 2, 4, 8, 4))
    command = ["compile", str(tmp_path / "m.tflite"), "-o", str(tmp_path / "m.tar")]
    assert main([*command, "--channel-tiles", "2@project"]) == 0
    assert "8 layers" in capsys.readouterr().out
    assert main([*command, "--channel-tiles", "2@expand"]) == 1
    assert "--channel-tiles 2@expand" in capsys.readouterr().err
