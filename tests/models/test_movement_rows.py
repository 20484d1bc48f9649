"""Concatenation, splits, slices and padding run row by row with their neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.models.test_fusion import Network
from tests.native import build_library
from tests.op_cases.oracle import oracle
from tests.tflite_graph import TensorRef
from tvm_tiny.compiler import compile_model

BOARD = "tinyml/qemu-m4"


def dense_block(net: Network) -> TensorRef:
    """Every layer adds channels to all those before it."""
    x = net.conv(net.writer.input("x", [1, 16, 14, 3], scale=0.05, zero_point=0), 8, (3, 3))
    for _ in range(3):
        x = net.writer.concatenation([x, net.conv(net.conv(x, 12, (1, 1)), 4, (3, 3))], 3)
    return x


def shuffled(net: Network) -> TensorRef:
    """Half of the channels go through convolutions; a crop, and padding before a depthwise convolution of its own."""
    w = net.writer
    x = net.conv(w.input("x", [1, 17, 12, 4], scale=0.05, zero_point=0), 8, (3, 3))
    for _ in range(2):
        left, right = w.split(x, 3, 2)
        x = w.concatenation([net.conv(net.conv(right, 6, (3, 3)), 4, (1, 1)), left], 3)
    x = w.strided_slice(x, [0, 1, 2, 0], [1, 16, 12, 8], [1, 1, 2, 1])
    x = w.pad(x, [(0, 0), (2, 1), (1, 0), (0, 0)], value=11)
    halves = w.split(x, 1, 2)
    return w.concatenation([net.conv(h, 4, (3, 3)) for h in halves], 1)


def test_networks_that_branch_by_channels(tmp_path: Path) -> None:
    models, files = [], {}
    for build in (dense_block, shuffled):
        net = Network(5)
        net.writer.output(net.conv(build(net), 2, (3, 3)))
        files[build.__name__] = net.writer.finish()
        for fusion in ("off", "auto"):
            name = f"{build.__name__}_{fusion}"
            models.append(compile_model(files[build.__name__], BOARD, fusion=fusion, module_name=name))
    library = build_library(models, tmp_path)
    arenas = {}
    for compiled in models:
        network, fusion = compiled.module_name.rsplit("_", 1)
        (given,) = compiled.report()["inputs"]
        x = np.random.default_rng(3).integers(-128, 128, given["shape"]).astype(np.int8)
        (expected,) = oracle(files[network], {"x": x}).values()
        (got,) = library.run(compiled.module_name, [x])
        np.testing.assert_array_equal(got, expected, err_msg=compiled.module_name, strict=True)
        arenas[network, fusion] = compiled.plan.arena_bytes
        kinds = {op.kind.value for op in compiled.plan.graph.ops}
        assert kinds == {"rows"}, "every operator works row by row"
    print(arenas)
    assert arenas["dense_block", "auto"] < 0.7 * arenas["dense_block", "off"]
    assert arenas["shuffled", "auto"] < 0.6 * arenas["shuffled", "off"]
    (stage,) = models[1].report()["plan"]["stages"]
    assert len(stage["operators"]) == 11
