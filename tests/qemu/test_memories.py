"""Firmware that uses every kind of memory: right outputs, each memory's size enforced, each one counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.browser import Browser
from tvm_tiny import demo
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import MemoryBudgetError
from tvm_tiny.measure import run_model
from tvm_tiny.measure.elf import read_firmware
from tvm_tiny.report.content import report_content
from tvm_tiny.report.render import render_html

pytestmark = pytest.mark.qemu

BOARD = """
description = "a little of everything"
cpu = "cortex-m4"
clock_hz = 100_000_000
machine = "mps2-an386"
memory = [
    {{ name = "flash", kind = "flash", address = 0, size_bytes = 133_120, relative_speed = 0.8 }},
    {{ name = "dtcm", kind = "dtcm", address = 0x1000_0000, size_bytes = {dtcm}, relative_speed = 1.0 }},
    {{ name = "sram", kind = "sram", address = 0x2000_0000, size_bytes = {sram}, relative_speed = 0.8 }},
    {{ name = "sdram", kind = "external", address = 0xc000_0000, size_bytes = 65_536, relative_speed = 0.2 }},
    {{ name = "qspi", kind = "external_flash", address = 0x9000_0000, size_bytes = 65_536, relative_speed = 0.1 }},
]
"""
STACK_AND_DATA_BYTES = 4608


@pytest.fixture(autouse=True)
def _tools(tool: Callable[[str], str]) -> None:
    tool("arm-none-eabi-gcc")
    tool("qemu-system-arm")


def board(folder: Path, name: str, dtcm: int, sram: int) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(BOARD.format(dtcm=dtcm, sram=sram))
    return path


def test_every_memory_of_a_board(tmp_path: Path) -> None:
    target = board(tmp_path, "everything", 400, STACK_AND_DATA_BYTES + 320)
    with pytest.raises(MemoryBudgetError, match="room in sram: 320 bytes") as raised:
        compile_model(demo.TFLITE, str(board(tmp_path, "little", 400, 320)))
    hint = "memory outside the chip too: --allow external; board 'little' has 65,536 bytes there"
    assert raised.value.hints[0] == hint
    model = compile_model(demo.TFLITE, str(target), allow=["external"])
    arenas = {m["name"]: m["arena_bytes"] for m in model.report()["memories"]}
    assert list(arenas) == ["dtcm", "sram", "sdram"]
    archive = model.export(tmp_path / "model.tar")
    tests = dict(np.load(demo.TEST_SET))
    project = tmp_path / "project"
    result = run_model(
        archive, device="qemu", inputs={"inputs": tests["inputs"][:3]}, project_dir=project, check_stores=True
    )
    (outputs,) = result.outputs.values()
    np.testing.assert_array_equal(outputs, tests["outputs"][:3])

    ram, flash = result.report.ram, result.report.flash
    assert sum(ram.memories.values()) == ram.total_bytes
    assert ram.memories["dtcm"] == arenas["dtcm"]
    assert ram.memories["sdram"] == arenas["sdram"]
    assert ram.memories["sram"] == arenas["sram"] + (ram.stack_bytes or 0) + (ram.data_bss_bytes or 0)
    assert 0 < flash.external_bytes < flash.weights_bytes
    sections = read_firmware(project / "build/firmware.elf").sections
    assert sections[".model_memory_dtcm"].size_bytes >= arenas["dtcm"]
    assert sections[".model_weights_qspi"].address > sections[".model_memory_sdram"].address

    # The same model on a board with less of one memory: the linker refuses it.
    small = board(tmp_path, "small", 256, STACK_AND_DATA_BYTES + 320)
    with pytest.raises(MemoryBudgetError, match=r"needs \d+ bytes of dtcm, board 'small' has 256"):
        run_model(archive, device="qemu", board=str(small), inputs={"inputs": tests["inputs"][:1]})


def test_weights_in_ram_and_a_stack_that_takes_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "tight.toml"
    path.write_text(
        "\n".join(line for line in board(tmp_path, "x", 8, 10752).read_text().splitlines() if "dtcm" not in line)
    )
    model = compile_model(demo.TFLITE, str(path), weights="ram")
    archive = model.export(tmp_path / "model.tar")
    tests = dict(np.load(demo.TEST_SET))
    project = tmp_path / "project"
    result = run_model(archive, device="qemu", inputs={"inputs": tests["inputs"][:2]}, project_dir=project)
    (outputs,) = result.outputs.values()
    np.testing.assert_array_equal(outputs, tests["outputs"][:2])
    assert result.report.ram.weights_bytes >= 3900
    assert result.report.flash.weights_bytes >= result.report.ram.weights_bytes
    # Compiled for a roomy stack, run where there is less.
    less = tmp_path / "less.toml"
    less.write_text(path.read_text().replace("10752", "7600"))
    folder = tmp_path / "less"
    run_model(archive, device="qemu", board=str(less), inputs={"inputs": tests["inputs"][:1]}, project_dir=folder)
    assert 1024 <= read_firmware(folder / "build/firmware.elf").sections[".model_stack"].size_bytes < 4096


def test_a_network_of_wide_images_in_32_kb(shared_file: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "ram32k.toml"
    text = board(tmp_path, "x", 8, 32 << 10).read_text().replace("133_120", "524_288")
    path.write_text("\n".join(line for line in text.splitlines() if "dtcm" not in line))
    vectors = np.load(shared_file("vectors/vww96_int8.npz"))
    archive = compile_model(shared_file("models/vww96_int8.tflite"), str(path)).export(tmp_path / "model.tar")
    result = run_model(archive, device="qemu", inputs={"inputs": vectors["inputs"][:1]})
    (outputs,) = result.outputs.values()
    np.testing.assert_array_equal(outputs, vectors["outputs"][:1])
    assert (result.report.ram.total_bytes or 0) <= 32 << 10


@pytest.mark.slow
def test_mobilenet_in_the_ram_of_the_disco_board(
    shared_file: Callable[[str], Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    vectors = np.load(shared_file("vectors/mobilenet_v2_224_int8.npz"))
    model = compile_model(shared_file("models/mobilenet_v2_224_int8.tflite"), "stm32f746g_disco", allow=["external"])
    assert {m["name"] for m in model.report()["memories"]} <= {"dtcm", "sram1_sram2", "dtcm_sram1_sram2"}
    result = run_model(model.export(tmp_path / "model.tar"), device="qemu", inputs={"inputs": vectors["inputs"][:1]})
    (outputs,) = result.outputs.values()
    np.testing.assert_array_equal(outputs, vectors["outputs"][:1])
    assert (result.report.ram.total_bytes or 0) <= 320 << 10

    # Its report, while the model is at hand: small enough to mail, and a browser shows it at once.
    page = tmp_path / "report.html"
    info = model.report()
    page.write_text(render_html(report_content("default", info, result), info), encoding="utf-8")
    assert page.stat().st_size < 2_000_000
    with Browser(request.getfixturevalue("chromium"), tmp_path / "profile") as browser:
        browser.show(390, 844)
        opened = [browser.open(page) for _ in range(2)]
        assert min(o.seconds for o in opened) < 2
        assert opened[0].messages == ()
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
