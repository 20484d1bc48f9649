"""``tvmc doctor``: exit code and remedies."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from tvm_tiny.cli import doctor
from tvm_tiny.cli.main import main


@pytest.fixture(autouse=True)
def plugin_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Starts an interpreter and imports TVM; tested by itself below.
    monkeypatch.setattr(doctor, "_plugin", lambda: doctor.Finding("TVM plug-in", "required", "yes", ""))


def _program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "Missing: host C compiler, arm-none-eabi-gcc, C library for Cortex-M, qemu-system-arm." in out
    for package in ("gcc", "gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"):
        assert f"  - sudo apt-get install {package}" in out


def test_everything_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gcc", "arm-none-eabi-gcc", "qemu-system-arm"):
        _program(tmp_path, name, f"echo '{name} (Debian) 1.2.3'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "Everything that is needed is there." in out
    assert "picolibc, newlib" in out


def test_a_compiler_without_a_c_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gcc", "qemu-system-arm"):
        _program(tmp_path, name, "echo 1.2.3")
    _program(tmp_path, "arm-none-eabi-gcc", 'case "$1" in --version) echo 12.2.1;; *) exit 1;; esac')
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 1
    assert "Missing: C library for Cortex-M." in capsys.readouterr().out


def test_a_program_is_reported_with_version_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, "qemu-system-arm", "echo 'QEMU emulator version 7.2.22 (Debian 1:7.2)'")
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = (f for f in doctor._programs() if f.name == "qemu-system-arm")
    assert finding.found == f"7.2.22 ({tmp_path}/qemu-system-arm)"


def test_a_program_that_does_not_start_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, "qemu-system-arm", "exit 127")
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = (f for f in doctor._programs() if f.name == "qemu-system-arm")
    assert finding.found is None


def test_a_package_of_the_wrong_version_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1.15" if name == "apache-tvm-ffi" else real(name))
    (finding,) = (f for f in doctor._packages() if f.name == "apache-tvm-ffi")
    assert (finding.found, finding.need) == (None, "required")
    assert "apache-tvm-ffi<0.1.15,>=0.1.14.post0" in finding.remedy
    assert "(installed: 0.1.15)" in finding.remedy


def test_test_packages_are_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    needs = {f.name: f.need for f in doctor._packages()}
    assert needs["numpy"] == "required"
    assert needs["tflite-micro (tests)"] == "optional"
