"""microTVM's ``tir.usmp.*`` pass options, in terms of what the memory planner does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_tiny.errors import OptionError

_PREFIX = "tir.usmp."
_ALGORITHMS = ("greedy_by_size", "greedy_by_conflicts", "hill_climb")
_TRUE, _FALSE = (True, 1, "1", "true", "True"), (False, 0, "0", "false", "False")


def take_usmp(config: Mapping[str, Any]) -> tuple[dict[str, Any], bool | None]:
    """Split pass options into TVM's own and what microTVM's say about inputs and outputs.

    Working memory is always planned, by first fit, hill climbing and an exact solver: that is at least what
    any of the algorithms does, so each is accepted.

    Returns
    -------
    the options that are not ``tir.usmp.*``; whether inputs and outputs lie in the workspace, None where nothing is said

    Raises
    ------
    OptionError : an option or a value that cannot be honoured
    """
    rest = {name: value for name, value in config.items() if not name.startswith(_PREFIX)}
    workspace_io: bool | None = None
    for name, value in config.items():
        if not name.startswith(_PREFIX):
            continue
        option = name.removeprefix(_PREFIX)
        if option == "enable" and value in _TRUE:
            continue
        if option == "algorithm" and value in _ALGORITHMS:
            continue
        if option == "use_workspace_io" and value in (*_TRUE, *_FALSE):
            workspace_io = value in _TRUE
            continue
        raise OptionError(
            f"--pass-config {name}={value}: {_REASONS.get(option, _UNKNOWN)}", hints=[f"leave {name} out"]
        )
    return rest, workspace_io


_UNKNOWN = "there is no such option; known: tir.usmp.enable, tir.usmp.algorithm, tir.usmp.use_workspace_io"
_REASONS = {
    "enable": "working memory is always planned",
    "algorithm": f"expected one of {', '.join(_ALGORITHMS)}; each stands for the planner, which tries more",
    "custom_algorithm": "the planner also decides which layers run interleaved; offsets alone cannot be replaced",
    "use_workspace_io": "expected true or false",
}
