"""``TileChannels``: expand, depthwise, project, one slice of the expanded channels after the other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_tiny.errors import OptionError
from tvm_tiny.ops import is_tinyml_call, make_call, params_of
from tvm_tiny.passes._dataflow import (
    DataflowWriter,
    array_of,
    bindings_of,
    is_const,
    map_functions,
    rewrite_bindings,
    shape_of,
    users_of,
)
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.quant.fixed_point import wrap_int32
from tvm_tiny.quant.params import AccumulateParams, RequantizeParams

_WORDS = 4  # channels that kernels take at a time: slices are whole multiples where there are enough
_TILES = 4  # slices where nobody says how many: more save little, as the sums stay
_NAMED = 6  # layers listed in an error


@dataclass(frozen=True)
class ChannelTiles:
    """The block that ends with ``layer`` runs in ``tiles`` slices of its expanded channels.

    Parameters
    ----------
    tiles : 2 or more; sizes that do not divide leave smaller slices at the end
    layer : name of the block's projection, or a part of it that no other projection has
    """

    tiles: int
    layer: str

    def __str__(self) -> str:
        return f"{self.tiles}@{self.layer}"


@dataclass(frozen=True)
class _Block:
    """The bindings of one block, and how many channels are expanded."""

    expand: relax.Var
    depthwise: relax.Var
    project: relax.Var
    channels: int


def parse_tiles(text: str) -> ChannelTiles:
    """``"4@project_3"`` -> four slices of the block that ends with ``project_3``.

    Raises
    ------
    OptionError : anything else
    """
    match = re.fullmatch(r"(\d+)@(.+)", text.strip())
    if match is None or int(match[1]) < 2:
        raise OptionError(
            f"--channel-tiles {text}: expected auto, off or N@LAYER, N at least 2",
            hints=["for instance --channel-tiles 4@project_3"],
        )
    return ChannelTiles(int(match[1]), match[2])


@relax_pass
class TileChannels:
    """Run blocks of expansion (1x1), depthwise convolution and projection (1x1) by slices of the expanded channels.

    Before: ``qconv2d(qdepthwise_conv2d(qconv2d(x, w0), w1), w2)``
    After: ``s = qconv2d_accumulate(qdepthwise_conv2d(qconv2d(x, w0[:k]), w1[..., :k]), w2[..., :k], bias)``, then the
    same with ``[k:]`` and ``s`` for the bias, then ``requantize(s)``

    Exact: sums of integers modulo 2**32 do not depend on their order. The result keeps the projection's name. A layer
    in slices already stays as it is.

    Parameters
    ----------
    tiles : the blocks

    Raises
    ------
    OptionError : an unknown layer, one that ends no such block, more slices than channels
    """

    def __init__(self, tiles: tuple[ChannelTiles, ...]) -> None:
        self.tiles = tiles

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return map_functions(mod, lambda func: _tile(func, self.tiles))


def find_tiles(func: relax.Function, live: Collection[str]) -> tuple[ChannelTiles, ...]:
    """Tiles for the blocks that hold expanded tensors in ``live`` and whose int32 sums take less than their rows.

    Parameters
    ----------
    live : what ``planner.find_peak`` names: tensors, or a tensor and what holds its rows, like "x ring"
    """
    found = []
    for block in _blocks(func).values():
        (_, height, width, outputs), taps = shape_of(block.project), _taps(block, func)
        rows = min(taps, shape_of(block.expand)[1]) * shape_of(block.expand)[2] * block.channels
        tiles = min(_TILES, block.channels // _WORDS)
        expanded = (block.expand.name, block.depthwise.name)
        at_peak = any(x == name or x.startswith(f"{name} ") for x in live for name in expanded)
        if at_peak and tiles > 1 and 4 * outputs * height * width < rows:
            found.append(ChannelTiles(tiles, block.project.name))
    return tuple(found)


def _taps(block: _Block, func: relax.Function) -> int:
    """Height of the depthwise window."""
    return next(shape_of(value.args[1])[0] for var, value in bindings_of(func) if var == block.depthwise)


def _tile(func: relax.Function, tiles: tuple[ChannelTiles, ...]) -> relax.Function:
    if not tiles:
        return func
    blocks, values = _blocks(func), dict(bindings_of(func))
    chosen: dict[relax.Var, tuple[_Block, int]] = {}
    for each in tiles:
        project = _find(each, blocks, values)
        if project is None:
            continue
        if project in chosen:
            raise OptionError(f"--channel-tiles {each}: this layer is named twice", hints=["leave out one of them"])
        block = blocks[project]
        if each.tiles > block.channels:
            raise OptionError(
                f"--channel-tiles {each}: the block has {block.channels} expanded channels",
                hints=[f"at most {block.channels} slices"],
            )
        chosen[project] = block, each.tiles

    def visit(writer: DataflowWriter, var: relax.Var, call: relax.Call) -> relax.Expr:
        if var not in chosen:
            return call
        block, count = chosen[var]
        return _slices(writer, block, call, count)

    return rewrite_bindings(func, visit)


def _find(
    tiles: ChannelTiles, blocks: dict[relax.Var, _Block], values: dict[relax.Var, relax.Expr]
) -> relax.Var | None:
    """The projection that is meant; None where it is in slices already."""
    exact = [var for var in values if var.name == tiles.layer]
    if exact and is_tinyml_call(values[exact[0]], "requantize"):
        return None
    found = [var for var in exact if var in blocks] or [var for var in blocks if tiles.layer in var.name]
    if len(found) == 1 and (not exact or found == exact):
        return found[0]
    if exact:
        what = "that layer does not end a block of expand (1x1), depthwise, project (1x1)"
    else:
        what = "several layers have that in their names" if found else "no such layer"
    names = [var.name for var in (found if len(found) > 1 else blocks)]
    more = ", ..." if len(names) > _NAMED else ""
    hints = [f"{', '.join(names[:_NAMED])}{more}"] if names else ["this model has no such block"]
    raise OptionError(f"--channel-tiles {tiles}: {what}", hints=hints)


def _blocks(func: relax.Function) -> dict[relax.Var, _Block]:
    """Projection -> its block, in the order of execution."""
    users, values = users_of(func), dict(bindings_of(func))
    return {block.project: block for var in values for block in _block_of(var, users, values)}


def _block_of(var: relax.Var, users: dict[relax.Var, int], values: dict[relax.Var, Any]) -> Iterator[_Block]:
    project = values[var]
    if not _is_pointwise(project) or params_of(project).strides != (1, 1) or any(params_of(project).padding):
        return
    depthwise: Any = values.get(project.args[0])
    if not is_tinyml_call(depthwise, "qdepthwise_conv2d") or users[project.args[0]] != 1:
        return
    expand: Any = values.get(depthwise.args[0])
    if not _is_pointwise(expand) or users[depthwise.args[0]] != 1 or shape_of(var)[0] != 1:
        return
    if all(is_const(a) for call in (project, depthwise, expand) for a in call.args[1:]):
        yield _Block(depthwise.args[0], project.args[0], var, shape_of(depthwise.args[0])[3])


def _is_pointwise(value: Any) -> bool:
    return is_tinyml_call(value, "qconv2d") and shape_of(value.args[1])[1:3] == (1, 1) and params_of(value).groups == 1


def _slices(writer: DataflowWriter, block: _Block, project: relax.Call, count: int) -> relax.Expr:
    depthwise = writer.value_of(project.args[0])
    expand = writer.value_of(depthwise.args[0])
    p = params_of(project)
    outputs = shape_of(project.args[1])[0]
    weight = array_of(project.args[1]).reshape(outputs, -1)
    repeats = weight.shape[1] // block.channels
    # The zero point of the data goes into the bias, once for all slices.
    folded = array_of(project.args[2]) - p.input_zero_point * weight.sum(axis=1, dtype=np.int64)
    sums: relax.Expr = relax.const(wrap_int32(folded).astype(np.int32))
    for i, (begin, end) in enumerate(_bounds(block.channels, count)):
        one, more = slice(begin, end), slice(begin * repeats, end * repeats)
        vectors = [relax.const(np.ascontiguousarray(array_of(a)[one])) for a in expand.args[1:]]
        x = writer.emit(make_call("qconv2d", [expand.args[0], *vectors], params_of(expand)), f"{block.expand.name}:{i}")
        vectors = [relax.const(np.ascontiguousarray(array_of(a)[..., more])) for a in depthwise.args[1:]]
        x = writer.emit(
            make_call("qdepthwise_conv2d", [x, *vectors], params_of(depthwise)), f"{block.depthwise.name}:{i}"
        )
        part = relax.const(np.ascontiguousarray(weight[:, more]))
        sums = writer.emit(
            make_call("qconv2d_accumulate", [x, part, sums], AccumulateParams()), f"{block.project.name}:{i}"
        )
    params = RequantizeParams(p.output_zero_point, p.clamp_min, p.clamp_max, p.rounding)
    return make_call("requantize", [sums, *project.args[3:]], params)


def _bounds(channels: int, count: int) -> Iterator[tuple[int, int]]:
    """Slices of near-equal size, multiples of ``_WORDS`` where there are that many."""
    unit = _WORDS if channels >= count * _WORDS else 1
    units = -(-channels // unit)
    edges = [min(channels, unit * (units * i // count)) for i in range(count + 1)]
    yield from pairwise(edges)
