"""What the servers of all platforms share: making a project, keeping its options, talking to a device."""

from __future__ import annotations

import abc
import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .archive import INCLUDE_DIR, SOURCE_DIR, Model, extract, io_source, load_model, move_files
from .options import check_options
from .template import expand_templates, model_words

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny import files
    from tvm_tiny.project import server
else:
    import files
    import server

COMMON = Path(__file__).resolve().parent
BUILD_OPTIONS = ["generate_project", "build"]
WARNINGS = ["-std=gnu99", "-Wall", "-Wextra"]
UNFINISHED = ".unfinished"
"""Name of a file in ``build`` while a tool works there; where its process was killed, it stays."""
_LOCK_TIMEOUT_S = 60.0
_OPTIONS_FILE = "options.json"
_BOARD_FILE = "board.json"


class Stream(Protocol):
    """Bytes to and from a device; both calls raise ``IoTimeoutError`` or ``TransportClosedError``."""

    def read(self, n: int, timeout_sec: float | None) -> bytes: ...

    def write(self, data: bytes, timeout_sec: float | None) -> None: ...

    def close(self) -> None: ...


def common_options(*project_types: str) -> list[server.ProjectOption]:
    """Options of every platform here; they are kept in the project and may be changed in ``build``.

    Parameters
    ----------
    project_types : kinds of projects the platform makes, the default first
    """
    known = {option.name: option for option in server.default_project_options()}
    kind = {"required": None, "optional": ["generate_project"], "choices": project_types, "default": project_types[0]}
    definitions = {"optional": BUILD_OPTIONS}
    return [
        known["project_type"].replace(kind),
        known["verbose"].replace({"optional": [*BUILD_OPTIONS, "flash", "open_transport"], "default": False}),
        known["warning_as_error"].replace({"optional": BUILD_OPTIONS, "default": False}),
        known["compile_definitions"].replace(definitions),
        server.ProjectOption(
            "optimization",
            type="str",
            optional=BUILD_OPTIONS,
            default="auto",
            help="Optimization level, like -O3 or -Os; auto is -Os for models compiled for size, else -O2.",
        ),
    ]


class PlatformHandler(server.ProjectAPIHandler):
    """Base of the platforms' servers.

    Parameters
    ----------
    home : folder of ``microtvm_api_server.py``: a template, or a project when ``model.tar`` is beside it
    """

    platform_name: str
    sources: tuple[str, ...] = ()
    # Where the model's files are in a project; platforms whose users take them elsewhere have plainer folders.
    source_dir, include_dir = SOURCE_DIR, INCLUDE_DIR
    has_link = True
    builds_in_place = False

    def __init__(self, home: Path) -> None:
        self.home = home
        self.build_dir = home / "build"
        self._stream: Stream | None = None
        self._session = contextlib.ExitStack()

    @abc.abstractmethod
    def declared_options(self) -> list[server.ProjectOption]:
        """All options of the platform."""

    @abc.abstractmethod
    def prepare(self, project: Path, model: Model, options: dict[str, Any]) -> None:
        """Write what only this platform needs into a new project."""

    def template_dirs(self, options: dict[str, Any]) -> list[Path]:
        """Folders of the template files that a new project is made of."""
        return [self.home]

    def words(self, model: Model, options: dict[str, Any]) -> dict[str, str]:
        """What the platform's template files may name."""
        return model_words(model)

    @abc.abstractmethod
    def build_model(self, model: Model, options: dict[str, Any]) -> None:
        """Compile and link in ``build_dir``, which is there and holds nothing that counts."""

    @abc.abstractmethod
    def start(self, options: dict[str, Any]) -> Stream:
        """Start the device, or connect to it."""

    def server_info_query(self, tvm_version: str) -> server.ServerInfo:
        archive = self.home / "model.tar"
        is_template = not archive.exists()
        path = "" if is_template else str(archive)
        return server.ServerInfo(self.platform_name, is_template, path, self.declared_options())

    def generate_project(
        self, model_library_format_path: Path, standalone_crt_dir: Path, project_dir: Path, options: dict[str, Any]
    ) -> None:
        checked = check_options(self.declared_options(), options)
        if project_dir.exists():
            raise server.ServerError(f"project directory '{project_dir}' exists already")
        # Made beside its place and moved there when complete: an error leaves nothing half done.
        try:
            with files.partial_folder(project_dir.parent) as scratch:
                self._fill(scratch, model_library_format_path, checked, options)
                scratch.rename(project_dir)
        except OSError as error:
            raise server.ServerError(f"cannot make project '{project_dir}': {error}") from error

    def _fill(self, project: Path, archive: Path, checked: dict[str, Any], given: dict[str, Any]) -> None:
        shutil.copyfile(archive, project / "model.tar")
        extract(project / "model.tar", project / "model")
        move_files(project, self.source_dir, self.include_dir)
        model = self._model(project)
        for name in ("microtvm_api_server.py", *self.sources):
            shutil.copyfile(self.home / name, project / name)
        for module in (server, files):
            shutil.copy(str(module.__file__), project)
        shutil.copytree(COMMON, project / "common", ignore=shutil.ignore_patterns("__pycache__"))
        if self.has_link:
            (project / "model_io.c").write_text(io_source(model), encoding="utf-8")
        kept = {name: checked[name] for name in given}
        (project / _OPTIONS_FILE).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for folder in self.template_dirs(checked):
            expand_templates(folder, project, self.words(model, checked))
        self.prepare(project, model, checked)

    def build(self, options: dict[str, Any]) -> None:
        checked = self._options(options)
        place = self.build_dir
        try:
            with self._locked(), self._new_build_dir(place) as self.build_dir:
                self.build_model(self._model(self.home), checked)
        except OSError as error:
            raise server.ServerError(f"cannot build project '{self.home}': {error}") from error
        finally:
            self.build_dir = place

    def flash(self, options: dict[str, Any]) -> None:
        self._options(options)  # nothing to do: the device is started with its firmware

    def open_transport(self, options: dict[str, Any]) -> server.TransportTimeouts:
        self.close_transport()
        checked = self._options(options)
        with contextlib.ExitStack() as stack:
            # Nobody builds while the device runs what was built.
            stack.enter_context(self._locked(shared=True))
            self._stream = self.start(checked)
            stack.callback(self._stream.close)
            self._session = stack.pop_all()
        return server.TransportTimeouts(0, 10.0, 0)

    def close_transport(self) -> None:
        self._stream = None
        self._session.pop_all().close()

    def read_transport(self, n: int, timeout_sec: float | None) -> bytes:
        return self._opened().read(n, timeout_sec)

    def write_transport(self, data: bytes, timeout_sec: float | None) -> None:
        self._opened().write(data, timeout_sec)

    def require_built(self, file: Path) -> Path:
        """``file``, a result of ``build``."""
        if not file.exists() or (self.build_dir / UNFINISHED).exists():
            raise server.ServerError(f"project '{self.home}' is not built", hints=["build it: tvmc micro build"])
        return file

    @contextlib.contextmanager
    def _locked(self, *, shared: bool = False) -> Iterator[None]:
        try:
            with files.locked(self.home, _LOCK_TIMEOUT_S, shared=shared):
                yield
        except files.InUseError as error:
            raise server.ServerError(
                f"project '{self.home}' is in use: another process builds or runs it",
                hints=["wait for it to end", "make a project of your own: tvmc micro create-project"],
            ) from error

    @contextlib.contextmanager
    def _new_build_dir(self, place: Path) -> Iterator[Path]:
        """An empty folder to build in; what is at ``place`` at the end is complete, or what was there before.

        Where tools want to know the folder's real name, it is ``place`` itself, and nothing is left of a failed build.
        """
        if not self.builds_in_place:
            with files.partial_folder(self.home) as folder:
                yield folder
                files.replace_folder(folder, place)
            return
        shutil.rmtree(place, ignore_errors=True)
        try:
            place.mkdir()
            (place / UNFINISHED).touch()
            yield place
            (place / UNFINISHED).unlink()
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def _model(self, project: Path) -> Model:
        return load_model(project / "model", project / self.source_dir, project / self.include_dir)

    @staticmethod
    def look_up_board(name: str | None, *, emulated: bool) -> dict[str, Any]:
        """What a new project has to know of its board, or of the machine that emulates it."""
        # Only a template is asked to generate, and a template is part of the installed package.
        from tvm_tiny.errors import TargetError
        from tvm_tiny.project.boards import board_facts

        try:
            return board_facts(name, emulated=emulated)
        except TargetError as error:
            raise server.OptionValueError(error.message, hints=error.hints) from error

    def write_board_facts(self, project: Path, name: str | None, *, emulated: bool) -> dict[str, Any]:
        """Write what ``look_up_board`` says into a new project; the facts."""
        facts = self.look_up_board(name, emulated=emulated)
        (project / _BOARD_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return facts

    def board_facts(self) -> dict[str, Any]:
        """What ``write_board_facts`` wrote."""
        facts: dict[str, Any] = json.loads((self.home / _BOARD_FILE).read_text(encoding="utf-8"))
        return facts

    def _opened(self) -> Stream:
        if self._stream is None:
            raise server.TransportClosedError("the transport is not open")
        return self._stream

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        kept = self.home / _OPTIONS_FILE
        if not kept.exists():
            raise server.ServerError(f"'{self.home}' is a template: generate a project from it first")
        merged = {**json.loads(kept.read_text(encoding="utf-8")), **given}
        return check_options(self.declared_options(), merged)
