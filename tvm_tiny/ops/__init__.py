"""The integer operators ``relax.tinyml.*``: definition, construction, attributes."""

# Before the submodules: importing TVM calls our plug-in hook, which imports them from here.
import tvm  # noqa: F401

from .dead_macs import get_dead_macs, with_dead_macs
from .io_info import IoTensor, ModelIo, get_io, has_float_semantics, with_float_semantics, with_io
from .kernel import ROW_ADDRESS, CFunction, Granularity, Kernel
from .program import Function, Layer, Program, RowStream, TirProgram
from .registry import (
    OPS,
    WEIGHTED,
    OpDef,
    infer_broadcast,
    is_tinyml_call,
    load_network,
    make_call,
    op_name,
    params_of,
    register_op,
    register_ops,
)

__all__ = [
    "OPS",
    "ROW_ADDRESS",
    "WEIGHTED",
    "CFunction",
    "Function",
    "Granularity",
    "IoTensor",
    "Kernel",
    "Layer",
    "ModelIo",
    "OpDef",
    "Program",
    "RowStream",
    "TirProgram",
    "get_dead_macs",
    "get_io",
    "has_float_semantics",
    "infer_broadcast",
    "is_tinyml_call",
    "load_network",
    "make_call",
    "op_name",
    "params_of",
    "register_op",
    "register_ops",
    "with_dead_macs",
    "with_float_semantics",
    "with_io",
]
