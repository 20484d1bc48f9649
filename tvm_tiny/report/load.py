"""Reads a report, or makes one of an archive."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tvm_tiny.aot import follow_metadata, module_info, read_mlf
from tvm_tiny.errors import ArtifactError
from tvm_tiny.measure import RunResult
from tvm_tiny.report.compare import COMPARED, LAYER_VALUES, TOTALS, total_of
from tvm_tiny.report.content import FORMAT, KIND, report_content


def load_report(path: Path, measure: Callable[[Path, Mapping[str, Any]], RunResult] | None = None) -> dict[str, Any]:
    """The content of ``report.json``, or the report of an archive.

    Parameters
    ----------
    measure : runs an archive, given its ``tinyml`` metadata; None: archives are not run

    Raises
    ------
    ArtifactError : neither of both, or a report of another format
    """
    if path.suffix != ".json":
        module_name, info = module_info(read_mlf(path))
        with follow_metadata(path):
            return report_content(module_name, info, measure and measure(path, info))
    hints = ["make it with: tvmc report model.tar -o report.json"]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ArtifactError(f"'{path}' cannot be read as JSON: {e}", hints=hints) from e
    if not isinstance(content, dict) or (content.get("kind"), content.get("format")) != (KIND, FORMAT):
        raise ArtifactError(f"'{path}' is no report of this version of tvm-tiny", hints=hints)
    try:
        _check(content)
    except (KeyError, TypeError, AttributeError, OverflowError) as e:
        raise ArtifactError(f"'{path}' is damaged ({type(e).__name__}: {e})", hints=hints) from e
    return content


def _check(content: Mapping[str, Any]) -> None:
    """Look at all that reports are compared by; damage raises one of the errors of looking things up."""
    numbers = [total_of(content, path) for path in TOTALS.values()]
    texts = [content[key] for key in COMPARED]
    for layer in content["layers"]:
        numbers += [layer[key] for key in LAYER_VALUES]
        texts += [layer["name"], layer["op"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    if not all(n is None or (isinstance(n, int | float) and math.isfinite(n)) for n in numbers):
        raise TypeError("a number is none")
