"""The layers of a report: dictionary entries and the table of ``tvmc run --profile``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

NOT_MEASURED = "-"


@dataclass(frozen=True)
class LayerReport:
    """One layer, per inference.

    Parameters
    ----------
    macs : executed multiply-accumulates, padded taps included
    floor_instructions : the least that the instruction set allows, see ``measure.floor``
    instructions : mean over the batch; None where they were not counted
    modelled_cycles : of the cycle model, never measured; None where there is none
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    macs: int
    floor_instructions: int
    instructions: float | None = None
    modelled_cycles: float | None = None

    def to_dict(self, total: float | None) -> dict[str, Any]:
        """JSON values; ``total`` are the instructions of the whole inference."""
        return {
            "name": self.name,
            "op": self.op,
            "output_shape": list(self.output_shape),
            "macs": self.macs,
            "instructions": self.instructions,
            "share": None if self.instructions is None or not total else round(self.instructions / total, 6),
            "instructions_per_mac": self.instructions_per_mac,
            "floor_instructions": self.floor_instructions,
            "modelled_cycles": self.modelled_cycles,
        }

    @property
    def instructions_per_mac(self) -> float | None:
        """None without multiply-accumulates, or without a count."""
        return None if self.instructions is None or not self.macs else round(self.instructions / self.macs, 4)


def layer_table(layers: Sequence[LayerReport], total: float | None) -> Table:
    """A line per layer; ``total`` are the instructions of the whole inference."""
    table = Table(title="Layers", title_justify="left")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("layer", overflow="ellipsis", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for heading in ("MACs", "instructions", "%", "per MAC", "floor", "modelled cycles"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, layer in enumerate(layers):
        share = NOT_MEASURED if layer.instructions is None or not total else f"{100 * layer.instructions / total:.1f}"
        per_mac = "" if layer.instructions_per_mac is None else f"{layer.instructions_per_mac:.2f}"
        table.add_row(
            str(index),
            escape(shorten(layer.name)),
            layer.op,
            "x".join(map(str, layer.output_shape)),
            number(layer.macs),
            number(layer.instructions),
            share,
            per_mac if layer.instructions is not None else NOT_MEASURED,
            number(layer.floor_instructions),
            number(layer.modelled_cycles),
        )
    return table


def shorten(name: str, length: int = 40) -> str:
    """A layer's name for a table: converters chain the names of all that they fused."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def number(value: float | None) -> str:
    """With commas; a dash where there is none."""
    return NOT_MEASURED if value is None else f"{value:,.0f}"
