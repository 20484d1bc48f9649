"""Template files: ``NAME.in`` becomes ``NAME`` in the project, with words like @MODULE@ filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .archive import Model
from .options import optimization
from .usage import program, tensor_table

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project.server import ServerError
else:
    from server import ServerError

_WORD = re.compile(r"@([A-Z][A-Z_0-9]*)@")
_SUFFIX = ".in"


def model_words(model: Model) -> dict[str, str]:
    """What every platform's templates may name."""
    target = str(model.tinyml.get("target"))
    return {
        "MODULE": model.module,
        "MACRO": f"tvmgen_{model.module}".upper(),
        "MODEL": _plain(str(model.tinyml.get("model"))),
        "TARGET": _plain(target),
        "OPTIMIZATION": optimization("auto", model.tinyml),
        "SOURCES": " ".join(source.name for source in model.sources),
        "ARENA_BYTES": f"{model.tinyml['arena_bytes']:,}",
        "TENSORS": tensor_table(model),
        "PROGRAM": program(model),
    }


def expand_templates(source: Path, project: Path, words: Mapping[str, str]) -> None:
    """Write all template files below ``source`` to the same places below ``project``."""
    for template in sorted(source.rglob(f"*{_SUFFIX}")):
        place = project / template.relative_to(source).with_suffix("")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(fill(template.read_text(encoding="utf-8"), words, template.name), encoding="utf-8")


def fill(text: str, words: Mapping[str, str], name: str) -> str:
    """``text`` with every @WORD@ replaced; ``name`` is what an error says it came from."""

    def replace(match: re.Match[str]) -> str:
        if match[1] not in words:
            raise ServerError(f"template '{name}' names {match[0]}, which is not known")
        return words[match[1]]

    return _WORD.sub(replace, text)


def _plain(text: str) -> str:
    """``text`` fit for a comment, a heading and a quoted string of any of the generated files."""
    return re.sub(r"[^\w .,:/+-]+", "_", text)
