"""Model file -> the memory plans to choose from; nothing is compiled, and no compiler or emulator is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny import frontend, passes, pipeline, planner
from tvm_tiny.errors import TvmTinyError
from tvm_tiny.targets import Board, resolve

if TYPE_CHECKING:
    import tvm


@dataclass(frozen=True)
class ModelPlans:
    """The plans of one model for one board.

    Parameters
    ----------
    fronts : "resident": the input lies in RAM as a whole; "streamed": it comes row by row (``--stream-input``), where
        the model allows that. Each from the largest to the smallest RAM, none both larger and slower than another
    """

    model: str
    board: Board
    fronts: dict[str, tuple[planner.Choice, ...]]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "model": self.model,
            "target": f"tinyml/{self.board.name}",
            "board_ram_bytes": self.board.ram_bytes,
            "fronts": {name: [x.to_dict() for x in front] for name, front in self.fronts.items()},
        }


def plan_model(
    model: Any,
    target: Any = "tinyml",
    *,
    quantized_io: bool = False,
    caller_io: bool = False,
    max_overhead: float | str | None = None,
    effort: planner.EffortName = "default",
    name: str | None = None,
) -> ModelPlans:
    """RAM against executed multiply-accumulates.

    Parameters
    ----------
    model, target, quantized_io, caller_io, name : as in ``compile_model``
    max_overhead : work beyond the network's own, at most, as a fraction or a text like "10%"; by default as much again
    effort : of the search

    Raises
    ------
    TvmTinyError : with what went wrong and what to try
    """
    import tvm

    overhead = planner.parse_fraction(max_overhead) if isinstance(max_overhead, str) else max_overhead
    factor = planner.Goal("ram", max_overhead=overhead, effort=effort).mac_factor
    board = resolve(target)
    source: tvm.IRModule = model if isinstance(model, tvm.IRModule) else frontend.load_model(model)
    options = pipeline.Options(quantized_io=quantized_io, caller_io=caller_io)
    _, program = pipeline.lower(source, board, options)
    fronts = {"resident": planner.pareto(program.graph, mac_factor=factor, effort=effort)}
    if not caller_io:
        try:
            graph = passes.stream_input(program).graph
        except TvmTinyError:
            pass  # not for this model
        else:
            fronts["streamed"] = planner.pareto(graph, mac_factor=factor, effort=effort)
    return ModelPlans(name or (Path(model).stem if isinstance(model, str | Path) else "model"), board, fronts)
