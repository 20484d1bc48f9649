"""A cycle model per core: cycles of a measured instruction mix. Nothing here is measured on hardware.

    cycles = sum over classes(count * cost) + words of multiple loads and stores * per_word + taken branches * taken
           - pipelined loads * pipelined + loads used at once * load_use - pairs * paired - overlaps * overlapped
           + waiting flash reads * wait states

docs/cycle_model.md says where every number comes from, what is left out, and how far off the model is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm_tiny.measure.counter import INSTRUCTION_CLASSES, LayerCounts
from tvm_tiny.targets import Cpu, FlashTiming


@dataclass(frozen=True)
class CoreCosts:
    """Cycles of one core, with memory that answers at once.

    Parameters
    ----------
    classes : cycles of one instruction by class; 1 where a class is not named
    per_word : of a multiple load or store, on top of its class
    taken : of a branch that is taken, on top of its class; LE is a class of its own
    pipelined : saved by a load right behind a load or store
    load_use : waited when the instruction behind a load takes its value
    paired : saved when two instructions are issued together
    overlapped : saved by a vector instruction behind one of another kind, whose second half runs beside it
    """

    classes: Mapping[str, float] = field(default_factory=dict)
    per_word: float = 1.0
    taken: float = 2.0
    pipelined: float = 0.0
    load_use: float = 0.0
    paired: float = 0.0
    overlapped: float = 0.0


_SINGLE_ISSUE = {"load": 2.0, "divide": 7.0, "float_accumulate": 3.0, "float_divide": 14.0}
CORES: dict[str, CoreCosts] = {
    "cortex-m0plus": CoreCosts({"load": 2.0, "store": 2.0}, taken=1.0),
    "cortex-m3": CoreCosts(
        {"load": 2.0, "divide": 7.0, "multiply_accumulate": 2.0, "long_multiply": 4.0}, pipelined=1.0
    ),
    "cortex-m4": CoreCosts(_SINGLE_ISSUE, pipelined=1.0),
    "cortex-m33": CoreCosts(_SINGLE_ISSUE, pipelined=1.0),
    "cortex-m7": CoreCosts(
        {"load_multiple": 0.0, "store_multiple": 0.0, "divide": 7.0, "float_divide": 14.0},
        per_word=0.5,
        taken=1.0,
        load_use=1.0,
        paired=1.0,
    ),
    "cortex-m55": CoreCosts(
        {
            **dict.fromkeys(("load_multiple", "store_multiple", "loop"), 0.0),
            **dict.fromkeys(("vector", "vector_multiply", "vector_memory"), 2.0),
            "divide": 7.0,
            "float_divide": 14.0,
        },
        per_word=0.5,
        load_use=1.0,
        overlapped=1.0,
    ),
}


@dataclass(frozen=True)
class CycleModel:
    """The model of one board.

    Parameters
    ----------
    cpu : name of the core
    flash : its flash's wait states; None where reads of flash are taken to be as fast as RAM
    """

    cpu: str
    costs: CoreCosts
    flash: FlashTiming | None = None

    def cycles(self, counts: LayerCounts) -> float:
        """Modelled cycles of ``counts``."""
        costs = self.costs
        named = zip(INSTRUCTION_CLASSES, counts.classes, strict=True)
        total = sum(n * costs.classes.get(name, 1.0) for name, n in named)
        total += counts.multiple_words * costs.per_word + counts.taken_branches * costs.taken
        total += counts.load_uses * costs.load_use
        total -= counts.pipelined_loads * costs.pipelined + counts.issue_pairs * costs.paired
        total -= counts.vector_overlaps * costs.overlapped
        if self.flash is not None:
            total += (counts.code_waits + counts.data_waits) * self.flash.wait_states
        return total

    def describe(self) -> str:
        """For reports: the core, and what is taken of the flash."""
        if self.flash is None:
            return f"{self.cpu}, memory without wait states"
        return f"{self.cpu}, flash with {self.flash.wait_states} wait states"


def cycle_model(cpu: Cpu | str, flash: FlashTiming | None = None) -> CycleModel | None:
    """The model of a core; None where there is none."""
    name = cpu if isinstance(cpu, str) else cpu.name
    costs = CORES.get(name)
    return None if costs is None else CycleModel(name, costs, flash)
