"""Apache TVM for Arm Cortex-M: quantized networks to C, bit-exact, in the smallest RAM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm_tiny.compiler import CompiledModel
    from tvm_tiny.compiler import compile_model as compile
    from tvm_tiny.pareto import plan_model as plan

__all__ = ["CompiledModel", "compile", "plan"]


def __getattr__(name: str) -> Any:
    # TVM takes seconds to import, and TVM itself imports this package for its plug-in hook: load on first use.
    if name == "compile":
        from tvm_tiny.compiler import compile_model

        return compile_model
    if name == "plan":
        from tvm_tiny.pareto import plan_model

        return plan_model
    if name == "CompiledModel":
        from tvm_tiny.compiler import CompiledModel

        return CompiledModel
    raise AttributeError(f"module 'tvm_tiny' has no attribute {name!r}")
