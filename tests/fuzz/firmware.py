"""Several compiled models in one firmware, run on an emulated board, or in one process of the host.

They become one more model, whose inputs and outputs are buffers of its own and whose ``run`` runs them one after the
other; so nothing but an archive is made here, and building, running and watching stores is what users have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fake_archive import archive_metadata, layer, tensor, write_archive
from tvm_tiny.compiler import CompiledModel
from tvm_tiny.measure import run_model
from tvm_tiny.measure.tensors import join_outputs, split_inputs, split_rows

Tensors = dict[str, NDArray[Any]]
MODULE = "all"


def run_on_board(
    models: Sequence[CompiledModel],
    sets: Sequence[Sequence[Tensors]],
    folder: Path,
    *,
    device: str = "qemu",
    project_options: Mapping[str, Any] | None = None,
    share_arena: bool = False,
) -> list[list[Tensors]]:
    """Outputs of every model for each of its sets of inputs, of which all models have equally many.

    Parameters
    ----------
    device : "qemu", with every store watched, or "native"
    project_options : of that platform
    share_arena : one workspace for all, as large as the largest of them needs; models without streamed input

    Raises
    ------
    TvmTinyError : a fault, a store to where nothing may be written, too little memory
    """
    infos = [m.report() for m in models]
    board = models[0].board.name
    tinyml = _metadata(board, infos)
    files = {"metadata.json": archive_metadata(MODULE, tinyml)}
    # One file to compile, which includes all: that takes a fraction of the time.
    for path, data in (item for model in models for item in model.files.items()):
        if path.endswith((".c", ".h")):
            files[f"codegen/host/include/{Path(path).name}"] = data
    files[f"codegen/host/include/tvmgen_{MODULE}.h"] = _header(infos).encode()
    files[f"codegen/host/src/{MODULE}_lib0.c"] = _source(models, infos, share_arena).encode()
    archive = write_archive(folder / "all.tar", files)
    batch = {}
    for i, (info, inputs) in enumerate(zip(infos, sets, strict=True)):
        rows = [split_inputs(info["inputs"], s)[0][0] for s in inputs]
        for j in range(len(info["inputs"])):
            data = [_in_rows(info, row[j]) for row in rows]
            batch[f"in_{i}_{j}"] = np.stack([np.frombuffer(d, np.uint8) for d in data])
    outputs = run_model(
        archive, device=device, inputs=batch, project_options=project_options, check_stores=True, run_timeout_s=60
    ).outputs
    return [
        [
            join_outputs(
                info["outputs"], [[outputs[f"out_{i}_{j}"][k].tobytes() for j in range(len(info["outputs"]))]], False
            )
            for k in range(len(sets[i]))
        ]
        for i, info in enumerate(infos)
    ]


def _in_rows(info: dict[str, Any], data: bytes) -> bytes:
    """An input as it is handed over: of a streamed one, row by row."""
    return data if info["stream"] is None else b"".join(split_rows(info["stream"], info["inputs"][0], data))


def _metadata(board: str, infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    edges: dict[str, list[Any]] = {"inputs": [], "outputs": []}
    for i, info in enumerate(infos):
        for kind, short in (("inputs", "in"), ("outputs", "out")):
            for j, t in enumerate(info[kind]):
                name = f"{short}_{i}_{j}"
                edges[kind].append(tensor(name, name, [t["size_bytes"]], "uint8"))
    first = infos[0]
    return {
        **{key: first[key] for key in ("format", "target", "board", "cpu", "order")},
        **edges,
        "model": "all",
        "arena_bytes": 0,
        "constants_bytes": 0,
        "macs": 1,
        "executed_macs": 1,
        "layers": [layer("all", "all", [1], 1)],
        "plan": {},
    }


def _header(infos: Sequence[dict[str, Any]]) -> str:
    structs = []
    for kind, short in (("inputs", "in"), ("outputs", "out")):
        members = "".join(f" void* {short}_{i}_{j};" for i, info in enumerate(infos) for j in range(len(info[kind])))
        structs.append(f"struct tvmgen_{MODULE}_{kind} {{{members} }};\n")
    run = f"int32_t tvmgen_{MODULE}_run(struct tvmgen_{MODULE}_inputs*, struct tvmgen_{MODULE}_outputs*);\n"
    return "#include <stdint.h>\n" + "".join(structs) + run


def _source(models: Sequence[CompiledModel], infos: Sequence[dict[str, Any]], share_arena: bool) -> str:
    units = [f'#include "{Path(path).name}"\n' for m in models for path in m.files if path.endswith(".c")]
    arena = f"tvmgen_{MODULE}_workspace" if share_arena else ""
    if share_arena:
        size = max(info["arena_bytes"] for info in infos)
        units = [f"#define TVMGEN_{m.module_name.upper()}_NO_STATIC_WORKSPACE\n" for m in models] + units
        units.append(f"static TINYML_ALIGNED(16) uint8_t {arena}[{size}];\n")
    bodies = [_call(i, m.module_name, info, arena) for i, (m, info) in enumerate(zip(models, infos, strict=True))]
    run = f"int32_t tvmgen_{MODULE}_run(struct tvmgen_{MODULE}_inputs* in, struct tvmgen_{MODULE}_outputs* out) {{\n"
    head = f'#include <string.h>\n#include "tvmgen_{MODULE}.h"\n#include "tvm_tiny_kernels.h"\n'
    return f"{head}{''.join(units)}{run}  TINYML_MARK(0);\n{''.join(bodies)}  TINYML_MARK(-1);\n  return 0;\n}}\n"


def _call(i: int, name: str, info: dict[str, Any], arena: str) -> str:
    """C statements that run model ``i``, in its own arena where none is given."""
    prefix, suffix = f"tvmgen_{name}", "_in" if arena else ""
    inputs = [(f"in->in_{i}_{j}", t["c_name"], t["size_bytes"]) for j, t in enumerate(info["inputs"])]
    outputs = [(f"out->out_{i}_{j}", t["c_name"], t["size_bytes"]) for j, t in enumerate(info["outputs"])]
    get = [f"struct {prefix}_outputs y = {prefix}_map_outputs{suffix}({arena});"]
    get += [f"memcpy({buffer}, y.{name}, {size});" for buffer, name, size in outputs]
    if info["stream"] is not None:
        row, rows = info["stream"]["row_bytes"], info["stream"]["rows"]
        push = f"if ({prefix}_push_row((uint8_t*)in->in_{i}_0 + y * {row}) != {rows - 1} - y) return 1;"
        lines = [f"{prefix}_reset();", f"for (int32_t y = 0; y < {rows}; ++y) {push}", *get]
    elif info["inputs"][0]["arena_offset"] is not None:
        lines = [f"struct {prefix}_inputs x = {prefix}_map_inputs{suffix}({arena});"]
        lines += [f"memcpy(x.{name}, {buffer}, {size});" for buffer, name, size in inputs]
        lines += [f"if ({prefix}_run{suffix}({arena})) return 1;", *get]
    else:
        x, y = (", ".join(f".{name} = {buffer}" for buffer, name, _ in edge) for edge in (inputs, outputs))
        lines = [f"struct {prefix}_inputs x = {{{x}}};", f"struct {prefix}_outputs y = {{{y}}};"]
        lines += [f"if ({prefix}_run{suffix}({', '.join(filter(None, ('&x', '&y', arena)))})) return 1;"]
    return "  {\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"
