"""A small TFLite writer: one method per operator that the project supports, with its output shape.

>>> w = TfliteWriter()
>>> x = w.input("x", [1, 8, 8, 3], scale=0.5, zero_point=-3)
>>> weight = w.const("w", np.ones((4, 3, 3, 3), np.int8), scale=[0.1, 0.2, 0.3, 0.4])
>>> y = w.conv2d(x, weight, out_scale=0.25, out_zp=4, stride=(2, 2), padding="SAME", activation="relu6")
>>> w.output(y)
>>> model = w.finish()

Tensors without scales are float32 (or whatever their dtype says): the same methods write float models. Methods take the
output's scale and zero point where the operator requantizes, and keep the input's where it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite

from tests.tflite_graph import TensorRef, TfliteGraph

ACTIVATIONS: dict[str, int] = {
    "none": tflite.ActivationFunctionType.NONE,
    "relu": tflite.ActivationFunctionType.RELU,
    "relu6": tflite.ActivationFunctionType.RELU6,
    "relu_n1_to_1": tflite.ActivationFunctionType.RELU_N1_TO_1,
}
PADDINGS: dict[str, int] = {"SAME": tflite.Padding.SAME, "VALID": tflite.Padding.VALID}

Pair = tuple[int, int]


class TfliteWriter(TfliteGraph):
    """``TfliteGraph`` with a method per operator; each appends the operator and returns its output."""

    def conv2d(
        self,
        x: TensorRef,
        weight: TensorRef,
        bias: TensorRef | None = None,
        *,
        out_scale: float | None = None,
        out_zp: int = 0,
        stride: Pair = (1, 1),
        padding: str = "SAME",
        dilation: Pair = (1, 1),
        activation: str = "none",
        name: str | None = None,
    ) -> TensorRef:
        """CONV_2D; weight OHWI [O, KH, KW, C / groups], bias [O]."""
        spatial = _window(x.shape[1:3], weight.shape[1:3], stride, dilation, padding)
        y = self._out(name, (x.shape[0], *spatial, weight.shape[0]), x.dtype, out_scale, out_zp)
        options = _window_options(stride, padding, activation, dilation)
        self.operator("CONV_2D", [x, weight, bias], [y], "Conv2DOptions", **options)
        return y

    def depthwise_conv2d(
        self,
        x: TensorRef,
        weight: TensorRef,
        bias: TensorRef | None = None,
        *,
        out_scale: float | None = None,
        out_zp: int = 0,
        stride: Pair = (1, 1),
        padding: str = "SAME",
        dilation: Pair = (1, 1),
        activation: str = "none",
        name: str | None = None,
    ) -> TensorRef:
        """DEPTHWISE_CONV_2D; weight [1, KH, KW, C * multiplier], bias [C * multiplier]."""
        spatial = _window(x.shape[1:3], weight.shape[1:3], stride, dilation, padding)
        y = self._out(name, (x.shape[0], *spatial, weight.shape[3]), x.dtype, out_scale, out_zp)
        options = _window_options(stride, padding, activation, dilation)
        options["DepthMultiplier"] = weight.shape[3] // x.shape[3]
        self.operator("DEPTHWISE_CONV_2D", [x, weight, bias], [y], "DepthwiseConv2DOptions", **options)
        return y

    def fully_connected(
        self,
        x: TensorRef,
        weight: TensorRef,
        bias: TensorRef | None = None,
        *,
        out_scale: float | None = None,
        out_zp: int = 0,
        activation: str = "none",
        keep_num_dims: bool = False,
        name: str | None = None,
    ) -> TensorRef:
        """FULLY_CONNECTED; weight [O, K]; an input of any rank is flattened to [M, K] unless ``keep_num_dims``."""
        rows = (*x.shape[:-1],) if keep_num_dims else (int(np.prod(x.shape)) // weight.shape[1],)
        y = self._out(name, (*rows, weight.shape[0]), x.dtype, out_scale, out_zp)
        options = {"FusedActivationFunction": ACTIVATIONS[activation], "KeepNumDims": keep_num_dims}
        self.operator("FULLY_CONNECTED", [x, weight, bias], [y], "FullyConnectedOptions", **options)
        return y

    def add(self, a: TensorRef, b: TensorRef, **kwargs: Any) -> TensorRef:
        """ADD; keyword arguments as in ``binary``."""
        return self.binary("ADD", "AddOptions", a, b, **kwargs)

    def sub(self, a: TensorRef, b: TensorRef, **kwargs: Any) -> TensorRef:
        """SUB; keyword arguments as in ``binary``."""
        return self.binary("SUB", "SubOptions", a, b, **kwargs)

    def mul(self, a: TensorRef, b: TensorRef, **kwargs: Any) -> TensorRef:
        """MUL; keyword arguments as in ``binary``."""
        return self.binary("MUL", "MulOptions", a, b, **kwargs)

    def binary(
        self,
        code: str,
        options_type: str,
        a: TensorRef,
        b: TensorRef,
        *,
        out_scale: float | None = None,
        out_zp: int = 0,
        activation: str = "none",
        name: str | None = None,
    ) -> TensorRef:
        """An elementwise operator of two inputs that broadcast."""
        y = self._out(name, np.broadcast_shapes(a.shape, b.shape), a.dtype, out_scale, out_zp)
        self.operator(code, [a, b], [y], options_type, FusedActivationFunction=ACTIVATIONS[activation])
        return y

    def avg_pool2d(self, x: TensorRef, size: Pair, **kwargs: Any) -> TensorRef:
        """AVERAGE_POOL_2D; keyword arguments as in ``pool``."""
        return self.pool("AVERAGE_POOL_2D", x, size, **kwargs)

    def max_pool2d(self, x: TensorRef, size: Pair, **kwargs: Any) -> TensorRef:
        """MAX_POOL_2D; keyword arguments as in ``pool``."""
        return self.pool("MAX_POOL_2D", x, size, **kwargs)

    def pool(
        self,
        code: str,
        x: TensorRef,
        size: Pair,
        *,
        stride: Pair | None = None,
        padding: str = "VALID",
        activation: str = "none",
        name: str | None = None,
    ) -> TensorRef:
        """A pooling operator; ``stride`` is ``size`` unless given."""
        stride = stride or size
        spatial = _window(x.shape[1:3], size, stride, (1, 1), padding)
        y = self._like(name, x, (x.shape[0], *spatial, x.shape[3]))
        options = {**_window_options(stride, padding, activation), "FilterHeight": size[0], "FilterWidth": size[1]}
        self.operator(code, [x], [y], "Pool2DOptions", **options)
        return y

    def mean(
        self,
        x: TensorRef,
        axes: Sequence[int],
        keep_dims: bool = False,
        *,
        out_scale: float | None = None,
        out_zp: int = 0,
        name: str | None = None,
    ) -> TensorRef:
        """MEAN."""
        reduced = {a % len(x.shape) for a in axes}
        shape = [1 if i in reduced else d for i, d in enumerate(x.shape) if keep_dims or i not in reduced]
        y = self._out(name, shape, x.dtype, out_scale, out_zp)
        self.operator("MEAN", [x, self._ints("axes", axes)], [y], "ReducerOptions", KeepDims=keep_dims)
        return y

    def pad(
        self, x: TensorRef, paddings: Sequence[Pair], value: float | None = None, name: str | None = None
    ) -> TensorRef:
        """PAD with the zero point, or PADV2 with ``value``, given as the tensor holds it (an integer if quantized)."""
        y = self._like(name, x, [d + a + b for d, (a, b) in zip(x.shape, paddings, strict=True)])
        table = self.const(self._name("paddings"), np.array(paddings, dtype=np.int32))
        if value is None:
            self.operator("PAD", [x, table], [y], "PadOptions")
            return y
        fill = np.array([value], dtype=x.dtype)
        scale, zero_point = (x.scale, x.zero_point) if x.scales else (None, 0)
        constant = self.const(self._name("pad_value"), fill, scale, zero_point)
        self.operator("PADV2", [x, table, constant], [y], "PadV2Options")
        return y

    def reshape(self, x: TensorRef, shape: Sequence[int], name: str | None = None) -> TensorRef:
        """RESHAPE; one entry of ``shape`` may be -1."""
        known = -int(np.prod(shape))
        resolved = [int(np.prod(x.shape)) // known if d == -1 else d for d in shape]
        y = self._like(name, x, resolved)
        self.operator("RESHAPE", [x, self._ints("shape", shape)], [y], "ReshapeOptions", NewShape=list(shape))
        return y

    def transpose(self, x: TensorRef, perm: Sequence[int], name: str | None = None) -> TensorRef:
        """TRANSPOSE."""
        y = self._like(name, x, [x.shape[p] for p in perm])
        self.operator("TRANSPOSE", [x, self._ints("perm", perm)], [y], "TransposeOptions")
        return y

    def concatenation(self, tensors: Sequence[TensorRef], axis: int, name: str | None = None) -> TensorRef:
        """CONCATENATION; output quantized like the first input."""
        shape = list(tensors[0].shape)
        shape[axis] = sum(t.shape[axis] for t in tensors)
        y = self._like(name, tensors[0], shape)
        self.operator("CONCATENATION", tensors, [y], "ConcatenationOptions", Axis=axis)
        return y

    def split(self, x: TensorRef, axis: int, parts: int) -> list[TensorRef]:
        """SPLIT into equal parts."""
        shape = list(x.shape)
        shape[axis] //= parts
        outputs = [self._like(None, x, shape) for _ in range(parts)]
        index = self.const(self._name("axis"), np.array(axis, dtype=np.int32))
        self.operator("SPLIT", [index, x], outputs, "SplitOptions", NumSplits=parts)
        return outputs

    def strided_slice(
        self,
        x: TensorRef,
        begin: Sequence[int],
        end: Sequence[int],
        strides: Sequence[int],
        *,
        begin_mask: int = 0,
        end_mask: int = 0,
        shrink_axis_mask: int = 0,
        name: str | None = None,
    ) -> TensorRef:
        """STRIDED_SLICE; a set bit i of a mask frees that bound of axis i, or drops the axis."""
        index: list[slice | int] = []
        for i, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
            start, stop = (None if begin_mask >> i & 1 else first), (None if end_mask >> i & 1 else last)
            index.append(first if shrink_axis_mask >> i & 1 else slice(start, stop, step))
        y = self._like(name, x, np.empty(x.shape, dtype=np.int8)[tuple(index)].shape)
        bounds = [self._ints(n, v) for n, v in (("begin", begin), ("end", end), ("strides", strides))]
        masks = {"BeginMask": begin_mask, "EndMask": end_mask, "ShrinkAxisMask": shrink_axis_mask}
        self.operator("STRIDED_SLICE", [x, *bounds], [y], "StridedSliceOptions", **masks)
        return y

    def softmax(self, x: TensorRef, beta: float = 1.0, name: str | None = None) -> TensorRef:
        """SOFTMAX; an int8 output has scale 1/256 and zero point -128."""
        y = self._out(name, x.shape, x.dtype, 1 / 256 if x.scales else None, -128)
        self.operator("SOFTMAX", [x], [y], "SoftmaxOptions", Beta=beta)
        return y

    def logistic(self, x: TensorRef, name: str | None = None) -> TensorRef:
        """LOGISTIC; an int8 output has scale 1/256 and zero point -128."""
        return self.unary("LOGISTIC", x, out_scale=1 / 256, out_zp=-128, name=name)

    def tanh(self, x: TensorRef, name: str | None = None) -> TensorRef:
        """TANH; an int8 output has scale 1/128 and zero point 0."""
        return self.unary("TANH", x, out_scale=1 / 128, out_zp=0, name=name)

    def leaky_relu(self, x: TensorRef, alpha: float, **kwargs: Any) -> TensorRef:
        """LEAKY_RELU; keyword arguments as in ``unary``."""
        return self.unary("LEAKY_RELU", x, options_type="LeakyReluOptions", options={"Alpha": alpha}, **kwargs)

    def hard_swish(self, x: TensorRef, **kwargs: Any) -> TensorRef:
        """HARD_SWISH; keyword arguments as in ``unary``."""
        return self.unary("HARD_SWISH", x, options_type="HardSwishOptions", **kwargs)

    def unary(
        self,
        code: str,
        x: TensorRef,
        *,
        out_scale: float | None = None,
        out_zp: int = 0,
        options_type: str | None = None,
        options: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> TensorRef:
        """An elementwise operator of one input: "RELU", "RELU6", ...; ``out_scale=None`` keeps the input's."""
        if out_scale is None or not x.scales:
            y = self._like(name, x, x.shape)
        else:
            y = self._out(name, x.shape, x.dtype, out_scale, out_zp)
        self.operator(code, [x], [y], options_type, **(options or {}))
        return y

    def resize(
        self,
        x: TensorRef,
        size: Pair,
        method: str,
        *,
        align_corners: bool = False,
        half_pixel_centers: bool = False,
        name: str | None = None,
    ) -> TensorRef:
        """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR; ``method`` is "nearest" or "bilinear"."""
        y = self._like(name, x, (x.shape[0], *size, x.shape[3]))
        code, options_type = {
            "nearest": ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
            "bilinear": ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
        }[method]
        options = {"AlignCorners": align_corners, "HalfPixelCenters": half_pixel_centers}
        self.operator(code, [x, self._ints("size", size)], [y], options_type, **options)
        return y

    def quantize(
        self, x: TensorRef, out_scale: float, out_zp: int, dtype: str = "int8", name: str | None = None
    ) -> TensorRef:
        """QUANTIZE from float32 or from another quantization."""
        y = self._out(name, x.shape, dtype, out_scale, out_zp)
        self.operator("QUANTIZE", [x], [y], "QuantizeOptions")
        return y

    def dequantize(self, x: TensorRef, name: str | None = None) -> TensorRef:
        """DEQUANTIZE to float32."""
        y = self._out(name, x.shape, "float32", None, 0)
        self.operator("DEQUANTIZE", [x], [y], "DequantizeOptions")
        return y

    def _out(self, name: str | None, shape: Sequence[int], dtype: str, scale: float | None, zp: int) -> TensorRef:
        return self.tensor(name or self._name("t"), shape, dtype, scale, zp)

    def _like(self, name: str | None, x: TensorRef, shape: Sequence[int]) -> TensorRef:
        return self._out(name, shape, x.dtype, x.scale if x.scales else None, x.zero_point if x.scales else 0)

    def _ints(self, name: str, values: Sequence[int]) -> TensorRef:
        return self.const(self._name(name), np.array(values, dtype=np.int32))

    def _name(self, base: str) -> str:
        return f"{base}_{len(self.tensors)}"


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """What SAME pads before and after an axis: the odd one goes after."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _window(size: Sequence[int], kernel: Sequence[int], stride: Pair, dilation: Pair, padding: str) -> Pair:
    """Output height and width of a sliding window."""
    if padding == "SAME":
        return -(-size[0] // stride[0]), -(-size[1] // stride[1])
    height, width = ((size[i] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in (0, 1))
    return height, width


def _window_options(stride: Pair, padding: str, activation: str, dilation: Pair | None = None) -> dict[str, Any]:
    options = {
        "Padding": PADDINGS[padding],
        "StrideH": stride[0],
        "StrideW": stride[1],
        "FusedActivationFunction": ACTIVATIONS[activation],
    }
    if dilation is not None:
        options |= {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}
    return options
