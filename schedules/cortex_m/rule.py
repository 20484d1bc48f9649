"""What every schedule rule has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny.ops import Kernel
from tvm_tiny.schedules.choices import Chooser
from tvm_tiny.targets import Cpu


class CortexMScheduleRule(ABC):
    """Makes the kernel of one kind of operator call.

    Not a ``tvm.s_tir.dlight.ScheduleRule``: those see a PrimFunc without its constants, while here the values of
    weights and multipliers decide how they are packed and which arithmetic is exact.
    """

    operators: ClassVar[tuple[str, ...]]
    """Operator names as ``ops.op_name`` gives them."""

    @abstractmethod
    def apply(self, call: relax.Call, cpu: Cpu, choose: Chooser) -> Kernel:
        """Make the kernel of ``call`` for ``cpu``.

        Raises
        ------
        ChoiceError : ``choose`` has decisions that are not possible for this call
        """


def shape_of(expr: Any) -> tuple[int, ...]:
    """Static shape of a Relax tensor expression."""
    return tuple(int(d) for d in expr.ty.shape.values)


def dtype_of(expr: Any) -> str:
    return str(expr.ty.dtype)


def is_constant(expr: Any) -> bool:
    return isinstance(expr, tvm.ir.GenericConst)


def values_of(expr: Any) -> NDArray[Any]:
    """The array of a Relax constant."""
    return np.asarray(expr.value.numpy())


def size_of(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
