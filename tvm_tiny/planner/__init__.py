"""Memory planning on plain dataclasses: no TVM, usable on its own."""

from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window, as_whole, stream_input, without_views
from tvm_tiny.planner.order import Order
from tvm_tiny.planner.plan import Arena, Memory, Place, Plan, PlannedGroup, PlannedStage
from tvm_tiny.planner.planner import Fusion, find_order, plan_memory
from tvm_tiny.planner.report import Peak, find_peak
from tvm_tiny.planner.verify import PlanError, verify

__all__ = [
    "Arena",
    "Fusion",
    "Graph",
    "Home",
    "Kind",
    "Memory",
    "Op",
    "Order",
    "Peak",
    "Place",
    "Plan",
    "PlanError",
    "PlannedGroup",
    "PlannedStage",
    "Tensor",
    "Window",
    "as_whole",
    "find_order",
    "find_peak",
    "plan_memory",
    "stream_input",
    "verify",
    "without_views",
]
