"""The reference: TFLite Micro's own interpreter."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray
from tflite_micro import runtime

from tests.tflite_writer import TfliteWriter

from .case import Tensors

ARENA_BYTES = 1 << 20

_Named = tuple[tuple[str, NDArray[Any]], ...]


def interpreter_factors() -> str:
    """The type in which the installed interpreter forms scale factors: a key of ``quant.scales.FACTOR_TYPES``.

    Builds before 13 October 2026 use float32 in some operators, which shows in a few outputs of a million.
    """
    w = TfliteWriter()
    x = w.input("x", (1, 1), 0.05352277308702469, 0)
    weight = w.const("weight", np.array([[21]], dtype=np.int8), 0.002025777008384466)
    w.output(w.fully_connected(x, weight, out_scale=0.021588662639260292, name="y"))
    output = oracle(w.finish(), {"x": np.array([[109]], dtype=np.int8)})["y"].item()
    return {12: "float64", 11: "float32"}[output]


def oracle(model: bytes, inputs: Tensors) -> Tensors:
    """Outputs of ``model`` by name; raises RuntimeError where TFLite Micro refuses the model."""
    key = tuple((name, array.dtype.str, array.shape, array.tobytes()) for name, array in sorted(inputs.items()))
    return dict(_run(model, key))


@lru_cache(maxsize=4096)
def _run(model: bytes, inputs: tuple[tuple[str, str, tuple[int, ...], bytes], ...]) -> _Named:
    subgraph = tflite.Model.GetRootAsModel(model, 0).Subgraphs(0)
    arrays = {name: np.frombuffer(raw, dtype).reshape(shape) for name, dtype, shape, raw in inputs}
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA_BYTES + 2 * len(model))
    for i in range(subgraph.InputsLength()):
        interpreter.set_input(arrays[subgraph.Tensors(subgraph.Inputs(i)).Name().decode()], i)
    interpreter.invoke()
    names = [subgraph.Tensors(subgraph.Outputs(i)).Name().decode() for i in range(subgraph.OutputsLength())]
    outputs = [np.array(interpreter.get_output(i)) for i in range(len(names))]
    for output in outputs:
        output.setflags(write=False)  # the cache hands the same array to every caller
    return tuple(zip(names, outputs, strict=True))
