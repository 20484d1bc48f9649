"""RemoveDeadChannels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.evaluate import evaluate
from tests.integer_layers import CONV, add, lookup, max_pool, mean, per_channel
from tests.relax_builder import apply, assert_left_alone, calls, module
from tvm_tiny.ops import get_dead_macs, make_call, with_dead_macs
from tvm_tiny.passes import RemoveDeadChannels
from tvm_tiny.passes._dataflow import bindings_of, shape_of
from tvm_tiny.quant import reference
from tvm_tiny.quant.params import DenseParams, SoftmaxParams

op = relax.op
IMAGE = ((1, 6, 5, 2), "int8")
RNG = np.random.default_rng(5)
ZERO_POINT = CONV.output_zero_point
"""Of the outputs of convolutions, and of the inputs of the layers behind them."""


def weights(*shape: int) -> np.ndarray:
    """No zero among them."""
    return (RNG.integers(1, 128, shape) * RNG.choice([-1, 1], shape)).astype(np.int8)


def conv(x: relax.Expr, weight: Any, bias: Any = None, **changes: Any) -> relax.Call:
    default, *scaling = per_channel(len(weight))
    changes = {"input_zero_point": ZERO_POINT, **changes}
    arguments = [x, relax.const(weight), default if bias is None else relax.const(np.int32(bias)), *scaling]
    return make_call("qconv2d", arguments, replace(CONV, **changes))


def depthwise(x: relax.Expr, weight: Any, bias: Any = None, **changes: Any) -> relax.Call:
    default, *scaling = per_channel(weight.shape[-1])
    changes = {"input_zero_point": ZERO_POINT, "padding": (1, 1, 1, 1), **changes}
    arguments = [x, relax.const(weight), default if bias is None else relax.const(np.int32(bias)), *scaling]
    return make_call("qdepthwise_conv2d", arguments, replace(CONV, **changes))


def dense(x: relax.Expr, weight: Any) -> relax.Call:
    params = DenseParams(ZERO_POINT, ZERO_POINT, -128, 127, "tflm")
    return make_call("qdense", [x, relax.const(weight), *per_channel(len(weight))], params)


FIRST = weights(4, 3, 3, 2)
FIRST[1] = 0
NONE, SOME = [100, 0, 300, -50], [100, 6000, 300, -50]
"""Biases by which channel 1 of FIRST holds the zero point, or something else."""


def shrunk(mod: tvm.IRModule, multiple: int = 1) -> tuple[tvm.IRModule, dict[str, int]]:
    """``mod`` behind the pass, and the channels of each of its tensors; both must give the same outputs."""
    after = apply(RemoveDeadChannels(multiple), mod)
    params = mod["main"].params
    for _ in range(2):
        given = [RNG.integers(-128, 128, shape_of(p), dtype=np.int8) for p in params]
        for got, expected in zip(evaluate(after, *given), evaluate(mod, *given), strict=True):
            np.testing.assert_array_equal(got, expected, strict=True)
    found = [v for v, _ in bindings_of(after["main"]) if isinstance(v.ty, relax.TensorType)]
    return after, {v.name: shape_of(v)[-1] for v in found}


def chain(bias: Any, second: Any, **changes: Any) -> tvm.IRModule:
    """A convolution whose channel 1 is constant, and one behind it."""

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return conv(bb.emit(conv(x, FIRST, bias), "first"), second, **changes)

    return module(body, x=IMAGE)


def value_of(bias: int, channel: int) -> int:
    """What a channel of ``FIRST`` without weights holds."""
    default, multiplier, shift = (np.asarray(a.value.numpy()) for a in per_channel(4))
    one = slice(channel, channel + 1)
    data, weight = np.zeros((1, 1, 1, 1), np.int8), np.zeros((1, 1, 1, 1), np.int8)
    arrays = (data, weight, np.full_like(default[one], bias), multiplier[one], shift[one])
    return int(reference.run("qconv2d", CONV, *arrays).item())


def test_the_filter_goes_and_its_constant_joins_the_bias() -> None:
    second, kept = weights(3, 1, 1, 4), [0, 2, 3]
    after, _ = shrunk(chain(SOME, second))
    value = value_of(SOME[1], 1)
    assert value != ZERO_POINT

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        scaling = [np.asarray(a.value.numpy())[kept] for a in per_channel(4)[1:]]
        arrays = (FIRST[kept], np.int32(SOME)[kept], *scaling)
        params = replace(CONV, input_zero_point=ZERO_POINT)
        y = bb.emit(make_call("qconv2d", [x, *map(relax.const, arrays)], params))
        bias = np.asarray(per_channel(3)[0].value.numpy()) + (value - ZERO_POINT) * second[:, 0, 0, 1].astype(int)
        return conv(y, second[..., kept], bias)

    names = [v.name for v, _ in bindings_of(after["main"])]
    expected = with_dead_macs(module(body, x=IMAGE)["main"], {names[0]: 4 * 3 * 18, names[1]: 4 * 3 * 3})
    tvm.ir.assert_structural_equal(after["main"], expected)


SAME = (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("bias", "padding", "left"),
    [(NONE, SAME, 3), (SOME, SAME, 4), (SOME, (0, 0, 0, 0), 3), (SOME, (0, 0, 1, 0), 4)],
    ids=["zero point", "constant", "constant, no padding", "constant, bottom row"],
)
def test_padding_keeps_what_is_no_zero_point(bias: list[int], padding: tuple[int, ...], left: int) -> None:
    _, channels = shrunk(chain(bias, weights(3, 3, 3, 4), padding=padding))
    assert channels["first"] == left


def test_weights_of_zero_where_the_padding_is() -> None:
    second = weights(3, 3, 3, 4)
    second[:, [0, 2], :, 1] = 0
    second[:, :, [0, 2], 1] = 0
    _, channels = shrunk(chain(SOME, second, padding=SAME))
    assert channels["first"] == 3


def test_what_nobody_reads_goes_with_all_that_only_it_needs() -> None:
    """Also through a depthwise convolution whose padding its constant would not pass."""
    last = weights(2, 1, 1, 4)
    last[..., [0, 1]] = 0

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(conv(x, weights(5, 1, 1, 2)), "a")
        y = bb.emit(conv(y, FIRST[:, :1, :1, [0, 1, 0, 1, 1]], SOME), "b")
        return conv(bb.emit(depthwise(y, weights(3, 3, 4)), "c"), last)

    _, channels = shrunk(module(body, x=IMAGE))
    assert (channels["a"], channels["b"], channels["c"]) == (5, 2, 2)


@pytest.mark.parametrize(("bias", "left"), [(NONE, 2), (SOME, 3)])
def test_through_a_depthwise_convolution(bias: list[int], left: int) -> None:
    """Channel 1 is constant in front, channel 2 behind: its input is read by nobody."""
    middle = weights(3, 3, 4)
    middle[..., 2] = 0

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(conv(x, FIRST, bias), "first")
        return conv(bb.emit(depthwise(y, middle), "second"), weights(3, 1, 1, 4))

    _, channels = shrunk(module(body, x=IMAGE))
    assert (channels["first"], channels["second"]) == (left, left)


def test_sums_lose_what_is_constant_on_both_sides() -> None:
    other = weights(4, 3, 3, 2)
    other[[1, 2]] = 0

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        a, b = bb.emit(conv(x, FIRST, SOME), "a"), bb.emit(conv(x, other, SOME), "b")
        y = bb.emit(lookup(bb.emit(add(a, b), "sum"), np.arange(-128, 128)[::-1]), "table")
        y = bb.emit(max_pool(y, size=2), "pool")
        y = bb.emit(mean(y, shape_of(y), (1, 2), False), "mean")
        return dense(y, weights(3, 4))

    _, channels = shrunk(module(body, x=IMAGE))
    assert {channels[n] for n in ("a", "b", "sum", "table", "pool", "mean")} == {3}


def test_a_branch_that_is_constant_becomes_an_operand() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        a = bb.emit(conv(x, weights(4, 3, 3, 2)))
        b = bb.emit(conv(bb.emit(conv(x, weights(3, 1, 1, 2))), np.zeros((4, 3, 3, 3), np.int8), SOME))
        return add(a, b)

    after, _ = shrunk(module(body, x=IMAGE))
    assert calls(after) == ["tinyml.qconv2d", "tinyml.qadd"]
    assert sum(get_dead_macs(after["main"]).values()) == 30 * 6 + 12 * 3 * 9 * 4


def test_a_clamp_that_is_always_met_is_a_constant() -> None:
    bias = [0, 0, 0, -(2**24)]
    second = weights(2, 1, 1, 4)

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        return conv(bb.emit(conv(x, weights(4, 3, 3, 2), bias, clamp_min=ZERO_POINT), "relu"), second, padding=SAME)

    _, channels = shrunk(module(body, x=IMAGE))
    assert channels["relu"] == 3


def test_concatenation_split_and_reshape() -> None:
    def body(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
        a, b = bb.emit(conv(x, FIRST, SOME), "a"), bb.emit(conv(x, weights(2, 3, 3, 2)), "b")
        whole = bb.emit(op.concat([a, b], axis=3), "whole")
        parts = bb.emit(op.split(whole, [3], axis=-1), "parts")
        left, right = (bb.emit(relax.TupleGetItem(parts, i), f"part{i}") for i in range(2))
        flat = bb.emit(op.reshape(left, (1, 36)), "flat")
        return [dense(flat, weights(3, 36)), right]

    _, channels = shrunk(module(body, x=IMAGE))
    assert (channels["a"], channels["b"], channels["whole"], channels["flat"]) == (3, 2, 5, 24)


def test_a_flat_tensor_keeps_a_channel_that_some_position_needs() -> None:
    flat = weights(3, 24)
    flat[:, 1::2] = 0
    flat[0, 5] = 1

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(conv(x, weights(2, 3, 3, 2)), "y")
        return dense(bb.emit(op.reshape(y, (1, 24)), "flat"), flat)

    _, channels = shrunk(module(body, x=IMAGE))
    assert (channels["y"], channels["flat"]) == (2, 24)
    flat[0, 5] = 0
    _, channels = shrunk(module(body, x=IMAGE))
    assert (channels["y"], channels["flat"]) == (1, 12)


def test_dead_channels_are_kept_up_to_a_multiple() -> None:
    first = weights(8, 1, 1, 2)
    first[:5] = 0

    def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(conv(x, first, np.zeros(8)), "first")
        return conv(bb.emit(depthwise(y, weights(3, 3, 8)), "second"), weights(3, 1, 1, 8))

    for multiple, left in ((1, 3), (2, 4), (4, 4)):
        _, channels = shrunk(module(body, x=IMAGE), multiple)
        assert (channels["first"], channels["second"]) == (left, left), multiple
    assert_left_alone(RemoveDeadChannels(16), module(body, x=IMAGE))


def test_something_is_always_left() -> None:
    after, channels = shrunk(chain(NONE, np.zeros((3, 1, 1, 4), np.int8)))
    assert (channels["first"], shape_of(after["main"].body.body)) == (1, (1, 4, 3, 3))


def grouped(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    return conv(bb.emit(conv(x, FIRST, NONE)), weights(4, 1, 1, 2), groups=2)


def dead_output(_: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    return conv(x, FIRST, NONE)


def both(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
    y = bb.emit(conv(x, FIRST, NONE))
    return [y, conv(y, weights(2, 1, 1, 4))]


def one_side(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    y = add(bb.emit(conv(x, FIRST, NONE)), bb.emit(conv(x, weights(4, 3, 3, 2))))
    return conv(bb.emit(y), weights(2, 1, 1, 4))


def normalized_over_channels(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    y = bb.emit(conv(x, FIRST, NONE))
    return conv(bb.emit(make_call("qsoftmax", [y], SoftmaxParams(1 << 30, 5, -50))), weights(2, 1, 1, 4))


def channels_become_rows(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    y = bb.emit(conv(x, FIRST, NONE))
    return conv(bb.emit(op.permute_dims(y, [0, 3, 1, 2])), weights(2, 1, 1, 3))


@pytest.mark.parametrize("body", [grouped, dead_output, both, one_side, normalized_over_channels, channels_become_rows])
def test_left_alone(body: Any) -> None:
    assert_left_alone(RemoveDeadChannels(), module(body, x=IMAGE))
