"""Runs an integer Relax function on NumPy arrays: what the passes make of a model, without kernels or a compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from tvm_tiny.passes._evaluate import evaluate_function

Array = NDArray[Any]


def evaluate(mod: tvm.IRModule, *inputs: Array) -> list[Array]:
    """Outputs of ``main``, in order; ``inputs`` in the order of its parameters."""
    _, outputs = evaluate_function(mod["main"], [np.asarray(x) for x in inputs])
    return outputs
