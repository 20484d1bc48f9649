"""Registers ``relax.tinyml.*`` with TVM and converts between calls and parameter dataclasses.

==================== ======================================================== =====================================
operator             arguments                                                parameters
==================== ======================================================== =====================================
qconv2d              data i8 [N,H,W,C], weight i8 [O,KH,KW,C/groups],         ``Conv2DParams``
                     bias i32 [O], multiplier i32 [O], shift i32 [O]
qdepthwise_conv2d    data i8 [N,H,W,C], weight i8 [KH,KW,C*M], bias,          ``Conv2DParams`` (groups = 1); output
                     multiplier, shift i32 [C*M]                              channel o reads input channel o // M
qconv2d_accumulate   data i8 [N,H,W,C], weight i8 [O,C], sums i32 [N,H,W,O]   ``AccumulateParams``; output i32 [N,H,W,O]
                     or constant [O]
requantize           sums i32 [N,H,W,O], multiplier i32 [O], shift i32 [O]    ``RequantizeParams``
qdense               data i8 [M,K], weight i8 [O,K], bias, multiplier,        ``DenseParams``
                     shift i32 [O]
qadd, qsub           a i8, b i8 (NumPy broadcasting)                          ``AddParams``
qmul                 a i8, b i8 (NumPy broadcasting)                          ``MulParams``
qavg_pool2d          data i8 [N,H,W,C]                                        ``PoolParams``
qmax_pool2d          data i8 [N,H,W,C]                                        ``PoolParams``
qmean                data i8                                                  ``MeanParams``
qsoftmax             data i8 [..., C]                                         ``SoftmaxParams``
qresize2d            data i8 [N,H,W,C]                                        ``ResizeParams``
lookup               data i8 or u8, table i8 or u8 [256]                      ``LookupParams``; entry of value v is
                                                                              at v + 128 (i8), at v (u8)
quantize             data f32                                                 ``QuantizeParams``
dequantize           data i8 or u8                                            ``QuantizeParams`` (dtype "float32")
==================== ======================================================== =====================================

Data movement on integers (reshape, permute_dims, concat, split, strided_slice, nn.pad) uses Relax's own operators.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import tvm
import tvm_ffi
from tvm import relax

from tvm_tiny.errors import ArtifactError
from tvm_tiny.quant import params as qp

PREFIX = "relax.tinyml."
WEIGHTED = ("qconv2d", "qdepthwise_conv2d", "qdense")
"""Operators whose second argument are int8 weights."""


@dataclass(frozen=True)
class OpDef:
    """Name, argument names, parameter class and shape rule of one operator.

    params : a frozen dataclass whose fields are int, float, bool, str or tuples of them
    infer : (argument shapes, parameters) -> (output shape, output dtype)
    pixelwise : a pixel of the output needs that pixel of every activation input, and no other
    elementwise : all arguments broadcast as in NumPy, and an element of the output needs that element of each, and no
        other; such an operator is pixelwise, too
    """

    name: str
    arguments: tuple[str, ...]
    params: type[Any]
    infer: Callable[[list[tuple[int, ...]], Any], tuple[tuple[int, ...], str]]
    pixelwise: bool = False
    elementwise: bool = False


def window_output(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Output positions of a sliding window along one axis."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def _conv(shapes: list[tuple[int, ...]], p: qp.Conv2DParams) -> tuple[tuple[int, ...], str]:
    (n, h, w, _), weight = shapes[0], shapes[1]
    depthwise = len(weight) == 3
    kh, kw = weight[:2] if depthwise else weight[1:3]
    out_channels = weight[2] if depthwise else weight[0]
    t, left, b, r = p.padding
    oh = window_output(h, kh, p.strides[0], p.dilation[0], t, b)
    ow = window_output(w, kw, p.strides[1], p.dilation[1], left, r)
    return (n, oh, ow, out_channels), "int8"


def _pool(shapes: list[tuple[int, ...]], p: qp.PoolParams) -> tuple[tuple[int, ...], str]:
    n, h, w, c = shapes[0]
    t, left, b, r = p.padding
    oh = window_output(h, p.pool_size[0], p.strides[0], 1, t, b)
    ow = window_output(w, p.pool_size[1], p.strides[1], 1, left, r)
    return (n, oh, ow, c), "int8"


def infer_broadcast(shapes: list[tuple[int, ...]], _: Any) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of an elementwise int8 operator that broadcasts as NumPy does."""
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    out = []
    for dims in zip(*padded, strict=True):
        sizes = {d for d in dims if d != 1}
        if len(sizes) > 1:
            raise ValueError(f"shapes {shapes} do not broadcast")
        out.append(sizes.pop() if sizes else 1)
    return tuple(out), "int8"


def _mean(shapes: list[tuple[int, ...]], p: qp.MeanParams) -> tuple[tuple[int, ...], str]:
    kept = [1 if i in p.axes else d for i, d in enumerate(shapes[0])]
    if not p.keepdims:
        kept = [d for i, d in enumerate(kept) if i not in p.axes]
    return tuple(kept), "int8"


OPS: dict[str, OpDef] = {
    d.name: d
    for d in (
        OpDef("qconv2d", ("data", "weight", "bias", "multiplier", "shift"), qp.Conv2DParams, _conv),
        OpDef("qdepthwise_conv2d", ("data", "weight", "bias", "multiplier", "shift"), qp.Conv2DParams, _conv),
        OpDef(
            "qconv2d_accumulate",
            ("data", "weight", "sums"),
            qp.AccumulateParams,
            lambda s, p: ((*s[0][:3], s[1][0]), "int32"),
            pixelwise=True,
        ),
        OpDef(
            "requantize",
            ("sums", "multiplier", "shift"),
            qp.RequantizeParams,
            lambda s, p: (s[0], "int8"),
            pixelwise=True,
        ),
        OpDef(
            "qdense",
            ("data", "weight", "bias", "multiplier", "shift"),
            qp.DenseParams,
            lambda s, p: ((s[0][0], s[1][0]), "int8"),
        ),
        OpDef("qadd", ("a", "b"), qp.AddParams, infer_broadcast, elementwise=True),
        OpDef("qsub", ("a", "b"), qp.AddParams, infer_broadcast, elementwise=True),
        OpDef("qmul", ("a", "b"), qp.MulParams, infer_broadcast, elementwise=True),
        OpDef("qavg_pool2d", ("data",), qp.PoolParams, _pool),
        OpDef("qmax_pool2d", ("data",), qp.PoolParams, _pool),
        OpDef("qmean", ("data",), qp.MeanParams, _mean),
        OpDef("qsoftmax", ("data",), qp.SoftmaxParams, lambda s, p: (s[0], "int8")),
        OpDef(
            "qresize2d",
            ("data",),
            qp.ResizeParams,
            lambda s, p: ((s[0][0], p.size[0], p.size[1], s[0][3]), "int8"),
        ),
        OpDef("lookup", ("data", "table"), qp.LookupParams, lambda s, p: (s[0], p.out_dtype), pixelwise=True),
        OpDef("quantize", ("data",), qp.QuantizeParams, lambda s, p: (s[0], p.dtype), pixelwise=True),
        OpDef("dequantize", ("data",), qp.QuantizeParams, lambda s, p: (s[0], "float32"), pixelwise=True),
    )
}


@cache
def register_ops() -> None:
    """Register all operators with TVM; calling it again changes nothing, and takes no time."""
    for definition in OPS.values():
        register_op(definition)


def register_op(definition: OpDef) -> None:
    """Register one operator with TVM, which keeps the first of a name."""
    name = PREFIX + definition.name
    if name in set(tvm.ir.Op.list_op_names()):
        return
    tvm_ffi.get_global_func("ir.RegisterOp")(name, f"Integer operator {definition.name} of tvm-tiny.")
    op = tvm.ir.Op.get(name)
    op.set_num_inputs(len(definition.arguments))
    for argument in definition.arguments:
        op.add_argument(argument, "Tensor", "")
    op.set_attrs_type_key("ir.DictAttrs")
    op.set_attr("FInferType", _infer_type)
    op.set_attr("FPurity", True)


def load_network(ir_json: str) -> tvm.IRModule:
    """The network of an archive, as ``aot.read_ir`` gives it.

    Raises
    ------
    ArtifactError : it has an operator from outside that is not registered in this process
    """
    register_ops()
    try:
        return tvm.ir.load_json(ir_json)
    except AttributeError as e:
        unknown = re.search(r"Operator (\S+) is not registered", str(e))
        if unknown is None:
            raise
        raise ArtifactError(
            f"the network has operator {unknown[1]}, which is not part of tvm-tiny",
            hints=["import the module that registers it first: docs/adding_an_operator.md, 'In your tvmc'"],
        ) from e


def make_call(name: str, args: list[Any], params: Any) -> relax.Call:
    """Build ``relax.tinyml.<name>(*args)`` with ``params`` as its attributes."""
    definition = OPS[name]
    if not isinstance(params, definition.params):
        raise TypeError(f"{name} takes {definition.params.__name__}, not {type(params).__name__}")
    if len(args) != len(definition.arguments):
        raise TypeError(f"{name} takes {len(definition.arguments)} arguments, not {len(args)}")
    register_ops()
    attrs = tvm.ir.make_node("ir.DictAttrs", **{f.name: _to_attr(getattr(params, f.name)) for f in fields(params)})
    return relax.Call(tvm.ir.Op.get(PREFIX + name), args, attrs=attrs)


def is_tinyml_call(expr: Any, name: str | None = None) -> bool:
    """Whether ``expr`` is a call of an operator of ours (of ``name``, if given)."""
    if not isinstance(expr, relax.Call) or not isinstance(expr.op, tvm.ir.Op):
        return False
    full = str(expr.op.name)
    return full.startswith(PREFIX) if name is None else full == PREFIX + name


def op_name(call: relax.Call) -> str:
    """``qconv2d`` for a call of ``relax.tinyml.qconv2d``, ``reshape`` for one of ``relax.reshape``."""
    full = str(call.op.name)
    return full.removeprefix(PREFIX).removeprefix("relax.")


def params_of(call: relax.Call) -> Any:
    """The parameter dataclass of a call of one of our operators."""
    cls = OPS[op_name(call)].params
    return cls(**{f.name: _from_attr(call.attrs[f.name]) for f in fields(cls)})


def _infer_type(call: relax.Call, _builder: relax.BlockBuilder) -> relax.TensorType:
    shapes = [tuple(int(d) for d in a.ty.shape.values) for a in call.args]
    shape, dtype = OPS[op_name(call)].infer(shapes, params_of(call))
    return relax.TensorType(list(shape), dtype)


def _to_attr(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _from_attr(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    return tuple(_from_attr(v) for v in value)
