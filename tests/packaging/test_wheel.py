"""The wheel and the source distribution hold every file of the package, those behind the links too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINKS = ("passes", "schedules", "targets")
# Not needed to build, and large or in motion while other tests run.
LEFT_OUT = (".git", ".venv", "build", "dist", "tests", "docs", "*.egg-info", "__pycache__", ".*_cache")


def _package_files() -> set[str]:
    """All files of the package in the tree, as paths like "tvm_tiny/passes/__init__.py"."""
    files: set[str] = set()
    folders = [ROOT / "tvm_tiny"]
    while folders:
        for entry in folders.pop().iterdir():
            if entry.is_dir():
                folders += [] if entry.name == "__pycache__" else [entry]
            else:
                files.add(entry.relative_to(ROOT).as_posix())
    return files


def _build(source: Path, kind: str, out: Path) -> Path:
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = out.iterdir()
    return archive


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository: building writes into it."""
    copy = tmp_path_factory.mktemp("tree") / "tvm-tiny"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return copy


@pytest.mark.parametrize("name", LINKS)
def test_the_links_are_links(name: str) -> None:
    link = ROOT / "tvm_tiny" / name
    assert link.is_symlink(), f"{link} must be a link to ../{name}: check the repository out with links"
    assert link.readlink() == Path("..") / name


def test_the_wheel_holds_every_file(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(_build(tree, "wheel", tmp_path)) as wheel:
        packed = {name for name in wheel.namelist() if not name.startswith("tvm_tiny-")}
        (entry_points,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
        text = wheel.read(entry_points).decode()
    assert packed == _package_files()
    assert "tvmc = tvm_tiny.cli.main:main" in text
    assert "[tvm.backends]\ntinyml = tvm_tiny._autoload:register" in text


def test_the_source_distribution_builds_the_same_wheel(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "sdist").mkdir()
    (tmp_path / "wheel").mkdir()
    (tmp_path / "unpacked").mkdir()
    sdist = _build(tree, "sdist", tmp_path / "sdist")
    subprocess.run(["tar", "-xf", sdist, "-C", tmp_path / "unpacked"], check=True)
    (source,) = (tmp_path / "unpacked").iterdir()
    with zipfile.ZipFile(_build(source, "wheel", tmp_path / "wheel")) as wheel:
        packed = {name for name in wheel.namelist() if not name.startswith("tvm_tiny-")}
    assert packed == _package_files()
