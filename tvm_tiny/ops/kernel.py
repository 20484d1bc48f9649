"""What a schedule hands to the planner and to the main loop for one operator call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Granularity: TypeAlias = Literal["row", "segment", "sum", "tensor"]

ROW_ADDRESS = ("first", "modulus", "outer", "inner", "staged", "line", "new_row")
"""Column 0 of row ``r`` of an input image, in bytes from the input pointer: rows made before ``new_row`` lie at
``first + (r % modulus) * outer + (r // modulus) * inner``, the others at ``staged + (r - new_row) * line``.

A whole tensor: modulus 1, inner its row; a ring of n rows: modulus n, outer its row, inner 0; a tensor stored as
interleaved thirds: modulus 3. ``staged`` counts from a column 0 that need not exist: only columns in use are there.
``new_row`` is the largest int32 where nothing is staged.
"""


@dataclass(frozen=True)
class CFunction:
    """A function that a schedule wrote in C itself, because TIR cannot say it: assembly, arrays of pointers.

    Parameters
    ----------
    name : holds a hash of the content, so that equal names mean equal functions
    text : the definition, ``static``
    """

    name: str
    text: str


@dataclass(frozen=True)
class Kernel:
    """One operator as a TIR function, plus what calling it takes.

    Parameters
    ----------
    func : ``tirx.PrimFunc``. Its parameters, in this order: one buffer per activation input, one per output, one per
        entry of ``constants``, one ``uint8`` buffer if ``scratch_bytes``, and for granularities "row" and "sum"
        ``y: int32`` and one ``rows_<i>: int32`` per activation input; for "segment" ``y``, ``x0``, ``x1: int32`` and
        per activation input the ``int32`` numbers of ``ROW_ADDRESS``.
    name : base of the C name, like ``qconv2d_3x3_s2``; made unique later
    granularity :
        "tensor": one call computes whole tensors. "row": one call computes output row ``y`` of an NHWC image (N is
        looped over outside): the output pointer is that of row ``y``; input pointers are those of the buffer that holds
        the image's rows, row ``r`` at slot ``r % rows_<i>``. Rows outside the image are never read: vertical and
        horizontal padding is the kernel's own business. "sum": one call adds row ``y`` of its only input, an image of
        one batch, to sums in its scratch memory, which is kept from call to call; ``y`` counts up from 0, the call of
        the last row writes the output. "segment": one call computes columns ``x0 <= x < x1`` of output row ``y``; the
        output pointer is that of column 0 of row ``y`` (which may lie outside any buffer), and where input rows lie is
        said by seven numbers per input, see ``ROW_ADDRESS``.
    constants : packed arrays in the order the kernel reads them
    scratch_bytes : working memory inside one call (of "sum": from the first call to the last), 8-byte aligned
    in_place_inputs : activation inputs whose buffer may be that of output 0 (each element is read before the element of
        the output at the same byte offset is written)
    macs : multiply-accumulates of the whole operator, padded taps included
    c_functions : what ``func`` calls beside the helpers of tvm_tiny_kernels.h; callees first
    segment : the same operator as a kernel of granularity "segment", with the same ``constants``; its
        ``scratch_bytes`` are enough for any number of columns. None where parts of a row cannot be made
    streamed : of an operator on an image stored plane by plane, the same for one whose rows come one by one, row ``y``
        of all planes at slot ``y % rows_0``. None where planes are not what it reads
    """

    func: Any
    name: str
    granularity: Granularity
    constants: tuple[NDArray[np.generic], ...] = ()
    scratch_bytes: int = 0
    in_place_inputs: tuple[int, ...] = ()
    macs: int = 0
    c_functions: tuple[CFunction, ...] = ()
    segment: Kernel | None = None
    streamed: Kernel | None = None
