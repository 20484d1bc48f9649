"""Convolution for Armv6-M, where a multiplication takes no accumulator: two neighbouring pixels in one register.

A word x0 + x1 * 2**16 times a weight is two products. Two of them add up before the halves run into each other, as
long as no weight is -128: 2 * 127 * 128 < 2**15.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm import tirx

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, as_expr, at_least, with_segment
from tvm_tiny.schedules.cortex_m.conv_layer import ConvLayer
from tvm_tiny.schedules.cortex_m.packing import fold_zero_point
from tvm_tiny.schedules.cortex_m.window import Rows, row_cases

_FREE_SCRATCH = 512
"""Bytes of working memory that are always worth it."""


def conv2d_pairs(layer: ConvLayer) -> Kernel | None:
    """The kernel, or None where it is not exact or takes more memory than half of what the layer holds anyway."""
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, outputs = layer.input_shape[3], layer.weight.shape[0]
    if p.groups != 1 or horizontal.dilation != 1 or horizontal.outputs < 2 or layer.weight.min() < -127:
        return None
    held = layer.input_shape[1] * horizontal.size * channels + vertical.outputs * horizontal.outputs * outputs
    if _scratch_bytes(layer) > max(_FREE_SCRATCH, held // 2):
        return None
    return with_segment(partial(_write, layer))


def _scratch_bytes(layer: ConvLayer) -> int:
    _, kernel_h, kernel_w, channels = layer.weight.shape
    return int((4 * kernel_h + 2) * kernel_w * channels)


def _write(layer: ConvLayer, b: KernelBuilder) -> Kernel:
    p, (vertical, horizontal) = layer.params, layer.axes
    channels, outputs = layer.input_shape[3], layer.weight.shape[0]
    length = layer.weight.size // outputs
    run = horizontal.kernel * channels

    data = b.input("data", layer.input_shape[1] * horizontal.size * channels, "int8")
    out = b.output(horizontal.outputs * outputs, "int8")
    weights = b.constant("weight", layer.weight)
    biases = b.constant("bias", fold_zero_point(layer.bias, layer.weight, p.input_zero_point))
    finish = layer.requantizer.declare(b)
    work = b.scratch("work", _scratch_bytes(layer), "int8")
    rows = Rows(b, vertical, horizontal.size * channels)

    def gather(pixel: Any, second: Any) -> None:
        """The windows of ``pixel`` and ``pixel + second``; there is one pixel only where second is 0."""
        step = second * horizontal.stride
        column = horizontal.origin(pixel)
        whole: Any = True
        if horizontal.has_border:
            whole = tirx.all(column >= 0, column + step <= horizontal.size - horizontal.kernel)
        with b.loop(vertical.kernel, "tap") as tap:
            to = address(work, tap * run * 4)
            inside, outside = row_cases(vertical, rows, tap)
            with b.when(inside):
                with b.when(whole):
                    source = address(data, rows.offset(tap) + column * channels)
                    b.call("tinyml_pair_rows", to, source, step * channels, run)
                with b.when(False if whole is True else tirx.Not(whole)):
                    for i, at in enumerate((pixel, pixel + second)):
                        first, count = horizontal.taps(at)
                        count = at_least(0, count)
                        source = address(data, rows.offset(tap) + (horizontal.origin(at) + first) * channels)
                        after = run - (first + count) * channels
                        line = address(work, 4 * length + i * run)
                        b.call(
                            "tinyml_gather", line, source, first * channels, count * channels, after, p.input_zero_point
                        )
                    b.call("tinyml_pair_rows", to, address(work, 4 * length), run, run)
            with b.when(outside):
                b.call("tinyml_pair_fill", to, p.input_zero_point, run)

    first, behind = b.columns(horizontal.outputs)
    count = behind - first
    groups = (count + 1) // 2 if isinstance(count, int) else tirx.truncdiv(count + 1, 2)
    with b.loop(groups, "pair") as pair:
        pixel = b.bind("pixel", as_expr(first) + pair * 2)
        # The last of an odd number is made twice.
        second = 1 if isinstance(count, int) and count % 2 == 0 else b.bind("second", _is_pair(pixel, behind))
        gather(pixel, second)
        with b.loop(outputs, "channel") as channel:
            acc = b.local("acc", 2)
            for i in range(2):
                b.store(acc, i, biases[channel])
            b.call("tinyml_mac_pairs", address(acc, 0), address(work, 0), address(weights, channel * length), length)
            for i in range(2):
                b.store(acc, i, finish(acc[i], channel))
            b.store(out, pixel * outputs + channel, acc[0])
            b.store(out, (pixel + second) * outputs + channel, acc[1])
    return b.finish(layer.name, macs=layer.macs)


def _is_pair(pixel: Any, behind: Any) -> Any:
    return tirx.Select(pixel + 1 < as_expr(behind), as_expr(1), as_expr(0))
