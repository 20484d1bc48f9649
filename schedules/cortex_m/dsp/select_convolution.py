"""Which micro-kernels a convolution gets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction, Kernel
from tvm_tiny.schedules.choices import ChoiceError, Chooser, Optimize
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, with_segment
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import cost, gemm5
from tvm_tiny.schedules.cortex_m.dsp.assembly import from_zero
from tvm_tiny.schedules.cortex_m.dsp.conv_part import HIGHEST_KERNEL, USUAL_UNROLL, ConvShape, conv_functions
from tvm_tiny.schedules.cortex_m.dsp.depthwise3x3 import Depthwise3x3
from tvm_tiny.schedules.cortex_m.dsp.depthwise3x3_narrow import NarrowDepthwise3x3, narrow_functions
from tvm_tiny.schedules.cortex_m.dsp.depthwise_any import COMPACT_COLUMNS, Depthwise, best_tile, possible_tiles
from tvm_tiny.schedules.cortex_m.dsp.depthwise_part import DepthwiseShape, depthwise_functions
from tvm_tiny.schedules.cortex_m.dsp.fill import LARGEST_OFFSET, reduction_order
from tvm_tiny.schedules.cortex_m.dsp.gemm import GemmTile
from tvm_tiny.schedules.cortex_m.dsp.limits import scratch_limit
from tvm_tiny.schedules.cortex_m.dsp.packing import (
    accumulator_reach,
    depthwise3x3_constants,
    depthwise_constants,
    gemm_stream,
    narrow_constants,
)
from tvm_tiny.schedules.cortex_m.dsp.planes import CHANNELS
from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization, solve_layer

_PIXELS: dict[Optimize, tuple[int, ...]] = {"speed": (4, 3, 2, 1), "balanced": (4, 3, 2, 1), "size": (2, 1)}
"""Sizes of a tile, best first."""
_UNROLL: dict[Optimize, int] = {"speed": USUAL_UNROLL, "balanced": 4, "size": 2}
_UNROLLED = (1, 2, 4, 8, 16)
_STRIPS: dict[Optimize, tuple[int, ...]] = {"speed": (16, 8), "balanced": (8,), "size": (8,)}
"""Outputs of a depthwise convolution at a time, which all are unrolled."""
_ALL_STRIPS = (32, 24, 16, 12, 8, 6, 4)
_COPIED_STRIPS = (32, 16, 8, 4)
_WIDEST_KERNEL = 10
_CONV_SHIFTS, _DEPTHWISE_SHIFTS = (12, 8, 16, 4, 20), (8, 12, 4, 16, 20)
"""Shifts of requantization that layers share code by, most usual first."""
_MOST_BITS_LOST = 5
"""Of multipliers by a smaller shift; further away constants get rare."""
_LARGEST_SIZE = 2**15 - 1

_WIDEST_ROW = 16
"""Outputs of a row that are written out as code."""

Form = Literal["3x3", "any", "compact"]


def dsp_conv2d(layer: ConvLayer, choose: Chooser) -> Kernel | None:
    """A convolution as a matrix product of a few pixels at a time.

    Choices: ``pixels`` of a tile, ``unroll`` (groups of four inputs per turn), ``strip`` (columns copied at a time).
    """
    optimize = choose.optimize
    p, (vertical, horizontal) = layer.params, layer.axes
    if p.groups != 1 or p.dilation != (1, 1) or vertical.kernel > HIGHEST_KERNEL or _too_large(layer):
        return None
    outputs = layer.weight.shape[0]
    shape = ConvShape(
        (vertical.size, horizontal.size),
        layer.input_shape[3],
        (vertical.outputs, horizontal.outputs),
        outputs,
        (vertical.kernel, horizontal.kernel),
        (vertical.stride, horizontal.stride),
        (vertical.before, horizontal.before),
        p.input_zero_point,
    )
    reached = [
        n for n in _PIXELS["speed"] if not shape.fixed_fill or (n - 1) * shape.step + shape.run <= LARGEST_OFFSET
    ]
    possible = [n for n in _PIXELS[optimize] if n in reached]
    if not shape.fixed_fill and horizontal.outputs >= gemm5.PIXELS:
        reached = [gemm5.PIXELS, *reached]
    if not possible:
        return None
    limit = scratch_limit(math.prod(layer.input_shape[1:]), vertical.outputs * horizontal.outputs * outputs)
    strips = sorted({min(s, horizontal.outputs) for s in _COPIED_STRIPS}, reverse=True) if shape.copied else [1]
    shapes = [replace(shape, pixels=n, strip=s) for n in possible if n > 1 for s in strips]
    # Tiles of one pixel read every weight for it: then rather more memory.
    smallest = replace(shape, pixels=min(2, possible[0]), strip=strips[-1])
    default = next((s for s in shapes if s.scratch_bytes <= limit), smallest)
    terms = cost.conv_terms(layer, default.pixels, default.strip if default.copied else 0)
    if not choose.forced and optimize != "size" and not cost.worth(layer, "conv", terms):
        return None
    shape = replace(default, pixels=choose.pick("pixels", reached, default.pixels))
    if shape.copied:
        shape = replace(shape, strip=choose.pick("strip", strips, default.strip))
    if shape.scratch_bytes > max(limit, default.scratch_bytes):
        raise ChoiceError(f"tiles of {shape.pixels} pixels need {shape.scratch_bytes} bytes of scratch memory")
    default_unroll = _UNROLL[optimize]
    longest_turn = max(default_unroll, 2 * shape.window(1).groups - 1)
    unroll = choose.pick("unroll", [n for n in _UNROLLED if n <= longest_turn], default_unroll)
    flat = layer.weight.reshape(outputs, -1)[:, reduction_order(vertical.kernel, shape.run)]
    plan = _solve(layer, flat, _CONV_SHIFTS)
    stream = gemm_stream(flat, p.input_zero_point, plan) if plan else None
    if plan is None or stream is None:
        return None
    signed = plan.form == "signed"
    clamp, addend = (plan.low, plan.high), plan.addend
    if plan.zero_based:
        first, second = from_zero(*clamp)
        clamp, addend = (-128, 127), 0x101 * first + 0x1010000 * second
    tile = GemmTile(shape.pixels, unroll, plan.shift, *clamp, plan.zero_based, signed)
    pair_bytes = outputs // 2 * 2 * (4 * shape.window(1).groups + (12 if signed else 8))
    constants = np.concatenate([shape.header(pair_bytes, addend), stream])
    return _kernel(
        "qconv2d", layer, lambda segment: conv_functions(shape, tile, segment=segment), constants, shape.scratch_bytes
    )


def dsp_depthwise_conv2d(layer: ConvLayer, choose: Chooser, form: Form) -> Kernel | None:
    """A depthwise convolution, four channels at a time.

    Choices: ``strip`` (outputs at a time, all unrolled) and, for "any", ``tile`` (outputs of a pass over the taps).

    Parameters
    ----------
    form : code for 3x3 kernels alone, for any kernel, or little code for any kernel
    """
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, kernel, stride = layer.input_shape[3], (vertical.kernel, horizontal.kernel), horizontal.stride
    if p.dilation != (1, 1) or channels < CHANNELS or _too_large(layer):
        return None
    if kernel[1] > _WIDEST_KERNEL or kernel[0] > HIGHEST_KERNEL or not _always_inside(layer):
        return None
    small = kernel == (3, 3) and stride in (1, 2)
    best: Form = "compact" if choose.optimize == "size" else "3x3" if small else "any"
    if (form == "3x3" and not small) or (form != best and not choose.forced):
        return None
    tile = best_tile(kernel, stride)
    plan = _solve(layer, layer.weight.reshape(channels, -1), _DEPTHWISE_SHIFTS)
    if plan is None:
        return None
    limits = (plan.shift, plan.low, plan.high, plan.zero_based, plan.form == "signed")
    if form == "any":
        tile = choose.pick("tile", possible_tiles(kernel), tile)

    def micro(strip: int) -> Depthwise | Depthwise3x3:
        if form == "3x3":
            return Depthwise3x3(stride, strip, *limits)
        return Depthwise(kernel, stride, strip, 1 if form == "compact" else tile, *limits, compact=form == "compact")

    if form == "compact":
        default, possible = COMPACT_COLUMNS // stride + 1, [COMPACT_COLUMNS // stride + 1]
    else:
        strips = _STRIPS[choose.optimize]
        limit = scratch_limit(math.prod(layer.input_shape[1:]), vertical.outputs * horizontal.outputs * channels)
        default = next((s for s in strips if micro(s).scratch_bytes <= limit), strips[-1])
        if not choose.forced and not _worth_depthwise(layer, default, None if form == "3x3" else tile):
            return None
        limit = max(limit, micro(default).scratch_bytes)
        # Of strips that hold a whole row the shortest will do.
        enough = min((s for s in _ALL_STRIPS if s >= horizontal.outputs), default=_ALL_STRIPS[0])
        fitting = [s for s in _ALL_STRIPS if s <= enough and micro(s).scratch_bytes <= limit]
        possible = sorted({default, *fitting})
    chosen = micro(choose.pick("strip", possible, default))
    if chosen.scratch_bytes > _LARGEST_SIZE:
        return None
    shape = DepthwiseShape(
        (vertical.size, horizontal.size),
        channels,
        horizontal.outputs,
        (vertical.stride, stride),
        (vertical.before, horizontal.before),
        p.input_zero_point,
    )
    weight = layer.weight[..., 0].transpose(1, 2, 0)
    pack = depthwise_constants if isinstance(chosen, Depthwise) else depthwise3x3_constants
    constants = np.concatenate([shape.header(chosen), pack(weight, p.input_zero_point, plan).reshape(-1)])
    return _kernel(
        "qdepthwise_conv2d",
        layer,
        lambda segment: depthwise_functions(chosen, segment=segment),
        constants,
        chosen.scratch_bytes,
    )


def dsp_depthwise_forms(layer: ConvLayer, choose: Chooser) -> dict[str, Callable[[], Kernel | None]]:
    """Name of a kernel -> what makes it."""
    forms = {f"dsp_{form}": partial(dsp_depthwise_conv2d, layer, choose, form) for form in get_args(Form)}
    return {**forms, "dsp_narrow": partial(_narrow_depthwise3x3, layer, choose)}


def _narrow_depthwise3x3(layer: ConvLayer, choose: Chooser) -> Kernel | None:
    """A kernel for this width alone: much code, few instructions. Only on demand, and whole rows only.

    Choices: ``channels`` that are written out.
    """
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, kernel = layer.input_shape[3], (vertical.kernel, horizontal.kernel)
    if not choose.forced or kernel != (3, 3) or horizontal.stride > 2 or p.dilation != (1, 1) or channels < CHANNELS:
        return None
    if horizontal.outputs > _WIDEST_ROW or _too_large(layer) or not _always_inside(layer):
        return None
    plan = _solve(layer, layer.weight.reshape(channels, -1), _DEPTHWISE_SHIFTS)
    if plan is None or plan.form != "positive":
        return None
    unroll = choose.pick("channels", (4, 2, 1), 4)
    row = (horizontal.size, horizontal.outputs, horizontal.stride, horizontal.before)
    micro = NarrowDepthwise3x3(*row, channels, unroll, plan.shift, plan.low, plan.high, plan.zero_based)
    if not micro.reachable:
        return None
    shape = DepthwiseShape(
        (vertical.size, horizontal.size),
        channels,
        horizontal.outputs,
        (vertical.stride, horizontal.stride),
        (vertical.before, horizontal.before),
        p.input_zero_point,
    )
    packed = narrow_constants(layer.weight[..., 0].transpose(1, 2, 0), plan)
    constants = np.concatenate([shape.header(micro), packed.reshape(-1)])
    functions = narrow_functions(micro)
    return _kernel("qdepthwise_conv2d", layer, lambda _: functions, constants, micro.scratch_bytes, whole_rows=True)


def _worth_depthwise(layer: ConvLayer, strip: int, tile: int | None) -> bool:
    """Whether the micro-kernel of a 3x3 kernel (``tile`` None) or of any other is the faster one."""
    vertical, _ = layer.axes
    if vertical.kernel > vertical.size:
        return False  # most taps are outside, which the general kernel skips
    if tile is None:
        return cost.worth(layer, "depthwise3x3", cost.depthwise3x3_terms(layer, strip))
    return cost.worth(layer, "depthwise", cost.depthwise_terms(layer, strip, tile))


def _too_large(layer: ConvLayer) -> bool:
    """Sizes stand in 16 bits."""
    sizes = (*layer.input_shape, *(n for a in layer.axes for n in (a.outputs, a.kernel, a.stride, a.before)))
    return max(sizes) > _LARGEST_SIZE


def _solve(layer: ConvLayer, flat: NDArray[np.int8], shifts: tuple[int, ...]) -> LayerRequantization | None:
    """Constants with the first of ``shifts`` that has some, else with the largest shift."""
    p = layer.params
    reach = accumulator_reach(flat, layer.bias, p.input_zero_point)
    clamp = (p.clamp_min, p.clamp_max)
    solve = partial(
        solve_layer,
        layer.multiplier,
        layer.shift,
        layer.bias,
        reach,
        p.output_zero_point,
        clamp,
        p.rounding == "single",
    )
    largest = -int(layer.shift.max()) + 7
    for shift in shifts:
        plan = solve(wanted_shift=shift) if 0 <= largest - shift <= _MOST_BITS_LOST else None
        if plan is not None:
            return plan
    return solve()


def _always_inside(layer: ConvLayer) -> bool:
    """Every window has at least one tap in the image, along both axes."""
    return all(
        axis.before < axis.kernel and (axis.outputs - 1) * axis.stride - axis.before < axis.size for axis in layer.axes
    )


def _kernel(
    name: str,
    layer: ConvLayer,
    functions: Callable[[bool], tuple[CFunction, ...]],
    constants: NDArray[np.generic],
    scratch: int,
    *,
    whole_rows: bool = False,
) -> Kernel:
    """The last of ``functions(False)`` as a row kernel, the last of ``functions(True)`` as its form for parts.

    All sizes are in the constants: so layers share these functions too, and the sizes of buffers say nothing.
    """

    def write(b: KernelBuilder) -> Kernel:
        segment = b.granularity == "segment"
        buffers = [
            b.input("data", 1, "int8"),
            b.output(1, "int8"),
            b.constant("packed", constants.view(np.int8), sized=False),
        ]
        buffers.append(b.scratch("work", scratch, "uint8", sized=False))
        numbers = [b.y, b.x0, b.x1, *b.row_address(0)] if segment else [b.y, b.ring_length(0)]
        made = functions(segment)
        b.call(made[-1].name, *(address(each, 0) for each in buffers), *numbers)
        return b.finish(name, macs=layer.macs, c_functions=made)

    return write(KernelBuilder("row")) if whole_rows else with_segment(write)
