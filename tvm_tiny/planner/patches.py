"""Patches asked for by hand: which layers run in which grid, whatever the search would have chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from tvm_tiny.errors import OptionError
from tvm_tiny.planner.graph import Graph, Kind
from tvm_tiny.planner.options import Option, price
from tvm_tiny.planner.program import Group, Stage
from tvm_tiny.planner.schedule import NotSchedulableError, schedule_stage

Pins: TypeAlias = Mapping[tuple[int, int], Sequence[Option]]
"""(first operator, the one behind the last) -> the ways to run these as one stage that may be chosen."""

_NAMED = 6  # layers listed in an error


@dataclass(frozen=True)
class Patch:
    """The layers up to ``layer``, from the input or from behind the patches before, run patch by patch.

    Parameters
    ----------
    rows, columns : of the grid over the output of ``layer``; sizes that do not divide leave smaller patches at the end
    layer : an operator's name, a part of it that no other name has, or its number in execution order
    """

    rows: int
    columns: int
    layer: str

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}@{self.layer}"


def parse_patch(text: str) -> Patch:
    """``"2x4@conv_3"`` -> two rows of four patches over the output of ``conv_3``.

    Raises
    ------
    OptionError : anything else
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)@(.+)", text.strip())
    if match is None:
        raise OptionError(
            f"--patch {text}: expected auto, off or ROWSxCOLUMNS@LAYER", hints=["for instance --patch 2x2@conv_3"]
        )
    return Patch(int(match[1]), int(match[2]), match[3])


def pin_patches(graph: Graph, patches: Sequence[Patch], extra_macs: int) -> Pins:
    """The stages that ``patches`` ask for.

    What a patch needs of rows that the patches above have made is kept, or made again where that takes less memory and
    ``extra_macs`` allows it; columns are always kept from one patch to the next.

    Raises
    ------
    OptionError : an unknown layer, or layers that cannot run in patches
    """
    pins: dict[tuple[int, int], Sequence[Option]] = {}
    start = 0
    for end, patch in sorted(((_find(graph, patch) + 1, patch) for patch in patches), key=lambda x: x[0]):
        if end <= start:
            raise OptionError(f"--patch {patch}: the layers up to there run in patches already")
        pins[start, end] = _ways(graph, patch, range(start, end), extra_macs)
        start = end
    return pins


def _find(graph: Graph, patch: Patch) -> int:
    names = [op.name for op in graph.ops]
    if patch.layer in names:
        return names.index(patch.layer)
    found = [i for i, name in enumerate(names) if patch.layer in name]
    if patch.layer.isdecimal() and int(patch.layer) < len(names):
        found = [int(patch.layer)]
    if len(found) == 1:
        return found[0]
    some = [names[i] for i in found] or [op.name for op in graph.ops if op.kind is Kind.ROWS]
    what = "several layers have that in their names" if found else "no such layer"
    more = ", ..." if len(some) > _NAMED else ""
    raise OptionError(
        f"--patch {patch}: {what}", hints=[f"{', '.join(some[:_NAMED])}{more}", "its number in tvmc inspect"]
    )


def _ways(graph: Graph, patch: Patch, ops: range, extra_macs: int) -> list[Option]:
    sources = [op for op in ops if not graph.ops[op].inputs]
    members = tuple(op for op in ops if op not in sources)
    for op in members:
        x = graph.ops[op]
        if x.kind is Kind.WHOLE or x.whole_rows_only:
            raise OptionError(
                f"--patch {patch}: layer '{x.name}' cannot make parts of rows", hints=["patches that end before it"]
            )
    if len(members) < 2:
        raise OptionError(f"--patch {patch}: patches take two layers at least", hints=["a later layer"])
    last = members[-1]
    height, width = graph.op_rows(last), graph.op_columns(last)
    if patch.rows > height or patch.columns > width:
        raise OptionError(f"--patch {patch}: the output of that layer has {height} rows of {width} columns")
    group = Group(members, -(-width // patch.columns), rows=-(-height // patch.rows))
    alone = tuple(Group((op,)) for op in sources)
    ways = [_price(graph, patch, Stage((*alone, group)))]
    for op in members[:-1]:
        again = group.recomputed | set(graph.ops[op].outputs)
        trial = price(graph, Stage((*alone, replace(group, recomputed=again))), exactly=True)
        if trial and trial.extra_macs <= extra_macs and trial.peak_bytes < ways[-1].peak_bytes:
            group = replace(group, recomputed=again)
            ways.append(trial)
    return ways


def _price(graph: Graph, patch: Patch, stage: Stage) -> Option:
    try:
        schedule_stage(graph, stage)
    except NotSchedulableError as e:
        raise OptionError(f"--patch {patch}: {e}", hints=["patches that end at another layer"]) from e
    option = price(graph, stage, exactly=True)
    assert option is not None
    return option
