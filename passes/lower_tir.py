"""The TIR passes between our kernels and TVM's C code generator, in order."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx

from tvm_tiny.passes.plain_abi import UsePlainPointers


def lower_tir() -> tvm.transform.Pass:
    """Scheduled TIR -> loops and flat buffers behind plain pointers.

    TVM's ``s_tir`` pipeline without what needs a device or TVM's runtime: vectorisation (prints OpenCL types),
    ``MakePackedAPI`` and ``LowerTVMBuiltin`` (turns local arrays into runtime calls). Loops are not partitioned or
    unrolled on their own: a schedule that wants that says so.
    """
    target = tvm.target.Target({"kind": "c", "keys": ["cpu"]})
    return tvm.transform.Sequential(
        [
            tirx.transform.BindTarget(target.with_host(target)),
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
            _FlattenKernels(),
            tirx.transform.NarrowDataType(32),
            s_tir.transform.LoopPartition(),
            tirx.transform.UnrollLoop(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            UsePlainPointers(),
            tirx.transform.LowerIntrin(),
        ],
        name="LowerTir",
    )


@tvm.transform.module_pass(opt_level=0, name="FlattenKernels")
class _FlattenKernels:
    """``FlattenBuffer`` for functions that take buffers.

    Main takes pointers and sees its memory as flat from the start; the pass would only take time there, which grows
    with the square of main's loops.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        kernels = {gv: f for gv, f in mod.functions.items() if any(isinstance(p.ty, tirx.BufferType) for p in f.params)}
        flat = tirx.transform.FlattenBuffer()(tvm.IRModule(kernels, attrs=mod.attrs))
        return tvm.IRModule({**dict(mod.functions.items()), **dict(flat.functions.items())}, attrs=mod.attrs)
