"""Concatenations, slices and splits of bytes in a row are done by whoever makes or reads the parts: no copy is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.test_fusion import Network
from tests.native import build_library
from tests.op_cases.oracle import oracle
from tvm_tiny import planner
from tvm_tiny.compiler import CompiledModel, compile_model

MODES: dict[str, dict[str, Any]] = {
    "auto": {},
    "off": {"fusion": "off"},
    "caller": {"caller_io": True},
    "streamed": {"stream_input": True},
}


def boxes(net: Network) -> None:
    """Detection: boxes and classes of two scales side by side, each scale quantized in its own way."""
    w = net.writer
    x = net.conv(w.input("x", [1, 10, 7, 3], scale=0.05, zero_point=0), 6, (3, 3), activation="relu")
    small = net.conv(x, 9, (3, 3), stride=(2, 2))
    for channels in (4, 3):
        narrow = net.depthwise(net.conv(small, channels * 3, (1, 1)), (3, 3))
        parts = [net.conv(x, channels * 2, (3, 3)), w.quantize(narrow, 0.05, 3)]
        flat = [w.reshape(p, [1, p.shape[1] * p.shape[2] * p.shape[3] // channels, channels]) for p in parts]
        w.output(w.logistic(w.concatenation(flat, 1)) if channels == 3 else w.concatenation(flat, 1))


def merged(net: Network) -> None:
    """Pooled features of two branches, one of them read by another layer as well, twice in a concatenation."""
    w = net.writer
    x = net.conv(w.input("x", [1, 9, 6, 3], scale=0.05, zero_point=0), 7, (3, 3))
    a, b = (w.mean(net.conv(x, n, (3, 3)), (1, 2), keep_dims=True, out_scale=0.05, out_zp=3) for n in (5, 9))
    both = w.concatenation([a, net.conv(b, 4, (1, 1)), b, a], 3)
    w.output(net.conv(both, 6, (1, 1)))
    w.output(w.concatenation([a, net.conv(both, 3, (1, 1))], 3))


def gated(net: Network) -> None:
    """A gated unit: half of the channels opens the other half."""
    w = net.writer
    x = net.conv(w.input("x", [1, 6, 5, 3], scale=0.05, zero_point=0), 11, (6, 5), padding="VALID")
    value, gate = w.split(net.conv(x, 14, (1, 1)), 3, 2)
    y = w.mul(value, w.logistic(gate), out_scale=0.03, out_zp=2)
    first, second, third = (w.strided_slice(y, [0, 0, 0, c], [1, 1, 1, c + 3], [1] * 4) for c in (0, 2, 4))
    w.output(net.add(net.add(first, second), third))


def stateful(net: Network) -> None:
    """A frame joins the frames before it, which are inputs; the newest of them are an output for the next turn."""
    w = net.writer
    state = w.input("state", [1, 4, 1, 5], scale=0.05, zero_point=3)
    new = net.conv(w.input("x", [1, 1, 3, 2], scale=0.05, zero_point=0), 5, (1, 3), padding="VALID")
    frames = w.concatenation([state, new], 1)
    w.output(net.depthwise(frames, (5, 1), padding="VALID"))
    w.output(w.strided_slice(frames, [0, 1, 0, 0], [1, 5, 1, 5], [1] * 4))


def halves(net: Network) -> None:
    """The upper rows of an image are treated unlike the lower ones; windows reach over the seam."""
    w = net.writer
    x = net.conv(w.input("x", [1, 11, 5, 3], scale=0.05, zero_point=0), 3, (3, 3))
    top = w.strided_slice(x, [0, 0, 0, 0], [1, 4, 5, 3], [1] * 4)
    rest = w.strided_slice(x, [0, 3, 0, 0], [1, 11, 5, 3], [1] * 4)
    y = w.concatenation([net.conv(top, 3, (3, 3)), w.add(rest, net.conv(rest, 3, (3, 1)), out_scale=0.05, out_zp=3)], 1)
    w.output(net.conv(net.depthwise(y, (5, 3), stride=(2, 1)), 2, (1, 1)))


NETWORKS: tuple[Callable[[Network], None], ...] = (boxes, merged, gated, stateful, halves)
COPIES = {"merged": ["memcpy"] * 2, "stateful": ["slice"]}  # left over in the arena, which are not in the way
M4, M0 = "tinyml/qemu-m4", "tinyml/rp2040"
QUICK = [(boxes, "auto", M4), (merged, "caller", M4), (gated, "streamed", M4), (stateful, "caller", M4)]
QUICK += [(halves, "auto", M4), (halves, "streamed", M0)]
REST = [
    (build, mode, board)
    for build in NETWORKS
    for mode in MODES
    # How rows are planned and whose buffers are whose is the same on all cores.
    for board in ((M4, M0) if mode == "auto" else (M4,))
    if (build, mode, board) not in QUICK and (build is not stateful or mode != "streamed")
]


def written(build: Callable[[Network], None]) -> bytes:
    """The network's file."""
    net = Network(11)
    build(net)
    return net.writer.finish()


def all_views(graph: planner.Graph, _: planner.Fusion = "columns") -> planner.Graph:
    """Whatever can be a view, even where rolling buffers would take less."""
    return planner.with_views(graph, lambda op: True)


def copies(compiled: CompiledModel) -> list[str]:
    """Kernels that only move bytes."""
    kernels = [layer["kernel"].removeprefix(f"tvmgen_{compiled.module_name}_") for layer in compiled.report()["layers"]]
    return [k for k in kernels if k.split("_")[0] in ("memcpy", "concat", "strided", "split", "slice", "reshape")]


@pytest.mark.parametrize("cases", [QUICK, pytest.param(REST, marks=pytest.mark.slow)], ids=["quick", "rest"])
def test_no_copy_is_left(
    cases: list[tuple[Callable[[Network], None], str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "find_views", all_views)
    models = {f"{build.__name__}_{mode}_{board[-2:]}": (written(build), board, mode) for build, mode, board in cases}
    compiled = {
        name: compile_model(file, board, module_name=name, **MODES[mode])
        for name, (file, board, mode) in models.items()
    }
    library = build_library(list(compiled.values()), tmp_path)
    rng = np.random.default_rng(3)
    for name, model in compiled.items():
        report, (file, _, mode) = model.report(), models[name]
        expected_copies = COPIES.get(name.split("_")[0], [])
        # An input of the caller stays where it is, so a part of a concatenation it cannot be.
        at_most = ["memcpy"] if mode == "caller" and name.startswith("stateful") else []
        assert copies(model) == at_most + expected_copies, name
        for _ in range(2):
            given = {t["name"]: rng.integers(-128, 128, t["shape"]).astype(np.int8) for t in report["inputs"]}
            expected = oracle(file, given)
            got = library.run(name, list(given.values()))
            for tensor, array in zip(report["outputs"], got, strict=True):
                np.testing.assert_array_equal(array, expected[tensor["name"]], err_msg=name, strict=True)


def test_views_take_no_more_than_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    views = compile_model(written(halves), M4)
    monkeypatch.setattr(planner, "find_views", lambda graph, _: planner.with_views(graph, lambda op: False))
    assert views.plan.arena_bytes <= compile_model(written(halves), M4).plan.arena_bytes
    assert not copies(views)
