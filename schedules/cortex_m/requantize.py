"""From an int32 accumulator to an int8 output: picks the cheapest helper that is exact for the layer at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, value

SMALL = 1 << 30
"""Bound of accumulators that may be doubled in int32."""

NARROW = 1 << 20
"""Bound of accumulators that eleven bits of a multiplier may multiply in int32."""


@dataclass(frozen=True)
class Requantizer:
    """Requantization of one layer's outputs.

    Parameters
    ----------
    multiplier, shift : int32, one per output channel
    bound : no accumulator is larger in magnitude
    zero_point, clamp_min, clamp_max : of the output
    rounding : "tflm" or "single"
    """

    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    bound: int
    zero_point: int
    clamp_min: int
    clamp_max: int
    rounding: str

    def declare(self, builder: KernelBuilder) -> Callable[[Any, Any], Any]:
        """Add the constants to ``builder``; the result makes (accumulator, channel) an output value in int32."""
        least, small = _small_form(self.rounding, self.bound, self.shift, self.multiplier)
        second = np.maximum(least - self.shift, 0) if small else self.shift
        pairs = np.stack([self.multiplier, second], axis=-1).astype(np.int32)
        uniform = len(pairs) > 1 and bool((pairs == pairs[0]).all())
        table = builder.constant("requantization", pairs[:1] if uniform else pairs)

        def finish(acc: Any, channel: Any) -> Any:
            index = 0 if uniform else channel * 2
            return self._output(small, acc, table[index], table[index + 1])

        return finish

    @property
    def narrow(self) -> int:
        """1 where accumulators and multipliers may be multiplied in pieces, else 0."""
        return int(self.bound < NARROW and bool((self.multiplier >= 0).all()))

    def scalar(self, acc: Any) -> Any:
        """The output value of ``acc`` where there is one multiplier: numbers in the code instead of a table."""
        least, small = _small_form(self.rounding, self.bound, self.shift, self.multiplier)
        shift = int(self.shift[0])
        return self._output(small, acc, int(self.multiplier[0]), max(least - shift, 0) if small else shift)

    def _output(self, small: bool, acc: Any, multiplier: Any, shift: Any) -> Any:
        if small and self.rounding == "tflm":
            clamp = (self.zero_point, self.clamp_min, self.clamp_max)
            return value("tinyml_requantize_tflm_clamped", acc, multiplier, shift, *clamp, self.narrow)
        if small:
            scaled = value(f"tinyml_requantize_{self.rounding}_small", acc, multiplier, shift, self.zero_point)
            return value("tinyml_clamp", scaled, self.clamp_min, self.clamp_max)
        # Clamping before the zero point is added cannot overflow.
        scaled = value(f"tinyml_requantize_{self.rounding}", acc, multiplier, shift)
        low, high = self.clamp_min - self.zero_point, self.clamp_max - self.zero_point
        return value("tinyml_clamp", scaled, low, high) + self.zero_point


def rescale(acc: Any, multiplier: int, shift: int, bound: int, rounding: str) -> tuple[Any, int]:
    """``acc`` requantized, and the bound of its magnitude; for sums between two requantizations."""
    shifts, multipliers = np.array([shift]), np.array([multiplier])
    least, small = _small_form(rounding, bound, shifts, multipliers)
    new_bound = (((bound << max(shift, 0)) * abs(multiplier)) >> (31 + max(-shift, 0))) + 1
    if small:
        helper = f"tinyml_requantize_{rounding}_small"
        return value(helper, acc, multiplier, max(least - shift, 0), 0), new_bound
    return value(f"tinyml_requantize_{rounding}", acc, multiplier, shift), new_bound


def _small_form(rounding: str, bound: int, shift: NDArray[Any], multiplier: NDArray[Any]) -> tuple[int, bool]:
    """The largest shift of the ``_small`` helper, and whether all channels may use it.

    A multiplier of 0 gives 0 at any shift.
    """
    least = -1 if rounding == "tflm" else -2
    fits = (shift <= least) | (multiplier == 0)
    return least, bool(fits.all()) and bound < SMALL
