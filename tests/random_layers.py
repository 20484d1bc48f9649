"""Networks of random layers side by side, each with its own inputs and output."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter
from tvm_tiny.measure import Report

DEPTHWISE_KERNELS = ((3, 3), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (4, 2), (2, 5), (9, 9))


class RandomLayers:
    """Layers of some kinds in turn.

    Parameters
    ----------
    kinds : keys of ``KINDS``, or "depthwise3x3"
    count : how many layers
    """

    def __init__(self, seed: int, kinds: tuple[str, ...], count: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._writer = TfliteWriter()
        makers: dict[str, Callable[[int], None]] = {
            "conv": self._conv,
            "depthwise": lambda i: self._depthwise(i, *DEPTHWISE_KERNELS),
            "depthwise3x3": lambda i: self._depthwise(i, (3, 3)),
            "dense": self._dense,
            "add": self._add,
            "mul": self._mul,
            "pool": self._pool,
            "mean": self._mean,
            "resize": self._resize,
            "softmax": self._softmax,
        }
        for i in range(count):
            makers[kinds[i % len(kinds)]](i)
        self.model = self._writer.finish()

    def inputs(self) -> dict[str, np.ndarray]:
        """Two sets: any values, and extremes."""
        rng = self._rng
        sets = {}
        for x in self._writer.inputs:
            random, extreme = rng.integers(-128, 128, x.shape), rng.choice([-128, 127], x.shape)
            sets[x.name] = np.stack([random, extreme]).astype(np.int8)
        return sets

    def _pick(self, *values: Any) -> Any:
        return values[self._rng.integers(len(values))]

    def _size(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))

    def _input(self, name: str, *shape: int) -> TensorRef:
        return self._writer.input(name, shape, 0.05, self._size(-128, 127))

    def _padded(self, x: TensorRef, kernel: tuple[int, int]) -> tuple[TensorRef, str]:
        """Padding SAME, VALID, or any, which a PAD in front stands for; windows always fit."""
        short = any(d < k for d, k in zip(x.shape[1:3], kernel, strict=True))
        how = self._pick("SAME", "VALID", "PAD")
        if how != "PAD":
            return x, "SAME" if short else how
        sides = [(k - 1 if short else self._size(0, k - 1), self._size(0, k - 1)) for k in kernel]
        return self._writer.pad(x, [(0, 0), *sides, (0, 0)]), "VALID"

    def _strides(self, *strides: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """A stride, or a dilation: there is no layer with both."""
        if self._size(0, 7) == 0:
            return {"dilation": self._pick((2, 2), (1, 2), (2, 1), (3, 3))}
        return {"stride": self._pick(*strides)}

    def _weighted(self, method: str, x: TensorRef, shape: tuple[int, ...], axis: int, **options: Any) -> None:
        rng, writer = self._rng, self._writer
        outputs, taps = shape[axis], int(np.prod(shape)) // shape[axis]
        scales = (0.01 * 2.0 ** rng.uniform(-3, 0, outputs)).astype(np.float32)
        weight = writer.const(f"{x.name}-w", rng.integers(-127, 128, shape).astype(np.int8), scales, axis=axis)
        limit = int(3000 * np.sqrt(taps))
        bias_values = rng.integers(-limit, limit + 1, outputs).astype(np.int32)
        bias = writer.const(f"{x.name}-b", bias_values, np.float32(x.scale) * scales)
        scale = float(x.scale * 0.01 * np.sqrt(taps) * rng.uniform(30, 200))
        zero_point = self._pick(-128, self._size(-128, 40))
        writer.output(getattr(writer, method)(x, weight, bias, out_scale=scale, out_zp=zero_point, **options))

    def _conv(self, i: int) -> None:
        kernel = self._pick((1, 1), (1, 1), (3, 3), (2, 3), (5, 1), (1, 4), (10, 4))
        channels, outputs = self._pick(1, 2, 3, 4, 7, 8, 16, 21, 24), self._pick(1, 2, 3, 5, 8, 13, 16)
        x = self._input(f"c{i}", 1, self._size(2, 12), self._size(2, 13), channels)
        strides = self._strides((1, 1), (1, 1), (2, 2), (1, 2), (3, 1))
        x, padding = self._padded(x, _reach(kernel, strides))
        options = {"padding": padding, "activation": self._pick("none", "relu", "relu6"), **strides}
        self._weighted("conv2d", x, (outputs, *kernel, channels), 0, **options)

    def _depthwise(self, i: int, *kernels: tuple[int, int]) -> None:
        kernel = self._pick(*kernels)
        channels = self._pick(3, 4, 5, 8, 11, 16, 32)
        x = self._input(f"d{i}", 1, self._size(1, 12), self._size(1, 14), channels)
        strides = self._strides((1, 1), (1, 1), (2, 2), (3, 3), (1, 2))
        x, padding = self._padded(x, _reach(kernel, strides))
        options = {"padding": padding, "activation": self._pick("relu", "relu", "relu6", "none"), **strides}
        self._weighted("depthwise_conv2d", x, (1, *kernel, channels), 3, **options)

    def _dense(self, i: int) -> None:
        length = self._pick(1, 2, 3, 5, 8, 17, 31, 64, 130, 640)
        x = self._input(f"f{i}", self._pick(1, 1, 3), length)
        outputs = self._pick(1, 2, 3, 4, 7, 10, 33)
        self._weighted("fully_connected", x, (outputs, length), 0, activation=self._pick("none", "relu"))

    def _pair(self, i: int) -> list[TensorRef]:
        shape = self._pick(
            (1, 5, 3, 7), (1, 4, 4, 8), (3, 5), (1, self._size(1, 9), self._size(1, 9), self._size(1, 9))
        )
        return [self._writer.input(f"{k}{i}", shape, self._pick(0.02, 0.05, 0.11), self._size(-128, 127)) for k in "ab"]

    def _add(self, i: int) -> None:
        operation = self._pick(self._writer.add, self._writer.add, self._writer.sub)
        options = {"out_scale": 0.08, "out_zp": self._size(-128, 127), "activation": self._pick("none", "relu")}
        self._writer.output(operation(*self._pair(i), **options))

    def _mul(self, i: int) -> None:
        a, b = self._pair(i)
        options = {"out_scale": 0.2, "out_zp": self._size(-128, 127), "activation": self._pick("none", "relu")}
        self._writer.output(self._writer.mul(a, b, **options))

    def _image(self, i: int, low: int = 1) -> TensorRef:
        return self._input(f"x{i}", 1, self._size(low, 11), self._size(low, 11), self._pick(1, 3, 4, 7, 8, 16, 21))

    def _pool(self, i: int) -> None:
        size = self._pick((2, 2), (3, 3), (1, 4), (5, 2), (3, 1))
        x = self._image(i)
        short = any(d < k for d, k in zip(x.shape[1:3], size, strict=True))
        method = self._pick(self._writer.avg_pool2d, self._writer.max_pool2d)
        options = {"stride": self._pick((1, 1), (2, 2), (1, 2)), "activation": self._pick("none", "relu")}
        self._writer.output(method(x, size, padding="SAME" if short else self._pick("SAME", "VALID"), **options))

    def _mean(self, i: int) -> None:
        x = self._image(i)
        axes = self._pick((1, 2), (1, 2), (3,), (2,), (1,))
        scale = self._pick(x.scale, 0.03)
        self._writer.output(self._writer.mean(x, axes, True, out_scale=scale, out_zp=self._size(-128, 127)))

    def _resize(self, i: int) -> None:
        size = (self._size(1, 14), self._size(1, 14))
        self._writer.output(self._writer.resize(self._image(i), size, self._pick("nearest", "bilinear")))

    def _softmax(self, i: int) -> None:
        self._writer.output(self._writer.softmax(self._input(f"s{i}", self._size(1, 4), self._size(2, 40))))


KINDS = ("conv", "depthwise", "dense", "add", "mul", "pool", "mean", "resize", "softmax")


def slower(chosen: Report, general: Report, of: Collection[str] | None = None) -> list[str]:
    """Layers of ``chosen`` that take more instructions than in ``general``, but for what gcc makes of the main loop.

    of : names of the layers that count; None for all
    """
    found = []
    counts = {layer.name: layer.instructions for layer in general.layers}
    for layer in chosen.layers:
        ours, theirs = layer.instructions, counts[layer.name]
        assert ours is not None
        assert theirs is not None
        if (of is None or layer.name in of) and ours > theirs * 1.02 + 20:
            shape = "x".join(map(str, layer.output_shape))
            found.append(f"{layer.name} {layer.op} {shape}: {ours:.0f}, general {theirs:.0f}")
    return found


def _reach(kernel: tuple[int, int], strides: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Positions that a window spans along both axes."""
    gaps = strides.get("dilation", (1, 1))
    return (kernel[0] - 1) * gaps[0] + 1, (kernel[1] - 1) * gaps[1] + 1
