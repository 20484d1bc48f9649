"""The C sources and the header of one compiled model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata, resources
from typing import Any

import jinja2
import numpy as np

from tvm_tiny.aot.c_text import array_declaration, array_text, c_type, generate_functions, guarded_text
from tvm_tiny.aot.weights import Home
from tvm_tiny.ops import TirProgram

KERNEL_HEADER = "tvm_tiny_kernels.h"

_PART = re.compile(r'#include "(kernels/\w+\.h)"\n')


@cache
def _environment() -> jinja2.Environment:
    """Kept, because compiling the templates takes longer than most else for a small model."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("tvm_tiny.aot"), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )


def generate_sources(
    program: TirProgram, info: Mapping[str, Any], module_name: str, weights: Mapping[str, Home]
) -> dict[str, str]:
    """File name -> text.

    Parameters
    ----------
    info : the ``tinyml`` part of the module's metadata (``aot.metadata``): model, target, inputs, outputs, memories
    weights : home of every constant array
    """
    prefix = f"tvmgen_{module_name}"
    environment = _environment()
    workspaces = [_workspace(m) for m in info["memories"]]
    ordered = sorted(workspaces, key=lambda w: bool(w["suffix"]))
    parameter = {w["name"]: w["parameter"] for w in workspaces}
    tensors = {
        kind: [
            {
                **t,
                "comment": t["name"].replace("*/", "* /"),
                "c_type": c_type(t["dtype"]),
                "limits": _limits(t["dtype"]),
                "workspace": parameter.get(t["memory"]),
            }
            for t in info[kind]
        ]
        for kind in ("inputs", "outputs")
    }
    context = {
        "version": metadata.version("tvm-tiny"),
        "model": info["model"].replace("*/", "* /"),
        "target": info["target"],
        "prefix": prefix,
        "macro": prefix.upper(),
        # In the order of main's parameters, and in that of the interface: the plain name first.
        "workspaces": workspaces,
        "interface": ordered,
        "several": len(workspaces) > 1,
        "workspace_parameters": ", ".join(f"void* {w['parameter']}" for w in ordered),
        "workspace_names": ", ".join(w["parameter"] for w in ordered),
        "static_workspaces": ", ".join(f"{prefix}_{w['parameter']}" for w in ordered),
        "main_arguments": ", ".join(f"(uint8_t*){w['parameter']}" for w in workspaces),
        "io_in_arena": all(t["arena_offset"] is not None for kind in tensors.values() for t in kind),
        # Of an input that comes row by row there is only the place of the next row.
        "mapped": [(kind, tensors[kind]) for kind in (("outputs",) if info["stream"] else ("inputs", "outputs"))],
        "quantizes": any(t["scale"] is not None and t["limits"] for kind in tensors.values() for t in kind),
        "stream": info["stream"] and {**info["stream"], "row_text": _row_text(info["stream"], tensors["inputs"][0])},
        **tensors,
    }
    functions = generate_functions(program)
    constants = [array_declaration(n, a, writable=weights[n].writable) for n, a in program.constants.items()]
    texts = [*map(guarded_text, program.c_functions), *functions.values()]
    lib0 = environment.get_template("lib0.c.j2").render(functions=texts, constants=constants, **context)
    definitions = [
        array_text(n, a, writable=weights[n].writable, section=weights[n].section) for n, a in program.constants.items()
    ]
    lib1 = environment.get_template("lib1.c.j2").render(constants=constants, definitions=definitions, **context)
    return {
        f"{prefix}.h": environment.get_template("header.h.j2").render(**context),
        KERNEL_HEADER: _kernel_header(),
        f"{module_name}_lib0.c": lib0,
        f"{module_name}_lib1.c": lib1,
    }


def _row_text(stream: Mapping[str, Any], tensor: Mapping[str, Any]) -> str:
    """What a row is, for the header."""
    if stream["axis"] is None:
        return f"Row y is the {stream['row_bytes']:,} bytes of the input that begin at y * {stream['row_bytes']:,}."
    rest = [str(d) for i, d in enumerate(tensor["shape"]) if i != stream["axis"]]
    index = ", ".join("y" if i == stream["axis"] else ":" for i in range(len(tensor["shape"])))
    return f"Row y is {tensor['c_name']}[{index}]: {tensor['dtype']} [{', '.join(rest)}]."


def _limits(dtype: str) -> tuple[int, int] | None:
    """Range of an 8 or 16 bit integer, which the header's macros quantize to; None for other types."""
    if dtype not in ("int8", "uint8", "int16"):
        return None
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _kernel_header() -> str:
    """The support header with its parts in it: users add one file to their project."""
    folder = resources.files("tvm_tiny.schedules").joinpath("cortex_m", "support")

    def read(name: str) -> str:
        return folder.joinpath(*name.split("/")).read_text(encoding="utf-8")

    return _PART.sub(lambda include: read(include[1]), read(KERNEL_HEADER))


def _workspace(memory: Mapping[str, Any]) -> dict[str, Any]:
    return {**memory, "parameter": f"workspace{memory['suffix']}", "macro": memory["name"].upper()}
