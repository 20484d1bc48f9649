"""Random scales, zero points and weights: usual ones mostly, extremes now and then."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fuzz.draws import Draws

Quant = tuple[float, int]


def scale_of(draws: Draws) -> float:
    """Scale of an activation: between 1/256 and 1, of any size once in 12 times."""
    if draws.one_in(12):
        return float(np.float32(10.0 ** draws.uniform(-7, 3)))
    return float(np.float32(2.0 ** draws.uniform(-4, 0) / draws.pick(1, 4, 16)))


def zero_point_of(draws: Draws) -> int:
    return draws.pick(0, -128, 127, draws.size(-128, 127), draws.size(-20, 20))


def quant_of(draws: Draws) -> Quant:
    return scale_of(draws), zero_point_of(draws)


def near_scale(draws: Draws, scale: float) -> float:
    """A scale to requantize to: the same one, a similar one, or any."""
    return draws.weighted(
        [(scale, 2), (float(np.float32(scale * 2.0 ** draws.uniform(-2, 2))), 6), (scale_of(draws), 1)]
    )


def weights_of(draws: Draws, shape: tuple[int, ...], axis: int) -> NDArray[np.int8]:
    """int8 weights of one of several styles; ``axis`` is that of the output channels."""
    rng = draws.generator()
    style = draws.weighted(
        [
            ("full", 8),
            ("ones", 1),
            ("corners", 2),
            ("minimum", 1),
            ("sparse", 2),
            ("dead", 3),
            ("zero", 1),
            ("small", 2),
        ]
    )
    weight = rng.integers(-127, 128, shape)
    if style == "ones":
        weight[...] = 1
    elif style == "corners":
        weight = rng.choice([-127, 127], shape)
    elif style == "minimum":
        weight = rng.choice([-128, 127, 0], shape)
    elif style == "sparse":
        weight = weight * (rng.random(shape) < 0.2)
    elif style == "dead":
        keep = rng.random(shape[axis]) < 0.5
        weight = weight * keep.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
    elif style == "zero":
        weight[...] = 0
    elif style == "small":
        weight = rng.integers(-3, 4, shape)
    return np.asarray(weight, np.int8)


def weight_scales_of(draws: Draws, outputs: int) -> NDArray[np.float32]:
    """One scale, or one per output channel, the same or widely different."""
    base = 10.0 ** draws.uniform(-6, 0) if draws.one_in(15) else 2.0 ** draws.uniform(-9, -5)
    if draws.one_in(3):
        return np.array([base], np.float32)
    spread = draws.pick(0.5, 0.0, 3.0, 12.0)
    return np.asarray(base * 2.0 ** draws.generator().uniform(-spread, spread, outputs), np.float32)


def bias_of(draws: Draws, outputs: int, taps: int) -> NDArray[np.int32] | None:
    """Biases as large as sums of ``taps`` products, none, or as large as accumulators can take."""
    kind = draws.weighted([("none", 2), ("usual", 8), ("extreme", 1)])
    if kind == "none":
        return None
    # A sum of products is at most 255 * 128 per tap; together both stay within 31 bits.
    extreme = max((1 << 31) - 1 - 255 * 128 * taps, 1)
    limit = extreme if kind == "extreme" else int(3000 * np.sqrt(taps))
    return draws.generator().integers(-limit, limit + 1, outputs).astype(np.int32)


def weighted_scale(
    draws: Draws, scale: float, weight: NDArray[Any], weight_scales: NDArray[Any], axis: int, most: float = 2.0**29
) -> float:
    """Output scale of a weighted operator: mostly one that the results fill.

    most : the largest factor between products and results; from 1 on accumulators may wrap, as in TFLite Micro
    """
    taps = max(1, weight.size // weight.shape[axis])
    usual = scale * float(np.median(weight_scales)) * np.sqrt(taps) * float(np.abs(weight.astype(int)).mean() + 1) / 2
    chosen = draws.weighted(
        [(usual * 2.0 ** draws.uniform(-1, 2), 8), (scale_of(draws), 1), (usual * 64, 1), (usual / 64, 1)]
    )
    least = scale * float(weight_scales.max()) / most
    return float(np.float32(max(chosen, least, 1e-30)))


def input_values(shape: tuple[int, ...], dtype: str, zero_point: int, rng: np.random.Generator) -> NDArray[Any]:
    """Three sets of values, stacked: any, corners, near zero; float32 ones go beyond what is quantized."""
    if dtype == "float32":
        # 2**31 of the smallest scale, 1e-7, are 214: TFLite Micro has no answer for what does not fit int32.
        plain, ties = rng.normal(0, 3, shape), rng.integers(-600, 601, shape) / 8
        return np.stack([plain, ties, rng.normal(0, 1, shape) * 10.0 ** rng.integers(-6, 2, shape)]).astype(np.float32)
    info = np.iinfo(dtype)
    anything = rng.integers(info.min, info.max + 1, shape)
    corners = rng.choice([info.min, info.max], shape)
    near = np.clip(zero_point + rng.integers(-3, 4, shape), info.min, info.max)
    return np.stack([anything, corners, near]).astype(dtype)
