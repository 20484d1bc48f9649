"""Bad input to ``tvmc``: one clear error, what to try, exit code 1, no traceback, no partial file."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tvm_tiny import demo
from tvm_tiny.cli.main import main

MODEL = demo.TFLITE
BOARD = """
description = "tiny"
cpu = "cortex-m4"
clock_hz = 1_000_000
machine = "mps2-an386"
memory = [
    {{ name = "flash", kind = "flash", address = 0, size_bytes = {flash}, relative_speed = 1.0 }},
    {{ name = "sram", kind = "sram", address = 0x2000_0000, size_bytes = {ram}, relative_speed = 1.0 }},
]
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "model.tar"
    assert main(["compile", "--target", "tinyml/qemu-m4", str(MODEL), "-o", str(path)]) == 0
    return path


def _fails(arguments: list[str | Path], message: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run ``tvmc``; returns stderr."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(message, err), err
    assert err.startswith("error: ")
    assert len(re.findall("^error: ", err, re.MULTILINE)) == 1
    assert "\nThings to try:\n  - " in err
    assert "Traceback" not in err
    assert "internal error" not in err
    return err


@pytest.mark.parametrize("kept", [0, 3, 8, 100, 5000, 10000])
def test_a_truncated_model(kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "cut.tflite"
    model.write_bytes(MODEL.read_bytes()[:kept])
    _fails(["compile", model, "-o", tmp_path / "out.tar"], r"cut\.tflite|TFLite model is damaged", capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.tflite"]


@pytest.mark.parametrize("seed", range(3))
def test_a_random_model(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "noise.tflite"
    noise = np.random.RandomState(seed).bytes(4000)
    # With the file identifier in place the reader gets further.
    model.write_bytes(noise if seed == 0 else noise[:4] + b"TFL3" + noise[8:])
    _fails(["compile", model, "-o", tmp_path / "out.tar"], r"noise\.tflite|TFLite model is damaged", capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["noise.tflite"]


def test_a_missing_model_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fails(["compile", tmp_path / "none.tflite", "-o", tmp_path / "out.tar"], r"none\.tflite", capsys)
    _fails(["compile", tmp_path, "-o", tmp_path / "out.tar"], re.escape(str(tmp_path)), capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["tinyml/nrf5284", "cortex-m7", "llvm", "tinyml/", "tinyml/none.toml"])
def test_an_unknown_board(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fails(["compile", "--target", target, MODEL, "-o", tmp_path / "out.tar"], "unknown board|cannot be read", capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flash", "ram", "message"),
    [
        (1 << 20, 512, r"board 'tiny' has 512\n  live at the peak: "),
        (2048, 1 << 16, r"board 'tiny' has 2,048 bytes of flash"),
    ],
)
def test_a_model_too_large_for_the_board(
    flash: int, ram: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "tiny.toml"
    board.write_text(BOARD.format(flash=flash, ram=ram))
    _fails(["compile", "--target", board, MODEL, "-o", tmp_path / "out.tar"], message, capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.toml"]


@pytest.mark.qemu
@pytest.mark.parametrize(("flash", "ram", "what"), [(6000, 1 << 16, "flash"), (1 << 20, 1536, "RAM")])
def test_the_linker_enforces_the_board_s_sizes(
    flash: int, ram: int, what: str, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The weights alone would fit the flash, arena and inputs the RAM; code and stack do not.
    board = tmp_path / "tiny.toml"
    board.write_text(BOARD.format(flash=flash, ram=ram))
    outputs = tmp_path / "y.npz"
    command: list[str | Path] = ["run", archive, "--device", "qemu", "--board", board, "-o", outputs]
    _fails(command, rf"of {what}, board 'tiny' has {max(flash, 0) if what == 'flash' else ram:,}", capsys)
    assert not outputs.exists()


@pytest.mark.parametrize("option", ["-o", "--output"])
def test_output_paths_of_compile(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fails(["compile", MODEL, option, tmp_path], "is a folder", capsys)
    _fails(["compile", MODEL, option, tmp_path / "no" / "out.tar"], "does not exist", capsys)
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    _fails(["compile", MODEL, option, locked / "out.tar"], "read-only", capsys)
    assert list(locked.iterdir()) == []


def test_output_paths_of_run(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--outputs", "--json"):
        _fails(["run", archive, option, tmp_path], f"{option}: '.*' is a folder", capsys)
        _fails(["run", archive, option, tmp_path / "no" / "y"], f"{option}: folder '.*' does not exist", capsys)


def test_inputs_that_do_not_fit(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((1, 8, 8, 1), np.int8)
    cases = {
        "shape": ({"inputs": image[:, :7]}, r"input 'image' has shape \[1, 7, 8, 1\], expected \[1, 8, 8, 1\]"),
        "dtype": ({"inputs": image.astype(np.float32)}, r"input 'image' has dtype float32, expected int8"),
        "name": ({"picture": image}, r"no 'image', unknown 'picture'"),
        "empty": ({"inputs": image[None][:0]}, r"batch of inputs is empty"),
        "nothing": ({}, r"no 'image'"),
    }
    for case, (arrays, message) in cases.items():
        path = tmp_path / f"{case}.npz"
        np.savez(path, **arrays)
        assert main(["run", str(archive), "-i", str(path), "-o", str(tmp_path / "y")]) == 1
        err = capsys.readouterr().err
        assert re.match(f"error: .*{message}", err), err
        assert not (tmp_path / "y").exists()


def test_input_files_that_are_none(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", inputs=np.array([{}], dtype=object))
    np.savez(tmp_path / "good.npz", inputs=np.zeros((1, 8, 8, 1), np.int8))
    good = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name, message in (
        ("none.npz", "cannot be read: No such file"),
        ("", "cannot be read: Is a directory"),
        ("one.npy", "holds one array, expected an .npz"),
        ("objects.npz", "no .npz file of plain arrays"),
        ("cut.npz", "no .npz file of plain arrays"),
        ("text.npz", "no .npz file of plain arrays"),
        ("empty.npz", "no .npz file of plain arrays"),
    ):
        _fails(["run", archive, "-i", tmp_path / name], f"--inputs: '.*' .*{re.escape(message)}", capsys)


def test_archives_that_are_none(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noise.tar").write_bytes(np.random.RandomState(0).bytes(3000))
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:700])
    for command in (["inspect"], ["run"]):
        for name in ("none.tar", "noise.tar", "cut.tar", ""):
            _fails([*command, tmp_path / name], re.escape(str(tmp_path / name)), capsys)


def test_options_that_contradict(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fails(["run", archive, "-i", "x.npz", "--fill-mode", "ones"], "exclude each other", capsys)
    _fails(["run", archive, "--board", "qemu-m4"], "only an emulated or attached board can be chosen", capsys)
    _fails(["run", archive, "--device", "qemu", "--board", "nonsense"], "unknown board 'nonsense'", capsys)
    _fails(["run", archive, "--project-option", "nonsense=1"], "nonsense", capsys)
    _fails(["run", archive, "--rpc-tracker", "here:9090"], "--rpc-tracker: models run on this machine", capsys)
    _fails(["compile", MODEL, "--pass-config", "no.such.option=1", "-o", tmp_path / "m"], "no.such.option", capsys)
    _fails(["compile", MODEL, "--module-name", "not a name", "-o", tmp_path / "m"], "not a name", capsys)
    streamed = ["compile", "--stream-input", MODEL, "-o", tmp_path / "m"]
    _fails([*streamed, "--fusion", "off"], "--stream-input with --fusion off", capsys)
    _fails([*streamed, "--caller-io"], "--stream-input and --caller-io exclude each other", capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("device", "missing", "message"),
    [
        ("native", ("gcc", "cc", "clang"), "compiler|gcc"),
        ("qemu", ("arm-none-eabi-gcc",), "arm-none-eabi-gcc"),
        pytest.param("qemu", ("qemu-system-arm",), "qemu-system-arm", marks=pytest.mark.qemu),
    ],
)
def test_a_missing_tool(
    device: str,
    missing: tuple[str, ...],
    message: str,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for name in ("gcc", "cc", "clang", "as", "ld", "arm-none-eabi-gcc", "arm-none-eabi-objcopy", "qemu-system-arm"):
            found = shutil.which(name, path=folder)
            if found and name not in missing and not (programs / name).exists():
                (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    outputs = tmp_path / "y.npz"
    err = _fails(["run", archive, "--device", device, "-o", outputs], message, capsys)
    assert "apt-get install" in err
    assert not outputs.exists()
