"""From what TVM's C code generator prints to C that stands alone: no TVM headers, static functions, const pointers."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray

from tvm_tiny.ops import CFunction, Function, TirProgram

_LINKAGE = '#ifdef __cplusplus\nextern "C"\n#endif\nTVM_DLL '
_STRING_FROM = 2048  # bytes; below, a list of numbers is easier on the eye
_C_TYPES = {"float32": "float", "float64": "double"}


def generate_functions(program: TirProgram) -> dict[str, str]:
    """C text of every function of ``program``, whose TIR is lowered already, by name."""
    target = tvm.target.Target({"kind": "c", "keys": ["cpu"]})
    printed = tvm_ffi.get_global_func("target.build.c")(program.module, target).inspect_source()
    definitions = _definitions(printed)
    result = {}
    for function in program.functions:
        text = _qualify(definitions[function.name], function)
        if function is program.functions[-1]:
            text = _drop_parameters(text, set(program.constants))
        result[function.name] = text
    return result


def guarded_text(function: CFunction) -> str:
    """The definition of ``function``; where several models are one source file, it stands there once."""
    guard = f"{function.name.upper()}_DEFINED"
    return f"#ifndef {guard}\n#define {guard}\n{function.text}#endif\n"


def array_declaration(name: str, array: NDArray[np.generic], *, writable: bool = False) -> str:
    """``const int8_t name[9]``, the part that declaration and definition share; without const it is copied to RAM."""
    length = array.size + 1 if _as_string(array) else max(1, array.size)
    return f"{'' if writable else 'const '}{c_type(array.dtype.name)} {name}[{length}]"


def array_text(name: str, array: NDArray[np.generic], *, writable: bool = False, section: str | None = None) -> str:
    """A constant array as a C definition; values are exact, and kernels may load it by words."""
    values = array.reshape(-1)
    place = "" if section is None else f'TINYML_SECTION("{section}") '
    head = f"TINYML_ALIGNED(8) {place}{array_declaration(name, array, writable=writable)} ="
    if _as_string(array):
        octal = [f"\\{v:03o}" for v in values.view(np.uint8).tolist()]
        lines = "".join(f'\n  "{"".join(octal[i : i + 32])}"' for i in range(0, len(octal), 32))
        return f"{head}{lines};\n"
    if values.dtype.kind == "f":
        items = [_float_literal(v) for v in values.tolist()]
    else:
        items = ["(-2147483647 - 1)" if v == -(2**31) else str(v) for v in values.tolist()]
    per_line = 24 if values.dtype.itemsize == 1 else 10
    lines = ",\n  ".join(", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line))
    return f"{head} {{\n  {lines or '0'}\n}};\n"


def _as_string(array: NDArray[np.generic]) -> bool:
    """Large byte arrays become string literals: compilers read those ten times as fast as lists of numbers.

    They are one byte longer: C++ and gcc 15's warnings want room for the closing NUL.
    """
    return array.dtype.itemsize == 1 and array.size >= _STRING_FROM


def c_type(dtype: str) -> str:
    """The C name of a NumPy dtype."""
    return _C_TYPES.get(dtype, f"{dtype}_t")


def _definitions(printed: str) -> dict[str, str]:
    """Function definitions in what ``target.build.c`` printed; prototypes and TVM's includes are left out."""
    found = {}
    for chunk in printed.split(_LINKAGE)[1:]:
        head = re.match(r"void (\w+)\(([^)]*)\) \{", chunk)
        if head is not None:
            found[head.group(1)] = chunk.strip() + "\n"
    return found


def _qualify(text: str, function: Function) -> str:
    head, body = text.split(") {", 1)
    name, params = head.split("(", 1)
    qualified = [f"const {p}" if p.split("* ")[-1] in function.read_only else p for p in params.split(", ")]
    return f"static TINYML_KERNEL {name}({', '.join(qualified)}) {{{_mention_unused(params, _mention_unread(body))}"


def _mention_unused(params: str, body: str) -> str:
    """The kernel contract has parameters that a simple kernel does not need; compilers are told so."""
    names = [re.split(r"[ *]+", p)[-1] for p in params.split(", ")]
    unused = [n for n in names if re.search(rf"\b{n}\b", body) is None]
    return "".join(f"\n  (void){n};" for n in unused) + body


def _mention_unread(body: str) -> str:
    """The same for local arrays that are only written, places in an image that every window of a layer misses, and for
    common subexpressions that a later simplification left without a use."""
    for name in re.findall(r"^ +\w+ (\w+)\[\d+\];$", body, re.MULTILINE):
        written = re.findall(rf"^ *{name}\[\w+\] = ", body, re.MULTILINE)
        if len(re.findall(rf"\b{name}\b", body)) == len(written) + 1:
            body = re.sub(rf"(?<= {name}\[)(\d+\];)$", rf"\1\n  (void){name};", body, count=1, flags=re.MULTILINE)
    return _mention_unread_scalars(body)


def _mention_unread_scalars(body: str) -> str:
    """Common subexpressions have such names, the same one in several scopes: who reads which would take a parser."""
    return re.sub(r"^( +)(\w+ (v__\w+) = .*;)$", r"\1\2\n\1(void)\3;", body, flags=re.MULTILINE)


def _drop_parameters(text: str, names: Iterable[str]) -> str:
    """Remove main's parameters that are file-scope arrays of the same name."""
    dropped = set(names)
    head, body = text.split(") {", 1)
    name, params = head.split("(", 1)
    kept = [p for p in params.split(", ") if p.split("* ")[-1] not in dropped]
    return f"{name}({', '.join(kept)}) {{{body}"


def _float_literal(value: float) -> str:
    if value != value:
        return "(0.0f / 0.0f)"
    if value in (float("inf"), float("-inf")):
        return "(1.0f / 0.0f)" if value > 0 else "(-1.0f / 0.0f)"
    text = f"{value:.9g}"
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"
