"""Kernels for Cortex-M: one rule per operator turns a call into TIR."""

from tvm_tiny.schedules.choices import KERNEL, Choice, ChoiceError, Chooser, Decisions, Optimize, Value, combinations
from tvm_tiny.schedules.select import RULES, select

__all__ = [
    "KERNEL",
    "RULES",
    "Choice",
    "ChoiceError",
    "Chooser",
    "Decisions",
    "Optimize",
    "Value",
    "combinations",
    "select",
]
