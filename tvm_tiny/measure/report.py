"""The report of a run: dataclasses, the dictionary behind ``--json``, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tvm_tiny.measure.accounting import Flash, Ram
from tvm_tiny.measure.counter import INSTRUCTION_CLASSES, RunCounts
from tvm_tiny.measure.cycles import CycleModel
from tvm_tiny.measure.floor import floor_instructions
from tvm_tiny.measure.layer_table import LayerReport, layer_table, number
from tvm_tiny.targets import CPUS


@dataclass(frozen=True)
class Report:
    """What one model took on one device, per inference.

    Parameters
    ----------
    board : name of the board, or "native" for a process of the host
    macs, executed_macs : multiply-accumulates of the model file, padded taps included, and of the generated code:
        fewer by dead channels, more by recomputation
    instructions, instructions_min, instructions_max : mean, least and most over the batch; None where not counted
    instruction_mix : instructions by class, mean over the batch; None where not counted
    modelled_cycles : mean, by the cycle model, never measured; None without counts or where the core has no model
    cycle_model : what the model assumes
    cycles, cycle_counter : mean, as the device's own counter has it, and which one that is; None where it has none
    """

    model: str
    target: str
    board: str
    macs: int
    executed_macs: int
    instructions: float | None
    instructions_min: int | None
    instructions_max: int | None
    instruction_mix: dict[str, float] | None
    modelled_cycles: float | None
    cycle_model: str | None
    ram: Ram
    flash: Flash
    layers: tuple[LayerReport, ...]
    cycles: float | None = None
    cycle_counter: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values under the keys that ``tvmc run --json`` promises."""
        ram, flash = self.ram, self.flash
        return {
            "model": self.model,
            "target": self.target,
            "board": self.board,
            "macs": self.macs,
            "executed_macs": self.executed_macs,
            "instructions": self.instructions,
            "instructions_min": self.instructions_min,
            "instructions_max": self.instructions_max,
            "instruction_mix": self.instruction_mix,
            "modelled_cycles": self.modelled_cycles,
            "cycle_model": self.cycle_model,
            "cycles": self.cycles,
            "cycle_counter": self.cycle_counter,
            "ram": {
                "arena_bytes": ram.arena_bytes,
                "io_bytes": ram.io_bytes,
                "data_bss_bytes": ram.data_bss_bytes,
                "stack_bytes": ram.stack_bytes,
                "total_bytes": ram.total_bytes,
                "weights_bytes": ram.weights_bytes,
                "memories": dict(ram.memories),
            },
            "flash": {
                "code_bytes": flash.code_bytes,
                "weights_bytes": flash.weights_bytes,
                "total_bytes": flash.total_bytes,
                "external_bytes": flash.external_bytes,
            },
            "layers": [layer.to_dict(self.instructions) for layer in self.layers],
        }

    def print(self, console: Console, *, layers: bool = False) -> None:
        """Print totals, and with ``layers`` a line per layer."""
        console.print(self._totals())
        if layers:
            console.print(layer_table(self.layers, self.instructions))

    def _totals(self) -> Table:
        table = Table(title=escape(f"{self.model} on {self.board}"), show_header=False, title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column()
        note = "not counted on this device" if self.instructions is None else "counted, per inference"
        if self.instructions_min != self.instructions_max:
            note += f"; {number(self.instructions_min)} to {number(self.instructions_max)}"
        model = f"executed; the model has {self.macs:,}" if self.executed_macs != self.macs else ""
        table.add_row("MACs", number(self.executed_macs), model)
        table.add_row("instructions", number(self.instructions), note)
        if self.instructions is not None and self.executed_macs:
            table.add_row("instructions per MAC", f"{self.instructions / self.executed_macs:.2f}", "")
        if self.cycles is not None:
            table.add_row("cycles", number(self.cycles), f"of counter {self.cycle_counter}")
        if self.cycle_model is not None:
            table.add_row("modelled cycles", number(self.modelled_cycles), f"a model, not measured: {self.cycle_model}")
        ram, flash = self.ram, self.flash
        arena, io = ("arena", ram.arena_bytes), ("inputs and outputs", ram.io_bytes)
        data, stack = (".data and .bss", ram.data_bss_bytes), ("stack", ram.stack_bytes)
        weights = [("weights", ram.weights_bytes)] if ram.weights_bytes else []
        parts = [arena, *([] if ram.io_in_arena else [io]), data, *weights, stack]
        note = f" (arena with {ram.io_bytes:,} of inputs and outputs)" if ram.io_in_arena else ""
        table.add_row("RAM bytes", number(ram.total_bytes), _parts(parts) + note)
        if len(ram.memories) > 1:
            table.add_row("  by memory", "", _parts(tuple(ram.memories.items())))
        inside = [("code", flash.code_bytes), ("weights", flash.weights_bytes)]
        outside = [("of it outside the chip", flash.external_bytes)] if flash.external_bytes else []
        table.add_row("flash bytes", number(flash.total_bytes), _parts([*inside, *outside]))
        return table


def make_report(
    info: Mapping[str, Any],
    board: str,
    ram: Ram,
    flash: Flash,
    counts: Sequence[RunCounts] | None,
    model: CycleModel | None = None,
    *,
    cycles: Sequence[int] = (),
    cycle_counter: str | None = None,
) -> Report:
    """Put a report together.

    Parameters
    ----------
    info : the archive's ``tinyml`` metadata
    counts : one entry per inference; None where instructions are not counted
    model : of the core it ran on; None: cycles are not modelled
    cycles : one entry per inference, where the device's counter ``cycle_counter`` counts
    """
    runs = counts or ()
    totals = [run.instructions for run in runs]
    if not runs:
        model = None
    cpu = CPUS[info["cpu"]]
    layers = []
    for index, layer in enumerate(info["layers"]):
        parts = [run.layers[index] for run in runs]
        shape = tuple(int(d) for d in layer["output_shape"])
        mean = _mean([part.instructions for part in parts])
        modelled = None if model is None else _mean([model.cycles(part) for part in parts])
        floor = floor_instructions(layer, cpu)
        layers.append(LayerReport(layer["name"], layer["op"], shape, layer["executed_macs"], floor, mean, modelled))
    return Report(
        model=info["model"],
        target=info["target"],
        board=board,
        macs=info["macs"],
        executed_macs=info["executed_macs"],
        instructions=_mean(totals),
        instructions_min=min(totals, default=None),
        instructions_max=max(totals, default=None),
        instruction_mix=_mix(runs),
        modelled_cycles=None if model is None else _mean([sum(map(model.cycles, run.parts)) for run in runs]),
        cycle_model=None if model is None else model.describe(),
        ram=ram,
        flash=flash,
        layers=tuple(layers),
        cycles=_mean(cycles),
        cycle_counter=cycle_counter if cycles else None,
    )


def _mix(runs: Sequence[RunCounts]) -> dict[str, float] | None:
    means = {}
    for index, name in enumerate(INSTRUCTION_CLASSES):
        mean = _mean([sum(part.classes[index] for part in run.parts) for run in runs])
        if mean:
            means[name] = mean
    return means or None


def _mean(values: Sequence[float]) -> float | None:
    """The mean, as a whole number where it is one."""
    if not values:
        return None
    mean = sum(values) / len(values)
    return int(mean) if mean == int(mean) else mean


def _parts(parts: Sequence[tuple[str, int | None]]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in parts if value is not None)
