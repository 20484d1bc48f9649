"""A board that is a QEMU process: flashing starts it with the firmware, its port is a pty, reset goes through QMP.

As a program it is what a board file's ``[flashing]`` names: ``emulated_board.py flash FOLDER MACHINE ELF``,
``emulated_board.py reset FOLDER``. The folder holds ``port``, a link to the pty, as /dev/serial/by-id holds links.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TEXT = """
description = "an emulated board"
cpu = "{cpu}"
clock_hz = 25_000_000
machine = "{machine}"
memory = [
  {{ name = "flash", kind = "flash", address = {flash}, size_bytes = {flash_bytes}, relative_speed = 0.5 }},
  {{ name = "sram", kind = "sram", address = {ram}, size_bytes = {ram_bytes}, relative_speed = 1.0 }},
]
[serial]
driver = "{driver}"
address = {uart}
clock_hz = 25_000_000
port = "{folder}/port"
[flashing]
command = ["{python}", "{script}", "flash", "{folder}", "{qemu_machine}", "{{elf}}"]
reset_command = ["{python}", "{script}", "reset", "{folder}"]
"""
MPS2 = {
    "flash": 0,
    "flash_bytes": 1_048_576,
    "ram": 0x20000000,
    "ram_bytes": 524_288,
    "driver": "cmsdk",
    "uart": 0x40004000,
}


def board_file(folder: Path, cpu: str, machine: str, **changes: Any) -> Path:
    """Write the board file of a board whose process lives in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        **MPS2,
        "cpu": cpu,
        "machine": machine,
        "qemu_machine": machine,
        "folder": folder,
        "python": sys.executable,
        "script": __file__,
    }
    path = folder / "emulated.toml"
    path.write_text(TEXT.format(**{**facts, **changes}), encoding="utf-8")
    return path


def flash(folder: Path, machine: str, elf: Path) -> None:
    """Start QEMU with the firmware, in place of the one that runs."""
    stop(folder)
    log = folder / "qemu.log"
    with log.open("wb") as output:
        # Counted instructions are the emulated time: the same firmware takes the same ticks in every run.
        process = subprocess.Popen(
            ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-icount", "shift=5,sleep=off"]
            + ["-serial", "pty", "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off", "-kernel", str(elf)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + 10
    while not (found := re.search(r"(/dev/pts/\d+)", log.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"qemu did not start: {log.read_text()}")
        time.sleep(0.01)
    plug_in(folder, found[1])


def plug_in(folder: Path, pty: str) -> None:
    """Have the folder's port be ``pty``."""
    link = folder / "port.new"
    link.unlink(missing_ok=True)
    link.symlink_to(pty)
    link.replace(folder / "port")


def plug_back(folder: Path, machine: str, elf: Path) -> None:
    """``flash`` by a process of its own, as a board file's command does it."""
    subprocess.run([sys.executable, __file__, "flash", folder, machine, elf], check=True)


def reset(folder: Path) -> None:
    """Press the reset button."""
    _qmp(folder, "system_reset")


def stop(folder: Path) -> None:
    """Unplug the board."""
    (folder / "port").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        pid = int((folder / "pid").read_text())
        (folder / "pid").unlink()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists() and _state(pid) not in ("Z", ""):
            time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _qmp(folder: Path, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(folder / "qmp"))
        with connection.makefile("rw") as file:
            file.readline()
            for execute in ("qmp_capabilities", command):
                file.write(json.dumps({"execute": execute}) + "\n")
                file.flush()
                while "return" not in json.loads(file.readline()):
                    continue


if __name__ == "__main__":
    action, directory, *arguments = sys.argv[1:]
    if action == "flash":
        flash(Path(directory), arguments[0], Path(arguments[1]))
    else:
        reset(Path(directory))
