"""Cases of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter

from .case import OpCase

Quant = tuple[float, int]
RGB: tuple[int, ...] = (1, 8, 8, 3)


TELLING_SCALES: list[tuple[float, float, float, list[int]]] = [
    (0.0880231261253357, 0.0747503787279129, 0.6813068389892578, [101, 102, -101, 7]),
    (0.05352277308702469, 0.002025777008384466, 0.021588662639260292, [7, 21, 53, 71, 73, 77, 105, 109]),
    (0.00469723017886281, 0.002943930448964238, 0.0019250133773311973, [81, 87, 108, 116]),
]
"""(input scale, weight scale, output scale, weights): some of the 256 inputs times some weight shows whether the
product of the two scales was formed in float64 or in float32."""


def weight_cases() -> list[OpCase]:
    """All cases of operators with weights."""
    return [*_conv_cases(), *_depthwise_cases(), *_dense_cases()]


def conv_case(
    name: str, shape: tuple[int, ...] = RGB, out: int = 4, kernel: tuple[int, int] = (3, 3), **kw: Any
) -> OpCase:
    """A convolution of an int8 image; ``kw`` as in ``_weighted`` or in ``TfliteWriter.conv2d``."""
    groups = kw.pop("groups", 1)

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        _weighted(w, rng, "conv2d", shape, (out, *kernel, shape[3] // groups), 0, **kw)

    return OpCase(f"conv2d-{name}", "CONV_2D", build)


def depthwise_case(
    name: str, shape: tuple[int, ...] = (1, 8, 8, 5), multiplier: int = 1, kernel: tuple[int, int] = (3, 3), **kw: Any
) -> OpCase:
    """A depthwise convolution of an int8 image."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        _weighted(w, rng, "depthwise_conv2d", shape, (1, *kernel, shape[3] * multiplier), 3, **kw)

    return OpCase(f"depthwise-{name}", "DEPTHWISE_CONV_2D", build)


def dense_case(name: str, shape: tuple[int, ...] = (1, 20), out: int = 7, **kw: Any) -> OpCase:
    """A fully connected layer; per-tensor weights unless ``per_channel=True``."""
    depth = shape[-1] if kw.get("keep_num_dims") else kw.pop("depth", math.prod(shape[1:]))

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        _weighted(w, rng, "fully_connected", shape, (out, depth), 0, **{"per_channel": False, **kw})

    return OpCase(f"dense-{name}", "FULLY_CONNECTED", build)


def _factor_case(method: str, index: int) -> OpCase:
    """One input times one weight per output, with scales of ``TELLING_SCALES``."""
    x_scale, w_scale, out_scale, values = TELLING_SCALES[index]
    name, x_shape, weight_shape, operator, axis = {
        "fully_connected": ("dense", (256, 1), (-1, 1), "FULLY_CONNECTED", 0),
        "conv2d": ("conv2d", (1, 16, 16, 1), (-1, 1, 1, 1), "CONV_2D", 0),
        "depthwise_conv2d": ("depthwise", (1, 16, 16, 1), (1, 1, 1, -1), "DEPTHWISE_CONV_2D", 3),
    }[method]

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        x = w.input("x", x_shape, x_scale, 0)
        weight = w.const("weight", np.array(values, dtype=np.int8).reshape(weight_shape), w_scale, axis=axis)
        w.output(getattr(w, method)(x, weight, out_scale=out_scale, out_zp=0, name="y"))

    return OpCase(f"{name}-factor-in-float64-{index}", operator, build)


def _weighted(
    w: TfliteWriter,
    rng: np.random.Generator,
    method: str,
    shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    axis: int,
    *,
    x_q: Quant = (0.047, -5),
    w_scale: float = 0.0123,
    out_zp: int = 3,
    gain: float = 1.0,
    per_channel: bool = True,
    bias: bool = True,
    weight_limit: int = 127,
    extreme: bool = False,
    **options: Any,
) -> TensorRef:
    """One operator with weights.

    gain : 1 spreads the outputs over the int8 range; more saturates them, less gathers them at the zero point
    per_channel : weight scales differ by up to 16 times between output channels
    extreme : all weights are -128 or 127
    """
    channels = weight_shape[axis]
    weights = rng.integers(-weight_limit, weight_limit + 1, weight_shape)
    if extreme:
        weights = rng.choice([-128, 127], weight_shape)
    x = w.input("x", shape, *x_q)
    spread = 2.0 ** rng.uniform(-4, 0, channels) if per_channel else np.ones(1)
    scales = (w_scale * spread).astype(np.float32)
    weight = w.const("weight", weights.astype(np.int8), scales, axis=axis)
    taps = weights.size // channels
    bias_ref = None
    if bias:
        limit = int(5000 * math.sqrt(taps))
        bias_scales = np.float32(x.scale) * scales
        values = rng.integers(-limit, limit + 1, channels).astype(np.int32)
        bias_ref = w.const("bias", values, bias_scales)
    # Sums are about sqrt(taps) * 100 * 74 steps of input times weight scale; they shall come out as 60 output steps.
    out_scale = x.scale * w_scale * math.sqrt(taps) * 120 / gain
    y: TensorRef = getattr(w, method)(x, weight, bias_ref, out_scale=out_scale, out_zp=out_zp, name="y", **options)
    w.output(y)
    return y


def _common_windows(case: Any) -> list[OpCase]:
    """Windows that both kinds of convolution are tested with."""
    return [
        case("same-3x3"),
        case("valid-3x3", padding="VALID"),
        case("same-3x3-s2-even", stride=(2, 2)),
        case("same-3x3-s2-odd", shape=(1, 9, 7, 4), stride=(2, 2)),
        case("valid-3x3-s2", shape=(1, 9, 8, 4), stride=(2, 2), padding="VALID"),
        case("same-3x3-s3x2", shape=(1, 10, 11, 2), stride=(3, 2)),
        case("same-3x3-s1x2", stride=(1, 2)),
        case("same-1x3", kernel=(1, 3), shape=(1, 1, 19, 4)),
        case("same-3x1", kernel=(3, 1), shape=(1, 19, 1, 4)),
        case("same-2x2", kernel=(2, 2)),
        case("same-4x4-s2", kernel=(4, 4), stride=(2, 2)),
        case("same-5x5", kernel=(5, 5), shape=(1, 7, 6, 3)),
        case("same-7x7-larger-than-image", kernel=(7, 7), shape=(1, 4, 3, 2)),
        case("valid-whole-image", kernel=(6, 5), shape=(1, 6, 5, 4), padding="VALID"),
        case("same-s4-skips-pixels", kernel=(1, 1), stride=(4, 4), shape=(1, 9, 10, 3)),
        case("1x1-image", shape=(1, 1, 1, 6)),
        case("batch-2", shape=(2, 5, 4, 3)),
        case("one-channel", shape=(1, 8, 8, 1)),
        case("same-dilation-2", dilation=(2, 2), shape=(1, 9, 8, 3)),
        case("valid-dilation-2x3", dilation=(2, 3), shape=(1, 9, 12, 3), padding="VALID"),
        case("same-dilation-4-larger-than-image", dilation=(4, 4), shape=(1, 5, 5, 2)),
        # Windows reach three columns to the left and beyond: no tap is on the image.
        case("same-dilation-beside-the-image", kernel=(3, 4), dilation=(1, 2), shape=(1, 3, 1, 2)),
        case("relu", activation="relu"),
        case("relu6", activation="relu6", x_q=(0.03, -5), w_scale=0.02),
        case("relu6-clamps-above", activation="relu6", x_q=(0.02, 7), w_scale=0.005, out_zp=-100),
        case("relu-n1-to-1", activation="relu_n1_to_1", x_q=(0.2, 0)),
        case("relu-zero-point-minimum", activation="relu", out_zp=-128),
        case("zero-points-minimum", x_q=(0.1, -128), out_zp=-128),
        case("zero-points-maximum", x_q=(0.1, 127), out_zp=127),
        case("zero-points-0", x_q=(0.1, 0), out_zp=0),
        case("weights-extreme", x_q=(0.1, 127), extreme=True, gain=0.3),
        case("per-tensor", per_channel=False),
        case("no-bias", bias=False),
        case("saturates", gain=6.0),
        case("multiplier-above-1", gain=150.0, weight_limit=1, bias=False),
        case("multiplier-far-above-1", gain=30000.0, weight_limit=1, bias=False),
        case("outputs-near-zero-point", gain=0.02),
        case("multiplier-tiny", gain=1e-7),
        case("scales-tiny", x_q=(2e-9, 3), w_scale=3e-8),
        case("scales-huge", x_q=(5e5, 3), w_scale=7e4),
    ]


def _conv_cases() -> list[OpCase]:
    return [
        *_common_windows(conv_case),
        _factor_case("conv2d", 1),
        conv_case("1x1", shape=(1, 5, 5, 16), out=8, kernel=(1, 1)),
        conv_case("1x1-s2", shape=(1, 7, 7, 16), out=8, kernel=(1, 1), stride=(2, 2)),
        conv_case("1x1-odd-channels", shape=(1, 4, 5, 13), out=17, kernel=(1, 1)),
        conv_case("3x3-odd-channels", shape=(1, 5, 5, 7), out=9),
        conv_case("one-output-channel", out=1),
        conv_case("10x4-s2-one-channel", shape=(1, 49, 10, 1), out=8, kernel=(10, 4), stride=(2, 2)),
        conv_case("3x3-32-channels", shape=(1, 6, 6, 32), out=16),
        conv_case("1x1-256-channels-extreme", (1, 2, 2, 256), 4, (1, 1), x_q=(0.1, -128), extreme=True, gain=0.2),
        conv_case("groups-2", shape=(1, 6, 6, 8), out=6, groups=2),
        conv_case("groups-3-1x1", shape=(1, 4, 4, 9), out=3, kernel=(1, 1), groups=3),
    ]


def _depthwise_cases() -> list[OpCase]:
    return [
        *_common_windows(depthwise_case),
        _factor_case("depthwise_conv2d", 1),
        depthwise_case("multiplier-2", multiplier=2),
        depthwise_case("multiplier-3-s2", shape=(1, 9, 6, 3), multiplier=3, stride=(2, 2)),
        depthwise_case("multiplier-8-one-channel", shape=(1, 49, 10, 1), multiplier=8, kernel=(10, 8), stride=(2, 2)),
        depthwise_case("multiplier-2-1x1", multiplier=2, kernel=(1, 1)),
        depthwise_case("64-channels", shape=(1, 5, 5, 64)),
        depthwise_case("17-channels", shape=(1, 6, 5, 17)),
    ]


def _dense_cases() -> list[OpCase]:
    activations = ("relu", "relu6", "relu_n1_to_1")
    return [
        dense_case("20x7"),
        dense_case("per-channel", per_channel=True),
        dense_case("no-bias", bias=False),
        dense_case("per-channel-no-bias", per_channel=True, bias=False),
        dense_case("batch-3", shape=(3, 11), out=5),
        dense_case("one-input", shape=(1, 1), out=3),
        dense_case("one-output", shape=(1, 33), out=1),
        dense_case("128x16", shape=(1, 128), out=16),
        dense_case("flattens-image", shape=(1, 3, 4, 5), out=6),
        dense_case("flattens-image-batch-2", shape=(2, 2, 3, 4), out=6),
        dense_case("flattens-to-more-rows", shape=(1, 4, 6), out=3, depth=6),
        dense_case("keeps-dims", shape=(1, 4, 6), out=3, keep_num_dims=True),
        dense_case("weights-extreme", shape=(2, 300), x_q=(0.1, 127), extreme=True, gain=0.2),
        dense_case("saturates", gain=6.0),
        dense_case("multiplier-above-1", gain=150.0, weight_limit=1, bias=False),
        dense_case("multiplier-tiny", gain=1e-7, bias=False),
        dense_case("zero-points-minimum", x_q=(0.1, -128), out_zp=-128),
        dense_case("zero-points-maximum", x_q=(0.1, 127), out_zp=127),
        *(dense_case(a.replace("_", "-"), activation=a) for a in activations),
        *(_factor_case("fully_connected", i) for i in range(len(TELLING_SCALES))),
    ]
