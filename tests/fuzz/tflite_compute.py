"""Random TFLite layers that compute: weighted ones, windows, elementwise ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fuzz import quantities
from tests.fuzz.tflite_network import TfliteNetwork
from tests.tflite_graph import TensorRef

Made = TensorRef | None
ACTIVATIONS = ("none", "relu", "relu6", "none", "relu", "relu_n1_to_1")
KERNELS = ((3, 3), (1, 1), (1, 1), (3, 3), (2, 2), (5, 5), (1, 3), (3, 1), (2, 3), (7, 7), (4, 1), (10, 4))


def window(n: TfliteNetwork, x: TensorRef, dilated: bool) -> tuple[tuple[int, int], dict[str, Any], tuple[int, ...]]:
    """A kernel, stride, dilation and padding, and the size that comes out."""
    draws = n.draws
    kernel = draws.pick(*KERNELS, (draws.size(1, 6), draws.size(1, 6)))
    options: dict[str, Any] = {"stride": draws.pick((1, 1), (2, 2), (1, 1), (1, 2), (2, 1), (3, 3), (1, 1))}
    gaps = draws.pick((2, 2), (1, 2), (3, 1)) if dilated and draws.one_in(8) else (1, 1)
    if gaps != (1, 1):
        options |= {"dilation": gaps, "stride": (1, 1)}
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, gaps, strict=True)]
    short = any(d < k for d, k in zip(x.shape[1:3], reach, strict=True))
    options["padding"] = "SAME" if short else draws.pick("SAME", "VALID", "SAME")
    size = [
        -(-d // s) if options["padding"] == "SAME" else (d - k) // s + 1
        for d, k, s in zip(x.shape[1:3], reach, options["stride"], strict=True)
    ]
    return kernel, options, tuple(size)


def weighted(
    n: TfliteNetwork, x: TensorRef, method: str, shape: tuple[int, ...], axis: int, **options: Any
) -> TensorRef:
    """A layer with weights; now and then with those of an earlier layer."""
    draws, writer = n.draws, n.writer
    alike = [
        t for t in writer.tensors if t.data is not None and t.dtype == "int8" and t.shape == shape and t.axis == axis
    ]
    alike = [t for t in alike if not any(t.zero_points) and len(t.scales) in (1, shape[axis])]
    if alike and draws.one_in(3):
        weight = alike[-1]
    else:
        values, scales = quantities.weights_of(draws, shape, axis), quantities.weight_scales_of(draws, shape[axis])
        weight = writer.const(n.name("weight"), values, scales, axis=axis)
    assert weight.data is not None
    outputs = shape[axis]
    scales = np.asarray(weight.scales, np.float32)
    bias, values = None, quantities.bias_of(draws, outputs, weight.data.size // outputs)
    if values is not None:
        bias = writer.const(n.name("bias"), values, np.float32(x.scale) * scales)
    out_scale = quantities.weighted_scale(draws, x.scale, weight.data, scales, axis)
    options |= {
        "out_scale": out_scale,
        "out_zp": quantities.zero_point_of(draws),
        "activation": draws.pick(*ACTIVATIONS),
    }
    made: TensorRef = getattr(writer, method)(x, weight, bias, name=n.name(method), **options)
    return made


def conv(n: TfliteNetwork, x: TensorRef) -> Made:
    x, draws = n.image(x), n.draws
    kernel, options, size = window(n, x, dilated=True)
    channels, outputs = x.shape[3], draws.pick(4, 8, 1, 3, 16, draws.size(1, 20))
    groups = draws.pick(*(g for g in (1, 2, 3, 4) if channels % g == 0)) if draws.one_in(10) else 1
    outputs = -(-outputs // groups) * groups
    shape = (outputs, *kernel, channels // groups)
    if not n.fits((x.shape[0], *size, outputs)) or np.prod(shape) > 20 * n.limit:
        return None
    return weighted(n, x, "conv2d", shape, 0, **options)


def depthwise(n: TfliteNetwork, x: TensorRef) -> Made:
    x = n.image(x)
    kernel, options, size = window(n, x, dilated=True)
    channels = x.shape[3] * (n.draws.size(2, 3) if n.draws.one_in(8) else 1)
    if not n.fits((x.shape[0], *size, channels)) or channels > 400:
        return None
    return weighted(n, x, "depthwise_conv2d", (1, *kernel, channels), 3, **options)


def dense(n: TfliteNetwork, x: TensorRef) -> Made:
    depth = int(np.prod(x.shape[1:])) if x.shape[0] > 1 or n.draws.one_in(2) else x.shape[-1]
    keep = depth == x.shape[-1] and len(x.shape) > 1 and n.draws.one_in(4)
    outputs = n.draws.pick(4, 10, 1, 3, n.draws.size(1, 33))
    if not n.fits((outputs, int(np.prod(x.shape)) // depth)) or outputs * depth > 20 * n.limit:
        return None
    return weighted(n, x, "fully_connected", (outputs, depth), 0, keep_num_dims=keep)


def inverted_residual(n: TfliteNetwork, x: TensorRef) -> Made:
    """Expansion, depthwise convolution, projection, and the sum with the input where that fits."""
    x, draws = n.image(x), n.draws
    expanded = x.shape[3] * draws.pick(2, 3, 4)
    if not n.fits((*x.shape[:3], expanded)) or expanded > 200:
        return None
    stride = draws.pick(1, 1, 2)
    y = weighted(n, x, "conv2d", (expanded, 1, 1, x.shape[3]), 0)
    kernel = draws.pick((3, 3), (3, 3), (5, 5), (1, 3), (7, 7))
    y = weighted(n, y, "depthwise_conv2d", (1, *kernel, expanded), 3, stride=(stride, stride))
    y = weighted(n, y, "conv2d", (x.shape[3], 1, 1, expanded), 0)
    return sum_of(n, x, y) if y.shape == x.shape else y


def sum_of(n: TfliteNetwork, a: TensorRef, b: TensorRef) -> TensorRef:
    scale, zero_point = quantities.near_scale(n.draws, max(a.scale, b.scale)), quantities.zero_point_of(n.draws)
    return n.writer.add(a, b, out_scale=scale, out_zp=zero_point, activation=n.draws.pick(*ACTIVATIONS))


def binary(n: TfliteNetwork, x: TensorRef, method: str) -> Made:
    """A second input of the same shape, one that broadcasts, or a constant."""
    draws = n.draws
    kind = draws.weighted([("same", 6), ("constant", 2), ("broadcast", 2), ("itself", 1)])
    other: TensorRef | None = x
    if kind == "same":
        other = n.other(lambda t: t.shape == x.shape and t is not x) or x
    elif kind == "broadcast":
        other = n.other(lambda t: t is not x and _broadcasts(n, x.shape, t.shape))
    elif kind == "constant":
        shape = tuple(d if draws.one_in(2) else 1 for d in x.shape)[draws.below(len(x.shape)) :]
        values = draws.generator().integers(-128, 128, shape).astype(np.int8)
        other = n.const(values, quantities.quant_of(draws))
    if other is None:
        return None
    first, second = (other, x) if draws.one_in(3) else (x, other)
    usual = x.scale * other.scale * 60 if method == "mul" else max(x.scale, other.scale)
    to = {"out_scale": quantities.near_scale(draws, max(usual, 1e-30)), "out_zp": quantities.zero_point_of(draws)}
    made: TensorRef = getattr(n.writer, method)(first, second, activation=draws.pick(*ACTIVATIONS), **to)
    return made


def _broadcasts(n: TfliteNetwork, a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        return n.fits(np.broadcast_shapes(a, b))
    except ValueError:
        return False


def pool(n: TfliteNetwork, x: TensorRef, method: str) -> Made:
    x = n.image(x)
    kernel, options, size = window(n, x, dilated=False)
    if n.draws.one_in(5):
        kernel, options, size = x.shape[1:3], {"padding": "VALID"}, (1, 1)
    if not n.fits((x.shape[0], *size, x.shape[3])):
        return None
    made: TensorRef = getattr(n.writer, method)(x, kernel, activation=n.draws.pick(*ACTIVATIONS), **options)
    return made


def mean(n: TfliteNetwork, x: TensorRef) -> Made:
    draws, rank = n.draws, len(x.shape)
    axes = (1, 2) if rank == 4 and not draws.one_in(3) else tuple(a for a in range(rank) if draws.one_in(2))
    keep = draws.one_in(2) or len(axes) == rank
    if not axes:
        return None
    to = (
        (x.scale, x.zero_point)
        if draws.one_in(4)
        else (quantities.near_scale(draws, x.scale), quantities.zero_point_of(draws))
    )
    return n.writer.mean(x, axes, keep, out_scale=to[0], out_zp=to[1])


def softmax(n: TfliteNetwork, x: TensorRef) -> Made:
    return n.writer.softmax(x, n.draws.pick(1.0, 1.0, 0.5, 3.0))


def unary(n: TfliteNetwork, x: TensorRef, code: str) -> Made:
    """A function with its own output quantization, or the input's."""
    draws = n.draws
    to: dict[str, Any] = {"out_scale": quantities.near_scale(draws, x.scale), "out_zp": quantities.zero_point_of(draws)}
    if code == "LEAKY_RELU":
        return n.writer.leaky_relu(x, draws.pick(0.1, 0.0, 0.3, 1.0, 1.7, -0.25), **to)
    if code == "HARD_SWISH":
        return n.writer.hard_swish(x, **to)
    return n.writer.unary(code, x, **({} if draws.one_in(2) else to))
