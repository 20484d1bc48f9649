"""Model file -> C sources: the one function that the command line and Python users call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny import budget, frontend, passes, pipeline, planner
from tvm_tiny.aot.c_names import check_module_name
from tvm_tiny.aot.flash import FlashBudget
from tvm_tiny.emit import CompiledModel, emit
from tvm_tiny.errors import OptionError
from tvm_tiny.memories import WorkspacePool, divide, weight_homes
from tvm_tiny.ops import Program
from tvm_tiny.quant.params import ROUNDINGS
from tvm_tiny.schedules.records import Records, find_records
from tvm_tiny.targets import Board, resolve
from tvm_tiny.usmp import take_usmp

if TYPE_CHECKING:
    import tvm

__all__ = ["FUSIONS", "OPTIMIZE", "CompiledModel", "compile_model"]

logger = logging.getLogger(__name__)
# What a user says -> what the planner may do.
OPTIMIZE = ("speed", "balanced", "size")
FUSIONS: Mapping[str, planner.Fusion] = {"auto": "columns", "rows": "rows", "off": "off"}


def compile_model(
    model: Any,
    target: Any = "tinyml",
    *,
    rounding: str = "tflm",
    quantized_io: bool = False,
    module_name: str = "default",
    pass_config: Mapping[str, Any] | None = None,
    dump_ir: Path | str | None = None,
    fusion: str = "auto",
    ram: int | str | None = None,
    max_overhead: float | str | None = None,
    objective: planner.Objective | None = None,
    effort: planner.EffortName = "default",
    caller_io: bool = False,
    stream_input: bool = False,
    allow: Sequence[str] = (),
    weights: str = "flash",
    workspace_pools: Sequence[WorkspacePool] = (),
    optimize: Any = "speed",
    patch: str | Sequence[str] = "auto",
    channel_tiles: str | Sequence[str] = "auto",
    tuning_records: Path | str | Records | None = "shipped",
    extra_passes: Mapping[str, Sequence[Any]] | None = None,
    name: str | None = None,
) -> CompiledModel:
    """Compile a quantized network to C for a Cortex-M board.

    Parameters
    ----------
    model : path or bytes of a .tflite or .onnx file, an ``onnx.ModelProto``, or a ``tvm.IRModule`` in Relax (QDQ)
    target : "tinyml", "tinyml/<board>", a board name, a board's TOML file, a ``tvm.target.Target`` or a ``Board``
    rounding : "tflm" rounds twice, as TFLite Micro and CMSIS-NN do; "single" rounds once
    quantized_io : leave out QUANTIZE and DEQUANTIZE at the edges; inputs and outputs are int8
    module_name : part of the C names
    pass_config : options of TVM's ``PassContext``, ``tir.NAME`` as microTVM had them, and its ``tir.usmp.*``
    dump_ir : folder that gets the IR after every phase
    fusion : "auto" runs operators interleaved where that saves memory, row by row or a few columns at a time; "rows"
        takes whole rows only; "off" runs one operator after the other
    ram, max_overhead, objective, effort : bounds and aim of the memory plan, see ``planner.Goal``; texts like "64K" and
        "10%" will do
    caller_io : inputs and outputs are buffers of the caller, and inputs stay as they are; by default they lie in the
        arena, where an inference may overwrite its inputs
    stream_input : the caller hands the input in row by row, and only the rows in use are kept
    allow : what may be used beside the chip's own memories: "external", for working memory that does not fit its RAM
        and weights that do not fit its flash
    weights : "flash"; "ram" has those that are read most often copied to RAM at start, as many as fit
    workspace_pools : use only these memories, in this order
    patch : "auto": parts of rows where the planner wants them; "off": whole rows only; "2x4@conv_3" (one text or
        several): the layers up to conv_3 run in a grid of 2 rows of 4 patches over its output
    channel_tiles : "4@project_3" (one text or several): the block of expansion, depthwise convolution and projection
        that ends with layer project_3 runs in four slices of its expanded channels; "auto": blocks at the peak, with
        objective "ram" or where nothing else fits, if that takes less and neither ``max_overhead`` nor ``patch`` says
        otherwise; "off": none
    optimize : "speed" takes the kernels with the fewest instructions, "size" those with the least code, "balanced" what
        is between
    tuning_records : what ``tvmc tune`` wrote (its folder or file); "shipped": those of the package, where kernels are
        taken for speed; None: kernels as they are taken untuned
    extra_passes : passes of yours on the Relax module, ``{"simplify": [MyPass()]}``: run at the end of that phase, of
        those of ``pipeline.relax_phases``
    name : the model's name in reports; by default the file's

    Raises
    ------
    TvmTinyError : with what went wrong and what to try
    """
    import tvm

    if rounding not in ROUNDINGS:
        raise OptionError(f"--rounding {rounding!r} is unknown", hints=[f"choose one of {', '.join(ROUNDINGS)}"])
    if fusion not in FUSIONS:
        raise OptionError(f"--fusion {fusion!r} is unknown", hints=[f"choose one of {', '.join(FUSIONS)}"])
    check_module_name(module_name)
    own_config, workspace_io = take_usmp(pass_config or {})
    if caller_io and workspace_io:
        raise OptionError(
            "--caller-io and --pass-config tir.usmp.use_workspace_io=1 exclude each other",
            hints=["leave out one of them"],
        )
    caller_io = caller_io or workspace_io is False
    if optimize not in OPTIMIZE:
        raise OptionError(f"--optimize {optimize!r} is unknown", hints=[f"choose one of {', '.join(OPTIMIZE)}"])
    if stream_input:
        _check_stream(fusion, caller_io)
    planning, patches = _patching(patch, fusion)
    board = resolve(target)
    goal = planner.Goal(
        objective,
        planner.parse_bytes(ram) if isinstance(ram, str) else ram,
        planner.parse_fraction(max_overhead) if isinstance(max_overhead, str) else max_overhead,
        effort,
    )
    ir_folder = None if dump_ir is None else Path(dump_ir)
    tiles = _tiling(channel_tiles)
    records = find_records(tuning_records, board.cpu, optimize)
    options = pipeline.Options(
        rounding,
        quantized_io,
        ir_folder,
        caller_io,
        stream_input,
        optimize,
        tiles or (),
        records,
        extra_passes or {},
    )
    source = model if isinstance(model, tvm.IRModule) else frontend.load_model(model)
    model_name = name or (Path(model).stem if isinstance(model, str | Path) else module_name)
    with _pass_context(own_config):
        module, program = _lower(source, board, options, planning, FlashBudget(model_name, board, allow))
        owned = sum(t.size_bytes for t in program.graph.tensors if t.home is planner.Home.CALLER)
        division = divide(board, allow=allow, pools=workspace_pools, caller_bytes=owned)
        request = budget.Request(model_name, board, goal, planning, division.ways, bool(workspace_pools))

        def choose(graph: planner.Graph) -> planner.Choice:
            return planner.choose(graph, goal, fusion=planning, memories=division.ways, reorder=False, patches=patches)

        choice = choose(program.graph)
        # What slices cost is no part of a plan, so neither a bound on overhead nor patches by name can be held.
        free = tiles is None and goal.max_overhead is None and not patches
        if free and (goal.aim == "ram" or not request.fits(choice)):
            tiled = replace(options, tiles=_tiles_at_peak(module, choice.plan))
            if tiled.tiles:
                smaller = choose(_lower(source, board, replace(tiled, dump_ir=None), planning)[1].graph)
                if (request.fits(smaller), -smaller.plan.ram_bytes) > (request.fits(choice), -choice.plan.ram_bytes):
                    choice, options = smaller, tiled
                    module, program = _lower(source, board, options, planning)
        plan = choice.plan
        budget.check_ram(request, program.graph, choice, _variants(source, program, board, options, planning))
        planner.verify(plan)
        logger.debug("plan: %s stages, %s bytes of arena, %s", len(plan.stages), plan.arena_bytes, choice.how)
        homes = weight_homes(board, plan, weights, allow, division)
        return emit(
            program,
            plan,
            board,
            module,
            homes,
            division.default,
            options,
            model=model_name,
            module_name=module_name,
            allow=allow,
        )


def _variants(
    source: tvm.IRModule, program: Program, board: Board, options: pipeline.Options, fusion: planner.Fusion
) -> budget.Variants:
    """Options that change the network to be planned, where they apply."""
    variants: dict[str, Callable[[], planner.Graph]] = {}
    if not (options.stream_input or options.caller_io or fusion == "off"):
        variants["--stream-input"] = lambda: passes.stream_input(program).graph
    tensors = program.graph.tensors
    if any(tensors[t].dtype == "float32" for t in (*program.inputs, *program.outputs)):
        quantized = replace(options, quantized_io=True, dump_ir=None)
        variants["--quantized-io"] = lambda: pipeline.lower(source, board, quantized)[1].graph
    return variants


def _patching(patch: str | Sequence[str], fusion: str) -> tuple[planner.Fusion, tuple[planner.Patch, ...]]:
    """What the planner may do, and the patches it has to."""
    texts = [patch] if isinstance(patch, str) else list(patch)
    if texts == ["off"] and fusion == "auto":
        return "rows", ()
    if texts in ([], ["auto"], ["off"]):
        return FUSIONS[fusion], ()
    patches = tuple(planner.parse_patch(text) for text in texts)
    if fusion != "auto":
        raise OptionError(
            f"--patch {patches[0]} with --fusion {fusion}: patches are parts of rows", hints=["leave out --fusion"]
        )
    return FUSIONS[fusion], patches


def _tiling(channel_tiles: str | Sequence[str]) -> tuple[passes.ChannelTiles, ...] | None:
    """Blocks to run in slices; None where the plan decides."""
    texts = [channel_tiles] if isinstance(channel_tiles, str) else list(channel_tiles)
    if texts in ([], ["auto"]):
        return None
    return () if texts == ["off"] else tuple(passes.parse_tiles(text) for text in texts)


def _tiles_at_peak(module: tvm.IRModule, plan: planner.Plan) -> tuple[passes.ChannelTiles, ...]:
    peak = planner.find_peak(plan)
    return passes.find_tiles(module["main"], [name for name, _ in peak.blocks] if peak else ())


def _lower(
    source: tvm.IRModule,
    board: Board,
    options: pipeline.Options,
    fusion: planner.Fusion,
    flash: FlashBudget | None = None,
) -> tuple[tvm.IRModule, Program]:
    """The network in integers, and its program in the order that takes the least memory."""
    module, program = pipeline.lower(source, board, options, flash)
    program = passes.place_views(program, fusion)
    return module, passes.reorder_program(program, planner.find_order(program.graph, fusion))


def _check_stream(fusion: str, caller_io: bool) -> None:
    if fusion == "off":
        raise OptionError(
            "--stream-input with --fusion off: one layer after the other needs the whole input",
            hints=["leave out --fusion", "leave out --stream-input"],
        )
    if caller_io:
        raise OptionError(
            "--stream-input and --caller-io exclude each other: no buffer of the caller is read once a row is taken",
            hints=["leave out one of them"],
        )


def _renamed(option: str, known: Collection[str]) -> str:
    """microTVM's users know options as tir.NAME; TVM has divided tir since, and the options are called as they were."""
    area, _, name = option.partition(".")
    names = (f"tirx.{name}", f"s_tir.{name}") if area == "tir" else ()
    return next((n for n in names if n in known), option)


def _pass_context(config: Mapping[str, Any]) -> Any:
    import tvm

    known = set(tvm.transform.PassContext.list_configs())
    try:
        return tvm.transform.PassContext(opt_level=3, config={_renamed(k, known): v for k, v in config.items()})
    except (AttributeError, TypeError, ValueError, RuntimeError) as e:
        reason = str(e).strip().splitlines()[-1]
        raise OptionError(
            f"--pass-config {', '.join(f'{k}={v}' for k, v in config.items())}: TVM refuses it ({reason})",
            hints=["names and types are TVM's: tvm.transform.PassContext.list_configs()"],
        ) from e
