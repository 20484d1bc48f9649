"""``tvmc micro``: projects that contain a compiled model: create, build, flash."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.cli.console import progress, say, stdout_console
from tvm_tiny.errors import OptionError, ProjectError
from tvm_tiny.files import InUseError, locked, partial_folder, replace_folder

if TYPE_CHECKING:
    from tvm_tiny.project import GeneratedProject, ServerInfo

PLATFORMS = ("native", "qemu", "board", "cmake", "zephyr", "arduino")
_TEMPLATE = "template"
_SERVER_FILE = "microtvm_api_server.py"
_LOCK_TIMEOUT_S = 60.0


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "micro",
        allow_abbrev=False,
        help="create, build and flash projects",
        description="Work with projects through their Project API server (microtvm_api_server.py).",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    create = actions.add_parser(
        "create-project", aliases=["create"], parents=[common], allow_abbrev=False, help="make a project from a model"
    )
    create.add_argument("project_dir", metavar="PROJECT_DIR", type=Path, help="is made; must not exist")
    create.add_argument("archive", metavar="MODEL.tar", type=Path, help="made by tvmc compile")
    create.add_argument(
        "platform", metavar="PLATFORM", choices=(*PLATFORMS, _TEMPLATE), help=f"{', '.join(PLATFORMS)} or {_TEMPLATE}"
    )
    create.add_argument("-f", "--force", action="store_true", help="replace an existing project")
    create.set_defaults(run=run_create)

    build = actions.add_parser("build", parents=[common], allow_abbrev=False, help="compile and link a project")
    build.add_argument("-f", "--force", action="store_true", help="build again what is built")
    build.set_defaults(run=run_build)
    flash = actions.add_parser("flash", parents=[common], allow_abbrev=False, help="bring the firmware onto the board")
    flash.set_defaults(run=run_flash)
    for action in (build, flash):
        action.add_argument("project_dir", metavar="PROJECT_DIR", type=Path)
        action.add_argument(
            "platform",
            metavar="PLATFORM",
            nargs="?",
            help="accepted as microTVM has it; the project knows its platform",
        )
    for action in (create, build, flash):
        action.add_argument("--template-dir", type=Path, metavar="DIR", help=f"template to use with {_TEMPLATE}")
        add_project_options(action)


def add_project_options(parser: argparse.ArgumentParser) -> None:
    """``--project-option`` and ``--list-options``, for every command that talks to a project."""
    parser.add_argument(
        "--project-option",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="option of the platform; --list-options shows them",
    )
    parser.add_argument("--list-options", action="store_true", help="list the platform's options and exit")


def run_create(args: argparse.Namespace) -> int:
    from tvm_tiny.project import TemplateProject, template_dir

    if args.platform != _TEMPLATE:
        template = template_dir(args.platform)
    elif args.template_dir is None:
        raise OptionError(f"platform {_TEMPLATE} needs --template-dir", hints=["--template-dir DIR"])
    else:
        template = args.template_dir
    options = parse_project_options(args.project_option)
    with TemplateProject.from_directory(template) as project:
        if args.list_options:
            print_options(project.info(), "generate_project")
            return 0
        with _place(args.project_dir, force=args.force) as place:
            project.generate_project_from_mlf(args.archive, place, options).close()
    say(f"{args.project_dir}: made for platform {project.info().platform_name}")
    return 0


def run_build(args: argparse.Namespace) -> int:
    with open_project(args.project_dir, args.project_option, args.platform) as project:
        if args.list_options:
            print_options(project.info(), "build")
            return 0
        if _is_built(args.project_dir) and not args.force:
            raise ProjectError(f"'{args.project_dir}' is built already", hints=["build it again: --force"])
        with progress(f"building {args.project_dir}"):
            project.build()
    say(f"{args.project_dir}: built")
    return 0


def run_flash(args: argparse.Namespace) -> int:
    with open_project(args.project_dir, args.project_option, args.platform) as project:
        if args.list_options:
            print_options(project.info(), "flash")
            return 0
        with progress(f"flashing {args.project_dir}"):
            project.flash()
    say(f"{args.project_dir}: flashed")
    return 0


@contextlib.contextmanager
def open_project(
    project_dir: Path, project_options: Sequence[str], platform: str | None = None
) -> Iterator[GeneratedProject]:
    """The project in ``project_dir``, checked to be of ``platform`` if that is given."""
    from tvm_tiny.project import GeneratedProject

    if not project_dir.is_dir():
        raise ProjectError(
            f"project directory '{project_dir}' does not exist",
            hints=[f"make it: tvmc micro create-project {project_dir} MODEL.tar qemu"],
        )
    with GeneratedProject.from_directory(project_dir, parse_project_options(project_options)) as project:
        made_for = project.info().platform_name
        if platform not in (None, _TEMPLATE, made_for):
            raise ProjectError(f"'{project_dir}' was made for platform '{made_for}', not '{platform}'")
        yield project


def parse_project_options(assignments: Sequence[str]) -> dict[str, Any]:
    """``["a=1", "b=x"]`` -> ``{"a": "1", "b": "x"}``; the server converts to the option's type.

    Raises
    ------
    OptionError : an item without a name or "="
    """
    options: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise OptionError(
                f"--project-option {assignment}: expected NAME=VALUE", hints=["--list-options shows the options"]
            )
        options[name] = value
    return options


def print_options(info: ServerInfo, method: str) -> None:
    """The options of a platform that ``method`` takes."""
    from rich.table import Table

    table = Table("option", "type", "", "default", "choices", "meaning", title=f"{info.platform_name}: {method}")
    for option in info.project_options:
        required = method in (option.required or ())
        if not required and method not in (option.optional or ()):
            continue
        table.add_row(
            option.name,
            option.type or "",
            "required" if required and option.default is None else "",
            "" if option.default is None else str(option.default),
            ", ".join(str(c) for c in option.choices or ()),
            option.help or "",
        )
    stdout_console().print(table)


@contextlib.contextmanager
def _place(project_dir: Path, *, force: bool) -> Iterator[Path]:
    """Where to make a project; one that is there is replaced when the new one is complete."""
    if not force or not project_dir.exists():
        yield project_dir
        return
    if not (project_dir / _SERVER_FILE).is_file() and any(project_dir.iterdir()):
        raise ProjectError(f"'{project_dir}' is not a project: --force does not delete it")
    project_dir = project_dir.resolve()
    try:
        with locked(project_dir, _LOCK_TIMEOUT_S), partial_folder(project_dir.parent) as folder:
            yield folder / project_dir.name
            replace_folder(folder / project_dir.name, project_dir)
    except InUseError as error:
        raise ProjectError(f"project '{project_dir}' is in use: another process builds or runs it") from error
    except OSError as error:
        raise ProjectError(f"cannot replace project '{project_dir}': {error.strerror}") from error


def _is_built(project_dir: Path) -> bool:
    from tvm_tiny.project.platforms.common.handler import UNFINISHED

    return (project_dir / "build").exists() and not (project_dir / "build" / UNFINISHED).exists()
