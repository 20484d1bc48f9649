"""Writes a kernel's TIR statement by statement, with Python deciding what is emitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import tirx

from tvm_tiny.ops import ROW_ADDRESS, CFunction, Granularity, Kernel

Array = NDArray[np.generic]


class KernelBuilder:
    """Collects parameters and statements of one ``PrimFunc`` and makes a ``Kernel`` of them.

    Buffers are flat (one dimension). Parameters end up in the order of ``ops.Kernel`` whatever the order of the calls.
    Expressions are TIR expressions or Python integers.

    Attributes
    ----------
    y : row of the output that is computed, or of the input that is added; not for kernels on whole tensors
    x0, x1 : columns x0 <= x < x1 of that row are computed; of granularity "segment" only
    """

    def __init__(self, granularity: Granularity) -> None:
        self.granularity = granularity
        self.y, self.x0, self.x1 = (tirx.Var(name, "int32") for name in ("y", "x0", "x1"))
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._constants: list[tuple[Any, Array]] = []
        self._scratch: Any = None
        self._scratch_bytes = 0
        self._rows: list[Any] = []
        self._addresses: list[tuple[Any, ...]] = []
        self._blocks: list[list[Any]] = [[]]

    # Parameters

    def input(self, name: str, size: int, dtype: str) -> Any:
        """Declare the next activation input."""
        self._inputs.append(tirx.decl_buffer((size,), dtype, name))
        index = len(self._rows)
        self._rows.append(tirx.Var(f"rows_{index}", "int32"))
        self._addresses.append(tuple(tirx.Var(f"{part}_{index}", "int32") for part in ROW_ADDRESS))
        return self._inputs[-1]

    def output(self, size: int, dtype: str) -> Any:
        self._outputs.append(tirx.decl_buffer((size,), dtype, "out"))
        return self._outputs[-1]

    def constant(self, name: str, values: Array, *, sized: bool = True) -> Any:
        """Declare a packed constant; ``values`` is flattened.

        Parameters
        ----------
        sized : False declares one element, so that kernels that differ in nothing else are one function
        """
        flat = np.ascontiguousarray(values).reshape(-1)
        self._constants.append((tirx.decl_buffer((flat.size if sized else 1,), str(flat.dtype), name), flat))
        return self._constants[-1][0]

    def scratch(self, name: str, size: int, dtype: str, *, sized: bool = True) -> Any:
        """Declare the kernel's working memory (once), seen as ``dtype``; ``sized`` as for ``constant``."""
        assert self._scratch is None, "a kernel has one scratch buffer"
        self._scratch_bytes = size * np.dtype(dtype).itemsize
        self._scratch = tirx.decl_buffer((self._scratch_bytes if sized else 1,), "uint8", "scratch")
        view = tirx.decl_buffer((size if sized else 1,), dtype, name)
        self._emit(tirx.DeclBuffer(view, data=self._scratch.data))
        return view

    def slot(self, index: int, row: Any) -> Any:
        """Where row ``row`` of input ``index`` lies in its ring of rows; ``row`` is not negative."""
        return tirx.truncmod(as_expr(row), self._rows[index])

    def ring_length(self, index: int) -> Any:
        """How many rows the buffer of input ``index`` holds."""
        return self._rows[index]

    def row_address(self, index: int) -> tuple[Any, ...]:
        """The numbers of ``ROW_ADDRESS`` of input ``index``; of granularity "segment" only."""
        return self._addresses[index]

    def row_offset(self, index: int, row: Any, row_elements: int) -> Any:
        """Elements from the pointer of input ``index`` to column 0 of ``row``, which is not negative."""
        if self.granularity != "segment":
            return self.slot(index, row) * row_elements
        offset = value("tinyml_row_offset", as_expr(row), *self._addresses[index])
        itemsize = np.dtype(str(self._inputs[index].dtype)).itemsize
        return offset if itemsize == 1 else tirx.truncdiv(offset, itemsize)

    def columns(self, width: int) -> tuple[Any, Any]:
        """First column to compute and the one behind the last, of a row of ``width``."""
        return (self.x0, self.x1) if self.granularity == "segment" else (0, width)

    # Statements

    def local(self, name: str, size: int, dtype: str = "int32") -> Any:
        """A small array on the stack, which compilers keep in registers where indices are constant."""
        buffer = tirx.decl_buffer((size,), dtype, name)
        self._emit(tirx.AllocBuffer(buffer))
        return buffer

    def bind(self, name: str, value: Any) -> Any:
        """Evaluate once, here; integers stay what they are.

        A stack variable rather than a TIR binding, which the simplifier would substitute into every use.
        """
        if isinstance(value, int):
            return value
        variable = self.local(name, 1, str(value.ty.dtype))
        self.store(variable, 0, value)
        return variable[as_expr(0)]

    def store(self, buffer: Any, index: Any, value: Any) -> None:
        """``buffer[index] = value``, converted to the buffer's dtype."""
        self._emit(tirx.BufferStore(buffer, as_expr(value).astype(str(buffer.dtype)), [as_expr(index)]))

    def call(self, function: str, *args: Any) -> None:
        """Call a helper for its effect."""
        self._emit(tirx.Evaluate(tirx.call_extern("void", function, *args)))

    @contextmanager
    def loop(self, extent: Any, name: str = "i", *, start: Any = 0, unroll: bool = False) -> Iterator[Any]:
        """``for name in start .. start + extent``; no loop where extent is a number below 2."""
        if isinstance(extent, int) and extent == 1:
            yield start
            return
        kind = tirx.ForKind.UNROLLED if unroll else tirx.ForKind.SERIAL
        var = tirx.Var(name, "int32")
        self._blocks.append([])
        # Loops start at 0: CanonicalizeLoop forgets the bounds of inner loops when it moves a start.
        yield var if isinstance(start, int) and start == 0 else start + var
        body = self._close()
        if body is not None and not (isinstance(extent, int) and extent <= 0):
            self._emit(tirx.For(var, as_expr(0), as_expr(extent), kind, body))

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """``if (condition)``; a Python bool decides here and now."""
        if condition is True:
            yield
            return
        self._blocks.append([])
        yield
        body = self._close()
        if condition is not False and body is not None:
            self._emit(tirx.IfThenElse(condition, body, None))

    def finish(
        self,
        name: str,
        *,
        in_place_inputs: Sequence[int] = (),
        macs: int = 0,
        scratch_alignment: int = 8,
        c_functions: Sequence[CFunction] = (),
    ) -> Kernel:
        """The kernel; ``scratch_bytes`` is rounded up to ``scratch_alignment``."""
        body = self._close()
        params = [*self._inputs, *self._outputs, *(buffer for buffer, _ in self._constants)]
        if self._scratch is not None:
            params.append(self._scratch)
        if self.granularity == "segment":
            params += [self.y, self.x0, self.x1, *(part for address in self._addresses for part in address)]
            name += "_segment"
        elif self.granularity != "tensor":
            params += [self.y, *self._rows]
        attrs: dict[str, Any] = {"s_tir": True}
        if not in_place_inputs:
            attrs["tirx.noalias"] = True
        func = tirx.PrimFunc(params, body, None, attrs=tvm.ir.make_node("ir.DictAttrs", **attrs))
        return Kernel(
            func=func,
            name=name,
            granularity=self.granularity,
            constants=tuple(values for _, values in self._constants),
            scratch_bytes=-(-self._scratch_bytes // scratch_alignment) * scratch_alignment,
            in_place_inputs=tuple(in_place_inputs),
            macs=macs,
            c_functions=tuple(c_functions),
        )

    def _emit(self, stmt: Any) -> None:
        self._blocks[-1].append(stmt)

    def _close(self) -> Any:
        stmts = self._blocks.pop()
        if not stmts:
            return None
        return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)


def with_segment(write: Callable[[KernelBuilder], Kernel]) -> Kernel:
    """A row kernel with its form for parts of a row, both written by ``write``."""
    return replace(write(KernelBuilder("row")), segment=write(KernelBuilder("segment")))


def with_general_segment(micro_kernel: Kernel, general: Callable[[], Kernel]) -> Kernel:
    """``micro_kernel``, and for parts of a row the general kernel if it has none and reads the same constants."""
    if micro_kernel.segment is not None or micro_kernel.granularity != "row":
        return micro_kernel
    segment = general().segment
    if segment is None or len(segment.constants) != len(micro_kernel.constants):
        return micro_kernel
    same = all(np.array_equal(a, b) for a, b in zip(segment.constants, micro_kernel.constants, strict=True))
    return replace(micro_kernel, segment=segment) if same else micro_kernel


def value(function: str, *args: Any, dtype: str = "int32") -> Any:
    """The result of a helper without effects."""
    return tirx.call_pure_extern(dtype, function, *args)


def address(buffer: Any, index: Any) -> Any:
    """``&buffer[index]``."""
    return tirx.address_of(buffer[as_expr(index)])


def widen(buffer: Any, index: Any) -> Any:
    """``(int32_t)buffer[index]``."""
    return buffer[as_expr(index)].astype("int32")


def at_least(low: Any, expr: Any) -> Any:
    """max; a number where both are numbers."""
    if isinstance(low, int) and isinstance(expr, int):
        return max(low, expr)
    return tirx.max(as_expr(low), as_expr(expr))


def at_most(high: Any, expr: Any) -> Any:
    """min; a number where both are numbers."""
    if isinstance(high, int) and isinstance(expr, int):
        return min(high, expr)
    return tirx.min(as_expr(high), as_expr(expr))


def blocks(size: int, widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Cover ``range(size)`` by blocks of the given widths, widest first: [(start, how many, width), ...]."""
    covered, result = 0, []
    for width in widths:
        count = (size - covered) // width
        if count:
            result.append((covered, count, width))
            covered += count * width
    assert covered == size, "the last width is 1"
    return result


def as_expr(value: Any) -> Any:
    """Python integers as int32 constants."""
    return tirx.const(value, "int32") if isinstance(value, int) else value
