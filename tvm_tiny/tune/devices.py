"""What measures candidates: an emulated board that counts instructions, or a real one that counts cycles."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tvm_tiny import measure as running
from tvm_tiny.errors import DeviceRestartedError, OptionError
from tvm_tiny.measure.elf import read_firmware
from tvm_tiny.project import generate_project_from_mlf
from tvm_tiny.targets import Board
from tvm_tiny.tune.image import Candidate, Image, ImageRun, LayerCost, Measurement, measure

_ATTEMPTS = 5
"""Runs of an image that restarts of the board interrupt."""


class Device(Protocol):
    """What measures candidates.

    Attributes
    ----------
    name : tells its measurements in a log from those of others
    has_clock : whether it knows seconds
    """

    name: str
    has_clock: bool

    def measure(self, candidates: Sequence[Candidate]) -> list[Measurement]:
        """One measurement per candidate, in order; never fails for a candidate's sake."""


class QemuDevice:
    """The emulated board: all candidates in one image, instructions counted.

    Parameters
    ----------
    timeout_s : longest time for an image
    """

    name, has_clock = "qemu", False

    def __init__(self, board: Board, timeout_s: float = 60.0) -> None:
        self._board, self._timeout_s = board, timeout_s

    def measure(self, candidates: Sequence[Candidate]) -> list[Measurement]:
        with tempfile.TemporaryDirectory(prefix="tvm-tiny-tune-") as folder:
            return measure(candidates, self._board, Path(folder), self.run_image)

    def run_image(self, image: Image) -> ImageRun:
        """Build the image's firmware and run it."""
        with tempfile.TemporaryDirectory(prefix="tvm-tiny-tune-") as folder:
            project = Path(folder) / "project"
            where: dict[str, Any] = {"device": "qemu", "project_dir": project, "run_timeout_s": self._timeout_s}
            result = running.run_model(image.archive, inputs=image.inputs, **where)
            symbols = read_firmware(project / "build" / "firmware.elf").symbols
        costs = [LayerCost(layer.instructions, layer.modelled_cycles) for layer in result.report.layers]
        return ImageRun(result.outputs, costs, {n: s.size_bytes for n, s in symbols.items()})


class BoardDevice:
    """An attached board, flashed once: images are loaded into its RAM and called there.

    Parameters
    ----------
    options : of platform ``board``, such as ``port``
    timeout_s : longest time for an image
    """

    name, has_clock = "board", True

    def __init__(self, board: Board, options: Mapping[str, Any], timeout_s: float = 60.0) -> None:
        self._board, self._options, self._timeout_s = board, dict(options), timeout_s
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-tiny-tune-")
        self._link: running.Board | None = None

    def __enter__(self) -> BoardDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._link is not None:
            self._link.close()
        self._folder.cleanup()

    def measure(self, candidates: Sequence[Candidate]) -> list[Measurement]:
        return measure(candidates, self._board, Path(self._folder.name), self.run_image)

    def run_image(self, image: Image) -> ImageRun:
        """Load the image into the board's RAM and run it there."""
        link = self._connected(image.archive)
        for attempt in range(_ATTEMPTS):
            try:
                done = running.run_loaded(link, image.archive, inputs=image.inputs, timeout_s=self._timeout_s)
                break
            except DeviceRestartedError:
                if attempt == _ATTEMPTS - 1:
                    raise
        if done.layer_cycles is None:
            raise OptionError(f"board '{self._board.name}' has no cycle counter", hints=["--device qemu"])
        serial = link.facts.get("serial") or {}
        hertz = float(serial.get("core_clock_hz") or self._board.clock_hz)
        costs = [LayerCost(cycles=c, seconds=c / hertz) for c in done.layer_cycles]
        return ImageRun(done.outputs, costs, {n: s.size_bytes for n, s in done.firmware.symbols.items()})

    def _connected(self, archive: Path) -> running.Board:
        """The board with firmware that leaves its RAM to candidates."""
        if self._link is None:
            folder = Path(self._folder.name) / "project"
            options = {**self._options, "board": self._board.source, "model": "false"}
            with generate_project_from_mlf("board", folder, archive, options) as project:
                project.build()
            self._link = running.Board.open(folder, self._options, flash=True)
        return self._link
