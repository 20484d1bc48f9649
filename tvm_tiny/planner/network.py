"""A network described by its layers' shapes, for those who have no model file yet: searches over architectures, tests.

Sizes are int8: a pixel has as many bytes as channels.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window

Padding: TypeAlias = Literal["same", "valid"]
Pair: TypeAlias = int | tuple[int, int]  # rows and columns, or both alike


class NetworkBuilder:
    """Adds layers one by one; every method returns the index of the tensor it made.

    Parameters
    ----------
    scratch : working memory of a convolution in bytes per byte of one input window of four pixels, which is what the
        kernels for Cortex-M4, M7 and M33 take; 0 for none
    """

    def __init__(self, scratch: int = 2) -> None:
        self._scratch = scratch
        self._tensors: list[Tensor] = []
        self._ops: list[Op] = []

    def input(self, rows: int, columns: int, channels: int, *, caller: bool = False) -> int:
        """The image.

        Parameters
        ----------
        caller : it lies in a buffer of the caller and is never overwritten
        """
        home = Home.CALLER if caller else Home.INPUT
        self._tensors.append(Tensor(f"input{len(self._tensors)}", rows, columns, channels, home=home))
        return len(self._tensors) - 1

    def conv(self, x: int, channels: int, kernel: Pair = 1, stride: Pair = 1, padding: Padding = "same") -> int:
        """A convolution over all channels."""
        return self._window("conv", x, channels, kernel, stride, padding, self._tensors[x].pixel_bytes)

    def depthwise(self, x: int, kernel: Pair = 3, stride: Pair = 1, padding: Padding = "same") -> int:
        """A convolution of each channel on its own."""
        return self._window("depthwise", x, self._tensors[x].pixel_bytes, kernel, stride, padding, 1)

    def pool(self, x: int, kernel: Pair, stride: Pair | None = None, padding: Padding = "valid") -> int:
        """Average or maximum of a window; it steps by its own size by default."""
        return self._window(
            "pool", x, self._tensors[x].pixel_bytes, kernel, kernel if stride is None else stride, padding, 0
        )

    def add(self, a: int, b: int) -> int:
        """The sum of two tensors, which may take the place of either.

        Raises
        ------
        ValueError : their shapes differ
        """
        x, y = self._tensors[a], self._tensors[b]
        if (x.rows, x.columns, x.pixel_bytes) != (y.rows, y.columns, y.pixel_bytes):
            raise ValueError(f"{x.name} and {y.name} have different shapes")
        out = self._tensor("add", x.rows, x.columns, x.pixel_bytes)
        windows = (Window(), Window())
        in_place = (0, 1) if a != b else ()
        self._ops.append(Op(self._tensors[out].name, Kind.ROWS, (a, b), (out,), windows, windows, in_place=in_place))
        return out

    def mean(self, x: int) -> int:
        """The average of each channel over the whole image."""
        t = self._tensors[x]
        out = self._tensor("mean", 1, 1, t.pixel_bytes)
        sums = 4 * t.pixel_bytes
        once = (Window(),)
        self._ops.append(Op(self._tensors[out].name, Kind.REDUCE, (x,), (out,), once, once, accumulator_bytes=sums))
        return out

    def dense(self, x: int, outputs: int) -> int:
        """A fully connected layer on everything that ``x`` holds."""
        size = self._tensors[x].size_bytes
        out = self._tensor("dense", 1, 1, outputs)
        self._ops.append(Op(self._tensors[out].name, Kind.WHOLE, (x,), (out,), macs=size * outputs))
        return out

    def graph(self, *outputs: int) -> Graph:
        """What has been added; without ``outputs`` the last tensor is the output."""
        return Graph(tuple(self._tensors), tuple(self._ops), outputs or (len(self._tensors) - 1,))

    def _window(
        self, kind: str, x: int, channels: int, kernel: Pair, stride: Pair, padding: Padding, depth: int
    ) -> int:
        t = self._tensors[x]
        kernels, strides = _pair(kernel), _pair(stride)
        sizes, windows = [], []
        for n, k, s in zip((t.rows, t.columns), kernels, strides, strict=True):
            size, window = _fit(n, k, s, padding, kind)
            sizes.append(size)
            windows.append(window)
        out = self._tensor(kind, sizes[0], sizes[1], channels)
        macs = self._tensors[out].size_bytes * kernels[0] * kernels[1] * depth
        pixels = 3 * strides[1] + kernels[1]
        scratch = self._scratch * kernels[0] * pixels * t.pixel_bytes if depth else 0
        rows, columns = ((w,) for w in windows)
        self._ops.append(Op(self._tensors[out].name, Kind.ROWS, (x,), (out,), rows, columns, scratch, macs=macs))
        return out

    def _tensor(self, kind: str, rows: int, columns: int, channels: int) -> int:
        self._tensors.append(Tensor(f"{kind}{len(self._ops)}", rows, columns, channels))
        return len(self._tensors) - 1


def _fit(size: int, kernel: int, stride: int, padding: Padding, kind: str) -> tuple[int, Window]:
    """Positions of a window and the window, padded as TensorFlow pads.

    Raises
    ------
    ValueError : the window does not fit
    """
    if padding == "valid":
        if kernel > size:
            raise ValueError(f"{kind}: a window of {kernel} does not fit into {size}")
        return (size - kernel) // stride + 1, Window(kernel, stride)
    positions = -(-size // stride)
    return positions, Window(kernel, stride, max(0, (positions - 1) * stride + kernel - size) // 2)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
