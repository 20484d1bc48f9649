"""Writes docs/supported_ops.md from the constraints of the operators.

Usage: ``python -m tvm_tiny.frontend.supported_ops > docs/supported_ops.md``
"""

from __future__ import annotations

import sys

from .constraints import ConstraintSet
from .onnx_constraints import ONNX
from .onnx_reader import MIN_OPSET
from .onnx_rewrites import Q_OPERATOR_NAMES
from .tflite_constraints import TFLITE

_HEAD = """\
# Supported operators

This page is generated from the constraints in the code; do not edit it. After a change there, run `make docs`.

A model with other operators, or other variants of these, gives one error that lists all of them with their tensors.
All shapes must be static. Quantized models are int8; models in float32 work, too, with the same operators.
"""

_ONNX_NOTES = f"""\
Operator set {MIN_OPSET} or later. Quantized models may be in QDQ form (QuantizeLinear and DequantizeLinear around float
operators) or in QOperator form, which is rewritten to QDQ:
{", ".join(Q_OPERATOR_NAMES)}.
uint8 tensors become int8. Shape arithmetic on constants is evaluated.
"""


def supported_ops_markdown() -> str:
    """The whole page."""
    return "\n".join([_HEAD, _section(TFLITE, ""), _section(ONNX, _ONNX_NOTES)])


def _section(constraints: ConstraintSet, notes: str) -> str:
    lines = [f"## {constraints.format}", ""]
    lines += [*notes.splitlines(), ""] if notes else []
    lines += ["For every operator:", "", *(f"- {rule}" for rule in constraints.general_rules()), ""]
    lines += ["| operator | constraints |", "|---|---|"]
    for kind in sorted(constraints.signatures):
        lines.append(f"| {kind} | {'<br>'.join(constraints.rules_of(kind)) or 'none'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(supported_ops_markdown())
