"""The ordered lists of passes, in named phases: the only place that knows what runs after what."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tvm
from tvm import relax

from tvm_tiny import passes, planner, schedules
from tvm_tiny.aot.flash import FlashBudget
from tvm_tiny.errors import ModelError, OptionError, OutputError
from tvm_tiny.files import write_file
from tvm_tiny.ops import (
    WEIGHTED,
    Kernel,
    ModelIo,
    Program,
    TirProgram,
    get_io,
    is_tinyml_call,
    op_name,
    register_ops,
)
from tvm_tiny.schedules.records import Records
from tvm_tiny.targets import Board

logger = logging.getLogger(__name__)

# Kernels take four channels at a time. Keeping no dead channel would save 0.4 % (vww96) to 0.8 % (mcunet_vww) of the
# instructions on cortex-m4, but pixels would begin at odd addresses, whose words take a cycle more, and cost more code.
_CHANNELS = 4

# A plan is made and verified row by row, at 50 us a row; of images stored as planes (NCHW) plane by plane, and of two
# such images for each pair of planes. A thousand rows in every operator are possible, or some seconds of sound in one.
_MAX_ROWS, _MAX_ROWS_PER_OPERATOR, _MAX_PLANES = 1 << 18, 1 << 10, 1 << 12


@dataclass(frozen=True)
class Options:
    """What a user can choose about lowering.

    rounding : "tflm" (rounds twice, as TFLite Micro does) or "single"
    quantized_io : drop QUANTIZE and DEQUANTIZE at the edges; inputs and outputs become int8
    dump_ir : folder that gets the IR after every phase
    caller_io : inputs and outputs are buffers of the caller instead of parts of the arena
    stream_input : the input comes row by row
    optimize : speed, balanced or size: what kernels prefer
    tiles : blocks that run in slices of their expanded channels
    records : what tuning found out about layers
    extra_passes : name of a phase -> module passes to run at its end
    """

    rounding: str = "tflm"
    quantized_io: bool = False
    dump_ir: Path | None = None
    caller_io: bool = False
    stream_input: bool = False
    optimize: schedules.Optimize = "speed"
    tiles: tuple[passes.ChannelTiles, ...] = ()
    records: Records | None = None
    extra_passes: Mapping[str, Sequence[tvm.transform.Pass]] = field(default_factory=dict)


def relax_phases(options: Options) -> dict[str, list[tvm.transform.Pass]]:
    """Phase name -> Relax passes, in order.

    Raises
    ------
    OptionError : an extra pass for a phase that there is not
    """
    edges = [passes.QuantizedIo()] if options.quantized_io else []
    phases: dict[str, list[tvm.transform.Pass]] = {
        "integers": [passes.LowerQdq(rounding=options.rounding)],
        "edges": edges,
        "layout": [passes.CancelTransposes(), passes.HoistTransposes()],
        "simplify": [
            passes.FoldPad(),
            passes.FuseLookup(),
            passes.FoldConstants(),
            passes.RemoveIdentities(),
            relax.transform.DeadCodeElimination(),
        ],
        "channels": [passes.RemoveDeadChannels(multiple=_CHANNELS)],
        "rows": [passes.SplitToSlices()],
        "tiles": [passes.TileChannels(tiles=options.tiles)] if options.tiles else [],
    }
    for unknown in options.extra_passes.keys() - phases.keys():
        raise OptionError(f"extra_passes: no phase is called '{unknown}'", hints=[f"phases: {', '.join(phases)}"])
    return {name: [*own, *options.extra_passes.get(name, ())] for name, own in phases.items()}


def lower(
    module: tvm.IRModule, board: Board, options: Options, flash: FlashBudget | None = None
) -> tuple[tvm.IRModule, Program]:
    """QDQ or float Relax -> integer Relax, and the program it stands for.

    Raises
    ------
    MemoryBudgetError : weights do not fit ``flash``
    ModelError : more rows than can be planned
    """
    register_ops()
    dump = _Dump(options.dump_ir)
    dump("import", module)
    for phase, phase_passes in relax_phases(options).items():
        for each in phase_passes:
            module = each(module)
        if phase in options.extra_passes:
            _check_form(module, phase)
        dump(phase, module)

    def select(call: relax.Call) -> Kernel:
        untuned = schedules.Chooser(options.optimize)
        kernel = schedules.select(call, board.cpu, untuned)
        tuned = options.records.chooser(call, board.cpu, untuned) if options.records else untuned
        # A neighbour's decisions may not be possible here.
        with contextlib.suppress(schedules.ChoiceError):
            kernel = kernel if tuned is untuned else schedules.select(call, board.cpu, tuned)
        if flash is not None and _is_weighted(call):
            flash.take(kernel.constants)
        return kernel

    if flash is not None:
        calls = (call for _, call in passes.bindings_of(module["main"]))
        flash.begin(passes.array_of(call.args[1]) for call in calls if _is_weighted(call))
    program = passes.extract_program(module["main"], select, caller_io=options.caller_io)
    _check_rows(program.graph)
    return module, passes.stream_input(program) if options.stream_input else program


def _is_weighted(call: relax.Expr) -> bool:
    return is_tinyml_call(call) and op_name(call) in WEIGHTED and passes.is_const(call.args[1])


def _check_rows(graph: planner.Graph) -> None:
    limit = max(_MAX_ROWS, _MAX_ROWS_PER_OPERATOR * len(graph.ops))
    most = max(graph.tensors, key=lambda x: x.rows * x.planes)
    rows = sum(x.rows * x.planes for x in graph.tensors)
    planes = max(x.planes for x in graph.tensors)
    if rows > limit or planes > _MAX_PLANES:
        raise ModelError(
            f"the model's images have {rows:,} rows in all, '{most.name}' alone {most.rows:,} in {most.planes:,}"
            f" planes; at most {limit:,} can be planned, and {_MAX_PLANES:,} planes",
            hints=["exchange rows and columns: an image may have a million columns", "cut the input into parts"],
        )


def _check_form(module: tvm.IRModule, phase: str) -> None:
    try:
        relax.analysis.well_formed(module)
    except ValueError as e:
        raise OptionError(
            f"extra_passes: the module is not well-formed behind phase '{phase}': {e}",
            hints=["call the pass on a small module and relax.analysis.well_formed on what it returns"],
        ) from e


def to_tir(program: Program, plan: planner.Plan, prefix: str, options: Options) -> TirProgram:
    """The program as lowered TIR, ready for the C generator."""
    dump = _Dump(options.dump_ir)
    tir = passes.build_main(program, plan, prefix)
    dump("kernels", tir.module)
    lowered = passes.lower_tir()(tir.module)
    dump("lowered", lowered)
    return replace(tir, module=lowered)


def model_io(module: tvm.IRModule) -> ModelIo:
    """Names and quantization of the model's inputs and outputs."""
    return get_io(module["main"])


class _Dump:
    """Writes IR to ``<folder>/<phase>.py`` after a phase."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def __call__(self, phase: str, module: tvm.IRModule) -> None:
        logger.debug("phase %s is done", phase)
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self._folder / f"{phase}.py", module.script(show_meta=False).encode())
        except OSError as e:
            raise OutputError(f"--dump-ir: '{self._folder}' cannot be written: {e.strerror}") from e
