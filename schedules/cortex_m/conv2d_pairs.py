"""Convolution for Armv6-M, where a multiplication takes no accumulator: two neighbouring pixels in one register.

A word x0 + x1 * 2**16 times a weight is two products. Two of them add up before the halves run into each other, as
long as no weight is -128: 2 * 127 * 128 < 2**15.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import tirx

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, as_expr, at_least, with_segment
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.schedules.cortex_m.split_scale import SplitScale, split_scale
from tvm_tiny.schedules.cortex_m.window import Rows, row_cases

_FREE_SCRATCH = 512
"""Bytes of working memory that are always worth it."""

_QUAD_SCRATCH = 1024
"""Bytes of working memory up to which four pixels share a weight's load."""


def conv2d_pairs(layer: ConvLayer, choose: Chooser) -> Kernel | None:
    """The kernel, or None where it is not exact or takes more memory than half of what the layer holds anyway."""
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, outputs = layer.input_shape[3], layer.weight.shape[0]
    if p.groups != 1 or horizontal.dilation != 1 or horizontal.outputs < 2 or layer.weight.min() < -127:
        return None
    held = layer.input_shape[1] * horizontal.size * channels + vertical.outputs * horizontal.outputs * outputs
    if _scratch_bytes(layer, 1) > max(_FREE_SCRATCH, held // 2):
        return None
    if not choose.forced and not cost.worth(layer, "pairs", cost.pair_terms(layer, _quads(layer)), cost.ARMV6M):
        return None
    scale = split_scale(layer)
    return None if scale is None else with_segment(partial(_write, layer, scale))


def _quads(layer: ConvLayer) -> bool:
    """Whether there are tiles of four pixels."""
    return layer.axes[1].outputs >= 4 and _scratch_bytes(layer, 2) <= _QUAD_SCRATCH


def _length(layer: ConvLayer) -> int:
    """Products of an output, an even number."""
    return int(layer.weight[0].size + 1) // 2 * 2


def _scratch_bytes(layer: ConvLayer, pairs: int) -> int:
    """``pairs`` pairs of windows, and two rows of taps as they are made at a border."""
    # These may begin where the pair of an odd number's zero weight would be.
    size = int(layer.weight[0].size)
    return max(4 * pairs * _length(layer), 4 * pairs * size + 2 * size // int(layer.weight.shape[1]))


def _write(layer: ConvLayer, scale: SplitScale, b: KernelBuilder) -> Kernel:
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, outputs = layer.input_shape[3], layer.weight.shape[0]
    length = _length(layer)
    run = horizontal.kernel * channels

    data = b.input("data", layer.input_shape[1] * horizontal.size * channels, "int8")
    out = b.output(horizontal.outputs * outputs, "int8")
    flat = layer.weight.reshape(outputs, -1)
    # One more of zero where their number is odd: whatever stands in working memory then.
    weights = b.constant("weight", np.pad(flat, ((0, 0), (0, length - flat.shape[1]))))
    table = b.constant("scale", scale.table)
    quads = _quads(layer)
    work = b.scratch("work", _scratch_bytes(layer, 1 + quads), "int8")
    lines = 4 * layer.weight[0].size * (1 + quads)
    rows = Rows(b, vertical, horizontal.size * channels)

    def gather(pixel: Any, second: Any, pair: int, every: int) -> None:
        """The windows of ``pixel`` and ``pixel + second``, one pixel only where second is 0: words of ``every``."""
        step = second * horizontal.stride
        column = horizontal.origin(pixel)
        whole: Any = True
        if horizontal.has_border:
            whole = tirx.all(column >= 0, column + step <= horizontal.size - horizontal.kernel)
        with b.loop(vertical.kernel, "tap") as tap:
            to = address(work, tap * run * 4 * every + 4 * pair)
            inside, outside = row_cases(vertical, rows, tap)
            with b.when(inside):
                with b.when(whole):
                    source = address(data, rows.offset(tap) + column * channels)
                    b.call("tinyml_pair_rows", to, every, source, step * channels, run)
                with b.when(False if whole is True else tirx.Not(whole)):
                    for i, at in enumerate((pixel, pixel + second)):
                        first, count = horizontal.taps(at)
                        count = at_least(0, count)
                        source = address(data, rows.offset(tap) + (horizontal.origin(at) + first) * channels)
                        after = run - (first + count) * channels
                        line = address(work, lines + i * run)
                        b.call(
                            "tinyml_gather", line, source, first * channels, count * channels, after, p.input_zero_point
                        )
                    b.call("tinyml_pair_rows", to, every, address(work, lines), run, run)
            with b.when(outside):
                b.call("tinyml_pair_fill", to, every, p.input_zero_point, run)

    def compute(pixel: Any, second: Any, pairs: int) -> None:
        """``pairs`` pairs of neighbours from ``pixel`` on; ``second`` as for ``gather``."""
        for i in range(pairs):
            gather(pixel + 2 * i, second, i, pairs)
        helper = ("tinyml_pixel_quads" if pairs == 2 else "tinyml_pixel_pairs") + "_signed" * scale.signed
        b.call(
            helper,
            address(out, pixel * outputs),
            address(work, 0),
            address(weights, 0),
            address(table, 0),
            length,
            outputs,
            second * outputs,
            scale.shift,
            scale.low,
            scale.high,
        )

    first, behind = b.columns(horizontal.outputs)
    count = behind - first
    if quads:
        fours = count // 4 if isinstance(count, int) else b.bind("fours", tirx.truncdiv(count, 4))
        with b.loop(fours, "quad") as quad:
            compute(b.bind("pixel", as_expr(first) + quad * 4), 1, 2)
        first, count = first + 4 * fours, count - 4 * fours
    groups = (count + 1) // 2 if isinstance(count, int) else tirx.truncdiv(count + 1, 2)
    with b.loop(groups, "pair") as pair:
        pixel = b.bind("pixel", as_expr(first) + pair * 2)
        # The last of an odd number is made twice.
        second = 1 if isinstance(count, int) and count % 2 == 0 else b.bind("second", _is_pair(pixel, behind))
        compute(pixel, second, 1)
    return b.finish(layer.name, macs=layer.macs)


def _is_pair(pixel: Any, behind: Any) -> Any:
    return tirx.Select(pixel + 1 < as_expr(behind), as_expr(1), as_expr(0))
