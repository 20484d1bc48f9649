"""Cases of operators that only move data: PAD, RESHAPE, TRANSPOSE, CONCATENATION, SPLIT, STRIDED_SLICE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter

from .case import OpCase

Shape = tuple[int, ...]
IMAGE: Shape = (1, 5, 6, 3)


def movement_cases() -> list[OpCase]:
    """All cases of data movement."""
    return [*_pad_cases(), *_shape_cases(), *_concat_cases(), *_split_cases(), *_slice_cases()]


def move_case(operator: str, name: str, shape: Shape, make: Callable[[TfliteWriter, TensorRef], TensorRef]) -> OpCase:
    """An operator with one input of quantization (0.05, -3)."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        w.output(make(w, w.input("x", shape, 0.05, -3)))

    return OpCase(f"{operator.lower().replace('_', '-')}-{name}", operator, build)


def _pad_cases() -> list[OpCase]:
    table: list[tuple[str, Shape, list[tuple[int, int]], float | None]] = [
        ("spatial", IMAGE, [(0, 0), (1, 1), (1, 1), (0, 0)], None),
        ("bottom-right", IMAGE, [(0, 0), (0, 1), (0, 1), (0, 0)], None),
        ("uneven", IMAGE, [(0, 0), (2, 1), (0, 3), (0, 0)], None),
        ("channels", IMAGE, [(0, 0), (0, 0), (0, 0), (1, 4)], None),
        ("batch", IMAGE, [(1, 0), (0, 0), (0, 0), (0, 0)], None),
        ("nothing", IMAGE, [(0, 0), (0, 0), (0, 0), (0, 0)], None),
        ("rank-2", (3, 7), [(1, 0), (2, 2)], None),
        ("rank-3", (2, 3, 4), [(0, 1), (1, 0), (2, 2)], None),
        ("value", IMAGE, [(0, 0), (1, 2), (1, 0), (0, 0)], 17),
        ("value-minimum", IMAGE, [(0, 0), (1, 1), (1, 1), (0, 0)], -128),
    ]
    return [
        move_case("PAD", name, shape, lambda w, x, p=pads, v=value: w.pad(x, p, v, name="y"))
        for name, shape, pads, value in table
    ]


def _shape_cases() -> list[OpCase]:
    shapes: list[tuple[str, Shape, Sequence[int]]] = [
        ("flatten", IMAGE, (1, 90)),
        ("unknown-dim", IMAGE, (1, -1)),
        ("to-image", (1, 60), (1, 3, 4, 5)),
        ("to-rank-3", IMAGE, (1, 30, 3)),
        ("to-rank-1", (1, 12), (12,)),
    ]
    perms: list[tuple[str, Shape, Sequence[int]]] = [
        ("nhwc-nchw", IMAGE, (0, 3, 1, 2)),
        ("nchw-nhwc", (1, 3, 5, 6), (0, 2, 3, 1)),
        ("nhwc-nchw-square", (1, 5, 5, 3), (0, 3, 1, 2)),
        ("nhwc-nchw-cube", (1, 4, 4, 4), (0, 3, 1, 2)),
        ("nchw-nhwc-cube", (1, 4, 4, 4), (0, 2, 3, 1)),
        ("hw", IMAGE, (0, 2, 1, 3)),
        ("reversed", (2, 3, 4, 5), (3, 2, 1, 0)),
        ("rank-2", (7, 9), (1, 0)),
        ("rank-3", (2, 5, 4), (1, 2, 0)),
        ("rank-5", (2, 3, 2, 3, 2), (0, 3, 1, 4, 2)),
        ("identity", IMAGE, (0, 1, 2, 3)),
    ]
    reshapes = [
        move_case("RESHAPE", name, shape, lambda w, x, to=to: w.reshape(x, to, name="y")) for name, shape, to in shapes
    ]
    transposes = [
        move_case("TRANSPOSE", name, shape, lambda w, x, p=perm: w.transpose(x, p, name="y"))
        for name, shape, perm in perms
    ]
    layouts = [
        OpCase(f"transpose-{name}", "TRANSPOSE", _layouts(first, second, twice))
        for name, first, second, twice in (
            ("to-planes-and-to-pixels", (0, 3, 1, 2), (0, 2, 3, 1), False),
            ("to-pixels-twice", (0, 2, 3, 1), (0, 2, 3, 1), True),
            ("to-planes-twice", (0, 3, 1, 2), (0, 3, 1, 2), True),
        )
    ]
    shared = [
        OpCase(f"transpose-{name}-beside-{reader}", "TRANSPOSE", _shared(perm, reader))
        for name, perm in (("to-planes", (0, 3, 1, 2)), ("to-pixels", (0, 2, 3, 1)))
        for reader in ("mean", "max-pool", "average-pool", "add")
    ]
    return reshapes + transposes + layouts + shared


def _layouts(first: Sequence[int], second: Sequence[int], twice: bool) -> Callable[..., None]:
    """Two outputs: what is turned, and the same turned otherwise, or once more."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        x = w.max_pool2d(w.input("x", (1, 4, 5, 6), 0.05, -3), (2, 2), stride=(1, 1))
        y = w.transpose(x, first, name="y")
        w.output(y, w.transpose(y if twice else x, second, name="z"))

    return build


def _shared(perm: Sequence[int], reader: str) -> Callable[..., None]:
    """An image that is turned and also read as it is, and what it was turned to, read in its own way."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        def read(x: TensorRef) -> TensorRef:
            if reader == "mean":
                return w.mean(x, (1, 2), out_scale=0.05, out_zp=-3)
            if reader == "add":
                return w.add(x, x, out_scale=0.1, out_zp=4)
            return (w.max_pool2d if reader == "max-pool" else w.avg_pool2d)(x, (2, 2), stride=(1, 1))

        x = w.input("x", (1, 6, 5, 4), 0.05, -3)
        turned = w.transpose(x, perm, name="y")
        w.output(read(x), turned, read(turned))

    return build


def _concat_cases() -> list[OpCase]:
    table: list[tuple[str, list[Shape], int]] = [
        ("channels", [(1, 4, 5, 3), (1, 4, 5, 7)], 3),
        ("channels-negative-axis", [(1, 4, 5, 1), (1, 4, 5, 2), (1, 4, 5, 3)], -1),
        ("rows", [(1, 2, 5, 3), (1, 4, 5, 3)], 1),
        ("columns", [(1, 4, 1, 3), (1, 4, 5, 3)], 2),
        ("batch", [(1, 4, 2, 3), (2, 4, 2, 3)], 0),
        ("rank-2", [(1, 5), (1, 1), (1, 9)], 1),
        ("eight", [(1, 3, 2)] * 8, 2),
    ]
    return [OpCase(f"concatenation-{name}", "CONCATENATION", _concat(shapes, axis)) for name, shapes, axis in table]


def _concat(shapes: Sequence[Shape], axis: int) -> Callable[[TfliteWriter, np.random.Generator], None]:
    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        inputs = [w.input(f"x{i}", shape, 0.05, -3) for i, shape in enumerate(shapes)]
        w.output(w.concatenation(inputs, axis, name="y"))

    return build


def _split_cases() -> list[OpCase]:
    table: list[tuple[str, Shape, int, int]] = [
        ("channels", (1, 4, 5, 6), 3, 2),
        ("channels-3-negative-axis", (1, 4, 5, 6), -1, 3),
        ("rows", (1, 6, 5, 2), 1, 3),
        ("columns", (1, 3, 8, 2), 2, 4),
        ("rank-2", (1, 10), 1, 5),
    ]

    def make(shape: Shape, axis: int, parts: int) -> Callable[[TfliteWriter, np.random.Generator], None]:
        def build(w: TfliteWriter, rng: np.random.Generator) -> None:
            w.output(*w.split(w.input("x", shape, 0.05, -3), axis, parts))

        return build

    return [OpCase(f"split-{name}", "SPLIT", make(*arguments)) for name, *arguments in table]


def _slice_cases() -> list[OpCase]:
    table: list[tuple[str, Shape, tuple[Sequence[int], Sequence[int], Sequence[int]], dict[str, Any]]] = [
        ("crop", (1, 8, 7, 3), ([0, 2, 1, 0], [1, 6, 6, 3], [1, 1, 1, 1]), {}),
        ("step-2", (1, 8, 7, 3), ([0, 0, 0, 0], [1, 8, 7, 3], [1, 2, 2, 1]), {}),
        ("channel", (1, 4, 5, 6), ([0, 0, 0, 2], [1, 4, 5, 3], [1, 1, 1, 1]), {}),
        ("masks", (1, 8, 7, 3), ([9, 1, 9, 1], [0, 0, 4, 0], [1, 1, 1, 1]), {"begin_mask": 5, "end_mask": 11}),
        ("negative-bounds", (1, 8, 7, 3), ([0, -6, 0, -2], [1, -1, 7, 3], [1, 1, 1, 1]), {}),
        ("backwards", (1, 5, 6, 2), ([0, 4, 5, 0], [1, 0, 1, 2], [1, -1, -2, 1]), {}),
        ("shrinks", (1, 5, 6, 2), ([0, 3, 0, 0], [1, 4, 6, 2], [1, 1, 1, 1]), {"shrink_axis_mask": 3}),
        ("rank-2", (4, 9), ([1, 2], [3, 8], [1, 3]), {}),
        ("rank-3", (3, 5, 4), ([0, 1, 0], [3, 5, 4], [2, 3, 1]), {}),
    ]
    return [
        move_case("STRIDED_SLICE", name, shape, lambda w, x, b=bounds, kw=kw: w.strided_slice(x, *b, name="y", **kw))
        for name, shape, bounds, kw in table
    ]
