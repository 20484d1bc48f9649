"""Which input positions an operator's output position needs: what the planner knows of an operator's arithmetic."""

from __future__ import annotations

from tvm import relax

from tvm_tiny.ops import OPS, Kernel, is_tinyml_call, op_name, params_of
from tvm_tiny.ops.movement import Windows, row_windows
from tvm_tiny.planner import Op, Window

_CONVOLUTIONS = {"qconv2d": slice(1, 3), "qdepthwise_conv2d": slice(0, 2)}  # where the weight's KH and KW are
_POOLS = {"qavg_pool2d", "qmax_pool2d"}
PLANES = "permute_dims"  # with a row kernel: from planes (NCHW) to pixels (NHWC) or back
TO_PIXELS = (0, 2, 3, 1)


def windows_of(call: relax.Call, kernel: Kernel, n_inputs: int) -> list[Windows] | None:
    """Windows along rows and columns of every activation input; those of a sum are a single row.

    None for what needs whole tensors: kernels of that granularity, batches, and operators that scale rows.
    """
    moved = row_windows(call) if kernel.granularity == "row" else None
    if moved is not None:
        return moved
    same = _window_of(call, kernel)
    return None if same is None else [same] * n_inputs


def _window_of(call: relax.Call, kernel: Kernel) -> Windows | None:
    if kernel.granularity == "sum":
        return Window(), Window()
    if kernel.granularity != "row" or int(call.ty.shape.values[0]) != 1:
        return None
    name = op_name(call)
    if name == PLANES or (is_tinyml_call(call) and (OPS[name].pixelwise or OPS[name].elementwise)):
        return Window(), Window()
    params = params_of(call)
    if name in _POOLS:
        rows, columns = (
            Window(k, s, before)
            for k, s, before in zip(params.pool_size, params.strides, params.padding[:2], strict=True)
        )
        return rows, columns
    if name in _CONVOLUTIONS:
        taps = [int(d) for d in call.args[1].ty.shape.values][_CONVOLUTIONS[name]]
        rows, columns = (
            Window(k, s, before, d)
            for k, s, before, d in zip(taps, params.strides, params.padding[:2], params.dilation, strict=True)
        )
        return rows, columns
    return None


def split_cost(op: Op, channels: int, pixels: int) -> int:
    """Instructions, about, that a row costs more for each call more that makes it.

    Fitted to counts of a Cortex-M4 (``tvmc run --device qemu --profile`` on the shared models, with and without
    ``--fusion off``): a convolution multiplies fewer pixels at once at the ends; a depthwise one fetches the columns
    under two windows once more.

    Parameters
    ----------
    channels : of the output
    pixels : of the output
    """
    if not op.macs:
        return op.split_cost
    a_pixel = op.macs // pixels
    depthwise = a_pixel == channels * op.rows[0].kernel * op.columns[0].kernel
    return op.split_cost + (a_pixel * 5 if depthwise else a_pixel // 5)
