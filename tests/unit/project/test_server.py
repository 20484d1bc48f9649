"""The server's wire format: JSON-RPC 2.0 lines, dispatch by type hints, errors by class name."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tvm_tiny.project import server


class Handler(server.ProjectAPIHandler):
    """Records its calls and answers with fixed values."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def server_info_query(self, tvm_version: str) -> server.ServerInfo:
        self._note("server_info_query", tvm_version)
        option = server.ProjectOption("speed", type="int", optional=["build"], default=3, help="How fast.")
        return server.ServerInfo("fake", True, "", [option])

    def generate_project(
        self, model_library_format_path: Path, standalone_crt_dir: Path, project_dir: Path, options: dict[str, Any]
    ) -> None:
        self._note("generate_project", model_library_format_path, standalone_crt_dir, project_dir, options)

    def build(self, options: dict[str, Any]) -> None:
        self._note("build", options)

    def flash(self, options: dict[str, Any]) -> None:
        self._note("flash", options)

    def open_transport(self, options: dict[str, Any]) -> server.TransportTimeouts:
        self._note("open_transport", options)
        return server.TransportTimeouts(1, 2, 3.5)

    def close_transport(self) -> None:
        self._note("close_transport")

    def read_transport(self, n: int, timeout_sec: float | None) -> bytes:
        self._note("read_transport", n, timeout_sec)
        return b"\x00\xff" * n

    def write_transport(self, data: bytes, timeout_sec: float | None) -> None:
        self._note("write_transport", data, timeout_sec)


def exchange(handler: Handler, *lines: bytes | dict[str, Any]) -> list[dict[str, Any]]:
    """Replies to some request lines."""
    text = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    out = io.BytesIO()
    server.ProjectAPIServer(io.BytesIO(text), out, handler).serve_forever()
    replies = out.getvalue()
    assert not replies or replies.endswith(b"\n")
    return [json.loads(line) for line in replies.splitlines()]


def request(method: str, number: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": number}


def test_info_is_sent_with_the_protocol_version() -> None:
    (reply,) = exchange(Handler(), request("server_info_query", tvm_version="0.27"))
    assert reply == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {
            "platform_name": "fake",
            "is_template": True,
            "model_library_format_path": "",
            "protocol_version": 1,
            "project_options": [
                {
                    "name": "speed",
                    "choices": None,
                    "default": 3,
                    "type": "int",
                    "required": None,
                    "optional": ["build"],
                    "help": "How fast.",
                }
            ],
        },
    }


def test_values_become_what_the_type_hints_say() -> None:
    handler = Handler()
    replies = exchange(
        handler,
        request(
            "generate_project",
            1,
            model_library_format_path="/m.tar",
            standalone_crt_dir="",
            project_dir="/p",
            options={},
        ),
        request("write_transport", "two", data=base64.b85encode(bytes(range(256))).decode(), timeout_sec=None),
        request("read_transport", None, n=2, timeout_sec=1),
        request("open_transport", 4, options={"a": "b"}),
        request("close_transport", 5),
    )
    assert handler.calls == [
        ("generate_project", Path("/m.tar"), Path(), Path("/p"), {}),
        ("write_transport", bytes(range(256)), None),
        ("read_transport", 2, 1),
        ("open_transport", {"a": "b"}),
        ("close_transport",),
    ]
    assert [r["id"] for r in replies] == [1, "two", None, 4, 5]
    assert [r["result"] for r in replies] == [
        None,
        None,
        {"data": base64.b85encode(b"\x00\xff\x00\xff").decode()},
        {
            "timeouts": {
                "session_start_retry_timeout_sec": 1,
                "session_start_timeout_sec": 2,
                "session_established_timeout_sec": 3.5,
            }
        },
        None,
    ]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{not json\n", -32700),
        (b"[]\n", -32600),
        ({"method": "build", "params": {}, "id": 1}, -32600),
        ({**request("build"), "jsonrpc": "1.0"}, -32600),
        ({**request("build"), "params": []}, -32600),
        ({**request("bad-name")}, -32600),
        ({**request("build"), "id": []}, -32600),
        ({"jsonrpc": "2.0", "method": "build", "params": {}}, -32600),
    ],
)
def test_a_line_that_is_no_request_is_answered_and_ends_the_loop(line: bytes | dict[str, Any], code: int) -> None:
    handler = Handler()
    replies = exchange(handler, line, request("close_transport", 2))
    assert [r["error"]["code"] for r in replies] == [code]
    assert handler.calls == []


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (request("fly"), -32601, "no method 'fly'"),
        (request("_encode"), -32601, "no method"),
        (request("build"), -32602, "missing parameter options"),
        (request("build", options={}, more=1), -32602, "unknown parameter more"),
        (request("build", options=[]), -32602, "'options': got list"),
        (request("read_transport", n="4", timeout_sec=1), -32602, "'n': got str"),
        (request("read_transport", n=True, timeout_sec=1), -32602, "'n': got bool"),
        (request("read_transport", n=4, timeout_sec="1"), -32602, "'timeout_sec': got str"),
        (request("write_transport", data="\x7f", timeout_sec=1), -32602, "'data'"),
    ],
)
def test_a_wrong_call_is_an_error_and_the_loop_goes_on(call: dict[str, Any], code: int, words: str) -> None:
    handler = Handler()
    wrong, right = exchange(handler, call, request("close_transport", 2))
    assert wrong["error"]["code"] == code
    assert words in wrong["error"]["message"]
    assert right == {"jsonrpc": "2.0", "id": 2, "result": None}


def test_a_server_error_travels_by_its_class_name() -> None:
    handler = Handler()
    handler.error = server.IoTimeoutError("too slow", hints=["wait"], seconds=3)
    (reply,) = exchange(handler, request("build", options={}))
    assert (reply["error"]["code"], reply["error"]["message"]) == (-32000, "IoTimeoutError")
    data = reply["error"]["data"]
    assert (data["message"], data["hints"], data["details"]) == ("too slow", ["wait"], {"seconds": 3})
    assert "IoTimeoutError: too slow" in data["traceback"]


def test_any_other_exception_is_an_internal_error() -> None:
    handler = Handler()
    handler.error = KeyError("lost")
    (reply,) = exchange(handler, request("build", options={}))
    assert reply["error"]["code"] == -32603
    assert "KeyError" in reply["error"]["message"]


def test_an_option_needs_a_type_and_a_method() -> None:
    with pytest.raises(ValueError, match="needs a type"):
        server.ProjectOption("x", optional=["build"])
    with pytest.raises(ValueError, match="needs a method"):
        server.ProjectOption("x", type="str")


def test_default_options_are_microtvms_and_can_be_changed() -> None:
    options = {o.name: o for o in server.default_project_options(board={"choices": ("a", "b")})}
    assert list(options) == [
        "verbose",
        "project_type",
        "board",
        "cmsis_path",
        "warning_as_error",
        "compile_definitions",
        "extra_files_tar",
    ]
    assert options["board"].choices == ("a", "b")
    assert options["board"].required == ["generate_project"]
    with pytest.raises(ValueError, match="no default option 'bord'"):
        server.default_project_options(bord={})


def test_the_file_stands_alone() -> None:
    """It is copied into projects, which have no tvm_tiny."""
    source = Path(server.__file__).read_text()
    assert "tvm_tiny" not in source
