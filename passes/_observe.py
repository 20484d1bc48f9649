"""Statements that tell which bytes of an output were just written: ``TINYML_OBSERVE``, nothing in a user's build."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import tirx

from tvm_tiny import planner


def observe_tensor(
    step: int, output: int, tensor: planner.Tensor, address: tirx.Expr, when: tirx.Expr | None = None
) -> tirx.Stmt:
    """A whole output; with ``when``, only where that holds."""
    size: Any = math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
    return _observe(step, output, address, 0, 0, size if when is None else tirx.Select(when, tirx.const(size), 0))


def observe_row(step: int, tensor: planner.Tensor, row: tirx.Expr, y: Any) -> tirx.Stmt:
    """Row ``y`` of all images of a batch, which begins at ``row``; of an image stored as planes, in every plane."""
    size = tensor.row_bytes // tensor.planes
    if tensor.planes == 1:
        return _observe(step, 0, row, 0, y * size, size)
    plane = tirx.Var("plane", "int32")
    skip = plane * (size * tensor.rows)
    body = _observe(step, 0, row, skip, skip + y * size, size)
    return tirx.For(plane, 0, tensor.planes, tirx.ForKind.SERIAL, body)


def observe_columns(step: int, tensor: planner.Tensor, row: tirx.Expr, y: Any, x0: Any, x1: Any) -> tirx.Stmt:
    """Columns ``x0 <= x < x1`` of row ``y``, whose column 0 is, or would be, at ``row``."""
    skip = x0 * tensor.pixel_bytes
    return _observe(step, 0, row, skip, y * tensor.row_bytes + skip, (x1 - x0) * tensor.pixel_bytes)


def _observe(step: int, output: int, row: tirx.Expr, skip: Any, offset: Any, size: Any) -> tirx.Stmt:
    return tirx.Evaluate(tirx.call_extern("int32", "TINYML_OBSERVE", step, output, row, skip, offset, size))
