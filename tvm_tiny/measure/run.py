"""Run a compiled model on a device and report what it took: archive and arrays in, arrays and report out."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_tiny.aot import follow_metadata, module_info, read_mlf
from tvm_tiny.errors import OptionError, RunError
from tvm_tiny.measure.accounting import FlashSymbol, account, estimate, flash_symbols
from tvm_tiny.measure.counter import InstructionCounter, RunCounts
from tvm_tiny.measure.cycles import cycle_model
from tvm_tiny.measure.elf import Firmware, read_firmware
from tvm_tiny.measure.report import Report, make_report
from tvm_tiny.measure.tensors import Array, join_outputs, split_inputs, split_rows
from tvm_tiny.project import GeneratedProject, RunStats, Session, generate_project_from_mlf
from tvm_tiny.project.link import ANSWER_TIMEOUT_S
from tvm_tiny.project.platforms.common.archive import extract, load_model, model_hash
from tvm_tiny.targets import FlashTiming

DEVICES = ("native", "qemu", "board", "micro")
_FIRMWARE = Path("build", "firmware.elf")
# Of all models in the firmware. Outputs in the arena have no symbol of their own.
_WRITTEN = re.compile(r"tvmgen_\w+_(workspace(_\w+)?|rows_taken)|model_output_\d+")


@dataclass(frozen=True)
class RunResult:
    """What came out of a run.

    outputs : by tensor name, with the batch in front if the inputs had one
    counts : instructions of every inference; None where they were not counted
    stats : what the device itself said of every inference
    symbols : what takes the flash; None where there is no firmware to look at
    """

    outputs: dict[str, Array]
    report: Report
    counts: tuple[RunCounts, ...] | None
    stats: tuple[RunStats, ...]
    symbols: tuple[FlashSymbol, ...] | None = None


def run_model(
    mlf_path: Path | str | None,
    *,
    device: str = "native",
    board: str | None = None,
    inputs: Mapping[str, Array],
    project_dir: Path | str | None = None,
    project_options: Mapping[str, Any] | None = None,
    run_timeout_s: float = 300.0,
    check_stores: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Run a batch of inputs one after another in one firmware; row by row where the model takes its input so.

    Parameters
    ----------
    mlf_path : Model Library Format archive; None with device "micro", where the project holds it
    device : "native" is a process of this machine, "qemu" an emulated board, "board" an attached one, which is flashed,
        "micro" the built project in ``project_dir``
    board : board to emulate, or that is attached; by default the one the model was compiled for
    inputs : arrays by tensor name, or under "inputs" where the model has one
    project_dir : where the project is made and kept, but for "micro"; by default it is a temporary one
    project_options : options of the platform, for every step that takes them
    run_timeout_s : longest time for one inference
    check_stores : on QEMU, raise when the model writes anywhere but to its arenas, outputs, variables and stack
    on_progress : called with (inferences done, of how many)

    Raises
    ------
    InputDataError, MemoryBudgetError, ToolError, ProjectError, RunError, OptionError
    """
    with prepare(
        mlf_path, device=device, board=board, inputs=inputs, project_dir=project_dir, project_options=project_options
    ) as run:
        return _Runner(run, run_timeout_s, check_stores).run(on_progress)


@dataclass(frozen=True)
class PreparedRun:
    """A built project with what it is to infer.

    info : the archive's ``tinyml`` metadata
    batch : bytes of every input, for every inference
    batched : whether the inputs had a batch in front
    """

    project: GeneratedProject
    archive: Path
    module: str
    info: dict[str, Any]
    batch: Sequence[Sequence[bytes]]
    batched: bool

    def session(self, run_timeout_s: float, options: Mapping[str, Any] | None = None, **callbacks: Any) -> Session:
        """A session with the device; ``options`` are the project's, ``callbacks`` those of ``Session``."""
        transport = self.project.transport(options)
        answer_timeout_s = max(ANSWER_TIMEOUT_S, transport.timeouts.session_established_timeout_sec)
        return Session(transport, run_timeout_s=run_timeout_s, answer_timeout_s=answer_timeout_s, **callbacks)

    def infer(self, session: Session, inputs: Sequence[bytes]) -> list[bytes]:
        """One inference, row by row where the model takes its input so."""
        stream = self.info.get("stream")
        if stream is None:
            return session.run(inputs)
        return session.stream(split_rows(stream, self.info["inputs"][0], inputs[0]))


@contextlib.contextmanager
def prepare(
    mlf_path: Path | str | None,
    *,
    device: str,
    board: str | None,
    inputs: Mapping[str, Array],
    project_dir: Path | str | None,
    project_options: Mapping[str, Any] | None,
) -> Iterator[PreparedRun]:
    """Make a project, or take the one that is there, and build it; parameters and errors as of ``run_model``."""
    if device not in DEVICES:
        raise OptionError(f"unknown device {device!r}; known: {', '.join(DEVICES)}")
    options = dict(project_options or {})
    with contextlib.ExitStack() as stack:
        if device == "micro":
            project, archive = _existing(stack, project_dir, board, options)
        else:
            if mlf_path is None:
                raise OptionError(f"device '{device}' needs a Model Library Format archive")
            archive = Path(mlf_path)
        module, info = module_info(read_mlf(archive))
        with follow_metadata(archive):
            batch, batched = split_inputs(info["inputs"], inputs)
        if device != "micro":
            options.setdefault("board", board or info["board"])
            folder = (
                project_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm-tiny-"))) / "project"
            )
            project = stack.enter_context(generate_project_from_mlf(device, folder, archive, options))
            project.build()
            project.flash()
        yield PreparedRun(project, archive, module, info, batch, batched)


def _existing(
    stack: contextlib.ExitStack, directory: Path | str | None, board: str | None, options: Mapping[str, Any]
) -> tuple[GeneratedProject, Path]:
    if directory is None:
        raise OptionError("device 'micro' needs a project directory")
    if board is not None:
        raise OptionError("device 'micro' takes its board from the project", hints=["leave out --board"])
    project = stack.enter_context(GeneratedProject.from_directory(directory, options))
    return project, Path(project.info().model_library_format_path or Path(directory) / "model.tar")


class _Runner:
    """One project's runs; counts instructions where the project is one of platform ``qemu``, cycles on a board."""

    def __init__(self, prepared: PreparedRun, run_timeout_s: float, check_stores: bool) -> None:
        self._prepared = prepared
        project = self._project = prepared.project
        self._module = prepared.module
        self._info = prepared.info
        self._stream: dict[str, Any] | None = prepared.info.get("stream")
        self._run_timeout_s = run_timeout_s
        self._check_stores = check_stores
        elf = self._elf = project.directory / _FIRMWARE
        platform = project.info().platform_name
        self._counted = platform == "qemu" and elf.exists()
        ours = self._counted or (platform == "board" and elf.exists())
        self._build = elf.stat().st_ino if ours else None
        self._firmware: Firmware | None = read_firmware(elf) if ours else None
        self._board: dict[str, Any] = {}
        if ours:
            self._board = json.loads((project.directory / "board.json").read_text(encoding="utf-8"))

    def run(self, on_progress: Callable[[int, int], None] | None) -> RunResult:
        """Run all inferences and put the report together."""
        batch = self._prepared.batch
        with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as folder:
            counter = self._counter(Path(folder))
            options = {} if counter is None else {"qemu_plugin": counter.qemu_plugin}
            locate = None if self._firmware is None else self._firmware.describe
            with self._prepared.session(self._run_timeout_s, options, locate=locate) as session:
                self._check_model(session)
                self._check_build()
                rows = []
                for i, inputs in enumerate(batch):
                    rows.append(self._prepared.infer(session, inputs))
                    if on_progress is not None:
                        on_progress(i + 1, len(batch))
            counts = None if counter is None else counter.results()
        if counts is not None and len(counts) != len(batch):
            raise RunError(f"counted {len(counts)} inferences, expected {len(batch)}")
        with follow_metadata(self._prepared.archive):
            outputs = join_outputs(self._info["outputs"], rows, self._prepared.batched)
            report = self._report(session, counts)
        symbols = None if self._firmware is None else flash_symbols(self._firmware, report.flash)
        return RunResult(outputs, report, None if counts is None else tuple(counts), tuple(session.stats), symbols)

    def _counter(self, folder: Path) -> InstructionCounter | None:
        firmware = self._firmware
        if firmware is None or not self._counted:
            return None
        allowed = []
        if self._check_stores:
            allowed = _may_be_written(firmware)
        layers = len(self._info["layers"])
        rows = None if self._stream is None else int(self._stream["rows"])
        timing, regions = self._flash_timing(), self._board["regions"]
        first = regions["flash_origin"]
        flash = None if timing is None else (first, first + regions["flash_bytes"], timing)
        return InstructionCounter(
            firmware, folder, module=self._module, layers=layers, rows=rows, allowed_stores=allowed, flash=flash
        )

    def _flash_timing(self) -> FlashTiming | None:
        timing = self._board.get("flash_timing")
        return None if timing is None else FlashTiming(**timing)

    def _check_model(self, session: Session) -> None:
        """Raise for firmware of another model, which a board may still have."""
        expected_hash = _archive_hash(self._project.directory / "model.tar")
        if expected_hash is not None and session.info.model_hash != expected_hash:
            raise RunError(
                f"the device runs model '{session.info.model_name}', hash {session.info.model_hash:08x}; "
                f"the project has '{self._info['model']}', hash {expected_hash:08x}",
                hints=["build it: tvmc micro build -f", "bring it onto the board: tvmc micro flash"],
            )
        for kind, sizes in (("inputs", session.input_sizes), ("outputs", session.output_sizes)):
            expected = tuple(t["size_bytes"] for t in self._info[kind])
            if kind == "inputs" and self._stream is not None:
                expected = (self._stream["row_bytes"],)
            if sizes != expected:
                raise RunError(
                    f"firmware has {kind} of {sizes} bytes, the archive says {expected}",
                    hints=["build it: tvmc micro build -f"],
                )

    def _check_build(self) -> None:
        """Raise for firmware that is not the one that was read before; while the device runs, nobody builds."""
        now = self._elf.stat().st_ino if self._elf.exists() else None
        if self._build not in (None, now):
            name = self._project.directory
            raise RunError(f"project '{name}' was built again by another process", hints=["run it again"])

    def _report(self, session: Session, counts: Sequence[RunCounts] | None) -> Report:
        stats = session.stats
        if self._firmware is None:
            stack = max((s.stack_bytes for s in stats if s.stack_bytes is not None), default=None)
            ram, flash = estimate(self._info, stack)
            return make_report(self._info, self._project.info().platform_name, ram, flash, None)
        if counts is None:
            stack_bytes = max(s.stack_bytes or 0 for s in stats)
            self._raise_for_full_stack(stack_bytes)
            ram, flash = account(self._firmware, self._module, self._info, stack_bytes)
            cycles = [s.cycles for s in stats if s.cycles is not None]
            counter = session.info.counter
            return make_report(self._info, self._board["name"], ram, flash, None, cycles=cycles, cycle_counter=counter)
        self._raise_for_bad_stores(counts)
        # Painting sees what was written, the counter where the stack pointer was; a report gives the larger.
        top = self._firmware.address("model_stack_top")
        depths = [s.stack_bytes or 0 for s in stats] + [top - c.lowest_sp for c in counts if c.lowest_sp is not None]
        self._raise_for_full_stack(max(depths))
        ram, flash = account(self._firmware, self._module, self._info, max(depths))
        model = cycle_model(self._board["cpu"], self._flash_timing())
        return make_report(self._info, self._board["name"], ram, flash, counts, model)

    def _raise_for_full_stack(self, stack_bytes: int) -> None:
        """The last words of the stack are a canary: painted, and never written while there is room."""
        size = 0 if self._firmware is None else self._firmware.section(".model_stack").size_bytes
        if size and stack_bytes >= size:
            raise RunError(
                f"the model used all {size:,} bytes of its stack, and perhaps more",
                hints=["more stack: --project-option stack_bytes=N"],
            )

    def _raise_for_bad_stores(self, counts: Sequence[RunCounts]) -> None:
        found = dict.fromkeys(store for run in counts for store in run.bad_stores)
        if found and self._firmware is not None:
            lines = [f"\n  {self._firmware.describe(pc)} writes to {address:08x}" for pc, address in found]
            raise RunError("the model writes outside its arenas, outputs, variables and stack:" + "".join(lines[:10]))


def _may_be_written(firmware: Firmware) -> list[tuple[int, int]]:
    """(first address, end) of stack, arenas, outputs, row counters of streamed inputs, and initialized variables.

    Arenas to the byte: not what is between them, nor weights in RAM, nor inputs of the caller.
    """
    weights_end = firmware.symbols.get("model_ram_weights_end")
    stack, data = firmware.section(".model_stack"), firmware.section(".model_data")
    places = [s for name, s in firmware.symbols.items() if _WRITTEN.fullmatch(name)]
    return [
        (stack.address, stack.end),
        (data.address if weights_end is None else weights_end.address, data.end),
        *((s.address, s.address + s.size_bytes) for s in places),
    ]


def _archive_hash(archive: Path) -> int | None:
    """What the firmware should say of its model; None for a project of somebody else's template.

    From the archive, as platforms have the sources in folders of their own.
    """
    if not archive.is_file():
        return None
    with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as folder:
        extract(archive, Path(folder) / "model")
        return model_hash(load_model(Path(folder) / "model"))
