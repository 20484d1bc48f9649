"""The script that installs missing Debian packages, run against made-up programs: nothing is installed here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "system-packages"
TOOLS = ("qemu-system-arm", "cc", "arm-none-eabi-gcc", "python3")
APT = 'echo "apt-get $*" >> "$LOG"'


class Machine:
    """A PATH with a shell's own programs and those given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.log = folder / "log"
        self.log.write_text("")
        for program in ("sh", "env", "cat"):
            found = shutil.which(program)
            assert found
            (self.folder / program).symlink_to(found)
        self.add("id", "echo 0")

    def add(self, name: str, script: str = "cat >/dev/null; exit 0") -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.folder), "LOG": str(self.log)}
        return subprocess.run(
            ["/bin/sh", SCRIPT], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _with_all_tools(machine: Machine) -> None:
    for tool in TOOLS:
        machine.add(tool)


def test_nothing_happens_where_all_is_there(machine: Machine) -> None:
    _with_all_tools(machine)
    machine.add("apt-get", APT)
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.log.read_text() == ""


def test_root_installs_what_is_missing(machine: Machine) -> None:
    machine.add("apt-get", APT)
    done = machine.run()
    assert done.returncode == 0, done.stderr
    update, install = machine.log.read_text().splitlines()
    assert update == "apt-get update -qq"
    packages = install.split("--no-install-recommends ")[1].split()
    assert packages == [
        *("qemu-system-arm", "gcc", "libc6-dev", "gcc-arm-none-eabi", "libnewlib-arm-none-eabi"),
        *("python3", "python3-venv"),
    ]


def test_sudo_is_used_where_not_root(machine: Machine) -> None:
    _with_all_tools(machine)
    (machine.folder / "qemu-system-arm").unlink()
    machine.add("id", "echo 1000")
    machine.add("apt-get", APT)
    machine.add("sudo", 'echo "sudo $*" >> "$LOG"')
    assert machine.run().returncode == 0
    update, install = machine.log.read_text().splitlines()
    assert update == "sudo apt-get update -qq"
    assert install.startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y")
    assert install.endswith(" qemu-system-arm")


def test_a_compiler_without_a_c_library_gets_one(machine: Machine) -> None:
    _with_all_tools(machine)
    machine.add("arm-none-eabi-gcc", "cat >/dev/null; exit 1")
    machine.add("apt-get", APT)
    assert machine.run().returncode == 0
    assert machine.log.read_text().splitlines()[1].endswith(" libnewlib-arm-none-eabi")


def test_no_apt_says_what_to_install(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 1
    assert "error: missing: qemu-system-arm gcc libc6-dev gcc-arm-none-eabi" in done.stderr
    assert "There is no apt-get here. Install with this system's package manager: qemu-system-arm" in done.stderr


def test_neither_root_nor_sudo_says_what_to_run(machine: Machine) -> None:
    machine.add("apt-get", APT)
    machine.add("id", "echo 1000")
    done = machine.run()
    assert done.returncode == 1
    assert "run as root: apt-get install qemu-system-arm" in done.stderr
    assert machine.log.read_text() == ""


def test_a_failing_apt_fails(machine: Machine) -> None:
    machine.add("apt-get", "exit 100")
    assert machine.run().returncode != 0
