"""What a project takes out of an archive: nothing outside its folder, no names that are not checked."""

from __future__ import annotations

import copy
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.fake_archive import DEFAULT, archive_files, write_archive
from tvm_tiny.project.platforms.common.archive import extract, io_source, load_model, model_hash
from tvm_tiny.project.server import ModelArchiveError


def test_extract(tmp_path: Path) -> None:
    files = archive_files()
    extract(write_archive(tmp_path / "m.tar", files), tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == files


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil"])
def test_paths_outside_are_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ModelArchiveError, match="which may not be unpacked"):
        extract(tmp_path / "m.tar", tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        tar.addfile(member)
    with pytest.raises(ModelArchiveError, match="'link', which may not be unpacked"):
        extract(tmp_path / "m.tar", tmp_path / "out")


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "m.tar").write_bytes(b"\x1f\x8bnot a tar" * 100)
    with pytest.raises(ModelArchiveError, match="is not a Model Library Format archive"):
        extract(tmp_path / "m.tar", tmp_path / "out")


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    extract(write_archive(folder / "m.tar", files), folder / "out")
    return folder / "out"


def damaged(**changes: Any) -> dict[str, bytes]:
    return archive_files(tinyml={**copy.deepcopy(DEFAULT), **changes})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a": b""}, "metadata.json is damaged"),
        ({"metadata.json": b"{"}, "metadata.json is damaged"),
        ({"metadata.json": b'{"version": 6, "modules": {}}'}, "version 6, expected 7"),
        ({"metadata.json": b'{"version": 7, "modules": {}}'}, "damaged"),
        (damaged(inputs=[{**DEFAULT["inputs"][0], "c_name": "x; system"}]), "not a C identifier"),
        (damaged(outputs=[{**DEFAULT["outputs"][0], "size_bytes": 0}]), "tensor without size"),
        (damaged(outputs=[{**DEFAULT["outputs"][0], "dtype": "int8 x; evil"}]), "not a C identifier"),
        (damaged(outputs=[{**DEFAULT["outputs"][0], "shape": ["1]; evil"]}]), "tensor without size"),
        (damaged(outputs=[{**DEFAULT["outputs"][0], "scale": "1; evil"}]), "quantization that is not numbers"),
        (damaged(stream={"rows": 3, "row_bytes": "9]; evil"}), "tensor without size"),
        (damaged(stream={"rows": 3}), "metadata.json is damaged"),
        ({"metadata.json": archive_files()["metadata.json"]}, "no C sources"),
    ],
)
def test_damaged_metadata(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(ModelArchiveError, match=words):
        load_model(unpacked(tmp_path, files))


def test_io_source_asks_the_model_where_its_inputs_and_outputs_are(tmp_path: Path) -> None:
    edges = {kind: [{**t, "arena_offset": 0} for t in DEFAULT[kind]] for kind in ("inputs", "outputs")}
    source = io_source(load_model(unpacked(tmp_path, damaged(**edges))))
    assert "model_input_0[" not in source
    assert "const struct tvmgen_default_inputs inputs = tvmgen_default_map_inputs();" in source
    assert "model_inputs[1].data = inputs.bias;" in source
    assert "return tvmgen_default_run();" in source


def test_io_source_of_a_model_that_takes_rows(tmp_path: Path) -> None:
    model = load_model(unpacked(tmp_path, damaged(stream={"rows": 3, "row_bytes": 24})))
    source = io_source(model)
    assert "struct link_buffer model_inputs[] = {{0, 24}};" in source
    assert "struct link_buffer model_outputs[] = {{0, 16}, {0, 16}};" in source
    assert f"model_info[] = {{{model_hash(model):#x}u, 1, 2, 24, 16, 16}};" in source
    assert 'model_name[] = "fake";' in source
    assert "model_outputs[1].data = outputs.totals;" in source


def test_io_source_brings_the_arena_where_the_caller_has_to(tmp_path: Path) -> None:
    model = load_model(unpacked(tmp_path, archive_files()))
    assert "workspace" not in io_source(model)
    header = model.include_dir / "tvmgen_default.h"
    header.write_text(header.read_text().replace("* outputs);", "* outputs,\n    uint8_t* workspace);"))
    source = io_source(model)
    assert "static uint8_t tvmgen_default_workspace[TVMGEN_DEFAULT_WORKSPACE_SIZE]" in source
    assert "tvmgen_default_run(&inputs, &outputs, tvmgen_default_workspace)" in source
