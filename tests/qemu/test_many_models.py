"""Several models in one firmware, with one arena for all that do not run at once."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from ctypes import CDLL, addressof, byref, create_string_buffer
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.firmware import run_on_board
from tests.native import FLAGS, build_library
from tvm_tiny import demo
from tvm_tiny.compiler import CompiledModel, compile_model

ROUNDS = 500
"""Of two inferences."""


@pytest.fixture(scope="module")
def digits() -> CompiledModel:
    return compile_model(demo.TFLITE, "tinyml/qemu-m4", module_name="digits")


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    with np.load(demo.TEST_SET) as arrays:
        return dict(arrays)


@pytest.mark.qemu
def test_a_thousand_inferences_in_one_arena(
    digits: CompiledModel, images: dict[str, np.ndarray], shared_file: Callable[[str], Path], tmp_path: Path
) -> None:
    """One model after the other, every store watched: what one leaves in the arena is nothing to the other."""
    path = shared_file("models/ad01_int8.tflite")
    anomaly = compile_model(path, "tinyml/qemu-m4", module_name="anomaly", caller_io=True)
    sounds = np.load(shared_file("vectors/ad01_int8.npz"))
    names = [m.report()["inputs"][0]["name"] for m in (digits, anomaly)]
    at = [np.arange(ROUNDS) % len(vectors["inputs"]) for vectors in (images, sounds)]
    sets = [
        [{name: vectors["inputs"][i]} for i in which]
        for name, vectors, which in zip(names, (images, sounds), at, strict=True)
    ]
    results = run_on_board([digits, anomaly], sets, tmp_path, share_arena=True)
    for got, vectors, which in zip(results, (images, sounds), at, strict=True):
        answers = np.stack([output for answer in got for output in answer.values()])
        np.testing.assert_array_equal(answers, vectors["outputs"][which], strict=True)


def test_no_state_but_the_workspace(digits: CompiledModel, tmp_path: Path, arm_gcc: list[str]) -> None:
    """Without its static workspace a model has no writable data, so nothing that two callers could share."""
    for path, content in digits.files.items():
        if path.endswith((".c", ".h")):
            (tmp_path / Path(path).name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for part in ("lib0", "lib1"):
        command = [*arm_gcc, "-mcpu=cortex-m4", "-mthumb", "-O2", "-DTVMGEN_DIGITS_NO_STATIC_WORKSPACE"]
        target = str(tmp_path / "model.o")
        subprocess.run([*command, "-c", str(tmp_path / f"digits_{part}.c"), "-o", target], check=True, timeout=60)
        sizes = subprocess.run(["size", target], capture_output=True, text=True, check=True, timeout=60).stdout
        text, data, bss, *_ = sizes.splitlines()[1].split()
        assert (int(text) > 0, data, bss) == (True, "0", "0"), part


def test_two_threads_at_once(digits: CompiledModel, images: dict[str, np.ndarray], tmp_path: Path) -> None:
    build_library([digits], tmp_path, flags=(*FLAGS, "-DTVMGEN_DIGITS_NO_STATIC_WORKSPACE"))
    library = CDLL(str(tmp_path / "models.so"))
    info = digits.report()
    (source,), (target,) = info["inputs"], info["outputs"]
    failures: list[str] = []

    def work(first: int) -> None:
        memory = create_string_buffer(info["arena_bytes"] + 16)
        start = -addressof(memory) % 16
        for _ in range(20):
            for i in range(first, first + 10):
                given = images["inputs"][i].tobytes()
                memory[start + source["arena_offset"] : start + source["arena_offset"] + len(given)] = given
                library.tvmgen_digits_run_in(byref(memory, start))
                begin = start + target["arena_offset"]
                if memory.raw[begin : begin + target["size_bytes"]] != images["outputs"][i].tobytes():
                    failures.append(f"image {i}")

    threads = [threading.Thread(target=work, args=(10 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
