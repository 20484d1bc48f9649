"""ONNX file -> verified, static, QDQ-form ``ModelProto`` and the ``Graph`` view of it. No TVM."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, inliner, shape_inference

from tvm_tiny.errors import ModelError

from .graph import Graph
from .onnx_constraints import ONNX
from .onnx_folding import check_concatenations
from .onnx_rewrites import drop_padding_windows, rewrite, rewritten_kind
from .onnx_shapes import infer_shapes
from .onnx_view import view

MIN_OPSET = 11  # from here on Clip and Pad take their limits and widths as inputs

_MAX_NODES, _MAX_DEPTH = 100_000, 50  # of functions that are put in where they are called
_ONE_FILE = ["store the model in one file: onnx.save(model, path, save_as_external_data=False)"]
_EXPORT_AGAIN = "export the model again and check it with onnx.checker.check_model(path)"


def parse_onnx(data: bytes, label: str, folder: Path | None) -> onnx.ModelProto:
    """Parse a file's content.

    Parameters
    ----------
    label : how to call the model in messages
    folder : where files of external data are, if the model came from a file
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise _unknown_format(label) from None
    if not model.graph.node or model.ir_version < 3:
        raise _unknown_format(label)
    if _is_external(model):
        _load_external_data(model, label, folder)
    return model


def _is_external(model: onnx.ModelProto) -> bool:
    """Whether data of initializers or of constants among the nodes lies in other files."""
    nodes = (node for part in (model.graph, *model.functions) for node in part.node)
    values = (t for node in nodes for a in node.attribute for t in (a.t, *a.tensors))
    return any(map(external_data_helper.uses_external_data, itertools.chain(model.graph.initializer, values)))


def _unknown_format(label: str) -> ModelError:
    return ModelError(
        f"{label} is neither a TFLite nor an ONNX model, or it is damaged or truncated",
        hints=["copy or download the file again and compare its size", "convert the model to .tflite or .onnx"],
    )


def _load_external_data(model: onnx.ModelProto, label: str, folder: Path | None) -> None:
    if folder is None:
        raise _other_files(label)
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"the external weights of {label} cannot be read: {error}", hints=_ONE_FILE) from error


def _other_files(label: str) -> ModelError:
    return ModelError(f"{label} keeps its weights in other files, and was not given as a path", hints=_ONE_FILE)


def prepare(model: onnx.ModelProto, label: str) -> tuple[onnx.ModelProto, Graph]:
    """Check a model and bring it into the form that is converted: only QDQ and float operators, all shapes static.

    Returns
    -------
    the rewritten model and its ``Graph``
    """
    if _is_external(model):
        raise _other_files(label)  # they would be looked for in the current folder
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    try:
        _check_inputs(prepared)
        if prepared.functions:
            _check_functions(prepared, label)
            prepared = _inlined(prepared)
        _check_opset(prepared, label)
        _check_operators(prepared, label)
        check_concatenations(prepared.graph)
        prepared = infer_shapes(prepared)
        onnx.checker.check_model(prepared)
        rewrite(prepared)
        drop_padding_windows(prepared)
        prepared = infer_shapes(prepared, strict=True)
        graph = view(prepared)
    except (onnx.checker.ValidationError, shape_inference.InferenceError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{label} is not a valid ONNX model: {_first_line(error)}", hints=[_EXPORT_AGAIN]) from error
    ONNX.check(graph, label)
    return prepared, graph


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return inliner.inline_local_functions(model)
    except RuntimeError as error:
        raise ValueError(f"its functions cannot be put in where they are called: {error}") from error


def _check_functions(model: onnx.ModelProto, label: str) -> None:
    """Each of forty functions that calls the next one twice makes a trillion nodes of one."""
    bodies: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    for function in model.functions:
        bodies.setdefault((function.domain, function.name), []).extend(function.node)
    sizes: dict[tuple[str, str], int] = {}

    def count(nodes: Iterable[onnx.NodeProto], depth: int) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in sizes:
                sizes[key] = count(bodies[key], depth + 1) if depth < _MAX_DEPTH else _MAX_NODES
            graphs = (g for a in node.attribute for g in (a.g, *a.graphs) if g.node)
            total += sizes.get(key, 1) + sum(count(g.node, depth + 1) for g in graphs)
        return total

    if count(model.graph.node, 0) > _MAX_NODES:
        raise ModelError(
            f"the functions of {label} call each other so often, or so deep, that over {_MAX_NODES:,} operators come of"
            " them",
            hints=[_EXPORT_AGAIN],
        )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _check_inputs(model: onnx.ModelProto) -> None:
    constants = {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        dims = [d.dim_param or (d.dim_value if d.HasField("dim_value") else "?") for d in tensor.shape.dim]
        if not tensor.HasField("shape") or any(not isinstance(d, int) or d <= 0 for d in dims):
            raise ModelError(
                f"input '{value.name}' has the dynamic shape [{', '.join(map(str, dims))}]; memory is planned at"
                " compile time, so all sizes must be known",
                hints=[
                    "fix it: python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name"
                    f" {value.name} --input_shape 1,... in.onnx out.onnx",
                    "or export with a fixed shape (torch.onnx.export without dynamic_axes)",
                ],
            )


def _check_opset(model: onnx.ModelProto, label: str) -> None:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version < MIN_OPSET:
        raise ModelError(
            f"{label} uses ONNX operator set {version}; supported are {MIN_OPSET} and later",
            hints=[f"onnx.version_converter.convert_version(model, {max(MIN_OPSET, 13)})"],
        )


def _check_operators(model: onnx.ModelProto, label: str) -> None:
    """Unknown operators end it here: the shapes behind them cannot be inferred, so nothing more can be checked."""
    lines = []
    hints: list[str] = []
    for node in model.graph.node:
        kind = rewritten_kind(node)
        if kind is None:
            lines.append(f"  - {node.op_type} '{node.output[0] if node.output else '?'}': not a supported operator")
            hint = ONNX.hints.get(node.op_type)
            hints += [hint] if hint and hint not in hints else []
    ONNX.raise_if_any(lines, hints, label)
