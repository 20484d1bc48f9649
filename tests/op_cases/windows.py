"""Cases of pooling, MEAN, SOFTMAX and resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.tflite_writer import TfliteWriter

from .case import OpCase

Shape = tuple[int, ...]
Quant = tuple[float, int]
IMAGE: Shape = (1, 9, 8, 5)


def window_cases() -> list[OpCase]:
    """All cases of operators that combine neighbours without weights."""
    return [*_pool_cases(), *_mean_cases(), *_softmax_cases(), *_resize_cases()]


def pool_case(
    operator: str, name: str, size: tuple[int, int], shape: Shape = IMAGE, q: Quant = (0.05, -3), **kw: Any
) -> OpCase:
    """AVERAGE_POOL_2D or MAX_POOL_2D."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        w.output(w.pool(operator, w.input("x", shape, *q), size, name="y", **kw))

    prefix = "avgpool" if operator.startswith("AVERAGE") else "maxpool"
    return OpCase(f"{prefix}-{name}", operator, build)


def mean_case(
    name: str,
    axes: tuple[int, ...],
    keep_dims: bool = False,
    shape: Shape = IMAGE,
    q: Quant = (0.05, -3),
    to: Quant = (0.05, -3),
) -> OpCase:
    """MEAN."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        x = w.input("x", shape, *q)
        w.output(w.mean(x, axes, keep_dims, out_scale=to[0], out_zp=to[1], name="y"))

    return OpCase(f"mean-{name}", "MEAN", build)


def softmax_case(name: str, shape: Shape, q: Quant, beta: float = 1.0) -> OpCase:
    """SOFTMAX."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        w.output(w.softmax(w.input("x", shape, *q), beta, name="y"))

    return OpCase(f"softmax-{name}", "SOFTMAX", build)


def resize_case(name: str, method: str, shape: Shape, size: tuple[int, int], **kw: Any) -> OpCase:
    """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        w.output(w.resize(w.input("x", shape, 0.05, -3), size, method, name="y", **kw))

    operator = "RESIZE_BILINEAR" if method == "bilinear" else "RESIZE_NEAREST_NEIGHBOR"
    return OpCase(f"resize-{method}-{name}", operator, build)


def _pool_cases() -> list[OpCase]:
    return [
        case
        for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
        for case in (
            pool_case(op, "2x2", (2, 2)),
            pool_case(op, "3x3-s1-same", (3, 3), stride=(1, 1), padding="SAME"),
            pool_case(op, "3x3-s2-same", (3, 3), stride=(2, 2), padding="SAME"),
            pool_case(op, "3x3-s2-valid", (3, 3), stride=(2, 2)),
            pool_case(op, "2x3-s3x1", (2, 3), stride=(3, 1)),
            pool_case(op, "2x2-same-odd", (2, 2), padding="SAME", shape=(1, 7, 5, 3)),
            pool_case(op, "7x7-same-larger-than-image", (7, 7), stride=(2, 2), padding="SAME", shape=(1, 4, 3, 2)),
            pool_case(op, "whole-image", (9, 8)),
            pool_case(op, "1x1-s2", (1, 1), stride=(2, 2)),
            pool_case(op, "1xN", (1, 4), shape=(1, 1, 21, 3)),
            pool_case(op, "batch-2", (2, 2), shape=(2, 4, 4, 3)),
            pool_case(op, "relu", (2, 2), activation="relu"),
            pool_case(op, "relu6", (2, 2), activation="relu6"),
            pool_case(op, "relu-n1-to-1", (2, 2), activation="relu_n1_to_1", q=(0.01, 20)),
            pool_case(op, "zero-point-minimum", (3, 3), q=(0.1, -128), activation="relu"),
        )
    ]


def _mean_cases() -> list[OpCase]:
    return [
        mean_case("hw", (1, 2)),
        mean_case("hw-keep", (1, 2), keep_dims=True),
        mean_case("wh-keep", (2, 1), keep_dims=True),
        mean_case("h", (1,)),
        mean_case("w-keep", (2,), keep_dims=True),
        mean_case("c", (3,)),
        mean_case("c-negative-axis", (-1,), keep_dims=True),
        mean_case("hwc", (1, 2, 3)),
        mean_case("all", (0, 1, 2, 3), keep_dims=True),
        mean_case("repeated-axis", (1, 1, 2)),
        mean_case("n", (0,), shape=(3, 4, 5)),
        mean_case("rank-2", (1,), shape=(4, 33)),
        mean_case("rank-3", (1,), shape=(1, 49, 6), keep_dims=True),
        mean_case("one-element", (1, 2), shape=(1, 1, 1, 7)),
        mean_case("64-elements", (1, 2), shape=(1, 8, 8, 3)),
        mean_case("7-elements", (1,), shape=(1, 7, 3)),
        mean_case("400-elements", (1, 2), shape=(1, 20, 20, 2)),
        mean_case("requantizes", (1, 2), q=(0.05, -3), to=(0.031, 7)),
        mean_case("requantizes-keep", (1, 2), keep_dims=True, q=(0.0173917, 100), to=(0.0331117, -100)),
        mean_case("output-finer", (1, 2), q=(0.9, -10), to=(0.004, 5)),
        mean_case("output-coarser", (1, 2), q=(0.004, -10), to=(0.9, 5)),
        mean_case("zero-points-minimum", (1, 2), q=(0.1, -128), to=(0.05, -128)),
    ]


def _softmax_cases() -> list[OpCase]:
    return [
        softmax_case("10", (1, 10), (0.1, 5)),
        softmax_case("1", (1, 1), (0.1, 5)),
        softmax_case("2", (1, 2), (0.05, -3)),
        softmax_case("3-batch-50", (50, 3), (0.03, 0)),
        # With a smaller scale the sum passes 512, where TFLite Micro stops at an assertion.
        softmax_case("1000", (1, 1000), (0.5, 9)),
        softmax_case("500-flat", (1, 500), (0.01, 9)),
        softmax_case("rank-1", (12,), (0.1, 0)),
        softmax_case("rank-4", (1, 4, 5, 6), (0.2, 0)),
        softmax_case("scale-tiny", (4, 64), (1e-4, 0)),
        softmax_case("scale-least", (4, 8), (1e-7, 0)),
        softmax_case("scale-1", (4, 64), (1.0, 0)),
        softmax_case("scale-6", (4, 64), (6.0, 0)),
        softmax_case("scale-13", (4, 64), (13.0, 0)),
        softmax_case("scale-100", (4, 64), (100.0, -7)),
        softmax_case("beta-half", (4, 32), (0.1, 0), beta=0.5),
        softmax_case("beta-3", (4, 32), (0.05, 0), beta=3.0),
    ]


def _resize_cases() -> list[OpCase]:
    sizes: list[tuple[str, Shape, tuple[int, int]]] = [
        ("2x", (1, 3, 4, 2), (6, 8)),
        ("2x-3x", (1, 3, 2, 3), (6, 6)),
        ("half", (1, 8, 6, 2), (4, 3)),
        ("odd", (1, 5, 7, 3), (8, 11)),
        ("shrinks-odd", (1, 11, 9, 2), (4, 7)),
        ("from-1x1", (1, 1, 1, 4), (3, 5)),
        ("to-1x1", (1, 5, 6, 2), (1, 1)),
        ("same-size", (1, 4, 5, 2), (4, 5)),
        ("batch-2", (2, 3, 3, 2), (5, 4)),
    ]
    flags: list[tuple[str, dict[str, bool]]] = [
        ("", {}),
        ("-corners", {"align_corners": True}),
        ("-half-pixel", {"half_pixel_centers": True}),
    ]
    return [
        resize_case(f"{name}{suffix}", method, shape, size, **kw)
        for method in ("nearest", "bilinear")
        for name, shape, size in sizes
        for suffix, kw in flags
    ]
