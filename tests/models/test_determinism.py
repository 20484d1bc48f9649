"""The same input gives the same bytes: in every process, folder, time zone and language, on a busy machine or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.qemu


def _outputs(folder: Path) -> dict[str, bytes]:
    """What is in the folder but for bytecode, which Python writes beside a project's server."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".pyc")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def test_every_output_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Two processes at once, that have as little in common as can be."""
    cores = sorted(os.sched_getaffinity(0))
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    settings = (
        {"PYTHONHASHSEED": "0", "TZ": "Asia/Tokyo", "LC_ALL": "C", "umask": "077", "cores": cores[:1]},
        {"PYTHONHASHSEED": "4711", "TZ": "America/Lima", "LC_ALL": "C.UTF-8", "COLUMNS": "40", "cores": cores},
    )
    running = []
    for i, each in enumerate(settings):
        folder = tmp_path / ("one" if i == 0 else "an other/and deeper")
        folder.mkdir(parents=True)
        variables = {k: str(v) for k, v in each.items() if k.isupper()}
        command = [sys.executable, "-c", _PROGRAM.format(cores=each["cores"], umask=each.get("umask", "022"))]
        environment = {**known, **variables, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        running.append((folder, subprocess.Popen(command, cwd=folder, env=environment)))
    try:
        assert [process.wait(500) for _, process in running] == [0, 0]
    finally:
        for _, process in running:
            process.kill()
    one, other = (_outputs(folder) for folder, _ in running)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    assert {"a.tar", "b.tar", "report.html", "graph.onnx", "firmware.hex", "tuned/records.json"} < one.keys()
    assert int(one["solved.txt"]) > 0  # else nothing was shown of the exact solver
    assert not any(str(tmp_path).encode() in content for content in one.values())


_PROGRAM = """
import os, runpy
os.sched_setaffinity(0, {cores})
os.umask(0o{umask})
runpy.run_module("tests.every_output", run_name="__main__")
"""
