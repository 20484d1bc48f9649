"""Parts of concatenations and slices that lie in place on an emulated core: bits, RAM, instructions, odd addresses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.models.test_fusion import Network
from tests.models.test_views import all_views, boxes, merged, written
from tests.op_cases.oracle import oracle
from tvm_tiny import planner
from tvm_tiny.compiler import compile_model
from tvm_tiny.measure import Report, run_model


def run(file: bytes, board: str, folder: Path) -> Report:
    """Run a model once; its outputs are the reference's."""
    model = compile_model(file, f"tinyml/{board}")
    (tensor,) = model.report()["inputs"]
    x = np.random.default_rng(5).integers(-128, 128, tensor["shape"]).astype(np.int8)
    archive = model.export(folder / "model.tar")
    result = run_model(archive, device="qemu", inputs={"x": x}, check_stores=True)
    for name, expected in oracle(file, {"x": x}).items():
        np.testing.assert_array_equal(result.outputs[name], expected, strict=True)
    return result.report


@pytest.mark.qemu
def test_side_by_side_is_smaller_and_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes and classes of two scales are not copied, and never lie in memory twice."""
    views = run(written(boxes), "qemu-m4", tmp_path)
    monkeypatch.setattr(planner, "find_views", lambda graph, _: planner.with_views(graph, lambda op: False))
    copied = run(written(boxes), "qemu-m4", tmp_path)
    moved = [layer for layer in copied.layers if layer.op == "concat"]
    assert [layer.output_shape for layer in moved] == [(1, 200, 4), (1, 200, 3)]
    assert not any(layer.op == "concat" for layer in views.layers)
    assert views.instructions is not None
    assert copied.instructions is not None
    assert views.instructions < copied.instructions - 0.99 * sum(layer.instructions or 0 for layer in moved)
    assert views.ram.arena_bytes < 0.85 * copied.ram.arena_bytes


@pytest.mark.qemu
@pytest.mark.parametrize("board", ["rp2040", "qemu-m55"])
def test_odd_addresses(board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts begin at any byte: 5, 9 and 18 behind an aligned one."""
    monkeypatch.setattr(planner, "find_views", all_views)
    run(written(merged), board, tmp_path)


def fire(net: Network) -> None:
    """A fire module of SqueezeNet, and the layer behind it."""
    squeezed = net.conv(net.writer.input("x", [1, 14, 14, 64], scale=0.05, zero_point=3), 16, (1, 1), activation="relu")
    expanded = [net.conv(squeezed, 64, kernel, activation="relu") for kernel in ((1, 1), (3, 3))]
    net.writer.output(net.conv(net.writer.concatenation(expanded, 3), 16, (1, 1), activation="relu"))


def inception(net: Network) -> None:
    """An Inception module of four branches."""
    x = net.writer.input("x", [1, 14, 14, 48], scale=0.05, zero_point=3)
    narrow = [net.conv(x, channels, (1, 1), activation="relu") for channels in (16, 16, 4)]
    wide = [net.conv(narrow[1], 24, (3, 3), activation="relu"), net.conv(narrow[2], 8, (5, 5), activation="relu")]
    pooled = net.conv(net.writer.max_pool2d(x, (3, 3), stride=(1, 1), padding="SAME"), 8, (1, 1), activation="relu")
    net.writer.output(net.writer.concatenation([narrow[0], *wide, pooled], 3))


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize(("build", "channels"), [(fire, 128), (inception, 56)])
def test_share_of_channel_concatenation(build: Callable[[Network], None], channels: int, tmp_path: Path) -> None:
    """What is left to copy, pixel by pixel, is hardly worth a word."""
    report = run(written(build), "qemu-m4", tmp_path)
    assert report.instructions is not None
    moved = sum(layer.instructions or 0 for layer in report.layers if layer.op == "concat")
    per_byte, share = moved / (14 * 14 * channels), moved / report.instructions
    print(f"{build.__name__}: {per_byte:.2f} instructions per byte, {share:.2%}")
    assert 0 < per_byte < 1
    assert share < 0.01
