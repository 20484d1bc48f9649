"""Text of a C function whose body is assembly with Helium (MVE) instructions, with a plain-C twin beside it."""

from __future__ import annotations

from collections.abc import Sequence


def mve_function(name: str, parameters: str, body: Sequence[str], twin: str) -> str:
    """``static void name(parameters)``: assembly where the core has the integer part of MVE, ``twin`` elsewhere.

    Parameters
    ----------
    body : lines of assembly; "1:"-style local labels; all registers that the procedure call standard asks for are saved
    twin : C statements with the same effect
    """
    unused = ", ".join(f"{p} TINYML_UNUSED" for p in parameters.split(", "))
    lines = "\n".join(f'        "{line}\\n"' for line in body)
    return (
        f"#if TINYML_MVE\n"
        f"TINYML_NAKED void {name}({unused}) {{\n"
        f'    __asm volatile(\n        ".syntax unified\\n"\n{lines}\n    );\n}}\n'
        f"#else\nstatic void {name}({parameters}) {{\n{twin}}}\n#endif\n"
    )
