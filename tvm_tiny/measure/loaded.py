"""Runs a model from the RAM of a board that is already flashed: no flashing from one model to the next."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_tiny.errors import DeviceTimeoutError, MemoryBudgetError, OptionError, RunError, ToolError
from tvm_tiny.measure.board import Board
from tvm_tiny.measure.device import CallResult
from tvm_tiny.measure.elf import Firmware, read_firmware
from tvm_tiny.measure.tensors import Array, join_outputs, split_inputs
from tvm_tiny.project import FaultError, server
from tvm_tiny.project.platforms.common import archive, compiler, firmware

_C = Path(__file__).parent / "loadable"
_LINK = Path(compiler.__file__).parent
_BUFFER = struct.Struct("<II")
_WARNINGS = ["-std=gnu99", "-Wall", "-Wextra"]


@dataclass(frozen=True)
class LoadedRun:
    """What came out of a run.

    outputs : by tensor name, with the batch in front if the inputs had one
    cycles : of one inference, by the board's counter, mean over the batch; None where it has none
    layer_cycles : the same for each layer
    firmware : symbols of what was loaded, with their sizes
    """

    outputs: dict[str, Array]
    cycles: float | None
    layer_cycles: tuple[float, ...] | None
    firmware: Firmware


def run_loaded(board: Board, mlf_path: Path, *, inputs: Mapping[str, Array], timeout_s: float = 60.0) -> LoadedRun:
    """Load a model with its weights into the board's free RAM and run it there, a batch of inputs one after another.

    Parameters
    ----------
    mlf_path : Model Library Format archive, compiled for the board's core; not one with a streamed input
    inputs : arrays by tensor name, or under "inputs" where the model has one
    timeout_s : longest time for one inference

    Raises
    ------
    MemoryBudgetError : the model does not fit the free RAM
    ToolError : it does not compile
    FaultError, DeviceTimeoutError : it faulted, or did not end; the board can be used again
    DeviceRestartedError : the board restarted in the middle
    """
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as name:
        folder = Path(name)
        archive.extract(mlf_path, folder / "model")
        model = archive.load_model(folder / "model")
        if model.tinyml.get("stream") is not None:
            raise OptionError("a model with a streamed input cannot be run from RAM")
        image, symbols = _build(folder, model, board)
    return _run(board, image, symbols, model.tinyml, inputs, timeout_s)


def _build(folder: Path, model: archive.Model, board: Board) -> tuple[bytes, Firmware]:
    """The bytes for the start of the board's free RAM, and their symbols."""
    facts = board.facts
    (folder / "model_io.c").write_text(archive.io_source(model), encoding="utf-8")
    try:
        cc = compiler.find_program([firmware.TOOLCHAIN + "gcc"], firmware.GCC_PACKAGES)
        core = [*facts["gcc_flags"], *firmware.libc_flags(cc, folder)]
        command = [cc, *core, "-O2", "-ffunction-sections", "-fdata-sections", *_WARNINGS, f"-I{model.include_dir}"]
        command += [f"-I{_C}", f"-I{_LINK}", "-include", str(_C / "loadable.h")]
        command += [f"-DLAYERS={len(model.tinyml['layers'])}", f"-DSYSTICK={int(board.info.counter != 'dwt_cyccnt')}"]
        sources = {f"{s.stem}.o": s for s in (*model.sources, folder / "model_io.c", _C / "loadable.c")}
        objects = compiler.compile_all(command, sources, folder)
        roots = [f"-Wl,-u,{name}" for name in ("loadable_run", "loadable_ticks", "model_inputs", "model_outputs")]
        place = {"loaded_origin": board.memory_address, "loaded_bytes": board.memory_bytes}
        link = [cc, *core, "-nostartfiles", "-Wl,--gc-sections", "-Wl,--build-id=none", f"-T{_C / 'loadable.ld'}"]
        link += [*roots, *(f"-Wl,--defsym={name}={value:#x}" for name, value in place.items())]
        compiler.run_tool([*link, *objects, "-lm", "-o", "loaded.elf"], cwd=folder)
        objcopy = compiler.find_program([firmware.TOOLCHAIN + "objcopy"], firmware.GCC_PACKAGES)
        compiler.run_tool([objcopy, "-O", "binary", "-j", ".loaded", "loaded.elf", "loaded.bin"], cwd=folder)
    except server.MemoryOverflowError as error:
        (extra,) = error.details["overflows"].values()
        raise MemoryBudgetError(
            f"the model needs {board.memory_bytes + extra:,} bytes of RAM, the board has {board.memory_bytes:,} free"
        ) from error
    except server.ServerError as error:
        raise ToolError(error.message, hints=error.hints) from error
    return (folder / "loaded.bin").read_bytes(), read_firmware(folder / "loaded.elf")


def _run(
    board: Board,
    image: bytes,
    symbols: Firmware,
    info: Mapping[str, Any],
    inputs: Mapping[str, Array],
    timeout_s: float,
) -> LoadedRun:
    batch, batched = split_inputs(info["inputs"], inputs)
    board.load(board.memory_address, image)
    _checked(board.call(symbols.address("loadable_begin"), timeout_s=timeout_s), symbols)
    places = {
        kind: _buffers(board, symbols.address(f"model_{kind}"), len(info[kind])) for kind in ("inputs", "outputs")
    }
    rows, totals, layers = [], [], []
    for tensors in batch:
        for (address, size), data in zip(places["inputs"], tensors, strict=True):
            board.load(address, data[:size])
        result = _checked(board.call(symbols.address("loadable_run"), timeout_s=timeout_s), symbols)
        if result.value != 0:
            raise RunError(f"the model's run function returned {result.value}, expected 0")
        rows.append([board.read(address, size) for address, size in places["outputs"]])
        if result.cycles is not None:
            ticks = board.read(symbols.address("loadable_ticks"), 4 * len(info["layers"]))
            totals.append(result.cycles)
            layers.append(struct.unpack(f"<{len(info['layers'])}I", ticks))
    outputs = join_outputs(info["outputs"], rows, batched)
    if not totals:
        return LoadedRun(outputs, None, None, symbols)
    return LoadedRun(outputs, _mean(totals), tuple(_mean(layer) for layer in zip(*layers, strict=True)), symbols)


def _buffers(board: Board, address: int, count: int) -> list[tuple[int, int]]:
    """Addresses and sizes, as the model filled them in: ``struct link_buffer``."""
    return list(_BUFFER.iter_unpack(board.read(address, _BUFFER.size * count)))


def _checked(result: CallResult, symbols: Firmware) -> CallResult:
    if result.fault is not None:
        raise FaultError(result.fault, f", in {symbols.describe(result.fault.registers.get('PC', 0))}")
    if result.status == "timeout":
        raise DeviceTimeoutError("the model did not end in time; the board was reset")
    return result


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
