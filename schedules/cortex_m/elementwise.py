"""Loops of operators that make each output element from one element of each input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, as_expr, with_segment
from tvm_tiny.schedules.cortex_m.rule import dtype_of, is_constant, shape_of, size_of, values_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Operand:
    """shape : padded with ones to the output's rank; index : number of the activation input, None for a constant."""

    buffer: Any
    shape: Shape
    index: int | None


def elementwise(
    name: str,
    args: Sequence[Any],
    out_shape: Shape,
    out_dtype: str,
    prepare: Callable[[KernelBuilder], Callable[..., Any]],
) -> Kernel:
    """A kernel that applies a function to elements, broadcasting as NumPy does.

    Row by row where the output is an image and every activation has its shape; constants may broadcast.

    Parameters
    ----------
    args : Relax expressions, activations or constants
    prepare : adds constants of its own and returns the function from elements (in their own dtype) to an element
    """
    shapes = [(1,) * (len(out_shape) - len(shape_of(a))) + shape_of(a) for a in args]
    by_rows = len(out_shape) == 4 and all(
        shape[0] == 1 if is_constant(arg) else shape == out_shape for arg, shape in zip(args, shapes, strict=True)
    )

    def write(b: KernelBuilder) -> Kernel:
        return _write(b, name, args, shapes, out_shape, out_dtype, prepare)

    return with_segment(write) if by_rows else write(KernelBuilder("tensor"))


def _write(
    b: KernelBuilder,
    name: str,
    args: Sequence[Any],
    shapes: Sequence[Shape],
    out_shape: Shape,
    out_dtype: str,
    prepare: Callable[[KernelBuilder], Callable[..., Any]],
) -> Kernel:
    by_rows = b.granularity != "tensor"
    operands: list[_Operand] = []
    in_place: list[int] = []
    n_inputs = 0
    for arg, shape in zip(args, shapes, strict=True):
        dtype = dtype_of(arg)
        if is_constant(arg):
            operands.append(_Operand(b.constant(f"constant_{len(operands)}", values_of(arg)), shape, None))
            continue
        size = size_of(shape[1:]) if by_rows else size_of(shape)
        operands.append(_Operand(b.input(f"data_{n_inputs}", size, dtype), shape, n_inputs))
        # Elements are read in ascending order; a narrower output stays behind its input.
        if shape == out_shape and np.dtype(out_dtype).itemsize <= np.dtype(dtype).itemsize:
            in_place.append(n_inputs)
        n_inputs += 1
    row_shape = out_shape[2:] if by_rows else out_shape
    out = b.output(size_of(row_shape), out_dtype)
    function = prepare(b)
    bases = [_row_base(b, operand) if by_rows else 0 for operand in operands]
    inner = [operand.shape[2:] if by_rows else operand.shape for operand in operands]
    extents: list[Any] = list(row_shape)
    start: Any = 0
    if b.granularity == "segment":
        extents[0], start = b.x1 - b.x0, b.x0 * size_of(row_shape[1:])
        bases = [base + b.x0 * _step(shape, 0) for base, shape in zip(bases, inner, strict=True)]
    loops = _merge_dimensions(extents, inner)
    _nest(b, loops, 0, bases, lambda at, index: b.store(out, start + index, function(*_read(operands, at))))
    return b.finish(name, in_place_inputs=in_place)


def _row_base(b: KernelBuilder, operand: _Operand) -> Any:
    """Offset of row y."""
    row = size_of(operand.shape[2:])
    if operand.index is not None:
        return b.bind("base", b.row_offset(operand.index, b.y, row))
    return b.y * row if operand.shape[1] > 1 else 0


def _read(operands: list[_Operand], at: list[Any]) -> list[Any]:
    return [operand.buffer[as_expr(index)] for operand, index in zip(operands, at, strict=True)]


def _merge_dimensions(out: Sequence[Any], operands: Sequence[Shape]) -> list[tuple[Any, list[int]]]:
    """Loops, outermost first: (extent, step of each operand's index), with neighbours merged where steps allow.

    Only the outermost extent may be an expression.
    """
    loops: list[tuple[Any, list[int]]] = []
    for axis, extent in enumerate(out):
        if isinstance(extent, int) and extent == 1:
            continue
        steps = [_step(shape, axis) for shape in operands]
        if loops and all(outer == extent * step for outer, step in zip(loops[-1][1], steps, strict=True)):
            loops[-1] = (loops[-1][0] * extent, steps)
        else:
            loops.append((extent, steps))
    return loops or [(1, [0] * len(operands))]


def _step(shape: Shape, axis: int) -> int:
    """Elements between neighbours along an axis; 0 where the operand is stretched along it."""
    return 0 if shape[axis] == 1 else size_of(shape[axis + 1 :])


def _nest(
    b: KernelBuilder,
    loops: Sequence[tuple[Any, list[int]]],
    position: Any,
    at: list[Any],
    body: Callable[[list[Any], Any], None],
) -> None:
    if not loops:
        body(at, position)
        return
    (extent, steps), rest = loops[0], loops[1:]
    with b.loop(extent) as i:
        inside = [base + i * step for base, step in zip(at, steps, strict=True)]
        _nest(b, rest, position * extent + i, inside, body)
