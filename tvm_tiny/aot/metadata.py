"""``metadata.json`` of Model Library Format 7, with everything the later tools need under the key ``tinyml``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tvm_tiny import planner
from tvm_tiny.aot.c_names import c_identifiers
from tvm_tiny.aot.model_library_format import MLF_VERSION, TINYML_FORMAT
from tvm_tiny.aot.weights import Home, bytes_by_home
from tvm_tiny.ops import IoTensor, ModelIo, Program, TirProgram
from tvm_tiny.targets import Board

# The format wants a time stamp; equal inputs have to give equal bytes, so it never moves.
_EXPORT_DATETIME = "1970-01-01 00:00:00Z"
# A linker script that does not know it takes it for .bss, which costs speed and breaks nothing.
SECTION_PREFIX = ".bss.tvm_tiny."


def tinyml_metadata(
    model: str,
    board: Board,
    io: ModelIo,
    program: Program,
    tir: TirProgram,
    plan: planner.Plan,
    default_memories: Sequence[str],
    weights: Mapping[str, Home],
    optimize: str = "speed",
) -> dict[str, Any]:
    """What inspect, run and report know of a compiled model.

    ``macs`` are the model file's, dead channels included; ``executed_macs`` are those of the generated code. "graph" is
    the program's, views included; a layer's "operator" counts its operators.

    Parameters
    ----------
    default_memories : those that may hold stack and data, where a workspace needs no section of its own; of those in
        use the first does, if none is in use the first of all
    weights : home of every constant array
    """
    tensors = program.graph.tensors
    where = planner.view_places(program.graph)
    names = c_identifiers([t.name for t in (*io.inputs, *io.outputs)])
    described = [
        {**_io_tensor(info, c_name, tensors[t]), **_place(plan, *where[t])}
        for info, c_name, t in zip((*io.inputs, *io.outputs), names, (*program.inputs, *program.outputs), strict=True)
    ]
    calls = _calls(program, plan)
    return {
        "format": TINYML_FORMAT,
        "model": model,
        "target": f"tinyml/{board.name}",
        "board": board.source,
        "cpu": board.cpu.name,
        "optimize": optimize,
        "inputs": described[: len(io.inputs)],
        "outputs": described[len(io.inputs) :],
        "stream": _stream(program, plan),
        "arena_bytes": plan.arena_bytes,
        "memories": _memories(plan, default_memories),
        "default_memory": _default_memory(plan, default_memories),
        "constants_bytes": sum(a.nbytes for a in tir.constants.values()),
        "weights": _weights(weights, tir),
        "macs": plan.macs + sum(program.dead_macs.values()),
        "executed_macs": plan.executed_macs,
        "layers": [_layer(program, index, kernel, *calls[index]) for index, kernel in tir.steps],
        "order": _order(program.order),
        "graph": planner.graph_to_dict(program.graph),
        "plan": {**plan.to_dict(), "overhead": round(planner.measure(plan).overhead, 4)},
    }


def _order(order: planner.Order | None) -> dict[str, Any] | None:
    return None if order is None else {"changed": order.changed, "peak_bytes": order.peak_bytes, "proved": order.proved}


def mlf_metadata(module_name: str, info: dict[str, Any]) -> dict[str, Any]:
    """The whole ``metadata.json``."""
    sizes = {k: sum(t["size_bytes"] for t in info[k]) for k in ("inputs", "outputs")}
    if info["stream"] is not None:
        sizes["inputs"] = info["stream"]["row_bytes"]
    main = {
        "device": 1,  # DLDevice kDLCPU, as microTVM wrote it
        "workspace_size_bytes": info["arena_bytes"],
        "constants_size_bytes": info["constants_bytes"],
        "io_size_bytes": sizes["inputs"] + sizes["outputs"],
        "inputs": {t["c_name"]: {"size": t["size_bytes"], "dtype": t["dtype"]} for t in info["inputs"]},
        "outputs": {t["c_name"]: {"size": t["size_bytes"], "dtype": t["dtype"]} for t in info["outputs"]},
    }
    kernels: dict[str, int] = {}
    for layer in info["layers"]:
        kernels[layer["kernel"]] = max(kernels.get(layer["kernel"], 0), layer["scratch_bytes"])
    operators = [
        {"function_name": name, "workspace": [{"device": 1, "workspace_size_bytes": size}]}
        for name, size in kernels.items()
    ]
    module = {
        "model_name": module_name,
        "export_datetime": _EXPORT_DATETIME,
        "memory": {"functions": {"main": [main], "operator_functions": operators}},
        "target": [info["target"]],
        "executors": ["aot"],
        "style": "full-model",
        "tinyml": info,
    }
    return {"version": MLF_VERSION, "modules": {module_name: module}}


def _place(plan: planner.Plan, first: int, distance: int) -> dict[str, Any]:
    """Where an input or output lies: offset in the arena of a memory; None where the caller owns it."""
    offset = plan.offset(first)
    index, inside = (None, None) if offset is None else plan.locate(offset + distance)
    return {"arena_offset": inside, "memory": None if index is None else plan.arenas[index].memory.name}


def _weights(weights: Mapping[str, Home], tir: TirProgram) -> list[dict[str, Any]]:
    """Homes of constants with their bytes; what is in RAM has as many bytes in flash."""
    homes = {home.name: home for home in weights.values()}
    return [
        {"name": name, "bytes": size, "section": homes[name].section, "in_ram": homes[name].writable}
        for name, size in bytes_by_home(weights, tir.constants).items()
    ]


def _default_memory(plan: planner.Plan, default: Sequence[str]) -> str | None:
    used = [a.memory.name for a in plan.arenas]
    return next((name for name in default if name in used), default[0] if default else None)


def _memories(plan: planner.Plan, default: Sequence[str]) -> list[dict[str, Any]]:
    """The arenas in the plan's order. One workspace has the plain name: the default memory's, else the first."""
    names = [a.memory.name for a in plan.arenas]
    first = next((n for n in names if n in default), names[0])
    return [
        {
            "name": a.memory.name,
            "arena_bytes": a.size_bytes,
            "available_bytes": a.memory.size_bytes,
            "suffix": "" if a.memory.name == first else f"_{a.memory.name}",
            "section": None if a.memory.name in default else f"{SECTION_PREFIX}{a.memory.name}",
        }
        for a in plan.arenas
    ]


def _io_tensor(info: IoTensor, c_name: str, tensor: planner.Tensor) -> dict[str, Any]:
    return {
        "name": info.name,
        "c_name": c_name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "size_bytes": tensor.size_bytes,
        "scale": info.scale,
        "zero_point": info.zero_point,
        "host_dtype": info.host_dtype,
    }


def _stream(program: Program, plan: planner.Plan) -> dict[str, Any] | None:
    """How the only input comes; None where inputs are given as wholes.

    ``axis`` of its shape counts the rows, None where they are consecutive pieces of the flat input; row ``y`` lies
    ``y % kept_rows`` rows behind the input's ``arena_offset``.
    """
    if program.stream is None:
        return None
    index, axis = program.stream.tensor, program.stream.axis
    tensor, place = program.graph.tensors[index], plan.stages[0].places[index]
    kept_rows = place.ring_rows or tensor.rows
    return {"rows": tensor.rows, "row_bytes": tensor.row_bytes, "axis": axis, "kept_rows": kept_rows}


def _calls(program: Program, plan: planner.Plan) -> dict[int, tuple[int, int]]:
    """Operator of the program -> its executed MACs, and working memory of its kernel."""
    # The plan's graph is the program's without its views.
    index = [i for i, op in enumerate(program.graph.ops) if op.kind is not planner.Kind.VIEW]
    calls = {}
    for stage in plan.stages:
        for group in stage.groups:
            parts = stage.in_segments(group, plan.graph)
            for run in group.schedule.runs:
                op = plan.graph.ops[run.op]
                calls[index[run.op]] = (plan.op_macs[run.op], op.scratch(parts) + op.accumulator_bytes)
    return calls


def _layer(program: Program, index: int, kernel_name: str, executed_macs: int, scratch_bytes: int) -> dict[str, Any]:
    layer, op = program.layers[index], program.graph.ops[index]
    inputs, outputs = ([program.graph.tensors[t] for t in each] for each in (op.inputs, op.outputs))
    constants = () if layer.kernel is None else layer.kernel.constants
    return {
        "name": layer.name,
        "operator": index,
        "op": layer.op,
        "output_shape": list(layer.output_shape),
        "macs": op.macs + (program.dead_macs.get(layer.name, 0) if op.macs else 0),
        "executed_macs": executed_macs,
        "kernel": kernel_name,
        "input_bytes": sum(map(_tensor_bytes, inputs)),
        "output_bytes": sum(map(_tensor_bytes, outputs)),
        "scratch_bytes": scratch_bytes,
        "constants_bytes": sum(c.nbytes for c in constants),
    }


def _tensor_bytes(tensor: planner.Tensor) -> int:
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
