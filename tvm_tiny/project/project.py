"""Projects in Python: templates make them, a generated one is built, flashed and talked to."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from tvm_tiny.errors import (
    ArtifactError,
    DeviceTimeoutError,
    MemoryBudgetError,
    OptionError,
    ProjectError,
    RunError,
    ToolError,
    TvmTinyError,
)
from tvm_tiny.project import server
from tvm_tiny.project.client import ProjectAPIClient, instantiate_from_dir

# The platforms are package data of an installed directory: setuptools never leaves packages zipped.
_PLATFORMS = Path(__file__).resolve().parent / "platforms"
PLATFORMS = ("native", "qemu", "board", "cmake", "zephyr", "arduino")
_ERRORS: tuple[tuple[type[server.ServerError], type[TvmTinyError]], ...] = (
    (server.MemoryOverflowError, MemoryBudgetError),
    (server.BuildFailedError, ToolError),
    (server.FlashFailedError, ToolError),
    (server.ToolMissingError, ToolError),
    (server.ModelArchiveError, ArtifactError),
    (server.OptionValueError, OptionError),
    (server.IoTimeoutError, DeviceTimeoutError),
    (server.TransportClosedError, RunError),
    (server.ServerError, ProjectError),
)


class NotATemplateProjectError(ProjectError):
    """The directory holds a generated project, not a template."""


class TemplateProjectError(ProjectError):
    """The directory holds a template, not a generated project."""


class Exportable(Protocol):
    """A compiled model that can write its Model Library Format archive."""

    def export(self, path: Path) -> Any: ...


def template_dir(platform: str) -> Path:
    """Folder of a platform's template.

    Raises
    ------
    ProjectError : no such platform; lists the known ones
    """
    if platform not in PLATFORMS:
        raise ProjectError(f"unknown platform {platform!r}; known: {', '.join(PLATFORMS)}")
    return _PLATFORMS / platform


class TemplateProject:
    """A template directory: ours (``template_dir``) or anyone's with a ``microtvm_api_server.py``."""

    def __init__(self, client: ProjectAPIClient, directory: Path) -> None:
        self._client = client
        self.directory = directory
        self._info = _query(client)
        if not self._info.is_template:
            client.shutdown()
            raise NotATemplateProjectError(f"'{directory}' is a generated project, expected a template")

    @classmethod
    def from_directory(cls, directory: Path | str, *, verbose: bool = False) -> TemplateProject:
        """Start the template's server."""
        directory = Path(directory).resolve()
        return cls(instantiate_from_dir(directory, verbose=verbose), directory)

    def __enter__(self) -> TemplateProject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server."""
        self._client.shutdown()

    def info(self) -> server.ServerInfo:
        """Platform name and options."""
        return self._info

    def generate_project_from_mlf(
        self, model_library_format_path: Path | str, project_dir: Path | str, options: Mapping[str, Any]
    ) -> GeneratedProject:
        """Make a project from an archive in ``project_dir``, which must not exist."""
        archive, project_dir = Path(model_library_format_path).resolve(), Path(project_dir).resolve()
        if not archive.is_file():
            raise ArtifactError(f"'{model_library_format_path}' does not exist or is not a file")
        if project_dir.exists():
            raise ProjectError(f"project directory '{project_dir}' exists already", hints=["replace it: --force"])
        if not project_dir.parent.is_dir():
            raise ProjectError(f"'{project_dir.parent}' is not a directory")
        given = _for_method(self._info, options, "generate_project")
        board = str(given.get("board", ""))
        if board.endswith(".toml"):  # the server runs in another directory
            given["board"] = str(Path(board.removeprefix("tinyml/")).resolve())
        with _translated():
            self._client.generate_project(archive, Path(), project_dir, given)
        return GeneratedProject.from_directory(project_dir, options)

    def generate_project(
        self, module: Exportable, project_dir: Path | str, options: Mapping[str, Any]
    ) -> GeneratedProject:
        """Make a project from a compiled model."""
        with tempfile.TemporaryDirectory(prefix="tvm-tiny-") as folder:
            archive = Path(folder) / "model.tar"
            module.export(archive)
            return self.generate_project_from_mlf(archive, project_dir, options)


class GeneratedProject:
    """A generated project; ``options`` are given to every method that takes them."""

    def __init__(self, client: ProjectAPIClient, directory: Path, options: Mapping[str, Any]) -> None:
        self._client = client
        self.directory = directory
        self._options = dict(options)
        self._info = _query(client)
        if self._info.is_template:
            client.shutdown()
            raise TemplateProjectError(f"'{directory}' is a template, expected a generated project")

    @classmethod
    def from_directory(cls, directory: Path | str, options: Mapping[str, Any]) -> GeneratedProject:
        """Start the project's server."""
        directory = Path(directory).resolve()
        project = cls(instantiate_from_dir(directory, verbose=_is_verbose(options)), directory, options)
        try:
            check_project_options(project.info(), options)
        except OptionError:
            project.close()
            raise
        return project

    def __enter__(self) -> GeneratedProject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server and the device it may have started."""
        self._client.shutdown()

    def info(self) -> server.ServerInfo:
        """Platform name and options."""
        return self._info

    def build(self) -> None:
        """Compile and link; a model too large for its board is a ``MemoryBudgetError``."""
        with _translated():
            self._client.build(_for_method(self._info, self._options, "build"))

    def flash(self) -> None:
        """Bring the firmware onto the device."""
        with _translated():
            self._client.flash(_for_method(self._info, self._options, "flash"))

    def transport(self, options: Mapping[str, Any] | None = None) -> ProjectTransport:
        """Start the device and connect to it; ``options`` come on top of the project's."""
        merged = {**self._options, **(options or {})}
        with _translated():
            timeouts = self._client.open_transport(_for_method(self._info, merged, "open_transport"))
        return ProjectTransport(self._client, timeouts)


class ProjectTransport:
    """Byte stream to the device of a project."""

    def __init__(self, client: ProjectAPIClient, timeouts: server.TransportTimeouts) -> None:
        self._client = client
        self.timeouts = timeouts

    def __enter__(self) -> ProjectTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, n: int, timeout_s: float | None) -> bytes:
        """Read 1 to n bytes."""
        with _translated():
            return self._client.read_transport(n, timeout_s)

    def write(self, data: bytes, timeout_s: float | None) -> None:
        """Write all of ``data``."""
        with _translated():
            self._client.write_transport(data, timeout_s)

    def close(self) -> None:
        """Disconnect; does nothing when the server is gone."""
        if not self._client.is_shutdown:
            with _translated():
                self._client.close_transport()


def generate_project_from_mlf(
    template: Path | str, project_dir: Path | str, mlf: Path | str, options: Mapping[str, Any]
) -> GeneratedProject:
    """Make a project from an archive; ``template``: a platform's name or a template directory."""
    directory = template_dir(template) if template in PLATFORMS else Path(template)
    with TemplateProject.from_directory(directory, verbose=_is_verbose(options)) as project:
        return project.generate_project_from_mlf(mlf, project_dir, options)


def generate_project(
    template: Path | str, module: Exportable, project_dir: Path | str, options: Mapping[str, Any]
) -> GeneratedProject:
    """Make a project from a compiled model; ``template``: a platform's name or a template directory."""
    directory = template_dir(template) if template in PLATFORMS else Path(template)
    with TemplateProject.from_directory(directory, verbose=_is_verbose(options)) as project:
        return project.generate_project(module, project_dir, options)


def check_project_options(info: server.ServerInfo, options: Mapping[str, Any]) -> None:
    """Raise ``OptionError`` for options the platform does not have."""
    known = sorted(option.name for option in info.project_options)
    unknown = sorted(options.keys() - known)
    if unknown:
        raise OptionError(
            f"platform '{info.platform_name}' has no project option {', '.join(map(repr, unknown))}",
            hints=[f"known: {', '.join(known)}"],
        )


def _for_method(info: server.ServerInfo, options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The options that ``method`` takes; one that it requires must be there."""
    check_project_options(info, options)
    taken = {}
    for option in info.project_options:
        required = method in (option.required or ())
        if option.name in options and (required or method in (option.optional or ())):
            taken[option.name] = options[option.name]
        elif required:
            if option.default is None:
                raise OptionError(f"{method} needs project option '{option.name}': {option.help}")
            taken[option.name] = option.default
    return taken


def _query(client: ProjectAPIClient) -> server.ServerInfo:
    try:
        with _translated():
            return client.server_info_query()
    except TvmTinyError:
        client.shutdown()
        raise


def _is_verbose(options: Mapping[str, Any]) -> bool:
    return str(options.get("verbose", "")).lower() in ("1", "true", "yes", "on")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the server's errors into those of tvm-tiny."""
    try:
        yield
    except server.ServerError as error:
        ours = next(cls for theirs, cls in _ERRORS if isinstance(error, theirs))
        raise ours(error.message, hints=error.hints) from error
