"""``SplitToSlices``: the parts of an image, or of bytes that follow each other, are slices."""

from __future__ import annotations

from itertools import pairwise

import tvm
from tvm import relax

from tvm_tiny.ops.movement import row_windows, shown_bytes, split_points
from tvm_tiny.passes._dataflow import DataflowWriter, is_call, map_functions, rewrite_bindings, shape_of
from tvm_tiny.passes._relax_pass import relax_pass


@relax_pass
class SplitToSlices:
    """Make each part of a split by an operator of its own, which works row by row or is a view of the whole.

    Before: ``split(x, 2, axis=3)`` on ``x`` of shape (1, 8, 8, 6)
    After: ``(strided_slice(x, [3], [0], [3]), strided_slice(x, [3], [3], [6]))``

    Splits that would give anything but slices of images, or scattered bytes of other shapes, stay as they are. A part
    is named after the split, with its number.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, lambda func: rewrite_bindings(func, _split))


def _split(writer: DataflowWriter, var: relax.Var, call: relax.Call) -> relax.Expr:
    if not is_call(call, "split"):
        return call
    shape, axis = shape_of(call.args[0]), int(call.attrs.axis) % len(shape_of(call.args[0]))
    bounds = [0, *split_points(call), shape[axis]]
    parts = [
        writer.normalize(relax.op.strided_slice(call.args[0], [axis], [begin], [end]))
        for begin, end in pairwise(bounds)
    ]
    if any(row_windows(part) is None and not shown_bytes(part) for part in parts):
        return call
    return relax.Tuple([writer.emit(part, f"{var.name}:{i}") for i, part in enumerate(parts)])
