"""``FoldPad``: padding in front of a window operator becomes the operator's own."""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, make_call, op_name, params_of
from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    ints,
    is_call,
    map_functions,
    permutation_of,
    permuted,
    rewrite_bindings,
)
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.quant.params import Conv2DParams, PoolParams

_CONVOLUTIONS = ("qconv2d", "qdepthwise_conv2d")
_INT8_MIN = -128


@relax_pass
class FoldPad:
    """Fold ``nn.pad`` into the padding of the convolution or max pooling behind it.

    Before: ``qconv2d(nn.pad(x, (0, 0, 0, 1, 0, 1, 0, 0), input_zero_point), ..., padding=(0, 0, 0, 0))``
    After: ``qconv2d(x, ..., padding=(0, 0, 1, 1))``

    A convolution takes the input's zero point for its padding, a max pooling the least int8, so the pad must have that
    value, and height and width only. One ``permute_dims`` may stand between (NCHW models).
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, lambda func: rewrite_bindings(func, _fold))


def _fold(writer: DataflowWriter, _var: relax.Var, call: relax.Call) -> relax.Expr:
    if not any(is_tinyml_call(call, n) for n in (*_CONVOLUTIONS, "qmax_pool2d")):
        return call
    data = call.args[0]
    source = writer.value_of(data)
    axes: tuple[int, ...] = (0, 1, 2, 3)
    if is_call(source, "permute_dims"):
        axes = permutation_of(source)
        source = writer.value_of(source.args[0])
    if not is_call(source, "nn.pad") or str(source.attrs.pad_mode) != "constant":
        return call
    params = params_of(call)
    padding = _joined_padding(source, axes, params)
    if padding is None:
        return call
    inner = source.args[0]
    if axes != (0, 1, 2, 3):
        inner = writer.emit(permuted(inner, axes), data.name)
    folded = make_call(op_name(call), [inner, *call.args[1:]], replace(params, padding=padding))
    return _fold(writer, _var, folded)


def _joined_padding(
    pad: relax.Call, axes: tuple[int, ...], params: Conv2DParams | PoolParams
) -> tuple[int, int, int, int] | None:
    """Padding (top, left, bottom, right) of pad and operator together; None where they do not go together."""
    width = ints(pad.attrs.pad_width)
    (n0, n1), (top, bottom), (left, right), (c0, c1) = (width[2 * a : 2 * a + 2] for a in axes)
    own = params.padding
    joined = (top + own[0], left + own[1], bottom + own[2], right + own[3])
    if any((n0, n1, c0, c1)) or min(top, bottom, left, right) < 0:
        return None
    if isinstance(params, Conv2DParams):
        return joined if float(pad.attrs.pad_value) == params.input_zero_point else None
    # A window wholly in the padding has no maximum.
    inside = all(p < size for p, size in zip(joined, params.pool_size * 2, strict=True))
    return joined if inside and float(pad.attrs.pad_value) == _INT8_MIN else None
