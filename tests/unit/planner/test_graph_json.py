"""A graph survives JSON: the same plan comes out of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.planner_graphs import Builder
from tvm_tiny.planner import Graph, Kind, Op, Tensor, Window, graph_from_dict, graph_to_dict, plan_memory


def _graph() -> Graph:
    b = Builder(20, 20, 3)
    x = b.conv(0, 16, Window(3, 2, 1), Window(3, 2, 1, 2), (1, 1), scratch=24)
    graph = b.graph(b.dense(b.view(b.mean(b.conv(x, 8, Window(3, 1, 1), Window(3, 1, 1), (1, 1)))), 4))
    shaped = (replace(graph.tensors[0], shape=(1, 20, 20, 3), planes=3), *graph.tensors[1:])
    return Graph(shaped, (replace(graph.ops[0], in_place=(0,)), *graph.ops[1:]), graph.outputs)


def test_a_graph_survives_json() -> None:
    graph = _graph()
    again = graph_from_dict(json.loads(json.dumps(graph_to_dict(graph))))
    assert (again.tensors, again.ops, again.outputs) == (graph.tensors, graph.ops, graph.outputs)
    assert plan_memory(again, effort="fast").to_dict() == plan_memory(graph, effort="fast").to_dict()


def test_views_survive_json() -> None:
    tensors = (Tensor("a", 1, 1, 8, beside=(0, 0)), Tensor("b", 1, 1, 8, beside=(0, 8)), Tensor("both", 1, 1, 16))
    ops = (
        Op("make a", Kind.WHOLE, (), (0,)),
        Op("make b", Kind.WHOLE, (), (1,)),
        Op("both", Kind.VIEW, (0, 1), (2,), shows=(0, 8)),
    )
    again = graph_from_dict(json.loads(json.dumps(graph_to_dict(Graph(tensors, ops, (2,))))))
    assert (again.tensors, again.ops) == (tensors, ops)


def test_what_is_no_graph() -> None:
    content = graph_to_dict(_graph())
    with pytest.raises(ValueError, match="before it is written"):
        graph_from_dict({**content, "operators": content["operators"][1:]})
    with pytest.raises(KeyError):
        graph_from_dict({})
