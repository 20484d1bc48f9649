"""The board of a project as a ``Device``: flashed once, candidates loaded over its link."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tvm_tiny.errors import DeviceRestartedError, DeviceTimeoutError, OptionError, RunError
from tvm_tiny.measure.device import CallResult
from tvm_tiny.project import DeviceInfo, FaultError, GeneratedProject, Link, ProjectTransport, Ran, Request

_ATTEMPTS = 3
_MOST_ARGUMENTS = 16
_WORD_BYTES = 4


class Board:
    """Platform ``board``, or ``qemu``, whose firmware has the same link.

    Parameters
    ----------
    project : built, and flashed where that is needed; closed with the board
    locate : text for a code address, for the messages of faults
    """

    def __init__(self, project: GeneratedProject, *, locate: Callable[[int], str] | None = None) -> None:
        self._project = project
        self._locate = locate
        self._restarts = 0
        self._transport: ProjectTransport | None = None
        self._link = self._connect({})

    @classmethod
    def open(cls, project_dir: Path | str, options: Mapping[str, Any] | None = None, *, flash: bool = False) -> Board:
        """Connect to the board of a project.

        Parameters
        ----------
        options : project options, such as ``port``
        flash : bring the project's firmware onto the board first

        Raises
        ------
        ProjectError, OptionError, ToolError, RunError
        """
        project = GeneratedProject.from_directory(project_dir, options or {})
        try:
            if flash:
                project.flash()
            return cls(project)
        except BaseException:
            project.close()
            raise

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def info(self) -> DeviceInfo:
        """What the board says of itself."""
        return self._link.info

    @property
    def facts(self) -> dict[str, Any]:
        """The project's ``board.json``: compiler flags and memories."""
        facts: dict[str, Any] = json.loads((self._project.directory / "board.json").read_text(encoding="utf-8"))
        return facts

    @property
    def memory_address(self) -> int:
        """First address of the RAM for code and data, a multiple of 32."""
        return self.info.memory_address

    @property
    def memory_bytes(self) -> int:
        """Size of that RAM: what the model leaves; all but a few KB with the build option ``model=false``."""
        return self.info.memory_bytes

    @property
    def restarts(self) -> int:
        """How many times RAM was lost, by ``reset`` and calls that timed out, too."""
        return self._restarts

    @property
    def repeats(self) -> int:
        """How many requests were sent again since the last reset: the quality of the line."""
        return self._link.repeats

    def load(self, address: int, data: bytes) -> None:
        """Write data or code; caches are taken care of."""
        step = self.info.payload_bytes - _WORD_BYTES
        for offset in range(0, len(data), step):
            self._request(Request.LOAD, struct.pack("<I", address + offset) + data[offset : offset + step])

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory, at any address; one that is not there is a ``FaultError``."""
        step = self.info.payload_bytes
        places = [(address + offset, min(step, size - offset)) for offset in range(0, size, step)]
        return b"".join(self._request(Request.PEEK, struct.pack("<II", *place)) for place in places)

    def call(
        self, function: int, arguments: Sequence[int] = (), *, times: int = 1, timeout_s: float = 10.0
    ) -> CallResult:
        """Call a function that was loaded; see ``Device.call``."""
        if len(arguments) > _MOST_ARGUMENTS or times < 1:
            raise OptionError(f"call: {len(arguments)} arguments, {times} times; expected at most 16, at least once")
        words = (function | 1, times, *arguments)
        payload = b"".join((word & 0xFFFF_FFFF).to_bytes(_WORD_BYTES, "little") for word in words)
        try:
            ran = Ran.parse(self._link.request(Request.CALL, payload, timeout_s))
        except FaultError as error:
            return CallResult("fault", fault=error.fault)
        except DeviceTimeoutError as error:
            begun = self._link.begun
            self.reset()
            if begun:
                return CallResult("timeout")
            raise DeviceRestartedError("the device did not take the call and was reset") from error
        except DeviceRestartedError:
            self._begin_again()
            raise
        cycles = ran.cycles // times if self.info.counter else None
        return CallResult("ok", ran.status, cycles, None, ran.stack_bytes or None)

    def reset(self) -> None:
        """Reset the board and connect to it again.

        Raises
        ------
        ToolError, OptionError : there is no way to reset it
        RunError : it does not answer afterwards
        """
        self._restarts += 1
        self._link = self._connect(self._reset_options())

    def close(self) -> None:
        """Disconnect and end the project's server."""
        with contextlib.suppress(RunError):
            if self._transport is not None:
                self._transport.close()
        self._project.close()

    def _request(self, kind: Request, payload: bytes) -> bytes:
        try:
            return self._link.request(kind, payload)
        except DeviceTimeoutError as error:
            self.reset()
            raise DeviceRestartedError("the device did not answer and was reset") from error
        except DeviceRestartedError:
            self._begin_again()
            raise

    def _begin_again(self) -> None:
        self._restarts += 1
        try:
            self._link.begin()
        except DeviceTimeoutError:
            self._link = self._connect(self._reset_options())

    def _connect(self, options: Mapping[str, Any]) -> Link:
        """Open the transport; a board that is silent is reset, if there is a way."""
        for attempt in range(_ATTEMPTS):
            if self._transport is not None:
                self._transport.close()
            self._transport = self._project.transport(options)
            try:
                return Link(self._transport, locate=self._locate)
            except DeviceTimeoutError as error:
                if attempt + 1 == _ATTEMPTS:
                    raise RunError(
                        f"the board does not answer, {_ATTEMPTS} times tried",
                        hints=["has it been flashed? tvmc micro flash", "is it the right port, and the right baud?"],
                    ) from error
        raise AssertionError

    def _reset_options(self) -> dict[str, str]:
        """Platform qemu starts anew with every transport."""
        options = self._project.info().project_options
        return {"reset": "true"} if any(option.name == "reset" for option in options) else {}
