"""Columns of an output row of a convolution: the C functions that find the windows' runs for ``gemm``.

A window is one run per kernel row, read in place. Columns with taps outside the image get a copy of the part of the
rows that they see, padding included; a row outside is a run of zero points. Short runs are gathered into whole windows,
because sixteen lanes for a run of four values cost more than the copy.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_tiny.ops import ROW_ADDRESS, CFunction
from tvm_tiny.schedules.cortex_m.dsp.assembly import c_function
from tvm_tiny.schedules.cortex_m.mve.assembly import mve_function
from tvm_tiny.schedules.cortex_m.mve.gemm import LANES

HEAD = 17
"""Words of ``ConvColumns.numbers``, in front of the constants of ``gemm``."""

POINTER_BYTES = 8
"""Bytes of a pointer, at most."""


@dataclass(frozen=True)
class ConvColumns:
    """Shape of a convolution without groups and dilation.

    input_size, kernel, strides : (vertical, horizontal)
    before : padding (top, left)
    outputs : columns of the output
    channels : of input and output
    interior : columns start .. stop - 1 have all taps in the image
    gathered : windows gathered at a time; 0 if runs are read where they are
    """

    input_size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int]
    outputs: int
    channels: tuple[int, int]
    zero_point: int
    interior: tuple[int, int]
    gathered: int

    @property
    def pointwise(self) -> bool:
        """Every output is made of one pixel."""
        return self.kernel == (1, 1) and self.before == (0, 0) and self.interior == (0, self.outputs)

    @property
    def run(self) -> int:
        return self.kernel[1] * self.channels[0]

    @property
    def staged_bytes(self) -> int:
        """What one kernel row of the columns at one border sees."""
        border = max(self.interior[0], self.outputs - self.interior[1], 1)
        return ((border - 1) * self.strides[1] + self.kernel[1]) * self.channels[0]

    @property
    def scratch_bytes(self) -> int:
        if self.pointwise:
            return 2 * POINTER_BYTES
        return self._tables + self.kernel[0] * (self.staged_bytes + self.gathered * self.run)

    @property
    def _tables(self) -> int:
        """Rows and runs."""
        return self.kernel[0] * 4 * POINTER_BYTES

    @property
    def numbers(self) -> tuple[int, ...]:
        head = (*self.input_size, *self.channels, *self.kernel, *self.strides, *self.before, self.zero_point)
        tables = self._tables
        return (*head, self.outputs, *self.interior, self.gathered, tables, tables + self.kernel[0] * self.staged_bytes)


def gathered_windows(kernel_h: int, run: int, outputs: int, limit: int) -> int:
    """How many windows to gather at a time; 0 where reading runs in place is better.

    limit : bytes of scratch for them
    """
    # Instructions of gemm per four channels and two pixels for a run, and of gathering a run of one pixel.
    in_place = kernel_h * (10 + 14 * (run // LANES) + (20 if run % LANES else 0))
    together = 14 * (kernel_h * run // LANES) + (20 if kernel_h * run % LANES else 0)
    if kernel_h == 1 or run > LANES or (in_place - together) * outputs < 8 * 8 * kernel_h:
        return 0
    return max(2, min(8, limit // (kernel_h * run) // 2 * 2))


def pointwise_function(product: CFunction) -> CFunction:
    """``void name(const tinyml_run* rows, int8_t* out, const int32_t* packed, void* work, int32_t x0, int32_t x1)``

    Columns x0 .. x1 - 1. ``rows``: column 0 of every row under the window, NULL if outside; step is not set.
    """
    return c_function(
        "mve_pointwise",
        lambda name: (
            f"""static void {name}{_PARAMETERS} {{
    tinyml_run run;
    (void)work;
    run.step = packed[7] * packed[2];
    run.at = rows[0].at + x0 * run.step;
    {product.name}(packed + {HEAD}, &run, out + x0 * packed[3], x1 - x0);
}}
"""
        ),
    )


_PARAMETERS = "(const tinyml_run* rows, int8_t* out, const int32_t* packed, void* work, int32_t x0, int32_t x1)"


def columns_functions(product: CFunction, *, gathered: bool) -> tuple[CFunction, ...]:
    """As ``pointwise_function``, for any window; callees first."""
    copy, fill = c_function("mve_copy", _copy_text), fill_function()
    gather = c_function("mve_gather", _gather_text)

    def multiply() -> str:
        if not gathered:
            return f"{product.name}(gemm, runs, out + x * packed[3], count);"
        return f"""{{
        int8_t* windows = (int8_t*)work + packed[16];
        const int32_t run = packed[5] * packed[2], size = run * packed[4];
        while (count > 0) {{
            const int32_t some = count < packed[14] ? count : packed[14];
            tinyml_run whole;
            for (i = 0; i < packed[4]; ++i) {{
                {gather.name}(runs + i, windows + i * run, size, run, some);
            }}
            whole.at = windows;
            whole.step = size;
            {product.name}(gemm, &whole, out + x * packed[3], some);
            x += some;
            count -= some;
        }}
    }}"""

    part = c_function(
        "mve_part",
        lambda name: (
            f"""static void {name}{_PARAMETERS} {{
    tinyml_run* runs = (tinyml_run*)work + packed[4];
    int8_t* staged = (int8_t*)work + packed[15];
    const int32_t* gemm = packed + {HEAD};
    const int32_t channels = packed[2], step = packed[7] * channels, inside = x0 >= packed[12] && x1 <= packed[13];
    const int32_t first = x0 * packed[7] - packed[9];
    const int32_t width = (x1 - x0 - 1) * packed[7] + packed[5];
    const int32_t begin = first > 0 ? 0 : -first;
    const int32_t end = first + width > packed[1] ? packed[1] - first : width;
    int32_t x = x0, count = x1 - x0, i;
    if (count <= 0) {{
        return;
    }}
    for (i = 0; i < packed[4]; ++i) {{
        const int8_t* row = rows[i].at;
        if (inside && row != NULL) {{
            runs[i].at = row + first * channels;
            runs[i].step = step;
        }} else {{
            const int32_t bytes = (inside ? packed[5] : width) * channels;
            {fill.name}(staged, packed[10], bytes);
            if (row != NULL && begin < end) {{
                {copy.name}(staged + begin * channels, row + (first + begin) * channels, (end - begin) * channels);
            }}
            runs[i].at = staged;
            runs[i].step = inside ? 0 : step;
            staged += bytes;
        }}
    }}
    {multiply()}
}}
"""
        ),
    )
    whole = c_function(
        "mve_columns",
        lambda name: (
            f"""static void {name}{_PARAMETERS} {{
    const int32_t start = packed[12] < x0 ? x0 : packed[12] < x1 ? packed[12] : x1;
    const int32_t stop = packed[13] < start ? start : packed[13] < x1 ? packed[13] : x1;
    {part.name}(rows, out, packed, work, x0, start);
    {part.name}(rows, out, packed, work, start, stop);
    {part.name}(rows, out, packed, work, stop, x1);
}}
"""
        ),
    )
    return (copy, fill, *((gather,) if gathered else ()), part, whole)


def entry_function(columns: CFunction, *, segment: bool) -> CFunction:
    """``void name(const int8_t* x, int8_t* out, const int32_t* packed, void* work, int32_t y, ...)``

    All columns of row ``y``, ``...`` being the number of slots: input row r in slot r % slots; or part of them, ``...``
    being x0, x1 and the numbers of ``ops.ROW_ADDRESS``.
    """
    more, address, part = "int32_t slots", "r % slots * (packed[1] * packed[2])", "0, packed[11]"
    if segment:
        more = ", ".join(f"int32_t {number}" for number in ("x0", "x1", *ROW_ADDRESS))
        address, part = f"tinyml_row_offset(r, {', '.join(ROW_ADDRESS)})", "x0, x1"
    return c_function(
        "mve_segment" if segment else "mve_row",
        lambda name: (
            f"""static void {name}(
    const int8_t* x, int8_t* out, const int32_t* packed, void* work, int32_t y, {more}) {{
    tinyml_run* rows = (tinyml_run*)work;
    int32_t i, r = y * packed[6] - packed[8];
    for (i = 0; i < packed[4]; ++i, ++r) {{
        rows[i].at = r >= 0 && r < packed[0] ? x + {address} : NULL;
    }}
    {columns.name}(rows, out, packed, work, {part});
}}
"""
        ),
    )


def fill_function() -> CFunction:
    """``void name(int8_t* to, int32_t value, int32_t size)``."""
    return c_function("mve_fill", _fill_text)


def _copy_text(name: str) -> str:
    body = ["mov r3, r2", "wlstp.8 lr, r3, 2f", "1:", "vldrb.u8 q0, [r1], #16", "vstrb.8 q0, [r0], #16", "letp lr, 1b"]
    twin = "    memcpy(to, from, (size_t)size);\n"
    return mve_function(
        name, "int8_t* to, const int8_t* from, int32_t size", ["push {r4, lr}", *body, "2:", "pop {r4, pc}"], twin
    )


def _fill_text(name: str) -> str:
    body = ["vdup.8 q0, r1", "wlstp.8 lr, r2, 2f", "1:", "vstrb.8 q0, [r0], #16", "letp lr, 1b"]
    twin = "    memset(to, value, (size_t)size);\n"
    return mve_function(
        name, "int8_t* to, int32_t value, int32_t size", ["push {r4, lr}", *body, "2:", "pop {r4, pc}"], twin
    )


def _gather_text(name: str) -> str:
    """A run of ``length`` values, at most sixteen, of ``count`` neighbours, to places ``size`` apart."""
    body = ["push {r4-r6, lr}", "ldrd r4, r5, [r0]", "ldr r6, [sp, #16]", "vctp.8 r3", "mla r12, r5, r6, r4"]
    body += ["str r12, [r0]", "dls lr, r6", "1:", "vpstt", "vldrbt.u8 q0, [r4]", "vstrbt.8 q0, [r1]"]
    body += ["add r4, r4, r5", "add r1, r1, r2", "le lr, 1b", "pop {r4-r6, pc}"]
    twin = """    for (; count > 0; --count) {
        memcpy(to, run->at, (size_t)length);
        run->at += run->step;
        to += size;
    }
"""
    return mve_function(name, "tinyml_run* run, int8_t* to, int32_t size, int32_t length, int32_t count", body, twin)
