"""``tvmc``: parses the command line, runs one subcommand, prints errors as users should see them.

Nothing here, nor at the top of the subcommands' files, imports TVM or NumPy: ``tvmc --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tvm_tiny.cli import (
    compile_command,
    doctor,
    inspect_command,
    micro,
    plan_command,
    run_command,
    targets_command,
    tune_command,
)
from tvm_tiny.cli.microtvm_options import check_unknown
from tvm_tiny.errors import TvmTinyError

_COMMANDS = (
    compile_command,
    plan_command,
    run_command,
    tune_command,
    micro,
    inspect_command,
    targets_command,
    doctor,
)

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``tvmc`` with ``argv`` (by default the process's) and return the exit code.

    A command line that does not parse exits 2, by argparse.
    """
    parser = build_parser()
    args, unknown = parser.parse_known_args(argv)
    try:
        if unknown:
            check_unknown(unknown, args.refused)
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe went away (`tvmc targets | head`). Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except TvmTinyError as error:
        if args.debug:
            raise
        print(format_error(error.message, error.hints), file=sys.stderr)
        return EXIT_ERROR
    except Exception as error:
        if args.debug:
            raise
        first_line = next(iter(str(error).splitlines()), "")
        hints = ("run it again with --debug for a traceback", "report it: this is a bug of tvm-tiny")
        print(format_error(f"internal error: {type(error).__name__}: {first_line}", hints), file=sys.stderr)
        return EXIT_ERROR
    return status


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="tvmc",
        allow_abbrev=False,
        description="Compile quantized models to C for Arm Cortex-M, run and measure them.",
        epilog="tvmc COMMAND --help explains each command.",
    )
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    common = argparse.ArgumentParser(add_help=False)
    # SUPPRESS: a default here would overwrite what was given in front of the subcommand.
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show a traceback with an error"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands, common)
    parser.set_defaults(refused=())
    return parser


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
