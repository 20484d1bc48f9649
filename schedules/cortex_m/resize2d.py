"""Nearest-neighbour and bilinear resizing, one output row per call."""

from __future__ import annotations

import numpy as np
from tvm import relax

from tvm_tiny.ops import Kernel, params_of
from tvm_tiny.quant.params import ResizeParams
from tvm_tiny.quant.resize import bilinear_sources, nearest_sources
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address, value, widen
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule, shape_of
from tvm_tiny.targets import Cpu


class Resize2D(CortexMScheduleRule):
    """Source positions come from tables, so that no kernel computes in float."""

    operators = ("qresize2d",)

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        p: ResizeParams = params_of(call)
        _, height, width, channels = shape_of(call.args[0])
        b = KernelBuilder("row")
        data = b.input("data", height * width * channels, "int8")
        out = b.output(p.size[1] * channels, "int8")
        flags = (p.align_corners, p.half_pixel_centers)
        row_bytes = width * channels
        if p.method == "nearest":
            rows = b.constant("row", nearest_sources(height, p.size[0], *flags).astype(np.int16))
            columns = b.constant("column", nearest_sources(width, p.size[1], *flags).astype(np.int16))
            base = b.bind("base", b.slot(0, widen(rows, b.y)) * row_bytes)
            with b.loop(p.size[1], "x") as x:
                source = address(data, base + widen(columns, x) * channels)
                b.call("tinyml_copy", address(out, x * channels), source, channels)
            return b.finish("qresize2d_nearest")

        rows = b.constant("row", _table(*bilinear_sources(height, p.size[0], *flags)))
        columns = b.constant("column", _table(*bilinear_sources(width, p.size[1], *flags)))
        upper, lower = (b.bind(name, b.slot(0, widen(rows, b.y * 3 + i)) * row_bytes) for i, name in enumerate("tb"))
        dy = b.bind("dy", widen(rows, b.y * 3 + 2))
        with b.loop(p.size[1], "x") as x:
            left, right = (b.bind(name, widen(columns, x * 3 + i) * channels) for i, name in enumerate("lr"))
            dx = b.bind("dx", widen(columns, x * 3 + 2))
            with b.loop(channels, "c") as c:
                corners = [widen(data, row + column + c) for row in (upper, lower) for column in (left, right)]
                b.store(out, x * channels + c, value("tinyml_bilinear", *corners, dy, dx))
        return b.finish("qresize2d_bilinear")


def _table(*columns: np.ndarray) -> np.ndarray:
    """Columns as one int16 array, row after row; positions and 1/1024 weights fit."""
    return np.stack(columns, axis=-1).astype(np.int16)
