"""TVM's side: target tags ``tinyml`` and ``tinyml/<board>``, and the way back from a target to its board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_tiny.errors import TargetError
from tvm_tiny.targets.board import Board
from tvm_tiny.targets.load import DEFAULT_BOARD, board_names, load_board, load_board_file

if TYPE_CHECKING:
    import tvm

TAG = "tinyml"
# TVM keeps any attribute that starts with "feature."; this one leads from a Target back to its board.
_BOARD_FEATURE = "feature.tinyml_board"


def target_config(board: Board) -> dict[str, Any]:
    """The dict that ``tvm.target.Target`` takes for ``board``; no strings for kind c, TVM refuses them."""
    return {
        "kind": "c",
        "mcpu": board.cpu.name,
        "keys": [TAG, "arm_cpu", "cpu"],
        _BOARD_FEATURE: board.source,
        "feature.tinyml_isa": board.cpu.isa,
        "feature.tinyml_flash_bytes": board.flash_bytes,
        "feature.tinyml_ram_bytes": board.ram_bytes,
    }


def register() -> None:
    """Register ``tinyml`` (the default board) and ``tinyml/<board>`` with TVM; calling it again changes nothing."""
    # Imported here: loading boards must not cost an `import tvm`, and the plug-in hook runs inside that import.
    from tvm.target import list_tags, register_tag

    known = set(list_tags() or {})
    tags = {TAG: DEFAULT_BOARD} | {f"{TAG}/{name}": name for name in board_names()}
    for tag, name in tags.items():
        if tag not in known:
            register_tag(tag, target_config(load_board(name)))


def resolve(target: str | tvm.target.Target | Board | None = None) -> Board:
    """The board meant by ``target``.

    Parameters
    ----------
    target : a board; its name; "tinyml/<name>"; the path of a board file (with or without "tinyml/" in front); a TVM
        target made from one of our tags or from ``target_config``; None and "tinyml" mean the default board

    Raises
    ------
    TargetError : unknown board, invalid board file, or a TVM target that is not ours
    """
    if isinstance(target, Board):
        return target
    if target is None or target == TAG:
        return load_board(DEFAULT_BOARD)
    if not isinstance(target, str):
        source = target.attrs.get(_BOARD_FEATURE)
        if source is None:
            raise TargetError(
                f"target {target} does not name a board of tvm-tiny",
                hints=[f'use tvm.target.Target("{TAG}") or Target("{TAG}/<board>")', "list the boards: tvmc targets"],
            )
        return resolve(str(source))
    name = target.removeprefix(f"{TAG}/")
    if name.endswith(".toml"):
        return load_board_file(Path(name))
    return load_board(name)
