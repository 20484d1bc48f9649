"""LowerQdq: pooling, mean, softmax, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from tests.evaluate import evaluate
from tests.relax_builder import (
    apply,
    call_named,
    calls,
    const,
    dequantize,
    module,
    quantize,
)
from tvm_tiny.ops import params_of
from tvm_tiny.passes import LowerQdq
from tvm_tiny.passes._dataflow import array_of
from tvm_tiny.quant import lut, scales

op = relax.op


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("pool", [op.nn.max_pool2d, op.nn.avg_pool2d])
@pytest.mark.parametrize("y_scale", [0.05, 0.1])
def test_pool(pool: Any, layout: str, y_scale: float) -> None:
    """The integer pool keeps the quantization; another one of the output is a lookup behind."""

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        pooled = pool(bb.emit(dequantize(x, 0.05, 4)), (2, 2), (1, 2), (1, 0, 0, 1), layout=layout)
        return quantize(bb.emit(op.clip(bb.emit(pooled), 0, 6)), y_scale, 4)

    shape = (1, 5, 6, 3) if layout == "NHWC" else (1, 3, 5, 6)
    after = apply(LowerQdq(), module(body, x=(shape, "int8")))
    name = "tinyml.qmax_pool2d" if pool is op.nn.max_pool2d else "tinyml.qavg_pool2d"
    params = params_of(call_named(after, name))
    assert (params.pool_size, params.strides, params.padding) == ((2, 2), (1, 2), (1, 0, 0, 1))
    if y_scale == 0.05:
        assert (params.clamp_min, params.clamp_max) == (4, 124)
        assert "tinyml.lookup" not in calls(after)
    else:
        table = lut.requantize_table(0.05, 4, 0.1, 4).clip(4, 64)
        np.testing.assert_array_equal(array_of(call_named(after, "tinyml.lookup").args[1]), table)


def test_average_that_counts_padding_pads_first() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        pooled = op.nn.avg_pool2d(
            bb.emit(dequantize(x, 0.05, 4)), (2, 2), (2, 2), (1, 1, 1, 1), count_include_pad=True, layout="NHWC"
        )
        return quantize(bb.emit(pooled), 0.05, 4)

    after = apply(LowerQdq(), module(body, x=((1, 2, 2, 1), "int8")))
    assert calls(after) == ["nn.pad", "tinyml.qavg_pool2d"]
    x = np.array([44, -36, 4, 104], np.int8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(evaluate(after, x)[0].reshape(-1), [14, -6, 4, 29])


def test_ceil_mode_becomes_padding() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        pooled = op.nn.max_pool2d(bb.emit(dequantize(x, 0.05, 4)), (3, 3), (2, 2), ceil_mode=True, layout="NHWC")
        return quantize(bb.emit(pooled), 0.05, 4)

    after = apply(LowerQdq(), module(body, x=((1, 6, 7, 1), "int8")))
    call = call_named(after, "tinyml.qmax_pool2d")
    assert params_of(call).padding == (0, 0, 1, 0)


def test_mean_and_softmax_on_other_axes_and_quantizations() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        data = bb.emit(dequantize(x, 0.05, 4))
        mean = bb.emit(op.mean(data, [-1, 1], keepdims=False))
        softmax = bb.emit(op.nn.softmax(bb.emit(op.multiply(data, const(0.5, "float32"))), axis=1))
        return [bb.emit(quantize(mean, 0.02, 1)), bb.emit(quantize(softmax, 1 / 255, -128))]

    after = apply(LowerQdq(), module(body, x=((2, 3, 4), "int8")))
    x_scale = float(np.float32(0.05))
    assert params_of(call_named(after, "tinyml.qmean")) == scales.mean_params(
        (2, 3, 4), (1, 2), False, x_scale, 4, float(np.float32(0.02)), 1
    )
    assert params_of(call_named(after, "tinyml.qsoftmax")) == scales.softmax_params(x_scale, 0.5)
    assert calls(after)[1:] == ["permute_dims", "tinyml.qsoftmax", "permute_dims", "tinyml.lookup"]


@pytest.mark.parametrize(
    ("mode", "rounding", "flags"),
    [
        ("asymmetric", "floor", (False, False)),
        ("half_pixel", "round_prefer_ceil", (False, True)),
        ("align_corners", "round_prefer_ceil", (True, False)),
        ("half_pixel", "round_prefer_floor", (False, False)),  # ONNX's default; the same elements at factor 2
    ],
)
def test_nearest_resize(mode: str, rounding: str, flags: tuple[bool, bool]) -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        resized = op.image.resize2d(
            bb.emit(dequantize(x, 0.05, 4)),
            (6, 8),
            layout="NCHW",
            method="nearest_neighbor",
            coordinate_transformation_mode=mode,
            rounding_method=rounding,
        )
        return quantize(bb.emit(resized), 0.05, 4)

    params = params_of(call_named(apply(LowerQdq(), module(body, x=((1, 2, 3, 4), "int8"))), "tinyml.qresize2d"))
    assert (params.align_corners, params.half_pixel_centers) == flags
    assert (params.size, params.method) == ((6, 8), "nearest")
