"""The channels of a whole function: their values, and which of them can go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import is_tinyml_call, op_name, params_of
from tvm_tiny.passes._dataflow import array_of, bindings_of, is_const, variables
from tvm_tiny.passes.channels.ranges import Range, full_range, output_ranges, range_of_array
from tvm_tiny.passes.channels.taps import contributions, weight_taps
from tvm_tiny.passes.channels.ties import Tie, tensors_of, ties_of

Mask = NDArray[np.bool_]

MIXING = ("qconv2d", "qdense")
"""Operators whose every output channel reads all input channels."""


@dataclass(eq=False)
class Channels:
    """One tensor's channels.

    values : bounds of what each holds
    dead : [C], channels that nobody would miss; ``settle`` makes it true
    """

    values: Range
    dead: Mask

    @property
    def kept(self) -> NDArray[np.intp]:
        """Indices of the channels that stay."""
        return np.flatnonzero(~self.dead)


@dataclass(frozen=True, eq=False)
class Node:
    """One call.

    inputs : as ``tensors_of(call)``; None for constants
    ties : None where the call mixes channels or nothing is known of it
    ignores : of operators in ``MIXING``, [O, C]: where an output channel does without an input channel, as its weights
        are zero or the input channel is a constant whose effect is the same at all positions
    """

    call: relax.Call
    inputs: tuple[Channels | None, ...]
    outputs: tuple[Channels, ...]
    ties: tuple[Tie, ...] | None
    ignores: Mask | None


class ChannelGraph:
    """Channels of all tensors of a straight-line function.

    Attributes
    ----------
    nodes : variable -> its call, in order
    tensors : variable -> channels of the tensor, or of each tensor of a tuple
    """

    def __init__(self, func: relax.Function) -> None:
        self.nodes: dict[Any, Node] = {}
        self.tensors: dict[Any, tuple[Channels, ...]] = {p: (_unknown(p),) for p in func.params}
        for var, value in bindings_of(func):
            if isinstance(value, relax.TupleGetItem):
                self.tensors[var] = (self.tensors[value.tuple_value][value.index],)
            elif isinstance(value, relax.Call):
                self._add(var, value)
        for channels in self._needed(func):
            channels.dead[:] = False

    def settle(self, multiple: int) -> None:
        """Shrink ``dead`` to what can go: all that depends on a channel that stays, stays.

        Parameters
        ----------
        multiple : a tensor keeps dead channels until it has a multiple of that many, or all it had
        """
        self._spread()
        short = True
        while short:
            short = False
            for tensor in self._all():
                left = len(tensor.kept)
                missing = min(len(tensor.dead), max(1, -(-left // multiple) * multiple)) - left
                if missing:
                    tensor.dead[np.flatnonzero(tensor.dead)[:missing]] = False
                    short = True
            if short:
                self._spread()

    def __contains__(self, var: Any) -> bool:
        return var in self.tensors

    def _add(self, var: relax.Var, call: relax.Call) -> None:
        fields = list(var.ty.fields) if isinstance(var.ty, relax.TupleType) else [var.ty]
        exprs = [relax.Var(f"{var.name}{i}", ty) for i, ty in enumerate(fields)]
        tensors = tensors_of(call)
        inputs = tuple(None if is_const(t) else self.tensors[t][0] for t in tensors)
        given = [range_of_array(array_of(t)) if x is None else x.values for t, x in zip(tensors, inputs, strict=True)]
        ties = ties_of(call)
        ranges = output_ranges(call, given, exprs, ties)
        outputs = tuple(Channels(r, np.ones(len(r.low), np.bool_)) for r in ranges)
        self.tensors[var] = outputs
        ignores = _ignores(call, given[0]) if _mixes(call) else None
        self.nodes[var] = Node(call, inputs, outputs, None if ties is None else tuple(ties), ignores)

    def _needed(self, func: relax.Function) -> Iterator[Channels]:
        """Tensors that keep all their channels."""
        for var in (*func.params, *variables(func.body.body)):
            yield from self.tensors[var]
        for node in self.nodes.values():
            opaque = node.ties is None and node.ignores is None
            if opaque:
                yield from node.outputs
            tied = set() if node.ties is None else {t.input for t in node.ties}
            for i, tensor in enumerate(node.inputs):
                if tensor is not None and node.ignores is None and i not in tied:
                    yield tensor

    def _all(self) -> list[Channels]:
        return [t for node in self.nodes.values() for t in node.outputs]

    def _spread(self) -> None:
        """Bring ``dead`` to its fixed point, backwards, until a round changes nothing."""
        before = -1
        while before != (now := sum(int(t.dead.sum()) for t in self._all())):
            before = now
            for node in reversed(list(self.nodes.values())):
                _spread_through(node)


def _spread_through(node: Node) -> None:
    if node.ignores is not None:
        (data,), (out,) = node.inputs, node.outputs
        assert data is not None
        data.dead &= node.ignores[~out.dead].all(axis=0)
    for tie in node.ties or ():
        tensor, out = node.inputs[tie.input], node.outputs[tie.output]
        if tensor is None:
            continue
        gone = tensor.dead.copy()
        np.logical_and.at(gone, tie.input_channels, out.dead[tie.output_channels])
        tensor.dead &= gone
        out.dead[tie.output_channels] &= tensor.dead[tie.input_channels]


def _mixes(call: relax.Call) -> bool:
    return (
        is_tinyml_call(call)
        and op_name(call) in MIXING
        and not is_const(call.args[0])
        and all(map(is_const, call.args[1:]))
        and getattr(params_of(call), "groups", 1) == 1
    )


def _ignores(call: relax.Call, data: Range) -> Mask:
    without: Mask = (weight_taps(call) == 0).all(axis=1)
    known = np.flatnonzero(data.constant)
    if len(known):
        effect = contributions(call, known)
        same = (effect == effect[0]).all(axis=0)
        without[:, known] |= same | (data.low[known] == params_of(call).input_zero_point)
    return without


def _unknown(tensor: Any) -> Channels:
    values = (
        full_range(tensor)
        if isinstance(tensor.ty, relax.TensorType)
        else Range(np.zeros(1, np.int64), np.ones(1, np.int64))
    )
    return Channels(values, np.zeros(len(values.low), np.bool_))
