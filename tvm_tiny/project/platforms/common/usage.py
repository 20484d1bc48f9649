"""How to call the model from C, with its own names, sizes and quantization: for READMEs and example programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .archive import Model

_C_TYPES = {"float32": "float", "float64": "double"}
_WITH_MACROS = ("int8", "uint8", "int16")


@dataclass(frozen=True)
class Dialect:
    """What differs between the programs the example is part of.

    Parameters
    ----------
    on_error : statement for an inference that failed
    show : statements that print element ``i``; gets the names ``tensor``, ``value`` and ``real``
    """

    on_error: str
    show: str


# In thousandths: the printf of small C libraries has no floating point.
C = Dialect("return 1;", 'printf("{tensor}[%d] = %d, is %d / 1000\\n", i, (int){value},\n       (int)(1000 * {real}));')


def usage(model: Model, dialect: Dialect = C) -> str:
    """Statements that fill the inputs, run the model and show its outputs, indented by two spaces; C and C++."""
    return "".join(f"  {line}\n" for line in _statements(model, dialect))


def program(model: Model) -> str:
    """The same as a whole C program."""
    header = f"tvmgen_{model.module}.h"
    body = usage(model)
    return f'#include <stdio.h>\n#include "{header}"\n\nint main(void) {{\n{body}  return 0;\n}}\n'


def tensor_table(model: Model) -> str:
    """Inputs and outputs as a Markdown table."""
    lines = ["| tensor | C name | type | shape | bytes | real value |", "|---|---|---|---|---:|---|"]
    for kind in ("input", "output"):
        for t in model.tinyml[f"{kind}s"]:
            real = "" if t["scale"] is None else f"{t['scale']} * (q - ({t['zero_point']}))"
            name = re.sub(r"[`|\s]", "_", str(t["name"]))
            shape = "x".join(map(str, t["shape"]))
            cells = (f"{kind} `{name}`", f"`{t['c_name']}`", t["dtype"], shape, f"{t['size_bytes']:,}", real)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _statements(model: Model, dialect: Dialect) -> list[str]:
    prefix = f"tvmgen_{model.module}"
    inputs, outputs = model.tinyml["inputs"], model.tinyml["outputs"]
    show = [line for i, t in enumerate(outputs) for line in _show(prefix, t, _name("output", i, outputs), dialect)]
    if model.tinyml.get("stream") is not None:
        rows = _push_rows(prefix, model.tinyml["stream"], inputs[0], dialect)
        return [*rows, *_pointers(prefix, "output", outputs), *show, f"{prefix}_reset(); /* before the next image */"]
    fill = [_fill(prefix, t, _name("input", i, inputs)) for i, t in enumerate(inputs)]
    run = f"if ({prefix}_run({{}}) != 0) {dialect.on_error}"
    if all(isinstance(t.get("arena_offset"), int) for t in (*inputs, *outputs)):
        run = run.format("") + " /* may overwrite its inputs */"
        return [*_pointers(prefix, "input", inputs), *fill, run, *_pointers(prefix, "output", outputs), *show]
    buffers = [*_buffers(prefix, "input", inputs), *_buffers(prefix, "output", outputs)]
    return [*buffers, *fill, run.format("&inputs, &outputs"), *show]


def _name(kind: str, index: int, tensors: Sequence[Any]) -> str:
    return kind if len(tensors) == 1 else f"{kind}_{index}"


def _pointers(prefix: str, kind: str, tensors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where tensors lie in the arena."""
    lines = []
    for i, t in enumerate(tensors):
        pointer = f"{'const ' if kind == 'output' else ''}{_c_type(t)}*"
        lines.append(f"{pointer} {_name(kind, i, tensors)} = ({pointer}){prefix}_map_{kind}s().{t['c_name']};")
    return lines


def _buffers(prefix: str, kind: str, tensors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Arrays for tensors that belong to the caller."""
    names = [_name(kind, i, tensors) for i in range(len(tensors))]
    lines = [
        f"static {_c_type(t)} {name}[{_elements(t)}] __attribute__((aligned(8)));"
        for name, t in zip(names, tensors, strict=True)
    ]
    members = ", ".join(f"/* {t['c_name']} */ {name}" for name, t in zip(names, tensors, strict=True))
    return [*lines, f"struct {prefix}_{kind}s {kind}s = {{{members}}};"]


def _fill(prefix: str, tensor: Mapping[str, Any], name: str) -> str:
    size = _elements(tensor)
    return f"for (int i = 0; i < {size}; i++) {name}[i] = {_real(prefix, tensor, f'i / {size}.0f')}; /* 0 to 1 */"


def _push_rows(prefix: str, stream: Mapping[str, Any], tensor: Mapping[str, Any], dialect: Dialect) -> list[str]:
    size = stream["row_bytes"] * _elements(tensor) // tensor["size_bytes"]
    c_type = _c_type(tensor)
    return [
        f"for (int y = 0; y < {prefix.upper()}_INPUT_ROWS; y++) {{ /* rows of {tensor['c_name']} */",
        f"  {c_type}* row = ({c_type}*){prefix}_row_buffer();",
        f"  {_fill(prefix, {**tensor, 'shape': [size]}, 'row')}",
        f"  if ({prefix}_push_row(row) < 0) {dialect.on_error}",
        "}",
    ]


def _show(prefix: str, tensor: Mapping[str, Any], name: str, dialect: Dialect) -> list[str]:
    value = f"{name}[i]"
    real = f"{_macro(prefix, tensor)}_DEQUANTIZE({value})" if _has_macros(tensor) else value
    show = dialect.show.format(tensor=tensor["c_name"], value=value, real=real)
    return [f"for (int i = 0; i < {_elements(tensor)}; i++) {{", *(f"  {line}" for line in show.splitlines()), "}"]


def _real(prefix: str, tensor: Mapping[str, Any], value: str) -> str:
    if _has_macros(tensor):
        return f"{_macro(prefix, tensor)}_QUANTIZE({value})"
    return f"({_c_type(tensor)})({value})"


def _macro(prefix: str, tensor: Mapping[str, Any]) -> str:
    return f"{prefix}_{tensor['c_name']}".upper()


def _has_macros(tensor: Mapping[str, Any]) -> bool:
    return tensor["scale"] is not None and tensor["dtype"] in _WITH_MACROS


def _elements(tensor: Mapping[str, Any]) -> int:
    count = 1
    for d in tensor["shape"]:
        count *= int(d)
    return count


def _c_type(tensor: Mapping[str, Any]) -> str:
    return _C_TYPES.get(tensor["dtype"], f"{tensor['dtype']}_t")
