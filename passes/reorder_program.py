"""Brings a program's operators into the order in which they are planned and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tvm_tiny import planner
from tvm_tiny.ops import Program


def reorder_program(program: Program, order: planner.Order) -> Program:
    """``program`` with its operators in the order that ``planner.find_order`` gives; views follow what they show."""
    ops = program.graph.ops
    calls = [i for i, op in enumerate(ops) if op.kind is not planner.Kind.VIEW]
    made = {t for op in ops for t in op.outputs}
    given = [t for t in range(len(program.graph.tensors)) if t not in made]
    sequence: list[int] = []
    there: set[int] = set()

    def follow(tensors: Sequence[int]) -> None:
        there.update(tensors)
        for t in tensors:
            for reader in program.graph.consumers[t]:
                view = ops[reader].kind is planner.Kind.VIEW and reader not in sequence
                if view and there.issuperset(ops[reader].inputs):
                    sequence.append(reader)
                    follow(ops[reader].outputs)

    follow(given)
    for position in order.ops:
        sequence.append(calls[position])
        follow(ops[calls[position]].outputs)
    graph = planner.Graph(program.graph.tensors, tuple(ops[i] for i in sequence), program.graph.outputs)
    return replace(program, graph=graph, layers=tuple(program.layers[i] for i in sequence), order=order)
