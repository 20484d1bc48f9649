"""A model on its way from Relax to C: what the passes hand to the C generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_tiny import planner
from tvm_tiny.ops.kernel import CFunction, Kernel


@dataclass(frozen=True)
class Layer:
    """One step of a program; same index as in ``Program.graph.ops``.

    kernel : None for views and for copies
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    kernel: Kernel | None


@dataclass(frozen=True)
class RowStream:
    """An input that the caller hands in row by row; operator 0 of the graph, without inputs, stands for that.

    axis : of the input's shape, the one that counts rows; None where rows are consecutive pieces of the flat input
    """

    tensor: int
    axis: int | None


@dataclass(frozen=True)
class Program:
    """A model as a straight line of kernel calls.

    inputs, outputs : tensor indices in ``graph``, in the model's order
    stream : None where inputs are given as wholes
    order : how good the order of the operators is; None where it was not looked for
    dead_macs : MACs of the model that nobody needs, by layer name; those of layers that are gone are among them
    """

    graph: planner.Graph
    layers: tuple[Layer, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stream: RowStream | None = None
    order: planner.Order | None = None
    dead_macs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Function:
    """A function of the emitted C.

    read_only : names of the pointer parameters it never writes through
    """

    name: str
    read_only: frozenset[str]


@dataclass(frozen=True)
class TirProgram:
    """A program as TIR; functions are named as in C.

    Parameters
    ----------
    module : ``tvm.IRModule`` with one ``PrimFunc`` per entry of ``functions``
    functions : kernels in order of first use, then main
    constants : C name -> array; main's last parameters, file-scope arrays in C
    steps : (operator index, C name of its kernel) of all that does work, in execution order; ``memcpy`` for copies.
        Positions are the numbers of the ``TINYML_MARK`` that begins each
    c_functions : what kernels call, each once, callees first
    """

    module: Any
    functions: tuple[Function, ...]
    constants: dict[str, NDArray[np.generic]]
    steps: tuple[tuple[int, str], ...]
    c_functions: tuple[CFunction, ...] = ()
