"""Template files of projects: words are filled in, and none is left over."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.fake_archive import DEFAULT, archive_files, write_archive
from tvm_tiny.project.platforms.common.archive import extract, load_model, move_files
from tvm_tiny.project.platforms.common.template import expand_templates, fill, model_words
from tvm_tiny.project.server import ServerError


def test_words(tmp_path: Path) -> None:
    tinyml = copy.deepcopy(DEFAULT)
    tinyml["model"] = 'a "model"\n*/ #error $(rm) `x` | @B@'
    tinyml["inputs"][0]["name"] = "x|`\n0"
    extract(write_archive(tmp_path / "m.tar", archive_files(tinyml=tinyml)), tmp_path / "model")
    words = model_words(load_model(tmp_path / "model"))
    assert words["MODEL"] == "a _model_/ _error _rm_ _x_ _ _B_"
    assert "| input `x___0` | `x_0` | int8 | 1x16 | 16 |  |" in words["TENSORS"]
    assert (words["MACRO"], words["OPTIMIZATION"], words["ARENA_BYTES"]) == ("TVMGEN_DEFAULT", "-O2", "64")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/Kconfig.in").write_text("config @SYMBOL@ # a@b.org, $@ @ @\n")
    (tmp_path / "a/plain.py").write_text("@SYMBOL@")
    expand_templates(tmp_path / "a", tmp_path / "out", {"SYMBOL": "X"})
    assert (tmp_path / "out/b/Kconfig").read_text() == "config X # a@b.org, $@ @ @\n"
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["Kconfig"]


def test_a_word_that_nobody_knows() -> None:
    with pytest.raises(ServerError, match=r"template 'README.md.in' names @TYPO@, which is not known"):
        fill("@MODULE@ @TYPO@", {"MODULE": "m"}, "README.md.in")


def test_moving_the_model_s_files(tmp_path: Path) -> None:
    extract(write_archive(tmp_path / "m.tar", archive_files()), tmp_path / "model")
    move_files(tmp_path, "library/src", "library/src")
    model = load_model(tmp_path / "model", tmp_path / "library/src", tmp_path / "library/src")
    assert [source.parent.name for source in model.sources] == ["src", "src"]
    assert not (tmp_path / "model/codegen/host/src").exists()
