"""Kernels for Cortex-M: one rule per operator turns a call into TIR."""

from tvm_tiny.schedules.cortex_m.rule import Optimize
from tvm_tiny.schedules.select import RULES, select

__all__ = ["RULES", "Optimize", "select"]
