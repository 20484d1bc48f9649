"""Kernels for Cortex-M: one rule per operator turns a call into TIR."""

from tvm_tiny.schedules.select import RULES, select

__all__ = ["RULES", "select"]
