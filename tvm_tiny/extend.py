"""Operators that are not part of the package: what they compute, their kernel, where models have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tvm_tiny.errors import OptionError
from tvm_tiny.frontend.extension import Convert, Format, add_converter
from tvm_tiny.ops import OPS, OpDef, register_op
from tvm_tiny.quant import reference
from tvm_tiny.schedules import RULES
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule

__all__ = ["Convert", "converter", "register_operator"]

C = TypeVar("C", bound=Convert)
_registered: set[str] = set()


def register_operator(
    definition: OpDef, *, reference_numpy: Callable[..., NDArray[Any]], rule: CortexMScheduleRule
) -> None:
    """Make ``relax.tinyml.<name>`` known: to TVM, to the passes, to the compiler, to ``tvmc run --compare reference``.

    Registering a name again replaces what belongs to it, but not its arguments.

    Parameters
    ----------
    definition : name, arguments, parameters and shape rule
    reference_numpy : (parameters, one int8 array per argument) -> int8 array: what kernels must compute, bit for bit
    rule : makes its kernel

    Raises
    ------
    OptionError : the name is that of an operator of the package
    """
    name = definition.name
    if name in OPS and name not in _registered:
        raise OptionError(f"operator relax.tinyml.{name} is there already", hints=["choose another name"])
    _registered.add(name)
    OPS[name] = definition
    register_op(definition)
    reference.OPERATORS[name] = lambda params, *arrays: np.asarray(reference_numpy(params, *arrays))
    RULES[name] = rule


def converter(model_format: Format, kind: str, *, inputs: int | tuple[int, int] = 1) -> Callable[[C], C]:
    """Decorator: the function turns operators of ``kind`` in model files into integer operators.

    It gets the ``frontend.graph.Operator`` (attributes; shape and quantization of each tensor) and its int8 inputs as
    Relax expressions, and returns a call that gives its int8 output. It may raise ``UnsupportedOperatorError``. Inputs
    and outputs that are not int8 are refused before.

    Parameters
    ----------
    model_format : "tflite" or "onnx"
    kind : "MAXIMUM" or "CUSTOM <name>" (TFLite), "Max" (ONNX, of its standard domain)
    inputs : how many it has, or fewest and most

    Raises
    ------
    OptionError : an unknown format, or a kind that the package itself converts
    """

    def add(convert: C) -> C:
        add_converter(model_format, kind, convert, (inputs, inputs) if isinstance(inputs, int) else inputs)
        return convert

    return add
