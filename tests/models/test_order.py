"""Branched networks run in the planner's order and give TFLite Micro's bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.test_fusion import Network
from tests.native import build_library
from tests.op_cases.oracle import oracle
from tests.tflite_graph import TensorRef
from tvm_tiny.cli.main import main
from tvm_tiny.compiler import compile_model

BOARD = "tinyml/qemu-m7"


def inception(net: Network) -> TensorRef:
    """Two branches that widen before they narrow, both widened first in the file."""
    x = net.writer.input("x", [1, 10, 9, 4], scale=0.05, zero_point=0)
    wide = [net.conv(x, 24, (1, 1)), net.conv(x, 20, (1, 1))]
    left, right = net.conv(wide[0], 3, (3, 3)), net.conv(wide[1], 4, (5, 5))
    joined = net.writer.concatenation([left, right], 3)
    return net.writer.reshape(net.conv(joined, 2, (1, 1)), (1, -1))


def cell(net: Network) -> TensorRef:
    """A cell as searches over architectures make them: every node adds two of the earlier ones, both transformed."""
    x = net.writer.input("x", [1, 6, 6, 6], scale=0.05, zero_point=0)
    earlier = net.conv(x, 6, (3, 3))
    nodes = [x, earlier]
    branches = [net.conv(net.depthwise(n, (3, 3)), 18, (1, 1)) for n in (x, earlier, x, earlier)]
    thin = [net.conv(b, 6, (1, 1)) for b in branches]
    for i in range(0, 4, 2):
        nodes.append(net.add(thin[i], thin[i + 1]))
    ends = [net.conv(n, 6, (1, 1)) for n in nodes]  # one quantization for all
    return net.writer.concatenation(ends, 3)


@pytest.mark.parametrize("build", [inception, cell])
def test_branched_networks(
    build: Callable[[Network], TensorRef], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network(11)
    net.writer.output(build(net))
    model = net.writer.finish()
    models = [compile_model(model, BOARD, fusion=f, module_name=n) for f, n in (("off", "plain"), ("auto", "fused"))]
    order: dict[str, Any] = models[0].report()["order"]
    assert main(["inspect", str(models[0].export(tmp_path / "plain.tar"))]) == 0
    said = f"order of operators: changed; layer by layer {order['peak_bytes']:,} B at the peak, proved the least"
    assert said in " ".join(capsys.readouterr().out.split())
    assert order["changed"]
    assert order["proved"]
    assert models[1].plan.arena_bytes <= models[0].plan.arena_bytes
    names = [layer["name"] for layer in models[0].report()["layers"]]
    assert names == [name for stage in models[0].report()["plan"]["stages"] for name in stage["operators"]]
    library = build_library(models, tmp_path)
    (given,) = models[0].report()["inputs"]
    x = np.random.default_rng(3).integers(-128, 128, given["shape"]).astype(np.int8)
    (expected,) = oracle(model, {"x": x}).values()
    for compiled in models:
        (got,) = library.run(compiled.module_name, [x])
        np.testing.assert_array_equal(got, expected, err_msg=compiled.module_name, strict=True)
