"""From an operator call to its kernel."""

from __future__ import annotations

from tvm import relax

from tvm_tiny.ops import Kernel, is_tinyml_call, op_name
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.schedules.cortex_m.accumulate import Accumulate, RequantizeSums
from tvm_tiny.schedules.cortex_m.add import Add
from tvm_tiny.schedules.cortex_m.conv2d import Conv2D
from tvm_tiny.schedules.cortex_m.dense import Dense
from tvm_tiny.schedules.cortex_m.depthwise_conv2d import DepthwiseConv2D
from tvm_tiny.schedules.cortex_m.legalize import Legalize
from tvm_tiny.schedules.cortex_m.lookup import Lookup
from tvm_tiny.schedules.cortex_m.mean import Mean
from tvm_tiny.schedules.cortex_m.movement import RowMovement, moves_rows
from tvm_tiny.schedules.cortex_m.mul import Mul
from tvm_tiny.schedules.cortex_m.pool2d import Pool2D
from tvm_tiny.schedules.cortex_m.quantize import Quantize
from tvm_tiny.schedules.cortex_m.resize2d import Resize2D
from tvm_tiny.schedules.cortex_m.rule import CortexMScheduleRule
from tvm_tiny.schedules.cortex_m.softmax import Softmax
from tvm_tiny.schedules.cortex_m.transpose import Transpose, turns_planes
from tvm_tiny.targets import Cpu

RULES: dict[str, CortexMScheduleRule] = {
    name: rule
    for rule in (
        Conv2D(),
        DepthwiseConv2D(),
        Accumulate(),
        RequantizeSums(),
        Dense(),
        Add(),
        Mul(),
        Pool2D(),
        Mean(),
        Softmax(),
        Resize2D(),
        Lookup(),
        Quantize(),
    )
    for name in rule.operators
}


def select(call: relax.Call, cpu: Cpu, choose: Chooser | None = None) -> Kernel:
    """The kernel of one operator call.

    Parameters
    ----------
    call : of an operator of ``relax.tinyml``, or of any Relax operator that TVM can legalize; normalized (it has a
        type), static shapes; arguments that are constants become constants of the kernel
    choose : answers what rules leave open; by default what has the fewest instructions untuned

    Raises
    ------
    UnsupportedOperatorError : TVM has no implementation either
    ChoiceError : ``choose`` has decisions that are not possible for this call
    """
    choose = choose or Chooser()
    if is_tinyml_call(call):
        return RULES[op_name(call)].apply(call, cpu, choose)
    if turns_planes(call):
        return Transpose().apply(call, cpu, choose)
    return (RowMovement() if moves_rows(call) else Legalize()).apply(call, cpu, choose)
