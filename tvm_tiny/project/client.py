"""The client half of the Project API: starts a server, sends requests, never waits for ever."""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from tvm_tiny.errors import ProjectError
from tvm_tiny.project.client_errors import (
    ConnectionShutdownError,
    MalformedReplyError,
    MismatchedIdError,
    ProjectAPIServerNotFoundError,
    RPCError,
    ServerTimeoutError,
    UnsupportedProtocolVersionError,
)
from tvm_tiny.project.server import (
    PROTOCOL_VERSION,
    SERVER_ERRORS,
    ErrorCode,
    ProjectOption,
    ServerError,
    ServerInfo,
    TransportTimeouts,
    tool_timeout_s,
)

SERVER_FILE = "microtvm_api_server.py"
LAUNCH_SCRIPT = "launch_microtvm_api_server.sh"
_ANSWER_TIMEOUT_S = 60.0
_MAX_REPLY_BYTES = 256 << 20
_MARGIN_S = 15.0
_GRACE_S = 5.0


class ProjectAPIClient:
    """Calls the methods of one server over a pair of pipes.

    Parameters
    ----------
    read_fd, write_fd : descriptors of replies and requests; the client closes them
    process : the server, killed with its children on ``shutdown``; None when it is not ours to end
    log : where the server's stderr goes, its end is quoted in errors
    """

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        *,
        process: subprocess.Popen[bytes] | None = None,
        log: IO[bytes] | None = None,
    ) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._process = process
        self._log = log
        self._next_id = 1
        self._buffer = b""
        self._open = True
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    def __enter__(self) -> ProjectAPIClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    @property
    def is_shutdown(self) -> bool:
        """Whether the connection is closed."""
        return not self._open

    def shutdown(self, *, in_order: bool = True) -> None:
        """Close the pipes and end the server and everything it started; it may be busy when not ``in_order``."""
        if not self._open:
            return
        self._open = False
        os.close(self._write_fd)
        os.close(self._read_fd)
        if self._process is not None:
            if not in_order:
                self._process.terminate()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_GRACE_S)
            finally:
                # The server leads a process group of its own: children that are left over go with it.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_GRACE_S)
        if self._log is not None:
            self._log.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.shutdown()

    def server_info_query(self, tvm_version: str | None = None) -> ServerInfo:
        """What the server is; raises when it speaks another protocol version."""
        reply = self._call("server_info_query", {"tvm_version": tvm_version or installed_tvm_version()})
        version = _field(reply, "protocol_version", int)
        if version != PROTOCOL_VERSION:
            self.shutdown()
            raise UnsupportedProtocolVersionError(
                f"Project API server speaks protocol version {version}, expected {PROTOCOL_VERSION}"
            )
        try:
            options = [_option(o) for o in _field(reply, "project_options", list)]
        except (TypeError, ValueError, KeyError) as error:
            raise MalformedReplyError(f"Project API server describes its options wrongly: {error}") from error
        return ServerInfo(
            _field(reply, "platform_name", str),
            _field(reply, "is_template", bool),
            reply.get("model_library_format_path"),
            options,
        )

    def generate_project(
        self, model_library_format_path: Path, standalone_crt_dir: Path, project_dir: Path, options: dict[str, Any]
    ) -> None:
        """Have a template make a project in ``project_dir``."""
        params = {
            "model_library_format_path": str(model_library_format_path),
            "standalone_crt_dir": str(standalone_crt_dir),
            "project_dir": str(project_dir),
            "options": options,
        }
        self._call("generate_project", params, _build_timeout_s())

    def build(self, options: dict[str, Any]) -> None:
        """Compile and link."""
        self._call("build", {"options": options}, _build_timeout_s())

    def flash(self, options: dict[str, Any]) -> None:
        """Bring the firmware onto the device."""
        self._call("flash", {"options": options}, _build_timeout_s())

    def open_transport(self, options: dict[str, Any]) -> TransportTimeouts:
        """Start the device; the time-outs are what the platform suggests, in seconds."""
        # A board may have to be plugged in first.
        reply = self._call("open_transport", {"options": options}, _build_timeout_s())
        timeouts = _field(reply, "timeouts", dict)
        try:
            return TransportTimeouts(**{name: float(timeouts[name]) for name in TransportTimeouts._fields})
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedReplyError(f"open_transport: timeouts are {timeouts!r}") from error

    def close_transport(self) -> None:
        """Stop the device."""
        self._call("close_transport", {})

    def read_transport(self, n: int, timeout_sec: float | None) -> bytes:
        """Read 1 to n bytes."""
        reply = self._call("read_transport", {"n": n, "timeout_sec": timeout_sec}, _with_margin(timeout_sec))
        try:
            return base64.b85decode(_field(reply, "data", str))
        except ValueError as error:
            raise MalformedReplyError(f"read_transport: data is not base85: {error}") from error

    def write_transport(self, data: bytes, timeout_sec: float | None) -> None:
        """Write all of ``data``."""
        params = {"data": base64.b85encode(data).decode("ascii"), "timeout_sec": timeout_sec}
        self._call("write_transport", params, _with_margin(timeout_sec))

    def _call(self, method: str, params: dict[str, Any], timeout_s: float | None = _ANSWER_TIMEOUT_S) -> Any:
        if not self._open:
            raise ConnectionShutdownError(f"{method}: the Project API server was shut down")
        request_id = self._next_id
        self._next_id += 1
        request = {"jsonrpc": "2.0", "method": method, "params": params, "id": request_id}
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self._send(json.dumps(request).encode("utf-8") + b"\n", method, deadline)
            line = self._receive_line(method, deadline)
        except BaseException:
            # A reply may still come and would be taken for that of the next request.
            self.shutdown(in_order=False)
            raise
        return self._result(method, request_id, line)

    def _result(self, method: str, request_id: int, line: bytes) -> Any:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MalformedReplyError(f"{method}: Project API server sent {line[:80]!r}, expected JSON") from error
        if not isinstance(reply, dict) or reply.get("jsonrpc") != "2.0" or not {"result", "error"} & reply.keys():
            raise MalformedReplyError(f"{method}: Project API server sent {line[:80]!r}, expected a JSON-RPC 2.0 reply")
        if reply.get("id") != request_id:
            raise MismatchedIdError(f"{method}: reply has id {reply.get('id')!r}, expected {request_id}")
        reported = reply.get("error")
        if reported is None:
            return reply.get("result")
        if not isinstance(reported, dict) or not isinstance(reported.get("code"), int):
            raise MalformedReplyError(f"{method}: Project API server sent error {reported!r}")
        raise _error(method, reported)

    def _send(self, data: bytes, method: str, deadline: float | None) -> None:
        view = memoryview(data)
        while view:
            if not select.select([], [self._write_fd], [], _left(deadline))[1]:
                raise self._timeout(method)
            try:
                view = view[os.write(self._write_fd, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise self._gone(method) from error

    def _receive_line(self, method: str, deadline: float | None) -> bytes:
        chunks, size = [self._buffer], 0
        while b"\n" not in chunks[-1]:
            if not select.select([self._read_fd], [], [], _left(deadline))[0]:
                raise self._timeout(method)
            chunk = os.read(self._read_fd, 1 << 20)
            if not chunk:
                raise self._gone(method)
            chunks.append(chunk)
            size += len(chunk)
            if size > _MAX_REPLY_BYTES:
                raise MalformedReplyError(
                    f"{method}: Project API server sent a line of over {_MAX_REPLY_BYTES:,} bytes"
                )
        line, _, self._buffer = b"".join(chunks).partition(b"\n")
        return line

    def _timeout(self, method: str) -> ServerTimeoutError:
        return ServerTimeoutError(f"Project API server did not answer {method} in time{self._log_tail()}")

    def _gone(self, method: str) -> ConnectionShutdownError:
        status = ""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = f" (exit code {self._process.wait(_GRACE_S)})"
        return ConnectionShutdownError(f"Project API server ended during {method}{status}{self._log_tail()}")

    def _log_tail(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()[-15:]
        return "".join(f"\n  {line}" for line in lines)


def instantiate_from_dir(project_dir: Path, *, debug: bool = False, verbose: bool = False) -> ProjectAPIClient:
    """Start the server of a template or project directory.

    Parameters
    ----------
    debug : have the server log tracebacks
    verbose : let the server's stderr through instead of keeping it for error messages

    Raises
    ------
    ProjectAPIServerNotFoundError : there is no server in the directory
    """
    project_dir = Path(project_dir).resolve()
    server, script = project_dir / SERVER_FILE, project_dir / LAUNCH_SCRIPT
    if script.is_file():
        command = [str(script), str(server)]
    elif server.is_file():
        command = [sys.executable, str(server)]
    else:
        raise ProjectAPIServerNotFoundError(
            f"'{project_dir}' holds neither {SERVER_FILE} nor {LAUNCH_SCRIPT}",
            hints=["give the directory made by: tvmc micro create-project"],
        )
    to_server, from_server = os.pipe(), os.pipe()
    command += ["--read-fd", str(to_server[0]), "--write-fd", str(from_server[1])] + (["--debug"] if debug else [])
    log = None if verbose or debug else tempfile.TemporaryFile()  # noqa: SIM115, the client closes it
    try:
        process = subprocess.Popen(
            command,
            cwd=project_dir,
            pass_fds=(to_server[0], from_server[1]),
            stdin=subprocess.DEVNULL,
            stdout=2 if log is None else log,
            stderr=log,
            start_new_session=True,
        )
    except OSError as error:
        os.close(to_server[1])
        os.close(from_server[0])
        raise ProjectError(f"cannot start Project API server '{command[0]}': {error.strerror}") from error
    finally:
        os.close(to_server[0])
        os.close(from_server[1])
    return ProjectAPIClient(from_server[0], to_server[1], process=process, log=log)


def installed_tvm_version() -> str:
    """Version of the installed TVM, without the cost of importing it."""
    try:
        return importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def _error(method: str, reported: dict[str, Any]) -> Exception:
    """The exception for a reported error: the server's own class again where its name is known."""
    message, data = str(reported.get("message")), reported.get("data")
    data = data if isinstance(data, dict) else {}
    cls = SERVER_ERRORS.get(message, ServerError if message == "ServerError" else None)
    if reported["code"] != ErrorCode.SERVER_ERROR or cls is None:
        if "message" in data:
            message = f"{message}: {data['message']}"
        return RPCError(method, reported["code"], message, data)
    # Other servers put the text of the error only at the end of their traceback.
    lines = str(data.get("traceback", "")).strip().splitlines() or [method]
    details = data.get("details")
    return cls(
        str(data.get("message") or lines[-1]),
        hints=[str(h) for h in data.get("hints", ())],
        **(details if isinstance(details, dict) else {}),
    )


def _option(fields: dict[str, Any]) -> ProjectOption:
    known = {name: fields[name] for name in ProjectOption._fields if name in fields}
    return ProjectOption(known.pop("name"), **known)


def _field(reply: Any, name: str, kind: type) -> Any:
    if not isinstance(reply, dict) or not isinstance(reply.get(name), kind):
        raise MalformedReplyError(f"Project API server's reply has no {kind.__name__} {name!r}: {str(reply)[:80]}")
    return reply[name]


def _build_timeout_s() -> float:
    """Longest wait for a build: that of a tool, which tells more, is to end first."""
    return 2.0 * tool_timeout_s()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _with_margin(timeout_sec: float | None) -> float | None:
    return None if timeout_sec is None else timeout_sec + _MARGIN_S
