"""``tvmc``: parses the command line, runs one subcommand, prints errors as users should see them.

Nothing here, nor at the top of the subcommands' files, imports TVM or NumPy: ``tvmc --help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvm_tiny.cli import (
    compare_command,
    compile_command,
    completion_command,
    doctor,
    inspect_command,
    micro,
    plan_command,
    report_command,
    run_command,
    targets_command,
    tune_command,
)
from tvm_tiny.cli.config import OPTION, with_config
from tvm_tiny.cli.console import set_verbosity
from tvm_tiny.cli.exit_codes import EXIT_ERROR, EXIT_INTERRUPTED
from tvm_tiny.cli.microtvm_options import check_unknown
from tvm_tiny.cli.signals import ending_in_order
from tvm_tiny.errors import TvmTinyError

_COMMANDS = (
    compile_command,
    plan_command,
    run_command,
    tune_command,
    micro,
    inspect_command,
    compare_command,
    report_command,
    targets_command,
    doctor,
    completion_command,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``tvmc`` with ``argv`` (by default the process's) and return the exit code.

    A command line that does not parse exits 2, by argparse.
    """
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    args, unknown = parser.parse_known_args(argv)
    with ending_in_order() as ended:
        status = _run(parser, argv, args, unknown)
    if ended:
        print(f"ended by {ended[0].name}", file=sys.stderr)
        return 128 + ended[0]
    return status


def _run(parser: argparse.ArgumentParser, argv: Sequence[str], args: argparse.Namespace, unknown: list[str]) -> int:
    try:
        if args.config is not None:
            args, unknown = parser.parse_known_args(with_config(parser, argv, args.config))
        if unknown:
            check_unknown(unknown, args.refused)
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        set_verbosity(quiet=args.quiet, verbose=args.verbose)
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe went away (`tvmc targets | head`).
        _forget_stdout()
        return EXIT_ERROR
    except TvmTinyError as error:
        if args.debug:
            raise
        print(format_error(error.message, error.hints), file=sys.stderr)
        return EXIT_ERROR
    except Exception as error:
        if args.debug:
            raise
        if isinstance(error, OSError) and error.errno in _FULL:
            _forget_stdout()
            place = f"'{error.filename}'" if error.filename else "output"
            hints = ("free some space", "temporary files elsewhere: environment variable TMPDIR")
            print(format_error(f"{place} cannot be written: {error.strerror}", hints), file=sys.stderr)
            return EXIT_ERROR
        first_line = next(iter(str(error).splitlines()), "")
        hints = ("run it again with --debug for a traceback", "report it: this is a bug of tvm-tiny")
        print(format_error(f"internal error: {type(error).__name__}: {first_line}", hints), file=sys.stderr)
        return EXIT_ERROR
    return status


def _forget_stdout() -> None:
    """Python would try once more at exit to write what could not be written, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="tvmc",
        allow_abbrev=False,
        description="Compile quantized models to C for Arm Cortex-M, run and measure them.",
        epilog="tvmc COMMAND --help explains each command.",
    )
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version and exit")
    _add_common_options(parser)
    common = argparse.ArgumentParser(add_help=False)
    _add_common_options(common, default=argparse.SUPPRESS)  # another one would overwrite what was given in front
    common.add_argument(
        OPTION, type=Path, metavar="FILE.toml", help="options of this command, in its table; the command line wins"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands, common)
    parser.set_defaults(refused=(), config=None)
    return parser


def _add_common_options(parser: argparse.ArgumentParser, default: Any = False) -> None:
    parser.add_argument("--debug", action="store_true", default=default, help="show a traceback with an error")
    parser.add_argument("--quiet", action="store_true", default=default, help="print nothing but errors and JSON")
    parser.add_argument("--verbose", action="store_true", default=default, help="say on stderr what is done, and why")


def format_error(message: str, hints: Sequence[str]) -> str:
    """An error as printed: what is wrong, then what to try."""
    lines = [f"error: {message}"]
    if hints:
        lines += ["Things to try:", *(f"  - {hint}" for hint in hints)]
    return "\n".join(lines)


class _PrintVersion(argparse.Action):
    """Looks the version up only when it is asked for: reading distribution metadata takes longer than all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"tvm-tiny {version('tvm-tiny')}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
