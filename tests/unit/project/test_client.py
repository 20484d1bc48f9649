"""The client against servers that somebody else wrote, well and badly; none of them uses our server.py."""

from __future__ import annotations

import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_tiny.errors import OptionError, ProjectError
from tvm_tiny.project import client as project_client
from tvm_tiny.project import server
from tvm_tiny.project.client import instantiate_from_dir
from tvm_tiny.project.client_errors import (
    ConnectionShutdownError,
    MalformedReplyError,
    MismatchedIdError,
    ProjectAPIServerNotFoundError,
    RPCError,
    ServerTimeoutError,
    UnsupportedProtocolVersionError,
)
from tvm_tiny.project.project import GeneratedProject, TemplateProject

# A server as a vendor would write it: from the description of the protocol alone. Its device is an echo.
THIRD_PARTY = textwrap.dedent(
    """
    import base64, json, pathlib, shutil, sys, traceback

    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    requests = open(int(arguments["--read-fd"]), "rb")
    replies = open(int(arguments["--write-fd"]), "wb")
    here = pathlib.Path(__file__).parent
    buffer = b""

    class IoTimeoutError(Exception): pass
    class VendorSpecificError(Exception): pass

    def option(name, **fields):
        return {"name": name, "choices": None, "default": None, "required": None, "optional": None, "help": ""} | fields

    def server_info_query(tvm_version):
        archive = here / "model.tar"
        return {
            "platform_name": "vendor", "is_template": not archive.exists(), "protocol_version": 1,
            "model_library_format_path": str(archive) if archive.exists() else "",
            "project_options": [
                option("board", type="str", required=["generate_project"]),
                option("speed", type="str", optional=["build", "open_transport"]),
            ],
        }

    def generate_project(model_library_format_path, standalone_crt_dir, project_dir, options):
        project = pathlib.Path(project_dir)
        project.mkdir()
        shutil.copy(__file__, project)
        shutil.copy(model_library_format_path, project / "model.tar")
        (project / "board.txt").write_text(options["board"])

    def build(options):
        (here / "built.txt").write_text(json.dumps(options))

    def flash(options):
        raise VendorSpecificError("probe not found")

    def open_transport(options):
        return {"timeouts": {"session_start_retry_timeout_sec": 0, "session_start_timeout_sec": 1.0,
                             "session_established_timeout_sec": 2}}

    def close_transport():
        pass

    def write_transport(data, timeout_sec):
        global buffer
        buffer += base64.b85decode(data)

    def read_transport(n, timeout_sec):
        global buffer
        if not buffer:
            raise IoTimeoutError("nothing to read")
        data, buffer = buffer[:n], buffer[n:]
        return {"data": base64.b85encode(data).decode()}

    for line in requests:
        request = json.loads(line)
        reply = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            reply["result"] = globals()[request["method"]](**request["params"])
        except Exception as error:
            reply["error"] = {"code": -32000, "message": type(error).__name__,
                              "data": {"traceback": traceback.format_exc()}}
        replies.write(json.dumps(reply).encode() + b"\\n")
        replies.flush()
    """
)


def write_server(folder: Path, source: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "microtvm_api_server.py").write_text(textwrap.dedent(source))
    return folder


def answering(reply: str) -> str:
    """A server that sends one line, whatever it is asked."""
    return f"""
        import sys
        requests, replies = open(int(sys.argv[2]), "rb"), open(int(sys.argv[4]), "wb")
        requests.readline()
        replies.write({reply!r}.encode() + b"\\n")
        replies.flush()
        requests.read()
    """


def test_third_party_template_and_project(tmp_path: Path) -> None:
    template = write_server(tmp_path / "template", THIRD_PARTY)
    archive = tmp_path / "any.tar"
    archive.write_bytes(b"archive")
    with TemplateProject.from_directory(template) as made:
        assert made.info().platform_name == "vendor"
        project = made.generate_project_from_mlf(archive, tmp_path / "project", {"board": "b1", "speed": "9"})
    with project:
        assert (tmp_path / "project/board.txt").read_text() == "b1"
        assert project.info().model_library_format_path == str(tmp_path / "project/model.tar")
        project.build()
        assert (tmp_path / "project/built.txt").read_text() == '{"speed": "9"}'  # not the options of other methods
        with pytest.raises(ProjectError, match="VendorSpecificError"):
            project.flash()
        with project.transport() as transport:
            assert transport.timeouts == server.TransportTimeouts(0, 1, 2)
            data = bytes(range(256)) * 1000
            transport.write(data, 5.0)
            assert transport.read(len(data), 5.0) == data
            with pytest.raises(Exception, match="nothing to read") as caught:
                transport.read(1, 0.0)
            assert isinstance(caught.value.__cause__, server.IoTimeoutError)


def test_a_required_option_has_to_be_given(tmp_path: Path) -> None:
    template = write_server(tmp_path / "template", THIRD_PARTY)
    archive = tmp_path / "any.tar"
    archive.write_bytes(b"")
    with TemplateProject.from_directory(template) as made:
        with pytest.raises(OptionError, match="generate_project needs project option 'board'"):
            made.generate_project_from_mlf(archive, tmp_path / "p", {})
        with pytest.raises(OptionError, match="platform 'vendor' has no project option 'sped'") as caught:
            made.generate_project_from_mlf(archive, tmp_path / "p", {"board": "b", "sped": 1})
        assert caught.value.hints == ("known: board, speed",)


def test_template_and_project_are_told_apart(tmp_path: Path) -> None:
    folder = write_server(tmp_path / "x", THIRD_PARTY)
    with pytest.raises(ProjectError, match="is a template, expected a generated project"):
        GeneratedProject.from_directory(folder, {})
    (folder / "model.tar").write_bytes(b"")
    with pytest.raises(ProjectError, match="is a generated project, expected a template"):
        TemplateProject.from_directory(folder)


def test_launch_script_goes_first(tmp_path: Path) -> None:
    folder = write_server(tmp_path / "x", THIRD_PARTY)
    script = folder / "launch_microtvm_api_server.sh"
    script.write_text(f'#!/bin/sh\ntouch launched\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    with instantiate_from_dir(folder) as client:
        client.server_info_query()
    assert (folder / "launched").exists()


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(ProjectAPIServerNotFoundError, match=r"holds neither microtvm_api_server.py"):
        instantiate_from_dir(tmp_path)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ("hello", MalformedReplyError, "expected JSON"),
        ("[1]", MalformedReplyError, "expected a JSON-RPC 2.0 reply"),
        ('{"jsonrpc": "2.0", "id": 1}', MalformedReplyError, "expected a JSON-RPC 2.0 reply"),
        ('{"jsonrpc": "2.0", "id": 7, "result": null}', MismatchedIdError, "reply has id 7, expected 1"),
        ('{"jsonrpc": "2.0", "id": 1, "result": {}}', MalformedReplyError, "protocol_version"),
        (
            '{"jsonrpc": "2.0", "id": 1, "result": {"protocol_version": 2}}',
            UnsupportedProtocolVersionError,
            "version 2",
        ),
        ('{"jsonrpc": "2.0", "id": 1, "error": 5}', MalformedReplyError, "sent error 5"),
        ('{"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}}', RPCError, "no .code -32601."),
    ],
)
def test_bad_replies(tmp_path: Path, reply: str, error: type[Exception], words: str) -> None:
    folder = write_server(tmp_path / "x", answering(reply))
    with instantiate_from_dir(folder) as client, pytest.raises(error, match=words):
        client.server_info_query()


@pytest.mark.parametrize("name", list(server.SERVER_ERRORS))
def test_server_errors_come_back_as_their_class(tmp_path: Path, name: str) -> None:
    reply = (
        f'{{"jsonrpc": "2.0", "id": 1, "error": {{"code": -32000, "message": "{name}", "data": {{"message": "m"}}}}}}'
    )
    folder = write_server(tmp_path / "x", answering(reply))
    with instantiate_from_dir(folder) as client, pytest.raises(server.SERVER_ERRORS[name], match="^m$"):
        client.server_info_query()


def test_a_server_that_dies_is_quoted(tmp_path: Path) -> None:
    folder = write_server(tmp_path / "x", "raise SystemExit('no licence found')")
    with (
        instantiate_from_dir(folder) as client,
        pytest.raises(ConnectionShutdownError, match=r"(?s)exit code 1.*no licence found"),
    ):
        client.server_info_query()
    with pytest.raises(ConnectionShutdownError, match="was shut down"):
        client.build({})


def test_a_server_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_client, "_GRACE_S", 0.1)
    client = instantiate_from_dir(write_server(tmp_path / "x", "import time\ntime.sleep(600)"))
    process = client._process
    with pytest.raises(ServerTimeoutError, match="did not answer flash in time"):
        client._call("flash", {"options": {}}, 0.2)
    assert process is not None
    assert process.poll() in (-signal.SIGTERM, -signal.SIGKILL)


def test_children_of_a_server_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_client, "_GRACE_S", 0.1)
    source = """
        import pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path("pid").write_text(str(child.pid))
        time.sleep(600)
    """
    folder = write_server(tmp_path / "x", source)
    with instantiate_from_dir(folder):
        _wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text() != "")
        pid = int((folder / "pid").read_text())
        assert _is_running(pid)
    _wait_until(lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
