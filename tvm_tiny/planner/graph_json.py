"""A graph as JSON and back, so that a compiled model's archive can be planned again without the model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple
from typing import Any

from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window


def graph_to_dict(graph: Graph) -> dict[str, Any]:
    """JSON values: "tensors" and "operators" with the fields of ``Tensor`` and ``Op``, and "outputs", indices.

    A window is the list of its kernel, stride, positions before, and dilation.
    """
    return {
        "tensors": [
            {
                **asdict(t),
                "shape": list(t.shape),
                "home": t.home.value,
                "beside": None if t.beside is None else list(t.beside),
            }
            for t in graph.tensors
        ],
        "operators": [
            {
                **asdict(op),
                "kind": op.kind.value,
                **{key: list(getattr(op, key)) for key in ("inputs", "outputs", "in_place", "shows")},
                **{key: [list(astuple(w)) for w in getattr(op, key)] for key in ("rows", "columns")},
            }
            for op in graph.ops
        ],
        "outputs": list(graph.outputs),
    }


def graph_from_dict(content: Mapping[str, Any]) -> Graph:
    """The graph that ``graph_to_dict`` described.

    Raises
    ------
    KeyError, TypeError, ValueError : ``content`` is no such description
    """
    tensors = [
        Tensor(
            **{
                **t,
                "shape": tuple(t["shape"]),
                "home": Home(t["home"]),
                "beside": None if t["beside"] is None else tuple(t["beside"]),
            }
        )
        for t in content["tensors"]
    ]
    ops = [
        Op(
            **{
                **op,
                "kind": Kind(op["kind"]),
                **{key: tuple(op[key]) for key in ("inputs", "outputs", "in_place", "shows")},
                **{key: tuple(Window(*w) for w in op[key]) for key in ("rows", "columns")},
            }
        )
        for op in content["operators"]
    ]
    return Graph(tuple(tensors), tuple(ops), tuple(content["outputs"]))
