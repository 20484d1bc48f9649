"""The report of a compiled model as JSON values; HTML and Markdown are made of the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from tvm_tiny import planner
from tvm_tiny.measure import INSTRUCTION_CLASSES, LayerCounts, RunResult
from tvm_tiny.measure.accounting import estimate
from tvm_tiny.measure.report import make_report

KIND = "tvm-tiny report"
FORMAT = 1


def report_content(
    module_name: str,
    info: Mapping[str, Any],
    result: RunResult | None = None,
    *,
    front: planner.EffortName | None = None,
) -> dict[str, Any]:
    """All that a report says.

    Parameters
    ----------
    info : the archive's ``tinyml`` metadata
    result : of a run; without it there are no instructions, no stack and no code bytes
    front : effort with which the plans to choose from are looked for; None: they are left out
    """
    report = result.report if result else make_report(info, info["board"], *estimate(info), None)
    measured = report.to_dict()
    layers = [
        {**described, **shown}
        for described, shown in zip(_layers(info), _counted(measured["layers"], result), strict=True)
    ]
    stages = list(_stages(info))
    for number, stage in enumerate(stages):
        for index in stage["layers"]:
            layers[index]["stage"] = number
    plan = info["plan"]
    return {
        "kind": KIND,
        "format": FORMAT,
        "version": metadata.version("tvm-tiny"),
        "module_name": module_name,
        **{key: info[key] for key in ("model", "target", "cpu", "optimize", "inputs", "outputs", "stream")},
        **{key: measured[key] for key in _TOTALS},
        "floor_instructions": sum(layer["floor_instructions"] for layer in layers),
        "plan": {key: plan[key] for key in ("arena_bytes", "lower_bound_bytes", "optimal", "overhead", "memories")},
        "order": info["order"],
        "stages": stages,
        "layers": layers,
        "front": None if front is None else _front(info, front),
        "symbols": None if result is None or result.symbols is None else [_symbol(s) for s in result.symbols],
    }


_TOTALS = (
    "board",
    "macs",
    "executed_macs",
    "instructions",
    "instructions_min",
    "instructions_max",
    "instruction_mix",
    "modelled_cycles",
    "cycle_model",
    "cycles",
    "cycle_counter",
    "ram",
    "flash",
)


def _symbol(symbol: Any) -> dict[str, Any]:
    return {"name": symbol.name, "part": symbol.part, "size_bytes": symbol.size_bytes}


def _layers(info: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    sources = layer_inputs(info)
    keys = ("name", "op", "kernel", "output_shape", "output_bytes", "scratch_bytes", "constants_bytes", "macs")
    for index, layer in enumerate(info["layers"]):
        values = {key: layer[key] for key in (*keys, "executed_macs")}
        yield {"index": index, **values, "inputs": sources[index], "stage": None}


def _counted(layers: Sequence[Mapping[str, Any]], result: RunResult | None) -> Iterator[dict[str, Any]]:
    keys = ("floor_instructions", "instructions", "share", "instructions_per_mac", "modelled_cycles")
    runs = (result and result.counts) or ()
    for index, layer in enumerate(layers):
        mix = _mix([run.layers[index] for run in runs]) if runs else None
        yield {**{key: layer[key] for key in keys}, "instruction_mix": mix}


def _mix(counts: Sequence[LayerCounts]) -> dict[str, float]:
    """Instructions by class, mean over the batch; those that do not occur are left out."""
    means = [sum(c.classes[i] for c in counts) / len(counts) for i in range(len(INSTRUCTION_CLASSES))]
    return {name: round(mean, 2) for name, mean in zip(INSTRUCTION_CLASSES, means, strict=True) if mean}


def layer_inputs(info: Mapping[str, Any]) -> list[list[int]]:
    """For every layer the layers whose results it reads, behind views; -1 for an input of the model."""
    graph = planner.graph_from_dict(info["graph"])
    number = {layer["operator"]: index for index, layer in enumerate(info["layers"])}

    def makers(tensor: int) -> list[int]:
        op = graph.producer.get(tensor, -1)
        if op >= 0 and graph.ops[op].kind is planner.Kind.VIEW:
            return [maker for t in graph.ops[op].inputs for maker in makers(t)]
        return [number.get(op, -1)]

    return [
        list(dict.fromkeys(maker for t in graph.ops[layer["operator"]].inputs for maker in makers(t)))
        for layer in info["layers"]
    ]


def _stages(info: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Stages with the numbers of their layers: layers are numbered in the order in which stages name them."""
    pushed = {op["name"] for op in info["graph"]["operators"] if not op["inputs"]}  # what the caller does, no layer
    first = 0
    for stage in info["plan"]["stages"]:
        names = [name for name in stage["operators"] if name not in pushed]
        number = {name: first + i for i, name in enumerate(names)}
        yield {
            "layers": list(range(first, first + len(names))),
            "steps": stage["ticks"],
            "ring_bytes": sum(t["rows"] * t["row_bytes"] for t in stage["tensors"] if t["ring"]),
            "patches": [
                {
                    "layers": [number[name] for name in group["operators"]],
                    "rows": group["rows"],
                    "columns": group["columns"],
                    "recomputed": [number[name] for name in group["recomputed"]],
                }
                for group in stage["groups"]
            ],
        }
        first += len(names)


def _front(info: Mapping[str, Any], effort: planner.EffortName) -> dict[str, Any]:
    """The plans to choose from, in the form of ``ModelPlans.to_dict``, and the one that was chosen."""
    plan = info["plan"]
    choices = planner.pareto(planner.graph_from_dict(info["graph"]), effort=effort, reorder=False)
    available = sum(m["available_bytes"] for m in plan["memories"])
    return {
        "model": info["model"],
        "target": info["target"],
        "board_ram_bytes": available,
        "fronts": {"streamed" if info["stream"] else "resident": [choice.to_dict() for choice in choices]},
        "chosen": {"ram_bytes": plan["arena_bytes"] + plan["caller_bytes"], "overhead": plan["overhead"]},
    }
