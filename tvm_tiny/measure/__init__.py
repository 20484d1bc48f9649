"""Running compiled models and measuring them: outputs, exact instruction counts, RAM, flash."""

from tvm_tiny.measure.accounting import Flash, FlashSymbol, Ram
from tvm_tiny.measure.board import Board
from tvm_tiny.measure.counter import INSTRUCTION_CLASSES, LayerCounts, RunCounts
from tvm_tiny.measure.device import CallResult, Device
from tvm_tiny.measure.layer_table import LayerReport
from tvm_tiny.measure.loaded import LoadedRun, run_loaded
from tvm_tiny.measure.report import Report
from tvm_tiny.measure.run import DEVICES, RunResult, run_model
from tvm_tiny.measure.validate import Validation, validate_model

__all__ = [
    "DEVICES",
    "INSTRUCTION_CLASSES",
    "Board",
    "CallResult",
    "Device",
    "Flash",
    "FlashSymbol",
    "LayerCounts",
    "LayerReport",
    "LoadedRun",
    "Ram",
    "Report",
    "RunCounts",
    "RunResult",
    "Validation",
    "run_loaded",
    "run_model",
    "validate_model",
]
