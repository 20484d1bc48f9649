"""Random TFLite layers that move, cut, join, pad and resize."""

from __future__ import annotations

import numpy as np

from tests.fuzz import quantities
from tests.fuzz.tflite_network import TfliteNetwork, divisors
from tests.tflite_graph import TensorRef

Made = TensorRef | None


def concatenation(n: TfliteNetwork, x: TensorRef) -> Made:
    """With tensors that are alike but along one axis, or with itself; brought to one quantization first."""
    draws = n.draws
    axis = draws.below(len(x.shape)) if draws.one_in(2) else len(x.shape) - 1
    parts = [x]
    for _ in range(draws.pick(1, 1, 2, 3)):
        other = n.other(lambda t: len(t.shape) == len(x.shape) and _rest(t, axis) == _rest(x, axis)) or x
        same = (other.scale, other.zero_point) == (x.scale, x.zero_point)
        parts.append(other if same else n.writer.quantize(other, x.scale, x.zero_point))
    if not n.fits((sum(p.shape[axis] for p in parts), *_rest(x, axis))):
        return None
    return n.writer.concatenation(parts, axis - len(x.shape) if draws.one_in(4) else axis)


def _rest(t: TensorRef, axis: int) -> tuple[int, ...]:
    return t.shape[:axis] + t.shape[axis + 1 :]


def split(n: TfliteNetwork, x: TensorRef) -> list[TensorRef] | None:
    draws = n.draws
    axis = draws.below(len(x.shape)) if draws.one_in(2) else len(x.shape) - 1
    parts = draws.pick(*(d for d in divisors(x.shape[axis]) if d <= 4))
    return n.writer.split(x, axis, parts) if parts > 1 else None


def split_v(n: TfliteNetwork, x: TensorRef) -> list[TensorRef] | None:
    draws, writer = n.draws, n.writer
    axis = draws.below(len(x.shape))
    rest, sizes = x.shape[axis], []
    while rest and len(sizes) < 3:
        sizes.append(draws.size(1, rest))
        rest -= sizes[-1]
    sizes += [rest] if rest else []
    outputs = [
        writer.tensor(n.name("part"), [*x.shape[:axis], size, *x.shape[axis + 1 :]], x.dtype, x.scale, x.zero_point)
        for size in sizes
    ]
    lengths = writer.const(n.name("sizes"), np.array(sizes, np.int32))
    index = writer.const(n.name("axis"), np.array(axis, np.int32))
    writer.operator("SPLIT_V", [x, lengths, index], outputs, "SplitVOptions", NumSplits=len(sizes))
    return outputs


def strided_slice(n: TfliteNetwork, x: TensorRef) -> Made:
    """Bounds from either end, steps, backwards, masks, dropped axes."""
    draws = n.draws
    begins, ends, strides, masks = [], [], [], [0, 0, 0]
    for i, d in enumerate(x.shape):
        kind = draws.weighted([("all", 4), ("cut", 4), ("steps", 2), ("backwards", 1), ("one", 1)])
        first = draws.below(d)
        begin, end, stride = {
            "all": (0, d, 1),
            "cut": (first, draws.size(first + 1, d), 1),
            "steps": (first, d, draws.size(2, 3)),
            "backwards": (d - 1, first - d - 1, -draws.size(1, 2)),
            "one": (first, first + 1, 1),
        }[kind]
        if kind == "one" and i and draws.one_in(2):
            masks[2] |= 1 << i
        elif kind == "all" and draws.one_in(2):
            masks[0] |= 1 << i
            masks[1] |= 1 << i
        elif kind == "cut" and draws.one_in(3):
            begin, end = begin - d, end - d if end < d else d
        begins.append(begin)
        ends.append(end)
        strides.append(stride)
    if masks[2].bit_count() == len(x.shape):
        return None
    names = ("begin_mask", "end_mask", "shrink_axis_mask")
    return n.writer.strided_slice(x, begins, ends, strides, **dict(zip(names, masks, strict=True)))


def pad(n: TfliteNetwork, x: TensorRef) -> Made:
    draws = n.draws
    spatial = len(x.shape) == 4 and not draws.one_in(3)
    widths = [
        (draws.size(0, 3), draws.size(0, 3)) if 0 < i < (3 if spatial else 9) else (0, 0) for i in range(len(x.shape))
    ]
    if not n.fits([d + a + b for d, (a, b) in zip(x.shape, widths, strict=True)]):
        return None
    return n.writer.pad(x, widths, draws.pick(-128, 127, draws.size(-128, 127)) if draws.one_in(4) else None)


def reshape(n: TfliteNetwork, x: TensorRef) -> Made:
    """The same elements in two to four dimensions, ones left out, or one put in."""
    draws, writer = n.draws, n.writer
    kind = draws.pick("flatten", "image", "squeeze", "expand")
    if kind == "squeeze" and 1 in x.shape and any(d > 1 for d in x.shape):
        axes = [i for i, d in enumerate(x.shape) if d == 1 and not draws.one_in(3)]
        y = _like(n, x, [d for i, d in enumerate(x.shape) if i not in axes])
        writer.operator("SQUEEZE", [x], [y], "SqueezeOptions", SqueezeDims=axes)
        return y if axes else None
    if kind == "expand" and len(x.shape) < 5:
        axis = draws.below(len(x.shape) + 1)
        y = _like(n, x, [*x.shape[:axis], 1, *x.shape[axis:]])
        index = writer.const(n.name("axis"), np.array(axis, np.int32))
        writer.operator("EXPAND_DIMS", [x, index], [y], "ExpandDimsOptions")
        return y
    size = int(np.prod(x.shape))
    if kind == "image":
        height = draws.pick(*divisors(size))
        width = draws.pick(*divisors(size // height))
        return writer.reshape(x, (1, height, width, -1))
    return writer.reshape(x, (1, -1))


def _like(n: TfliteNetwork, x: TensorRef, shape: list[int]) -> TensorRef:
    return n.writer.tensor(n.name("view"), shape, x.dtype, x.scale, x.zero_point)


def transpose(n: TfliteNetwork, x: TensorRef) -> Made:
    rank = len(x.shape)
    if rank == 4 and not n.draws.one_in(3):
        return n.writer.transpose(x, n.draws.pick((0, 3, 1, 2), (0, 2, 3, 1), (0, 2, 1, 3)))
    axes = list(range(rank))
    return n.writer.transpose(x, [axes.pop(n.draws.below(len(axes))) for _ in range(rank)])


def resize(n: TfliteNetwork, x: TensorRef) -> Made:
    x, draws = n.image(x), n.draws
    size = (draws.size(1, 2 * x.shape[1] + 1), draws.size(1, 2 * x.shape[2] + 1))
    if draws.one_in(2):
        size = (2 * x.shape[1], 2 * x.shape[2])
    if not n.fits((x.shape[0], *size, x.shape[3])):
        return None
    where = draws.pick({}, {"half_pixel_centers": True}, {"align_corners": True})
    return n.writer.resize(x, size, draws.pick("nearest", "bilinear"), **where)


def requantize(n: TfliteNetwork, x: TensorRef) -> Made:
    return n.writer.quantize(x, quantities.near_scale(n.draws, x.scale), quantities.zero_point_of(n.draws))
