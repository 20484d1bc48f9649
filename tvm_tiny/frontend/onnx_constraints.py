"""The ONNX operators that can be compiled, and what they must be like.

Operators are judged after quantized spellings have become QDQ (``onnx_rewrites``): an int8 activation is one that comes
from DequantizeLinear or goes into QuantizeLinear.
"""

from __future__ import annotations

import numpy as np

from .constraints import MAX_PARTS, MAX_SIDE, MAX_WINDOW, ConstraintSet, Signature, long_side, shape_text
from .geometry import onnx_nearest_indices, tflite_nearest_indices
from .graph import Operator, Tensor

STATIC_HINT = (
    "quantize to int8 statically: onnxruntime.quantization.quantize_static(..., quant_format=QuantFormat.QDQ,"
    " activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)"
)
_DYNAMIC_OPERATORS = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "MatMulNBits")
WEIGHTED = ("Conv", "Gemm", "MatMul")
POOLS = ("AveragePool", "MaxPool")
BINARY = ("Add", "Sub", "Mul")
UNARY = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Identity")
AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")
NEAREST_MODES = ("asymmetric", "half_pixel", "align_corners")

ONNX = ConstraintSet(
    "ONNX",
    {
        "Conv": Signature((2, 3)),
        "Gemm": Signature((2, 3)),
        "MatMul": Signature((2, 2)),
        **dict.fromkeys(BINARY, Signature((2, 2), data=(0, 1))),
        **dict.fromkeys(UNARY, Signature((1, 1))),
        "Clip": Signature((1, 3)),
        "Softmax": Signature((1, 1)),
        **dict.fromkeys(POOLS, Signature((1, 1))),
        "GlobalAveragePool": Signature((1, 1)),
        "GlobalMaxPool": Signature((1, 1)),
        "ReduceMean": Signature((1, 2), parameters=(1,)),
        "Pad": Signature((2, 4), parameters=(1, 3)),
        "Reshape": Signature((2, 2)),
        "Flatten": Signature((1, 1)),
        "Squeeze": Signature((1, 2)),
        "Unsqueeze": Signature((1, 2)),
        "Transpose": Signature((1, 1)),
        "Concat": Signature((1, MAX_PARTS), data=None),
        "Slice": Signature((3, 5), parameters=(1, 2, 3, 4)),
        "Split": Signature((1, 2), outputs=(1, MAX_PARTS)),
        "Resize": Signature((1, 4)),
        "Dropout": Signature((1, 3)),
        "QuantizeLinear": Signature((1, 3)),
        "DequantizeLinear": Signature((1, 3)),
    },
    {
        **dict.fromkeys(_DYNAMIC_OPERATORS, STATIC_HINT),
        "BatchNormalization": "fold batch normalization into the convolution: export in inference mode"
        " (model.eval()), or onnxruntime.quantization.shape_inference.quant_pre_process",
    },
)
_rule = ONNX.rule


def data_of(op: Operator) -> list[Tensor]:
    """The activation inputs of a supported operator."""
    return ONNX.signatures[op.kind].data_of(op)


@_rule(hint=STATIC_HINT)
def data_types(op: Operator) -> str | None:
    """Activations are float32, int8 or uint8 (uint8 not as input or output of the model)."""
    for t in (*data_of(op), *op.outputs):
        constant_bias = t.dtype == "int32" and t.data is not None and op.kind == "DequantizeLinear"
        if t.dtype not in ("int8", "float32") and not constant_bias:
            return f"'{t.name}' is {t.dtype}"
    return None


@_rule()
def per_tensor_activations(op: Operator) -> str | None:
    """int8 activations have one constant scale, larger than 0, and one zero point."""
    for t in (*data_of(op), *op.outputs):
        q = t.quantization
        if t.data is None and q is not None and not (q.per_tensor and q.scale > 0 and np.isfinite(q.scale)):
            return f"'{t.name}' has {q.scales.size} scales, the first is {q.scale:g}"
    return None


@_rule(limit=MAX_SIDE)
def short_sides(op: Operator) -> str | None:
    """No side of an activation is longer than {limit:,}."""
    return long_side((*data_of(op), *op.outputs))


@_rule()
def constant_parameters(op: Operator) -> str | None:
    """Axes, sizes and pad widths are constants."""
    inputs = (op.input(i) for i in ONNX.signatures[op.kind].parameters)
    return next((f"'{t.name}' is computed" for t in inputs if t is not None and t.data is None), None)


@_rule("QuantizeLinear", "DequantizeLinear")
def constant_scales(op: Operator) -> str | None:
    """Scales and zero points are constants, not in blocks."""
    q = (op.outputs[0] if op.kind == "QuantizeLinear" else op.require(0)).quantization
    return "they are not" if q is None else None


@_rule(*BINARY, "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Relu", "Clip", "Softmax", *AVERAGES, hint=STATIC_HINT)
def dequantized_inputs(op: Operator) -> str | None:
    """int8 inputs come through DequantizeLinear."""
    raw = next((t for t in data_of(op) if t.dtype == "int8" and t.quantization is None), None)
    return f"'{raw.name}' is plain int8" if raw else None


@_rule(*WEIGHTED, hint=STATIC_HINT)
def weight_type(op: Operator) -> str | None:
    """Weights are constants; with int8 weights, input and output are int8, too."""
    x, weight, y = op.require(0), op.require(1), op.outputs[0]
    if weight.data is None:
        return f"the weights '{weight.name}' are computed"
    if weight.dtype not in ("int8", "float32") or {x.dtype, y.dtype, weight.dtype} != {weight.dtype}:
        return f"the weights '{weight.name}' are {weight.dtype}, input and output {x.dtype} and {y.dtype}"
    return None


@_rule(*WEIGHTED)
def weight_quantization(op: Operator) -> str | None:
    """int8 weights are symmetric (zero points 0, uint8: 128), with one scale or one per output channel."""
    weight = op.require(1)
    q = weight.quantization
    if weight.dtype != "int8":
        return None
    if q is None or not np.all(np.isfinite(q.scales)) or np.any(q.scales < 0):
        return f"the weights '{weight.name}' have no usable scale"
    if np.any(q.zero_points != 0):
        return f"the weights '{weight.name}' have zero point {int(q.zero_points[q.zero_points != 0][0])}"
    axis = output_axis(op)
    return None if q.per_tensor or q.axis == axis else f"they have scales along axis {q.axis}, not {axis}"


def output_axis(op: Operator) -> int:
    """The axis of the output channels in the weights of Conv, Gemm, MatMul."""
    return 1 if op.kind == "MatMul" or (op.kind == "Gemm" and not op.attributes.get("transB", 0)) else 0


@_rule(*WEIGHTED, limit=30)
def multiplier_range(op: Operator) -> str | None:
    """input scale x weight scale / output scale is below 2^{limit}."""
    x, w, y = op.require(0).quantization, op.require(1).quantization, op.outputs[0].quantization
    if x is None or w is None or y is None:
        return None
    multiplier = x.scale * float(w.scales.max()) / y.scale
    return None if multiplier < 2.0**30 else f"it is {multiplier:g}"


@_rule("Conv", "Gemm")
def bias(op: Operator) -> str | None:
    """The bias, if any, is a constant with one int32 or float32 per output channel, zero point 0."""
    b, weight = op.input(2), op.require(1)
    if b is None:
        return None
    channels = weight.shape[output_axis(op)] if len(weight.shape) > 1 else 0
    allowed = ("int32", "float32") if weight.dtype == "int8" else ("float32",)
    if b.data is None or b.dtype not in allowed or b.size != channels or b.shape[-1:] != (channels,):
        return f"the bias '{b.name}' is {'computed' if b.data is None else b.dtype} of shape {list(b.shape)}"
    if b.quantization is not None and np.any(b.quantization.zero_points != 0):
        return f"the bias '{b.name}' has a zero point"
    return None


@_rule("Conv", *POOLS, "GlobalAveragePool", "GlobalMaxPool", "Resize")
def images(op: Operator) -> str | None:
    """Input and output are 4-D (NCHW)."""
    ranks = [len(t.shape) for t in (op.require(0), op.outputs[0])]
    return None if ranks == [4, 4] else f"they have {ranks[0]} and {ranks[1]} dimensions"


@_rule("Conv", *POOLS)
def windows(op: Operator) -> str | None:
    """Kernels, strides and dilations are at least 1, padding at least 0; pools are not dilated."""
    a = op.attributes
    sizes = [*a.get("kernel_shape", [1, 1]), *a.get("strides", [1, 1]), *a.get("dilations", [1, 1])]
    if min(sizes) < 1 or len(sizes) != 6 or len(a.get("pads", [0] * 4)) != 4 or min(a.get("pads", [0])) < 0:
        return f"they are {sizes}, padding {a.get('pads')}"
    if op.kind != "Conv" and max(a.get("dilations", [1])) > 1:
        return f"dilations {a['dilations']}"
    return None


@_rule(*POOLS, limit=MAX_WINDOW)
def short_windows(op: Operator) -> str | None:
    """No side of the window is longer than {limit:,}."""
    sides = op.attributes["kernel_shape"]
    return None if max(sides) <= MAX_WINDOW else f"it is {shape_text(sides)}"


@_rule("Conv")
def filter_shape(op: Operator) -> str | None:
    """The filter has the shape that kernel_shape and group say."""
    weight, x, groups = op.require(1).shape, op.require(0).shape, op.attributes.get("group", 1)
    fits = len(weight) == 4 and groups >= 1 and weight[1] * groups == x[1] and weight[0] % groups == 0
    fits = fits and tuple(op.attributes.get("kernel_shape", weight[2:])) == weight[2:]
    return None if fits else f"filter {list(weight)}, group {groups}, input {list(x)}"


@_rule("AveragePool")
def count_include_pad(op: Operator) -> str | None:
    """Padding is not counted in the average (count_include_pad = 0)."""
    counted = op.attributes.get("count_include_pad", 0) and any(op.attributes.get("pads", [0]))
    return "it is counted" if counted else None


@_rule("Gemm")
def gemm_attributes(op: Operator) -> str | None:
    """alpha = beta = 1, transA = 0."""
    a = op.attributes
    values = (a.get("alpha", 1.0), a.get("beta", 1.0), a.get("transA", 0))
    return None if values == (1.0, 1.0, 0) else f"they are {values}"


@_rule("Gemm", "MatMul")
def matrices(op: Operator) -> str | None:
    """Input and weights are 2-D."""
    ranks = [len(op.require(i).shape) for i in (0, 1)]
    return None if ranks == [2, 2] else f"they have {ranks[0]} and {ranks[1]} dimensions"


def _is_real(tensor: Tensor) -> bool:
    return tensor.dtype == "float32" or tensor.quantization is not None


@_rule("Clip")
def clip_limits(op: Operator) -> str | None:
    """The limits are constant numbers."""
    limits = [t for t in (op.input(1), op.input(2)) if t is not None]
    bad = next((t for t in limits if t.data is None or t.size != 1 or not _is_real(t)), None)
    return f"'{bad.name}'" if bad else None


@_rule("Softmax")
def softmax_axis(op: Operator) -> str | None:
    """It works along the last axis (before operator set 13: the axes from ``axis`` on hold one row)."""
    rank, axis = len(op.require(0).shape), op.attributes.get("axis", -1)
    return None if rank and axis % rank == rank - 1 else f"axis {axis} of {rank} dimensions"


@_rule("ReduceMean")
def mean_axes(op: Operator) -> str | None:
    """There are axes to reduce."""
    noop = op.attributes.get("noop_with_empty_axes", 0) and op.input(1) is None
    return "noop_with_empty_axes" if noop else None


@_rule("Pad")
def pad_mode(op: Operator) -> str | None:
    """The mode is "constant", widths are at least 0, the value is a constant number."""
    value, mode = op.input(2), op.attributes.get("mode", "constant")
    if mode != "constant" or min(op.require(1).integers(), default=0) < 0:
        return f"mode {mode}, widths {op.require(1).integers()}"
    return None if value is None or (value.data is not None and value.size == 1) else f"value '{value.name}'"


@_rule("MaxPool", "Dropout")
def one_output(op: Operator) -> str | None:
    """Only the first output is used."""
    return None if len(op.outputs) == 1 else f"there are {len(op.outputs)}"


@_rule("Resize")
def resize_modes(op: Operator) -> str | None:
    """Height and width are resized, with mode "nearest" or "linear" and a coordinate_transformation_mode that TFLite
    has, too: asymmetric, half_pixel, align_corners."""
    x, y, a = op.require(0).shape, op.outputs[0].shape, op.attributes
    extra = {k: v for k, v in a.items() if k in ("antialias", "exclude_outside") and v}
    if x[:2] != y[:2] or extra or a.get("mode", "nearest") not in ("nearest", "linear") or "axes" in a:
        return f"{list(x)} to {list(y)}, {dict(a)}"
    return f"{dict(a)}" if resize_coordinates(op) is None else None


def resize_coordinates(op: Operator) -> str | None:
    """The coordinate mode of TFLite's resizing that gives the same result, None if none does."""
    x, y, a = op.require(0).shape, op.outputs[0].shape, op.attributes
    mode = a.get("coordinate_transformation_mode", "half_pixel")
    scales = op.input(2)
    factors = [o / i for o, i in zip(y[2:], x[2:], strict=True)]
    if scales is not None and scales.data is not None and scales.size == 4:
        factors = scales.numbers()[2:]
    if a.get("mode", "nearest") == "linear":
        whole = all(abs(f * i - o) < 1e-4 for f, i, o in zip(factors, x[2:], y[2:], strict=True))
        mode = "half_pixel" if mode == "pytorch_half_pixel" and min(y[2:]) > 1 else mode
        return mode if mode in NEAREST_MODES and whole else None
    if mode not in (*NEAREST_MODES, "pytorch_half_pixel"):
        return None
    rounding = a.get("nearest_mode", "round_prefer_floor")
    axes = list(zip(x[2:], y[2:], factors, strict=True))
    wanted = [onnx_nearest_indices(i, o, f, mode, rounding) for i, o, f in axes]
    # Rounding rules differ, but most sizes give the same pixels.
    for candidate in NEAREST_MODES:
        if wanted == [tflite_nearest_indices(i, o, candidate) for i, o, _ in axes]:
            return candidate
    return None
