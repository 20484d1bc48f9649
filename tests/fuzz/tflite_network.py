"""A random quantized TFLite network: tensors that layers may read, and the layers' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.fuzz.draws import Draws
from tests.fuzz.quantities import Quant, quant_of
from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter

Layer = Callable[["TfliteNetwork", TensorRef], "TensorRef | Sequence[TensorRef] | None"]
"""Writes operators that read a tensor; what may be read next, or None where nothing fits."""

SHAPES = ((8, 8), (7, 5), (1, 13), (13, 1), (1, 1), (12, 9), (17, 6), (3, 16))
LARGER = ((16, 16), (24, 11), (20, 20), (40, 5), (9, 30), (64, 1), (1, 64), (13, 27))


class TfliteNetwork:
    """One network in the making.

    anything : (layer, how often) to choose from
    images : the same for every second network, of larger images, so that there is something to plan
    """

    def __init__(
        self, draws: Draws, anything: Sequence[tuple[Layer, int]], images: Sequence[tuple[Layer, int]]
    ) -> None:
        self.draws = draws
        self.writer = TfliteWriter()
        self.readable: list[TensorRef] = []
        draws.next_span()
        self.large = draws.one_in(2)
        self.limit = draws.weighted([(6000, 6), (20000, 1)] if self.large else [(1500, 6), (400, 3), (6000, 2)])
        edge = draws.weighted([("int8", 8), ("float32", 2), ("uint8", 1)])
        inputs = draws.weighted([(1, 8), (2, 1 if self.large else 2), (3, 0 if self.large else 1)])
        self._ending = draws.weighted([("int8", 8), ("float32", 2), ("uint8", 1)])
        self._outputs = draws.weighted([(1, 8), (3, 2)])
        shape = self._shape()
        for i in range(inputs):
            x = self._input(f"x{i}", shape if draws.one_in(2) else self._shape(), edge)
            self.readable.append(x)
        for _ in draws.layers(9 if self.large else 7):
            self._add(draws.weighted(images if self.large else anything))
        self._end()

    def model(self) -> bytes:
        """The network as a .tflite file."""
        return self.writer.finish()

    def inputs(self) -> list[tuple[str, tuple[int, ...], str, int]]:
        """Name, shape, type and zero point of every input."""
        return [(x.name, x.shape, x.dtype, x.zero_point if x.scales else 0) for x in self.writer.inputs]

    def other(self, fits: Callable[[TensorRef], bool]) -> TensorRef | None:
        """A tensor for which ``fits`` holds, late ones rather than early ones."""
        found = [t for t in reversed(self.readable) if fits(t)]
        return self.draws.pick(*found) if found else None

    def image(self, x: TensorRef) -> TensorRef:
        """``x``, or what it holds in the shape of an image."""
        if len(x.shape) == 4:
            return x
        size = int(np.prod(x.shape))
        channels = self.draws.pick(*divisors(size))
        height = self.draws.pick(*divisors(size // channels))
        return self.writer.reshape(x, (1, height, size // channels // height, channels))

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor is neither empty nor too large to be tried thousands of times."""
        size = int(np.prod(shape))
        return 0 < size <= self.limit

    def name(self, base: str) -> str:
        return f"{base}_{len(self.writer.tensors)}"

    def const(self, data: np.ndarray, quant: Quant) -> TensorRef:
        return self.writer.const(self.name("constant"), data, *quant)

    def _add(self, layer: Layer) -> None:
        draws = self.draws
        x = draws.pick(*reversed(self.readable)) if draws.one_in(4) else self.readable[-1]
        made = layer(self, x)
        self.readable += [] if made is None else [made] if isinstance(made, TensorRef) else made

    def _shape(self) -> tuple[int, ...]:
        draws = self.draws
        others = [("channels first", 2), ("vector", 2), ("batch", 1), ("any", 1)][: 1 if self.large else 4]
        kind = draws.weighted([("image", 12), *others])
        height, width = draws.pick(*(LARGER if self.large else SHAPES), (draws.size(1, 24), draws.size(1, 24)))
        channels = draws.pick(3, 1, 4, 8, draws.size(1, 20))
        if kind == "vector":
            return draws.pick(1, 1, 3), draws.size(1, 200)
        if kind == "any":
            return tuple(draws.size(1, 5) for _ in range(draws.size(1, 5)))
        height = min(height, max(1, self.limit // (width * channels)))
        if kind == "channels first":
            return 1, channels, height, width
        return 2 if kind == "batch" else 1, height, width, channels

    def _input(self, name: str, shape: tuple[int, ...], dtype: str) -> TensorRef:
        scale, zero_point = quant_of(self.draws)
        if dtype == "int8":
            return self.writer.input(name, shape, scale, zero_point)
        if dtype == "uint8":
            x = self.writer.input(name, shape, scale, zero_point + 128, dtype)
            return self.writer.quantize(x, scale, zero_point)
        return self.writer.quantize(self.writer.input(name, shape, dtype=dtype), scale, zero_point)

    def _end(self) -> None:
        """Declare outputs: the last tensor, and of two others those that nobody reads."""
        writer = self.writer
        made = {i for op in writer.operators for i in op.outputs}
        if self.readable[-1].index not in made:
            self.readable.append(writer.unary("RELU", self.readable[-1]))
            made.add(self.readable[-1].index)
        read = {i for op in writer.operators for i in op.inputs}
        candidates = [t for t in reversed(self.readable) if t.index in made]
        outputs = candidates[:1] + [t for t in candidates[1:] if t.index not in read][: self._outputs - 1]
        for t in outputs:
            if self._ending == "float32":
                t = writer.dequantize(t)
            elif self._ending == "uint8":
                t = writer.quantize(t, t.scale, t.zero_point + 128, "uint8")
            writer.output(t)


def divisors(number: int) -> list[int]:
    """Ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]
