"""Operators without a rule of their own: TVM's implementation, made to fit the kernel interface."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import relax, s_tir, tirx
from tvm.s_tir import transform as s_tir_transform
from tvm.tirx import transform as tirx_transform

from tvm_tiny.errors import UnsupportedOperatorError
from tvm_tiny.ops import Kernel, op_name
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.rule import (
    CortexMScheduleRule,
    dtype_of,
    is_constant,
    shape_of,
    size_of,
    values_of,
)
from tvm_tiny.targets import Cpu

logger = logging.getLogger(__name__)

STACK_BYTES = 64
"""Temporaries up to this size stay on the stack; larger ones go to the kernel's scratch memory."""

ALIGNMENT = 8

ELEMENTWISE = frozenset(
    {
        "abs",
        "add",
        "ceil",
        "clip",
        "divide",
        "erf",
        "exp",
        "floor",
        "log",
        "maximum",
        "minimum",
        "multiply",
        "negative",
        "nn.gelu",
        "nn.leakyrelu",
        "nn.relu",
        "nn.silu",
        "power",
        "round",
        "rsqrt",
        "sigmoid",
        "sqrt",
        "square",
        "subtract",
        "tanh",
    }
)
"""Operators whose outputs depend on the inputs' elements at the same position only."""


@dataclass(frozen=True)
class _Legalized:
    """A PrimFunc and what its parameters are: expressions of the call, then outputs."""

    func: Any
    arguments: list[Any]


class Legalize(CortexMScheduleRule):
    """``LegalizeOps``; paddings inlined, reductions initialised outside of their loops, temporaries in scratch."""

    operators = ()

    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        name = op_name(call)
        legalized = _legalize(call, name)
        n_arguments = len(legalized.arguments)
        func = _rename_parameters(_lower(_schedule(legalized.func)), n_arguments)
        pairs = list(zip(func.params[:n_arguments], legalized.arguments, strict=True))
        constants = [(p, values_of(a).reshape(-1)) for p, a in pairs if is_constant(a)]
        body, literals = _literals_to_constant(func.body)
        constants += literals
        body, scratch = _allocations_to_scratch(body)
        params = [p for p, a in pairs if not is_constant(a)] + list(func.params[n_arguments:])
        params += [p for p, _ in constants] + scratch
        in_place = _in_place_inputs(call, name, [a for _, a in pairs if not is_constant(a)])
        attrs: dict[str, Any] = {"s_tir": True}
        if not in_place:
            attrs["tirx.noalias"] = True
        return Kernel(
            func=tirx.PrimFunc(params, body, func.ret_type, attrs=tvm.ir.make_node("ir.DictAttrs", **attrs)),
            name=name.replace(".", "_"),
            granularity="tensor",
            constants=tuple(values for _, values in constants),
            scratch_bytes=int(scratch[0].shape[0]) if scratch else 0,
            in_place_inputs=in_place,
            macs=_macs(call, name),
        )


def _legalize(call: relax.Call, name: str) -> _Legalized:
    """Legalize a function that holds nothing but ``call``, its activations made parameters."""
    variables: list[Any] = []
    originals: list[Any] = []

    def parameter(arg: Any) -> Any:
        if isinstance(arg, relax.Tuple):
            return relax.Tuple([parameter(field) for field in arg.fields])
        if is_constant(arg) or not isinstance(getattr(arg, "ty", None), relax.TensorType):
            return arg
        originals.append(arg)
        variables.append(relax.Var(f"data_{len(variables)}", arg.ty))
        return variables[-1]

    args = [parameter(arg) for arg in call.args]
    builder = relax.BlockBuilder()
    with builder.function("main", variables):
        with builder.dataflow():
            result = builder.emit_output(relax.Call(call.op, args, call.attrs, call.ty_args))
        builder.emit_func_output(result)
    try:
        module = relax.transform.LegalizeOps()(builder.finalize())
    except tvm.error.InternalError as e:
        reason = str(e).strip().splitlines()[-1]
        raise UnsupportedOperatorError(
            f"operator '{name}' has no kernel: TVM cannot lower it with these shapes and attributes ({reason})",
            hints=("a resize with align_corners to a single row or column is such a case: leave align_corners out",),
        ) from e
    bindings = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    call_tir = tvm.ir.Op.get("relax.call_tir")
    if len(bindings) != 1 or not isinstance(bindings[0], relax.Call) or bindings[0].op != call_tir:
        raise UnsupportedOperatorError(
            f"operator '{name}' has no kernel: TVM does not implement it as one function without its runtime",
            hints=("fold this operator into constants, or replace it by simpler ones, before the import",),
        )
    function, arguments = bindings[0].args[0], list(bindings[0].args[1].fields)
    assert [a for a in arguments if not is_constant(a)] == variables, "an implementation that drops or reorders inputs"
    return _Legalized(module[function], arguments)


def _schedule(func: Any) -> Any:
    """Inline what costs nothing to compute twice; keep initial values out of reduction loops."""
    schedule = s_tir.Schedule(func)
    root = schedule.get_sblock("root")
    for block in schedule.get_child_blocks(root):
        if _calls_functions(schedule.get(block)):
            continue
        try:
            schedule.compute_inline(block)
        except s_tir.ScheduleError:
            logger.debug("%s stays: it is an output, a reduction, or not one-to-one", schedule.get(block).name_hint)
    for block in schedule.get_child_blocks(root):
        if schedule.get(block).init is None:
            continue
        loops = schedule.get_loops(block)
        reductions = [i for i, v in enumerate(schedule.get(block).iter_vars) if v.iter_type == tirx.IterVar.CommReduce]
        if reductions and len(loops) == len(schedule.get(block).iter_vars):
            schedule.decompose_reduction(block, loops[reductions[0]])
    return schedule.mod["main"]


def _calls_functions(block: Any) -> bool:
    """Whether the block computes more than arithmetic, like exp."""
    found: list[Any] = []
    cheap = (tvm.ir.Op.get("prim.if_then_else"), tvm.ir.Op.get("prim.likely"))
    tvm_ffi.structural_walk(
        block.body, (tvm.ir.Call, lambda node: found.append(node) if node.op not in cheap else None)
    )
    return bool(found)


def _lower(func: Any) -> Any:
    """Blocks to plain loops, buffers to one dimension."""
    passes = [
        s_tir_transform.LowerInitBlock(),
        s_tir_transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir_transform.ConvertBlocksToOpaque(),
        s_tir_transform.CompactBufferAllocation(),
        s_tir_transform.StmtSimplify(),
        s_tir_transform.LowerOpaqueBlock(),
        tirx_transform.FlattenBuffer(),
        tirx_transform.NarrowDataType(32),
    ]
    module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    return tvm.transform.Sequential(passes)(module)["main"]


def _rename_parameters(func: Any, n_arguments: int) -> Any:
    """Parameters called by position: TVM's names need not be distinct."""
    renamed = {}
    for i, old in enumerate(func.params):
        name = f"data_{i}" if i < n_arguments else f"out_{i - n_arguments}"
        renamed[old] = tirx.decl_buffer(old.shape, str(old.dtype), name)
    body = tvm_ffi.structural_map(func.body, (tvm.ir.Var, lambda var: renamed.get(var, var)))
    return tirx.PrimFunc([renamed[p] for p in func.params], body, func.ret_type, attrs=func.attrs)


def _literals_to_constant(body: Any) -> tuple[Any, list[tuple[Any, NDArray[Any]]]]:
    """Take float literals from memory: the C generator prints them with seven digits, which may not be exact."""
    values: list[float] = []

    def inexact(node: Any) -> bool:
        if str(node.ty.dtype) != "float32":
            return False
        return not np.isfinite(node.value) or np.float32(f"{node.value:.6e}") != np.float32(node.value)

    tvm_ffi.structural_walk(body, (tirx.FloatImm, lambda node: values.append(node.value) if inexact(node) else None))
    if not values:
        return body, []
    values = list(dict.fromkeys(values))
    buffer = tirx.decl_buffer((len(values),), "float32", "literals")
    body = tvm_ffi.structural_map(
        body, (tirx.FloatImm, lambda node: buffer[values.index(node.value)] if inexact(node) else node)
    )
    return body, [(buffer, np.array(values, np.float32))]


def _allocations_to_scratch(body: Any) -> tuple[Any, list[Any]]:
    """Turn allocations into views of one scratch buffer: the new body, and that buffer if there is need of one."""
    allocations: dict[Any, int] = {}
    end = 0

    def place(stmt: Any) -> None:
        nonlocal end
        size = int(np.prod([int(d) for d in stmt.buffer.shape])) * np.dtype(str(stmt.buffer.dtype)).itemsize
        if size > STACK_BYTES:
            allocations[stmt.buffer] = end
            end += -(-size // ALIGNMENT) * ALIGNMENT

    tvm_ffi.structural_walk(body, (tirx.AllocBuffer, place))
    if not allocations:
        return body, []
    scratch = tirx.decl_buffer((end,), "uint8", "scratch")
    views: dict[str, Any] = {}

    def moved(buffer: Any, indices: Any) -> tuple[Any, Any]:
        """The same element, as one of a view of the whole scratch memory."""
        dtype = str(buffer.dtype)
        itemsize = np.dtype(dtype).itemsize
        view = views.setdefault(dtype, tirx.decl_buffer((end // itemsize,), dtype, f"scratch_{dtype}"))
        return view, indices[0] + allocations[buffer] // itemsize

    def load(node: Any) -> Any:
        if node.source not in allocations:
            return node
        view, index = moved(node.source, node.indices)
        return view[index]

    def store(node: Any) -> Any:
        if node.buffer not in allocations:
            return node
        view, index = moved(node.buffer, node.indices)
        return tirx.BufferStore(view, node.value, [index])

    def drop(node: Any) -> Any:
        return tirx.Evaluate(0) if node.buffer in allocations else node

    callbacks = [(tvm.ir.TensorLoad, load), (tirx.BufferStore, store), (tirx.AllocBuffer, drop)]
    body = tvm_ffi.structural_map(body, callbacks)
    declarations = [tirx.DeclBuffer(view, data=scratch.data) for view in views.values()]
    return tirx.SeqStmt([*declarations, body]), [scratch]


def _in_place_inputs(call: relax.Call, name: str, inputs: list[Any]) -> tuple[int, ...]:
    if name not in ELEMENTWISE or not isinstance(call.ty, relax.TensorType):
        return ()
    out = (shape_of(call), np.dtype(dtype_of(call)).itemsize)
    return tuple(i for i, a in enumerate(inputs) if (shape_of(a), np.dtype(dtype_of(a)).itemsize) == out)


def _macs(call: relax.Call, name: str) -> int:
    """Multiply-accumulates of float convolutions and matrix products."""
    if name == "nn.conv2d":
        layout = str(call.attrs.kernel_layout)
        weight = shape_of(call.args[1])
        return size_of(shape_of(call)) * size_of(weight) // weight[layout.index("O")]
    if name == "matmul":
        return size_of(shape_of(call)) * shape_of(call.args[0])[-1]
    return 0
