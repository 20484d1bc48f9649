"""A compiled model as ONNX that viewers such as Netron open: its layers with where and when they run as attributes.

Nodes are of the domain ``tvm_tiny``, so nothing can run the file; it is there to look at. An operator's own parameters
(strides, zero points) and its constants are those of ``relax.tinyml.*``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tvm import relax

from tvm_tiny import planner
from tvm_tiny.ops import OPS, is_tinyml_call, load_network, op_name, params_of
from tvm_tiny.passes import array_of, is_const
from tvm_tiny.report.content import report_content

DOMAIN = "tvm_tiny"


def graph_onnx(module_name: str, info: Mapping[str, Any], ir_json: str) -> onnx.ModelProto:
    """The optimized network.

    Parameters
    ----------
    info : the archive's ``tinyml`` metadata
    ir_json : ``aot.read_ir`` of the same archive
    """
    graph = planner.graph_from_dict(info["graph"])
    names = _unique([t.name for t in graph.tensors])
    content = report_content(module_name, info)
    layers = {layer["operator"]: shown for layer, shown in zip(info["layers"], content["layers"], strict=True)}
    places = _Places(info["plan"], graph)
    calls = _calls(ir_json)
    nodes, constants = [], []
    for index, op in enumerate(graph.ops):
        if not op.inputs:
            continue  # rows that the caller hands in: an input of the model
        queue = calls.get(op.name)
        call = queue.popleft() if queue else None
        arrays = [] if call is None else _constants(call, op.name)
        constants += [numpy_helper.from_array(array, name) for name, array in arrays]
        layer = layers.get(index)
        attributes: dict[str, Any] = {} if call is None or not is_tinyml_call(call) else asdict(params_of(call))
        attributes = {key: value for key, value in attributes.items() if _is_plain(value)}
        if layer is not None:
            attributes.update(_schedule(content, layer), **places.attributes(layer["stage"], op.outputs))
        kind = layer["op"] if layer is not None else "view" if call is None else op_name(call)
        inputs = [*(names[t] for t in op.inputs), *(name for name, _ in arrays)]
        outputs = [names[t] for t in op.outputs]
        nodes.append(helper.make_node(kind, inputs, outputs, name=op.name, domain=DOMAIN, **attributes))
    made = {t for op in graph.ops if op.inputs for t in op.outputs}
    values = [_value(name, tensor) for name, tensor in zip(names, graph.tensors, strict=True)]
    edges = [t for t in range(len(values)) if t not in made and (graph.consumers[t] or t in graph.producer)]
    results = [values[t] for t in graph.outputs]
    inner = [values[t] for t in sorted(made - set(graph.outputs))]
    body = helper.make_graph(nodes, info["model"], [values[t] for t in edges], results, constants, value_info=inner)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid(DOMAIN, 1)], producer_name="tvm-tiny")
    plan = info["plan"]
    shown = {"target": info["target"], "cpu": info["cpu"], "arena_bytes": plan["arena_bytes"], "macs": info["macs"]}
    helper.set_model_props(model, {key: str(value) for key, value in shown.items()})
    return model


def _schedule(content: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """When a layer runs, and what it takes."""
    stage = content["stages"][layer["stage"]]
    group = next((i for i, patch in enumerate(stage["patches"]) if layer["index"] in patch["layers"]), None)
    attributes = {
        "layer": layer["index"],
        "stage": layer["stage"],
        "stage_steps": stage["steps"],
        "c_function": layer["kernel"],
        **{key: layer[key] for key in ("executed_macs", "floor_instructions", "scratch_bytes")},
        "weights_bytes": layer["constants_bytes"],
    }
    if group is not None:
        patch = stage["patches"][group]
        attributes |= {"group": group, "patch_rows": patch["rows"], "patch_columns": patch["columns"]}
    return attributes


class _Places:
    """Where outputs lie while their stage runs."""

    def __init__(self, plan: Mapping[str, Any], graph: planner.Graph) -> None:
        self._stages = plan["stages"]
        self._names = [t.name for t in graph.tensors]
        self._where = planner.view_places(graph)

    def attributes(self, stage: int, outputs: Sequence[int]) -> dict[str, Any]:
        """Offsets in the memories' arenas, one of each per output; -1 for a buffer of the caller."""
        found = [self._place(self._stages[stage], t) for t in outputs]
        return {
            "memories": [place.get("memory", "caller") for place in found],
            "offsets": [place.get("offset", -1) for place in found],
            "buffers": [place["buffer"] for place in found],
            "buffer_rows": [place.get("rows", place.get("new_rows", -1)) for place in found],
        }

    def _place(self, stage: Mapping[str, Any], tensor: int) -> dict[str, Any]:
        first, distance = self._where[tensor]
        for each in (stage, *self._stages):  # the first tensor of a block may have its place in another stage
            for place in each["tensors"]:
                if place["name"] == self._names[first]:
                    kind = "rolling buffer" if place["ring"] else "tensor"
                    return {**place, "offset": place["offset"] + distance, "buffer": kind}
            staged = (place for group in each["groups"] for place in group["staged"])
            for place in staged:
                if place["name"] == self._names[first]:
                    return {**place, "buffer": "new columns"}
        return {"buffer": "tensor"}


def _calls(ir_json: str) -> dict[str, deque[relax.Call]]:
    """Calls by the name of their result; equal names in order."""
    found: defaultdict[str, deque[relax.Call]] = defaultdict(deque)
    for block in load_network(ir_json)["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call):
                found[str(binding.var.name)].append(binding.value)
    return found


def _constants(call: relax.Call, name: str) -> list[tuple[str, Any]]:
    """Constant arguments, named after what they are."""
    words = OPS[op_name(call)].arguments if is_tinyml_call(call) else ()
    return [
        (f"{name}/{words[i] if i < len(words) else i}", array_of(argument))
        for i, argument in enumerate(call.args)
        if is_const(argument)
    ]


def _value(name: str, tensor: planner.Tensor) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(name, kind, list(tensor.shape))


def _unique(names: Sequence[str]) -> list[str]:
    """ONNX wants one name per value; repeated ones get a number."""
    seen: defaultdict[str, int] = defaultdict(int)
    found = []
    for name in names:
        found.append(name if not seen[name] else f"{name}#{seen[name]}")
        seen[name] += 1
    return found


def _is_plain(value: Any) -> bool:
    """Whether ONNX has an attribute of this type; an empty list has none."""
    if isinstance(value, tuple | list):
        return bool(value) and all(isinstance(x, int) for x in value)
    return isinstance(value, int | float | str)
