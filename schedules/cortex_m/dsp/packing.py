"""Weights and constants in the order in which the kernels read them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.schedules.cortex_m.dsp.requantization import LayerRequantization


def borrow_bytes(pairs: NDArray[np.int8]) -> NDArray[np.uint16] | None:
    """Halfwords 256 * odd + even of [..., 2] (even, odd); None where one does not fit."""
    value = 256 * pairs[..., 1].astype(np.int32) + pairs[..., 0]
    if value.min(initial=0) < -32768 or value.max(initial=0) > 32767:
        return None
    return value.astype(np.int16).view(np.uint16)


def accumulator_reach(weights: NDArray[np.int8], bias: NDArray[np.int32], zero_point: int) -> NDArray[np.int64]:
    """Least and greatest sum w * (x - zero_point) + bias over all int8 x: int64 [C_OUT, 2] of weights [C_OUT, K]."""
    w = weights.astype(np.int64)
    ends = w * (-128 - zero_point), w * (127 - zero_point)
    return np.stack([np.minimum(*ends).sum(1) + bias, np.maximum(*ends).sum(1) + bias], axis=1)


def gemm_stream(
    weights: NDArray[np.int8], zero_point: int, plan: LayerRequantization, block: int = 2, uniform: bool = False
) -> NDArray[np.int8] | None:
    """Packed constants of ``gemm_function``; None if the weights have a -128 that does not pack.

    Parameters
    ----------
    weights : [C_OUT, K], K in the order of the prepared input
    zero_point : of the input
    block : output channels that are read together: 2 for ``gemm``, 4 for ``dense``
    uniform : the multiplier and the sign that all channels have stand in front, once
    """
    channels, k = weights.shape
    groups = -(-k // 4)
    w = np.zeros((channels, groups * 4), dtype=np.int8)
    w[:, :k] = np.where(plan.constant[:, None], 0, weights)
    # prepared lanes: (o, e) of values (0, 1) and (2, 3)
    halfwords = borrow_bytes(w.reshape(channels, groups, 2, 2))
    if halfwords is None:
        return None
    words = np.ascontiguousarray(halfwords).view(np.uint32).reshape(channels, groups)
    wide = w.astype(np.int64)
    shift = (1 << plan.scale_bits) * (127 * wide[:, 1::2].sum(1) - zero_point * wide.sum(1))
    offsets = (plan.offsets + shift).astype(np.int64)
    offsets = ((offsets + 2**31) % 2**32 - 2**31).astype(np.int32)
    parts: list[NDArray[np.int32]] = []
    if uniform:
        parts.append(np.array([plan.multipliers[0], plan.signs[0]], dtype=np.int32))
    for c in range(0, channels, block):
        some = slice(c, min(c + block, channels))
        tail = (
            np.stack([plan.multipliers[some], plan.signs[some]], 1) if plan.form == "signed" else plan.multipliers[some]
        )
        parts += [offsets[some], np.ascontiguousarray(words[some].T).ravel().view(np.int32)]
        if not uniform:
            parts.append(tail.astype(np.int32).ravel())
    return np.concatenate(parts).view(np.int8)


def depthwise3x3_constants(weights: NDArray[np.int8], zero_point: int, plan: LayerRequantization) -> NDArray[np.int32]:
    """Constants of ``depthwise3x3.row_function``: int32 [C, 5 or 7] of weights [3, 3, C].

    Per channel: multiplier, offset, bytes w00 w01 w10 w11 | w02 w20 w12 w21 | w21 0 w22 0 (row, column); of the signed
    form sign and addend.
    """
    w = np.where(plan.constant[None, None, :], 0, weights).astype(np.int8)
    channels = w.shape[2]
    packed = np.zeros((channels, 12), dtype=np.int8)
    places = {(0, 0): 0, (0, 1): 1, (1, 0): 2, (1, 1): 3, (0, 2): 4, (2, 0): 5, (1, 2): 6, (2, 1): 7, (2, 2): 10}
    for (row, column), at in places.items():
        packed[:, at] = w[row, column]
    packed[:, 8] = w[2, 1]
    return _records(w, packed.view(np.int32), zero_point, plan)


def narrow_constants(weights: NDArray[np.int8], plan: LayerRequantization) -> NDArray[np.int32]:
    """Constants of ``depthwise3x3_narrow``: int32 [C, 7] of weights [3, 3, C].

    Per channel: multiplier, offset, and halfwords w00 w10 | w01 w11 | w02 w12 | w20 w21 | w21 w22 (row, column), times
    256 as the offsets are.
    """
    w = np.where(plan.constant[None, None, :], 0, weights).astype(np.int64) << plan.scale_bits
    order = ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 0), (2, 1), (2, 1), (2, 2))
    packed = np.stack([w[at] for at in order], axis=1).astype(np.int16)
    fixed = np.stack([plan.multipliers, plan.offsets], axis=1).astype(np.int32)
    return np.concatenate([fixed, np.ascontiguousarray(packed).view(np.int32)], axis=1)


def depthwise_constants(weights: NDArray[np.int8], zero_point: int, plan: LayerRequantization) -> NDArray[np.int32]:
    """Constants of ``depthwise.row_function``: int32 [C, record / 4] of weights [KH, KW, C].

    Per channel: multiplier, offset, then per pair of rows (r, r + 1) and of columns (j, j + 1) the bytes
    r j, r j+1, r+1 j, r+1 j+1, then an odd last column, row by row; of the signed form sign and addend.
    """
    height, width, channels = weights.shape
    w = np.zeros((-(-height // 2) * 2, width, channels), dtype=np.int8)
    w[:height] = np.where(plan.constant[None, None, :], 0, weights)
    half = width // 2 * 2
    blocks = w[:, :half].reshape(len(w) // 2, 2, half // 2, 2, channels).transpose(4, 0, 2, 1, 3)
    blocks = blocks.reshape(channels, len(w) * half)
    last = w[:, half:].transpose(2, 0, 1).reshape(channels, len(w) * (width - half))
    fill = np.zeros((channels, -last.shape[1] % 4), dtype=np.int8)
    packed = np.ascontiguousarray(np.concatenate([blocks, last, fill], axis=1))
    return _records(w, packed.view(np.int32), zero_point, plan)


def _records(
    weights: NDArray[np.int8], packed: NDArray[np.int32], zero_point: int, plan: LayerRequantization
) -> NDArray[np.int32]:
    """Packed weights [C, words] of ``weights`` [KH, KW, C], between the channels' other constants."""
    offsets = plan.offsets - (1 << plan.scale_bits) * zero_point * weights.astype(np.int64).sum((0, 1))
    columns = [plan.multipliers, (offsets + 2**31) % 2**32 - 2**31, *packed.T]
    if plan.form == "signed":
        columns += [plan.signs, np.full(len(offsets), plan.addend)]
    return np.stack([column.astype(np.int32) for column in columns], axis=1)
