"""Memory planning on plain dataclasses: no TVM, usable on its own."""

from tvm_tiny.planner.graph import Graph, Home, Op, Tensor
from tvm_tiny.planner.plan import Block, Plan
from tvm_tiny.planner.planner import plan_memory
from tvm_tiny.planner.verify import PlanError, verify

__all__ = ["Block", "Graph", "Home", "Op", "Plan", "PlanError", "Tensor", "plan_memory", "verify"]
