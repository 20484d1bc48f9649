"""TileChannels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.integer_layers import CONV, RNG, add, per_channel
from tests.relax_builder import apply, assert_left_alone, calls, module
from tvm_tiny.errors import OptionError
from tvm_tiny.ops import make_call
from tvm_tiny.passes import ChannelTiles, TileChannels, find_tiles, parse_tiles
from tvm_tiny.passes._dataflow import bindings_of
from tvm_tiny.passes._evaluate import evaluate_call
from tvm_tiny.quant.params import AccumulateParams, RequantizeParams

SHAPE = (1, 2, 3, 5)
IMAGE = (SHAPE, "int8")
EXPAND = RNG.integers(-128, 128, (7, 1, 1, 5), dtype=np.int8)
DEPTHWISE = RNG.integers(-128, 128, (3, 3, 14), dtype=np.int8)
"""Channel multiplier 2."""
PROJECT = RNG.integers(-128, 128, (5, 1, 1, 14), dtype=np.int8)
AROUND = {"padding": (1, 1, 1, 1)}


def layer(operator: str, x: relax.Expr, weight: Any, part: slice = slice(None), **changes: Any) -> relax.Call:
    """A convolution of some of its output channels."""
    channels = weight.shape[-1] if operator == "qdepthwise_conv2d" else len(weight)
    cut = weight[..., part] if operator == "qdepthwise_conv2d" else weight[part]
    vectors = [relax.const(c.value.numpy()[part]) for c in per_channel(channels)]
    return make_call(operator, [x, relax.const(cut), *vectors], CONV.__class__(**{**CONV.__dict__, **changes}))


def before(bb: relax.BlockBuilder, x: relax.Var, project: np.ndarray = PROJECT, **changes: Any) -> relax.Expr:
    y = bb.emit(layer("qconv2d", x, EXPAND), "expand")
    y = bb.emit(layer("qdepthwise_conv2d", y, DEPTHWISE, **AROUND), "depthwise")
    y = bb.emit(layer("qconv2d", y, project, **changes), "project")
    return bb.emit(add(x, y) if project is PROJECT and not changes else add(y, y), "sum")


def after(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
    bias, multiplier, shift = per_channel(5)
    weight = PROJECT.reshape(5, 14)
    sums = relax.const(
        (bias.value.numpy() - CONV.input_zero_point * weight.sum(axis=1, dtype=np.int64)).astype("int32")
    )
    for begin, end in ((0, 2), (2, 4), (4, 7)):
        one, more = slice(begin, end), slice(2 * begin, 2 * end)
        y = bb.emit(layer("qconv2d", x, EXPAND, one))
        y = bb.emit(layer("qdepthwise_conv2d", y, DEPTHWISE, more, **AROUND))
        part = relax.const(np.ascontiguousarray(weight[:, more]))
        sums = bb.emit(make_call("qconv2d_accumulate", [y, part, sums], AccumulateParams()))
    params = RequantizeParams(CONV.output_zero_point, CONV.clamp_min, CONV.clamp_max, CONV.rounding)
    return add(x, bb.emit(make_call("requantize", [sums, multiplier, shift], params)))


def values(mod: tvm.IRModule, x: np.ndarray) -> dict[str, np.ndarray]:
    """By name of the variable."""
    known: dict[Any, Any] = {mod["main"].params[0]: x}
    for var, call in bindings_of(mod["main"]):
        if isinstance(call, relax.Call):
            known[var] = evaluate_call(call, [known[a] if a in known else a.value.numpy() for a in call.args])
    return {var.name: value for var, value in known.items()}


def test_three_slices_of_seven_channels() -> None:
    mod = module(before, x=IMAGE)
    result = apply(TileChannels(tiles=(ChannelTiles(3, "project"),)), mod)
    tvm.ir.assert_structural_equal(result, module(after, x=IMAGE))
    names = [v.name for v, _ in bindings_of(result["main"])]
    assert names[-5:] == ["expand:2", "depthwise:2", "project:2", "project", "sum"]
    x = RNG.integers(-128, 128, SHAPE, dtype=np.int8)
    expected, got = values(mod, x), values(result, x)
    np.testing.assert_array_equal(got["sum"], expected["sum"], strict=True)
    assert len(np.unique(got["project"])) > 3


def test_slices_are_multiples_of_four_channels_where_they_can_be() -> None:
    def block(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = bb.emit(layer("qconv2d", x, np.ones((18, 1, 1, 5), np.int8)))
        y = bb.emit(layer("qdepthwise_conv2d", y, np.ones((3, 3, 18), np.int8)))
        return bb.emit(layer("qconv2d", y, np.ones((2, 1, 1, 18), np.int8)), "project")

    mod = module(block, x=((1, 5, 5, 5), "int8"))
    for count, widths in ((2, [8, 10]), (3, [4, 8, 6]), (4, [4, 4, 4, 6]), (5, [3, 4, 3, 4, 4]), (18, [1] * 18)):
        result = TileChannels(tiles=(ChannelTiles(count, "project"),))(mod)
        assert calls(result)[1::3] == ["tinyml.qdepthwise_conv2d"] * count
        slices = [int(v.ty.shape.values[3]) for v, _ in bindings_of(result["main"])][1:-1:3]
        assert slices == widths


def test_without_tiles_nothing_changes() -> None:
    assert_left_alone(TileChannels(tiles=()), module(before, x=IMAGE))


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        (ChannelTiles(2, "nowhere"), "--channel-tiles 2@nowhere: no such layer"),
        (ChannelTiles(2, "expand"), "does not end a block of expand"),
        (ChannelTiles(8, "project"), "the block has 7 expanded channels"),
    ],
)
def test_errors(tiles: ChannelTiles, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TileChannels(tiles=(tiles,))(module(before, x=IMAGE))


def test_a_layer_named_twice() -> None:
    tiles = (ChannelTiles(2, "project"), ChannelTiles(3, "proj"))
    with pytest.raises(OptionError, match="named twice"):
        TileChannels(tiles=tiles)(module(before, x=IMAGE))


def with_another_reader(bb: relax.BlockBuilder, x: relax.Var) -> list[relax.Expr]:
    y = bb.emit(layer("qconv2d", x, EXPAND), "expand")
    z = bb.emit(layer("qdepthwise_conv2d", y, DEPTHWISE, **AROUND), "depthwise")
    return [bb.emit(layer("qconv2d", z, PROJECT), "project"), add(y, y)]


@pytest.mark.parametrize(
    "body",
    [
        with_another_reader,
        lambda bb, x: before(bb, x, strides=(2, 2)),
        lambda bb, x: before(bb, x, padding=(0, 1, 0, 0)),
        lambda bb, x: before(bb, x, RNG.integers(-9, 9, (5, 2, 1, 14), dtype=np.int8)),
        lambda bb, x: before(bb, x, RNG.integers(-9, 9, (4, 1, 1, 7), dtype=np.int8), groups=2),
    ],
    ids=["another reader", "stride", "padding", "2x1", "groups"],
)
def test_what_is_no_such_block(body: Any) -> None:
    with pytest.raises(OptionError, match="does not end a block"):
        TileChannels(tiles=(ChannelTiles(2, "project"),))(module(body, x=IMAGE))


def test_blocks_at_the_peak() -> None:
    def block(height: int) -> relax.Function:
        def body(bb: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
            y = bb.emit(layer("qconv2d", x, np.ones((64, 1, 1, 5), np.int8)), "expand")
            y = bb.emit(layer("qdepthwise_conv2d", y, np.ones((3, 3, 64), np.int8), **AROUND), "depthwise")
            return bb.emit(layer("qconv2d", y, np.ones((8, 1, 1, 64), np.int8)), "project")

        return module(body, x=((1, height, 2, 5), "int8"))["main"]

    # Sums 4 * 8 * 2 * H against min(3, H) * 2 * 64.
    assert find_tiles(block(2), ["x", "expand ring"]) == (ChannelTiles(4, "project"),)
    assert find_tiles(block(2), ["x", "expanded"]) == ()
    assert find_tiles(block(5), ["depthwise"]) == (ChannelTiles(4, "project"),)
    assert find_tiles(block(6), ["depthwise"]) == ()


@pytest.mark.parametrize("text", ["4", "x@y", "1@project", "0@project", "4@", "-2@project"])
def test_bad_texts(text: str) -> None:
    with pytest.raises(OptionError, match="expected auto, off or N@LAYER"):
        parse_tiles(text)


def test_texts() -> None:
    assert str(parse_tiles(" 4@a/b;c ")) == "4@a/b;c"
