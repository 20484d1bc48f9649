"""Memory planning on plain dataclasses: no TVM, usable on its own."""

from tvm_tiny.planner.estimate import Estimate, estimate
from tvm_tiny.planner.front import Choice, choose, measure, pareto
from tvm_tiny.planner.goal import EFFORTS, OBJECTIVES, EffortName, Goal, Objective, parse_bytes, parse_fraction
from tvm_tiny.planner.graph import Graph, Home, Kind, Op, Tensor, Window, as_whole, stream_input
from tvm_tiny.planner.graph_json import graph_from_dict, graph_to_dict
from tvm_tiny.planner.network import NetworkBuilder
from tvm_tiny.planner.order import Order
from tvm_tiny.planner.patches import Patch, parse_patch
from tvm_tiny.planner.plan import Arena, Memory, Place, Plan, PlannedGroup, PlannedStage
from tvm_tiny.planner.planner import Fusion, Memories, find_order, find_views, plan_memory
from tvm_tiny.planner.report import Peak, find_peak, short_name
from tvm_tiny.planner.verify import PlanError, verify
from tvm_tiny.planner.views import view_places, with_views, without_views

__all__ = [
    "EFFORTS",
    "OBJECTIVES",
    "Arena",
    "Choice",
    "EffortName",
    "Estimate",
    "Fusion",
    "Goal",
    "Graph",
    "Home",
    "Kind",
    "Memories",
    "Memory",
    "NetworkBuilder",
    "Objective",
    "Op",
    "Order",
    "Patch",
    "Peak",
    "Place",
    "Plan",
    "PlanError",
    "PlannedGroup",
    "PlannedStage",
    "Tensor",
    "Window",
    "as_whole",
    "choose",
    "estimate",
    "find_order",
    "find_peak",
    "find_views",
    "graph_from_dict",
    "graph_to_dict",
    "measure",
    "pareto",
    "parse_bytes",
    "parse_fraction",
    "parse_patch",
    "plan_memory",
    "short_name",
    "stream_input",
    "verify",
    "view_places",
    "with_views",
    "without_views",
]
