"""``tvmc completion``: what a shell has to know to complete ``tvmc``'s commands, options and files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish")
_USE = {
    "bash": 'eval "$(tvmc completion bash)" in ~/.bashrc',
    "zsh": "tvmc completion zsh > a file _tvmc in a folder of $fpath",
    "fish": "tvmc completion fish > ~/.config/fish/completions/tvmc.fish",
}


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "completion",
        parents=[common],
        allow_abbrev=False,
        help="print a shell's completion script",
        description="Print the script with which a shell completes tvmc: " + "; ".join(_USE.values()),
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import shtab

    from tvm_tiny.cli.main import build_parser

    parser = build_parser()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, args.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, how: Any) -> None:
    """Arguments that are paths are completed with files."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_files(each, how)
        elif action.type is Path:
            action.complete = how  # type: ignore[attr-defined]
