"""int8 SOFTMAX in fixed point, and the one table a kernel needs for it.

References
----------
TFLite, kernels/internal/reference/softmax.h (int8 input and output).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .fixed_point import (
    Int8Array,
    Int32Array,
    requantize,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from .gemmlowp_math import exp_on_negative_values, reciprocal
from .params import SoftmaxParams
from .scales import SOFTMAX_INTEGER_BITS

ACCUMULATOR_INTEGER_BITS = 12
"""The sum of exponentials is kept in Q12.19, so a row may have 4095 entries."""


def exp_table(params: SoftmaxParams) -> Int32Array:
    """``exp(beta * scale * -d)`` for d = 0..255, in Q0.31; 0 where ``-d`` is below ``diff_min``.

    A zero entry adds nothing to the sum and yields the smallest output, just as a skipped element does, so a kernel
    that looks its exponentials up needs no test for ``diff_min``.
    """
    differences = -np.arange(256, dtype=np.int64)
    counted = differences >= params.diff_min
    scaled = requantize(np.where(counted, differences, 0), params.input_multiplier, params.input_left_shift)
    return np.where(counted, exp_on_negative_values(scaled, SOFTMAX_INTEGER_BITS), 0).astype(np.int32)


def softmax(params: SoftmaxParams, data: NDArray[np.int8]) -> Int8Array:
    """SOFTMAX over the last axis of int8 ``data``; output scale 1/256, zero point -128."""
    values = data.astype(np.int64)
    exponentials = exp_table(params)[values.max(axis=-1, keepdims=True) - values]
    terms = rounding_divide_by_pot(exponentials, ACCUMULATOR_INTEGER_BITS)
    total = terms.sum(axis=-1, keepdims=True, dtype=np.int64)
    scale, bits_over_unit = reciprocal(total, ACCUMULATOR_INTEGER_BITS)
    product = saturating_rounding_doubling_high_mul(scale, exponentials)
    output = rounding_divide_by_pot(product, bits_over_unit + (31 - 8)).astype(np.int64) - 128
    return np.clip(output, -128, 127).astype(np.int8)
