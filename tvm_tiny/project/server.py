"""The server half of the Project API: one stand-alone file, standard library only.

It is copied into every generated project as ``server.py`` and imported by the ``microtvm_api_server.py`` beside it.
Method names, option metadata, the JSON-RPC 2.0 lines, base85 for bytes and errors that travel by class name are those
of microTVM's Project API, protocol version 1, so that servers written for it keep working.
"""

from __future__ import annotations

import abc
import argparse
import base64
import enum
import json
import logging
import os
import re
import select
import signal
import sys
import threading
import time
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

PROTOCOL_VERSION = 1
TOOL_TIMEOUT_S = 900.0
_METHOD_NAME = re.compile(r"[a-zA-Z0-9_]+")
_LOG = logging.getLogger("project_api")


class ErrorCode(enum.IntEnum):
    """JSON-RPC 2.0 error codes."""

    SERVER_ERROR = -32000
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    PARSE_ERROR = -32700


class JSONRPCError(Exception):
    """An error of the protocol itself; travels as ``code`` and ``message``."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ServerError(Exception):
    """An error a handler raises on purpose; the client makes the same class again from its name.

    Parameters
    ----------
    message : what went wrong
    hints : what the user may try, one line each
    details : numbers and texts for programs, JSON values only
    """

    def __init__(self, message: str = "", *, hints: typing.Sequence[str] = (), **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)
        self.details = details


class TransportClosedError(ServerError):
    """The transport is not open, or the device is gone."""


class IoTimeoutError(ServerError):
    """The device did not take or give the bytes in time."""


class UnsupportedTVMVersionError(ServerError):
    """The server does not work with the client's TVM."""


class OptionValueError(ServerError):
    """A project option has an unknown name, or a value that does not fit."""


class ModelArchiveError(ServerError):
    """The Model Library Format archive is damaged or not one the platform can use."""


class ToolMissingError(ServerError):
    """A program that is needed is not installed."""


class BuildFailedError(ServerError):
    """The compiler or the linker failed."""


class FlashFailedError(ServerError):
    """The firmware did not get onto the board, or the board could not be reset."""


class MemoryOverflowError(BuildFailedError):
    """The model is larger than the board; details: region -> bytes too many."""


SERVER_ERRORS: dict[str, type[ServerError]] = {
    cls.__name__: cls
    for cls in (
        TransportClosedError,
        IoTimeoutError,
        UnsupportedTVMVersionError,
        OptionValueError,
        ModelArchiveError,
        ToolMissingError,
        BuildFailedError,
        FlashFailedError,
        MemoryOverflowError,
    )
}


class _Option(NamedTuple):
    name: str
    choices: tuple[str, ...] | None
    default: str | bool | int | None
    type: str
    required: list[str] | None
    optional: list[str] | None
    help: str


class ProjectOption(_Option):
    """One option of a platform.

    Parameters
    ----------
    type : "str", "bool" or "int"; values arrive as text all the same
    required, optional : names of the methods in which the option must or may be given
    """

    def __new__(
        cls,
        name: str,
        *,
        type: str = "",
        choices: typing.Sequence[str] | None = None,
        default: str | bool | int | None = None,
        required: list[str] | None = None,
        optional: list[str] | None = None,
        help: str = "",
    ) -> ProjectOption:
        if not type:
            raise ValueError(f"option {name!r} needs a type")
        if not required and not optional:
            raise ValueError(f"option {name!r} needs a method in which it is required or optional")
        return super().__new__(cls, name, tuple(choices) if choices else None, default, type, required, optional, help)

    def replace(self, changes: typing.Mapping[str, Any]) -> ProjectOption:
        """The option with some fields changed."""
        fields = {**self._asdict(), **changes}
        return ProjectOption(fields.pop("name"), **fields)


class ServerInfo(NamedTuple):
    """Answer to ``server_info_query``; the path is "" or None for a template."""

    platform_name: str
    is_template: bool
    model_library_format_path: str | None
    project_options: list[ProjectOption]


class TransportTimeouts(NamedTuple):
    """Seconds to wait for a device; 0 means for ever."""

    session_start_retry_timeout_sec: float
    session_start_timeout_sec: float
    session_established_timeout_sec: float


class ProjectAPIHandler(metaclass=abc.ABCMeta):
    """What a platform implements. Parameters travel by name and are checked against these type hints."""

    @abc.abstractmethod
    def server_info_query(self, tvm_version: str) -> ServerInfo:
        """Say what this server is and which options it takes."""

    @abc.abstractmethod
    def generate_project(
        self, model_library_format_path: Path, standalone_crt_dir: Path, project_dir: Path, options: dict[str, Any]
    ) -> None:
        """Make a project in ``project_dir``, which does not exist yet, and copy the server into it."""

    @abc.abstractmethod
    def build(self, options: dict[str, Any]) -> None:
        """Compile and link the project."""

    @abc.abstractmethod
    def flash(self, options: dict[str, Any]) -> None:
        """Bring the firmware onto the device."""

    @abc.abstractmethod
    def open_transport(self, options: dict[str, Any]) -> TransportTimeouts:
        """Start the device and connect to it."""

    @abc.abstractmethod
    def close_transport(self) -> None:
        """Disconnect and stop the device; does nothing when it is closed."""

    @abc.abstractmethod
    def read_transport(self, n: int, timeout_sec: float | None) -> bytes:
        """Read 1 to n bytes; timeout 0 does not wait, None waits for ever."""

    @abc.abstractmethod
    def write_transport(self, data: bytes, timeout_sec: float | None) -> None:
        """Write all of ``data`` or raise."""


def _decode(name: str, value: Any, hint: Any) -> Any:
    """A JSON value as the Python type a handler's method declares."""
    try:
        if hint is Path and isinstance(value, str):
            return Path(value)
        if hint is bytes and isinstance(value, str):
            return base64.b85decode(value)
    except ValueError as error:
        raise JSONRPCError(ErrorCode.INVALID_PARAMS, f"parameter {name!r}: {error}") from error
    accepted = typing.get_args(hint) or (typing.get_origin(hint) or hint,)
    if typing.get_origin(hint) is dict:
        accepted = (dict,)
    if float in accepted:
        accepted = (*accepted, int)
    if isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool)):
        return value
    raise JSONRPCError(ErrorCode.INVALID_PARAMS, f"parameter {name!r}: got {type(value).__name__}, expected {hint}")


def _encode(method: str, result: Any) -> Any:
    if method == "server_info_query":
        options = [option._asdict() for option in result.project_options]
        path = result.model_library_format_path
        return {
            **result._asdict(),
            "model_library_format_path": None if path is None else str(path),
            "project_options": options,
            "protocol_version": PROTOCOL_VERSION,
        }
    if method == "open_transport":
        return {"timeouts": result._asdict()}
    if method == "read_transport":
        return {"data": base64.b85encode(result).decode("ascii")}
    return None


class ProjectAPIServer:
    """Reads requests, calls the handler, writes replies; one at a time, in order."""

    def __init__(self, read_file: BinaryIO, write_file: BinaryIO, handler: ProjectAPIHandler) -> None:
        self._read_file = read_file
        self._write_file = write_file
        self._handler = handler

    def serve_forever(self) -> None:
        """Serve until the client hangs up or sends a line that is not a request."""
        while self.serve_one_request():
            pass

    def serve_one_request(self) -> bool:
        """Serve one request; False ends the loop."""
        line = self._read_file.readline()
        if not line:
            return False
        request_id: Any = None
        valid = False
        try:
            request = self._parse(line)
            request_id = request["id"]
            valid = True
            self._reply({"result": self._dispatch(request["method"], request["params"])}, request_id)
        except JSONRPCError as error:
            self._reply_error(error.code, error.message, {}, request_id)
        except ServerError as error:
            data = {"message": str(error), "hints": error.hints, "details": error.details}
            self._reply_error(ErrorCode.SERVER_ERROR, type(error).__name__, data, request_id)
        except BrokenPipeError:
            return False
        except Exception as error:
            self._reply_error(ErrorCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}", {}, request_id)
        return valid

    @staticmethod
    def _parse(line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise JSONRPCError(ErrorCode.PARSE_ERROR, f"not JSON: {error}") from error
        if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
            raise JSONRPCError(ErrorCode.INVALID_REQUEST, 'not a request: {"jsonrpc": "2.0", ...} expected')
        method = request.get("method")
        if not isinstance(method, str) or not _METHOD_NAME.fullmatch(method):
            raise JSONRPCError(ErrorCode.INVALID_REQUEST, f"method is {method!r}")
        if not isinstance(request.get("params"), dict):
            raise JSONRPCError(ErrorCode.INVALID_REQUEST, "params must be an object")
        if "id" not in request or isinstance(request["id"], dict | list | bool):
            raise JSONRPCError(ErrorCode.INVALID_REQUEST, "id must be a string, a number or null")
        return request

    def _dispatch(self, method: str, params: dict[str, Any]) -> Any:
        declared = getattr(ProjectAPIHandler, method, None)
        if method.startswith("_") or declared is None:
            raise JSONRPCError(ErrorCode.METHOD_NOT_FOUND, f"no method {method!r}")
        hints = typing.get_type_hints(declared)
        hints.pop("return")
        for problem, names in (("missing", hints.keys() - params), ("unknown", params.keys() - hints)):
            if names:
                raise JSONRPCError(
                    ErrorCode.INVALID_PARAMS, f"{method}: {problem} parameter {', '.join(sorted(names))}"
                )
        arguments = {name: _decode(name, params[name], hint) for name, hint in hints.items()}
        return _encode(method, getattr(self._handler, method)(**arguments))

    def _reply(self, content: dict[str, Any], request_id: Any) -> None:
        line = json.dumps({"jsonrpc": "2.0", "id": request_id, **content})
        self._write_file.write(line.encode("utf-8") + b"\n")
        self._write_file.flush()

    def _reply_error(self, code: ErrorCode, message: str, data: dict[str, Any], request_id: Any) -> None:
        _LOG.debug("%s", message, exc_info=True)
        data = {"traceback": traceback.format_exc(), **data}
        self._reply({"error": {"code": int(code), "message": message, "data": data}}, request_id)


def default_project_options(**overrides: dict[str, Any]) -> list[ProjectOption]:
    """The options most platforms share; ``overrides``: name -> fields to change."""
    generate = ["generate_project"]
    options = {
        option.name: option
        for option in (
            ProjectOption("verbose", type="bool", optional=generate, help="Print the commands that are run."),
            ProjectOption("project_type", type="str", required=generate, help="Kind of project to make."),
            ProjectOption("board", type="str", required=generate, help="Name of the board to build for."),
            ProjectOption("cmsis_path", type="str", optional=generate, help="Folder of CMSIS."),
            ProjectOption("warning_as_error", type="bool", optional=generate, help="Treat warnings as errors."),
            ProjectOption("compile_definitions", type="str", optional=generate, help="Definitions, like -DA=1 -DB."),
            ProjectOption("extra_files_tar", type="str", optional=generate, help="Tar to unpack into the project."),
        )
    }
    for name, changes in overrides.items():
        if name not in options:
            raise ValueError(f"no default option {name!r}; known: {', '.join(options)}")
        options[name] = options[name].replace(changes)
    return list(options.values())


def _wait_for(fd: int, *, writing: bool, deadline: float | None, check: Callable[[], None] | None) -> None:
    """Wait until ``fd`` is ready; ``check`` is called now and then and may raise."""
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        slice_s = left if check is None else min(0.2, 0.2 if left is None else left)
        ready = select.select([] if writing else [fd], [fd] if writing else [], [], slice_s)
        if ready[0] or ready[1]:
            return
        if check is not None:
            check()
        if left is not None and left <= (slice_s or 0.0):
            raise IoTimeoutError("device did not " + ("take the data" if writing else "answer") + " in time")


def read_with_timeout(fd: int, n: int, timeout_sec: float | None, check: Callable[[], None] | None = None) -> bytes:
    """Read 1 to n bytes from a non-blocking file descriptor."""
    deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
    _wait_for(fd, writing=False, deadline=deadline, check=check)
    data = os.read(fd, n)
    if not data:
        raise TransportClosedError("device closed the connection")
    return data


def write_with_timeout(
    fd: int, data: bytes, timeout_sec: float | None, check: Callable[[], None] | None = None
) -> None:
    """Write all of ``data`` to a non-blocking file descriptor."""
    deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
    view = memoryview(data)
    while view:
        _wait_for(fd, writing=True, deadline=deadline, check=check)
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            continue
        except BrokenPipeError as error:
            raise TransportClosedError("device closed the connection") from error


def tool_timeout_s() -> float:
    """Longest time for one run of a compiler or of another tool, in seconds: TVM_TINY_TOOL_TIMEOUT, or 15 minutes."""
    text = os.environ.get("TVM_TINY_TOOL_TIMEOUT", str(TOOL_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < threading.TIMEOUT_MAX:
        raise OptionValueError(f"environment variable TVM_TINY_TOOL_TIMEOUT is {text!r}, expected seconds")
    return seconds


def _exit_when_client_is_gone(read_fd: int) -> None:
    """End the process when nobody holds the other end of the pipe, even in the middle of a long request."""
    poll = select.poll()
    poll.register(read_fd, 0)  # hang-up is always reported
    poll.poll()
    time.sleep(1.0)  # the main thread sees the end of the pipe too, unless it is busy
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5.0)
    _kill_tools()
    os._exit(1)


def _end(*_: object) -> None:
    """End in order: compilers and the device get the signal, too; what is half done is removed on the way out."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGTERM)
    sys.exit(1)


def _kill_tools() -> None:
    """Kill what is left of the tools that were started, and this process, if it leads its group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


def main(handler: ProjectAPIHandler, argv: typing.Sequence[str] | None = None) -> None:
    """Entry point of a ``microtvm_api_server.py``: serve ``handler`` on the descriptors given in ``argv``."""
    parser = argparse.ArgumentParser(description="Project API server")
    parser.add_argument("--read-fd", type=int, required=True, help="descriptor that requests are read from")
    parser.add_argument("--write-fd", type=int, required=True, help="descriptor that replies are written to")
    parser.add_argument("--debug", action="store_true", help="log requests and tracebacks to stderr")
    args = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if args.debug else logging.INFO, format="%(message)s")

    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_exit_when_client_is_gone, args=(args.read_fd,), daemon=True).start()
    with os.fdopen(args.read_fd, "rb") as read_file, os.fdopen(args.write_fd, "wb") as write_file:
        try:
            ProjectAPIServer(read_file, write_file, handler).serve_forever()
        except SystemExit:
            handler.close_transport()
            _kill_tools()
            raise
        finally:
            handler.close_transport()
