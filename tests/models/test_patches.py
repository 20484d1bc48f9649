"""Patches by hand: any grid gives the bits of plain layers, and what cannot run in patches says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.test_fusion import BOARD, Network, assert_same, residual_network
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import OptionError


def chain() -> bytes:
    """Odd sizes, a stride, a 5x5 window; 15x13 pixels behind "deep"."""
    net = Network(5)
    x = net.writer.input("x", [1, 30, 26, 3], scale=0.05, zero_point=2)
    x = net.conv(x, 8, (3, 3), stride=(2, 2))
    x = net.depthwise(net.conv(x, 24, (1, 1)), (5, 5))
    x = net.conv(x, 8, (1, 1), name="deep")
    x = net.depthwise(net.conv(x, 16, (1, 1)), (3, 3), stride=(2, 2))
    net.writer.output(net.conv(x, 4, (1, 1), name="last"))
    return net.writer.finish()


GRIDS = ["1x2@deep", "3x3@deep", "4x5@deep", "15x13@deep", "2x1@last", "8x3@last"]


@pytest.mark.parametrize("overhead", [None, "100%"])
def test_any_grid(overhead: str | None, tmp_path: Path) -> None:
    models = [compile_model(chain(), BOARD, fusion="off", module_name="plain")]
    for i, patch in enumerate([*GRIDS, ["3x2@deep", "2x2@last"]]):
        models.append(compile_model(chain(), BOARD, patch=patch, max_overhead=overhead, module_name=f"patched{i}"))
    assert assert_same(models, tmp_path)
    infos = [m.report() for m in models]
    for info, (rows, columns) in zip(infos[1:], [(15, 7), (5, 5), (4, 3), (1, 1), (4, 7), (1, 3), (5, 7)], strict=True):
        group = info["plan"]["stages"][0]["groups"][0]
        assert (group["rows"], group["columns"]) == (rows, columns)
        assert info["executed_macs"] >= info["macs"]
    again = [info["executed_macs"] > info["macs"] for info in infos[1:]]
    assert any(again) == (overhead is not None)


def test_streamed_and_with_a_residual_inside(tmp_path: Path) -> None:
    models = [
        compile_model(residual_network(), BOARD, fusion="off", module_name="plain"),
        compile_model(residual_network(), BOARD, patch="4x4@last", module_name="patched"),
        compile_model(residual_network(), BOARD, patch="4x2@last", stream_input=True, module_name="streamed"),
    ]
    assert assert_same(models, tmp_path)


def test_off_means_whole_rows() -> None:
    plan = compile_model(chain(), BOARD, patch="off").plan
    assert all(len(g.schedule.runs) == 1 for stage in plan.stages for g in stage.groups)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("2x2", "expected auto, off or ROWSxCOLUMNS@LAYER"),
        ("0x2@deep", "expected auto, off or ROWSxCOLUMNS@LAYER"),
        ("2x2@nowhere", "no such layer"),
        ("2x2@t_", "several layers have that in their names"),
        ("2x2@0", "two layers at least"),
        ("16x2@deep", "has 15 rows of 13 columns"),
    ],
)
def test_bad_patches(patch: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        compile_model(chain(), BOARD, patch=patch)


def test_patches_one_after_the_other_do_not_overlap() -> None:
    with pytest.raises(OptionError, match="run in patches already"):
        compile_model(chain(), BOARD, patch=["2x2@deep", "3x3@deep"])
    with pytest.raises(OptionError, match="--patch 2x2@deep with --fusion rows"):
        compile_model(chain(), BOARD, patch="2x2@deep", fusion="rows")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.tflite").write_bytes(chain())
    command = ["compile", str(tmp_path / "m.tflite"), "-o", str(tmp_path / "m.tar")]
    assert main([*command, "--patch", "2x2@deep", "--patch", "2x2@last"]) == 0
    capsys.readouterr()
    assert main([*command, "--patch", "2x2@nowhere"]) == 1
    assert "--patch 2x2@nowhere: no such layer" in capsys.readouterr().err
