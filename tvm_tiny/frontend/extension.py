"""Converters that do not belong to the package: for operators of model files that it does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from tvm import relax

from tvm_tiny.errors import OptionError

from . import relax_emit as emit
from .constraints import FULL_INTEGER_HINT, ConstraintSet, Signature
from .graph import Operator
from .onnx_constraints import ONNX, STATIC_HINT
from .onnx_converters import CONVERTERS
from .tflite_constraints import TFLITE
from .tflite_converters_compute import COMPUTE

if TYPE_CHECKING:
    from .tflite_importer import TfliteConverter

Format = Literal["tflite", "onnx"]
Convert = Callable[[Operator, list[Any]], Any]
"""(operator, its int8 inputs as Relax expressions) -> call that gives its int8 output."""

_FORMATS: dict[str, tuple[ConstraintSet, str]] = {"tflite": (TFLITE, FULL_INTEGER_HINT), "onnx": (ONNX, STATIC_HINT)}
_added: set[tuple[str, str]] = set()


def add_converter(model_format: Format, kind: str, convert: Convert, inputs: tuple[int, int]) -> None:
    """Let the importer of a format know operators of ``kind``.

    Parameters
    ----------
    kind : "MAXIMUM" or "CUSTOM <name>" (TFLite), "Max" (ONNX, of its standard domain)
    inputs : fewest and most

    Raises
    ------
    OptionError : an unknown format, or a kind that the package itself converts
    """
    if model_format not in _FORMATS:
        raise OptionError(f"no model format is called '{model_format}'", hints=[f"choose one of {', '.join(_FORMATS)}"])
    constraints, hint = _FORMATS[model_format]
    if kind in constraints.signatures and (model_format, kind) not in _added:
        raise OptionError(f"operator {kind} of {constraints.format} has a converter already")
    constraints.signatures[kind] = Signature(inputs, data=None)
    if (model_format, kind) not in _added:
        constraints.rule(kind, hint=hint)(_int8_only)
        _added.add((model_format, kind))
    if model_format == "tflite":
        COMPUTE[kind] = _from_tflite(convert)
    else:
        CONVERTERS[kind] = _from_onnx(convert)


def _int8_only(op: Operator) -> str | None:
    """Its inputs and its output are int8 with one scale each."""
    tensors = [t for t in (*op.inputs, *op.outputs) if t is not None]
    bad = next((t for t in tensors if t.dtype != "int8" or t.quantization is None), None)
    return None if bad is None else f"'{bad.name}' is {bad.dtype}" + (" without scale" if bad.dtype == "int8" else "")


def _from_tflite(convert: Convert) -> Callable[[TfliteConverter, Operator], Any]:
    return lambda c, op: convert(op, [c.value(t) for t in op.inputs if t is not None])


def _from_onnx(convert: Convert) -> Callable[[relax.BlockBuilder, Operator, list[Any]], Any]:
    def between_floats(builder: relax.BlockBuilder, op: Operator, inputs: list[Any]) -> Any:
        """The operator on the integers behind its float inputs, and the float image of its result."""
        images = [builder.lookup_binding(x) if isinstance(x, relax.Var) else x for x in inputs if x is not None]
        result = builder.emit(convert(op, [image.args[0] for image in images]), name_hint=op.name)
        q = op.outputs[0].quantization
        assert q is not None, "the constraint above"
        return emit.dequantize(result, q)

    return between_floats
