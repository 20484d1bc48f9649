"""Program and plan -> C sources and their archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny import aot, pipeline, planner
from tvm_tiny.aot.flash import flash_error
from tvm_tiny.aot.metadata import mlf_metadata, tinyml_metadata
from tvm_tiny.aot.sources import generate_sources
from tvm_tiny.aot.weights import Home, place_weights
from tvm_tiny.errors import OutputError
from tvm_tiny.files import write_file
from tvm_tiny.ops import Program
from tvm_tiny.targets import Board

if TYPE_CHECKING:
    import tvm


@dataclass(frozen=True)
class CompiledModel:
    """What compiling gives.

    Parameters
    ----------
    module_name : part of the C names: ``tvmgen_<module_name>_run``
    files : path in the Model Library Format archive -> content
    metadata : ``metadata.json``
    plan : where everything lies in the arena
    board : what it was compiled for
    """

    module_name: str
    files: Mapping[str, bytes]
    metadata: Mapping[str, Any]
    plan: planner.Plan
    board: Board

    def export(self, path: Path | str) -> Path:
        """Write the Model Library Format archive; either the whole file appears or nothing.

        Raises
        ------
        OutputError : the path is a folder or cannot be written
        """
        path = Path(path)
        if path.is_dir():
            raise OutputError(f"'{path}' is a folder; expected a file to write", hints=[f"try {path / 'model.tar'}"])
        if path.exists() and not path.is_file():
            raise OutputError(f"'{path}' is no regular file", hints=["choose another path with -o"])
        try:
            write_file(path, aot.mlf_bytes(self.files))
        except OSError as e:
            raise OutputError(f"'{path}' cannot be written: {e.strerror}", hints=["choose another path with -o"]) from e
        return path

    def report(self) -> dict[str, Any]:
        """Layers, MACs and bytes as known without running; ``tvm_tiny.measure.run_model`` measures the rest."""
        return dict(self.metadata["modules"][self.module_name]["tinyml"])


def emit(
    program: Program,
    plan: planner.Plan,
    board: Board,
    module: tvm.IRModule,
    homes: Sequence[Home],
    default_memories: Sequence[str],
    options: pipeline.Options,
    *,
    model: str,
    module_name: str,
    allow: Sequence[str] = (),
) -> CompiledModel:
    """Generate the C of ``program``, which does what ``plan`` says.

    Parameters
    ----------
    module : Relax of the program, with what is known of its inputs and outputs
    homes : where constants may go, the best first
    default_memories : those that may hold stack and data
    model : name in reports
    allow : what may be used beside the chip's own memories

    Raises
    ------
    MemoryBudgetError : constants do not fit the board's flash
    """
    import tvm

    tir = pipeline.to_tir(program, plan, f"tvmgen_{module_name}", options)
    placed = place_weights(program, tir, homes)
    io = pipeline.model_io(module)
    info = tinyml_metadata(model, board, io, program, tir, plan, default_memories, placed, options.optimize)
    _check_flash(info, board, allow)
    sources = generate_sources(tir, info, module_name, placed)
    metadata = mlf_metadata(module_name, info)
    ir = str(module.script(show_meta=False)), tvm.ir.save_json(module)
    files = aot.mlf_files(module_name, metadata, sources, *ir)
    return CompiledModel(module_name, files, metadata, plan, board)


def _check_flash(info: Mapping[str, Any], board: Board, allow: Sequence[str]) -> None:
    inside = sum(w["bytes"] for w in info["weights"] if w["in_ram"] or w["section"] is None)
    outside = info["constants_bytes"] - inside
    external = board.external_flash
    if inside > board.flash_bytes or (external and outside > external.size_bytes):
        raise flash_error(info["model"], f"{info['constants_bytes']:,}", board, allow)
