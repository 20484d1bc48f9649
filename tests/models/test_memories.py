"""Working memory in several memories, weights in RAM: the same bits as in one memory."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.models.test_fusion import BOARD, assert_same, networks, residual_network
from tests.native import FLAGS, build_library
from tvm_tiny import demo
from tvm_tiny.compiler import CompiledModel, compile_model
from tvm_tiny.errors import MemoryBudgetError, OptionError
from tvm_tiny.memories import WorkspacePool


def pools(*sizes: int) -> list[WorkspacePool]:
    """Small pools that the board does not have, and all of its RAM."""
    return [*(WorkspacePool(f"fast{i}", size) for i, size in enumerate(sizes)), WorkspacePool("sram")]


def arenas(model: CompiledModel) -> dict[str, int]:
    return {m["name"]: m["arena_bytes"] for m in model.report()["memories"]}


def source(model: CompiledModel, name: str) -> str:
    return next(c.decode() for p, c in model.files.items() if p.endswith(name))


# More of them, under more options: tests/models/test_fuzz.py, and `make fuzz`.
@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks_in_tiny_memories(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    network = data.draw(networks())
    plain = compile_model(network, BOARD, fusion="off", module_name="plain")
    models = [plain]
    for fusion in ("off", "auto"):
        sizes = [max(16, plain.plan.arena_bytes * data.draw(st.integers(5, 70)) // 100) for _ in range(2)]
        models.append(
            compile_model(
                network,
                BOARD,
                fusion=fusion,
                module_name=f"split_{fusion}",
                caller_io=data.draw(st.booleans()),
                weights=data.draw(st.sampled_from(("flash", "ram"))),
                workspace_pools=pools(*sizes),
            )
        )
    assume(len(models[1].plan.arenas) > 1)
    assume(assert_same(models, tmp_path_factory.mktemp("split")))


def test_spilling_and_who_owns_what(tmp_path: Path) -> None:
    models = [
        compile_model(residual_network(), BOARD, module_name="plain"),
        compile_model(residual_network(), BOARD, module_name="three", workspace_pools=pools(1500, 1000)),
        compile_model(residual_network(), BOARD, module_name="owned", workspace_pools=pools(900), caller_io=True),
    ]
    assert [len(arenas(m)) for m in models] == [1, 3, 2]
    assert assert_same(models, tmp_path)
    for model in models:
        assert all(m["arena_bytes"] <= m["available_bytes"] for m in model.report()["memories"])
        assert sum(arenas(model).values()) == model.plan.arena_bytes == model.report()["plan"]["arena_bytes"]
    header = source(models[1], "tvmgen_three.h")
    assert "tvmgen_three_run_in(void* workspace, void* workspace_fast0, void* workspace_fast1)" in header
    assert f"#define TVMGEN_THREE_FAST0_WORKSPACE_POOL_SIZE {arenas(models[1])['fast0']}\n" in header
    assert '#define TVMGEN_THREE_SECTION_FAST1 ".bss.tvm_tiny.fast1"' in header


def test_rows_pushed_into_several_memories(tmp_path: Path) -> None:
    streamed = compile_model(
        residual_network(), BOARD, module_name="rows", stream_input=True, workspace_pools=pools(600)
    )
    assert len(arenas(streamed)) == 2
    assert assert_same([compile_model(residual_network(), BOARD, module_name="plain"), streamed], tmp_path)


def test_the_callers_workspaces(tmp_path: Path) -> None:
    model = compile_model(demo.TFLITE, BOARD, workspace_pools=pools(700))
    build_library([model], tmp_path, flags=(*FLAGS, "-DTVMGEN_DEFAULT_NO_STATIC_WORKSPACE"))


def test_weights_that_are_read_most_are_copied_to_ram(tmp_path: Path) -> None:
    board = tmp_path / "small.toml"
    board.write_text("""
description = "little RAM"
cpu = "cortex-m4"
clock_hz = 1_000_000
machine = "mps2-an386"
memory = [
    { name = "flash", kind = "flash", address = 0, size_bytes = 65536, relative_speed = 0.5 },
    { name = "sram", kind = "sram", address = 0x2000_0000, size_bytes = 7168, relative_speed = 1.0 },
]
""")
    flash, some = (compile_model(demo.TFLITE, str(board), weights=w, module_name=w) for w in ("flash", "ram"))
    everything = compile_model(demo.TFLITE, BOARD, weights="ram", module_name="all")
    homes = {m.module_name: {w["name"]: w["bytes"] for w in m.report()["weights"]} for m in (flash, some, everything)}
    total = flash.report()["constants_bytes"]
    assert homes["flash"] == {"flash": total}
    assert homes["all"] == {"ram": total}
    assert homes["ram"].keys() == {"flash", "ram"}
    assert sum(homes["ram"].values()) == total
    copied = re.findall(r'^TINYML_ALIGNED\(8\) TINYML_SECTION\("(\S+)"\) int', source(some, "_lib1.c"), re.MULTILINE)
    in_flash = re.findall(r"^TINYML_ALIGNED\(8\) const int", source(some, "_lib1.c"), re.MULTILINE)
    assert (set(copied), bool(in_flash)) == ({".data.tvm_tiny.weights"}, True)
    assert "const int8_t" not in source(everything, "_lib1.c")
    images = np.load(demo.TEST_SET)["inputs"][:5]
    library = build_library([flash, some, everything], tmp_path)
    for image in images:
        expected = library.run("flash", [image])[0]
        np.testing.assert_array_equal(library.run("ram", [image])[0], expected)
        np.testing.assert_array_equal(library.run("all", [image])[0], expected)


def test_boards_with_several_memories() -> None:
    for board, memory in (("stm32f746g_disco", "dtcm"), ("stm32h743", "dtcm"), ("b_u585i_iot02a", "sram1_sram2_sram3")):
        assert list(arenas(compile_model(demo.TFLITE, board))) == [memory], board


WRONG = {
    "unknown pool": ({"workspace_pools": [WorkspacePool("itcm")]}, r"has no such memory, and no size is given"),
    "twice": ({"workspace_pools": [WorkspacePool("sram"), WorkspacePool("sram")]}, r"expected each name once"),
    "larger than the memory": ({"workspace_pools": [WorkspacePool("sram", 1 << 30)]}, r"has 4,194,304 bytes there"),
    "no size": ({"workspace_pools": [WorkspacePool("a", 0)]}, r"expected more than 0"),
    "name": ({"workspace_pools": [WorkspacePool("a b", 100)]}, r"'a b' is no C identifier"),
    "speed": ({"workspace_pools": [WorkspacePool("a", 100, 2.0)]}, r"relative speed is 2.0, expected more than 0"),
    "allow": ({"allow": ["flash"]}, r"--allow 'flash' is unknown"),
    "nothing outside": ({"allow": ["external"]}, r"board 'qemu-m7' has no memory outside the chip"),
    "weights": ({"weights": "rom"}, r"--weights 'rom' is unknown"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be(case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(OptionError, match=message) as raised:
        compile_model(demo.TFLITE, BOARD, **options)
    assert raised.value.hints


def test_overlapping_pools() -> None:
    overlapping = [WorkspacePool("sram1"), WorkspacePool("sram1_sram2")]
    with pytest.raises(OptionError, match="sram1,sram1_sram2: they share addresses"):
        compile_model(demo.TFLITE, "stm32f746g_disco", workspace_pools=overlapping)


def test_pools_that_are_too_small() -> None:
    small = [WorkspacePool("a", 300), WorkspacePool("sram", 200)]
    with pytest.raises(MemoryBudgetError, match=r"room in a: 300 bytes\n  room in sram: 200 bytes") as raised:
        compile_model(demo.TFLITE, BOARD, workspace_pools=small)
    assert "--workspace-pools" in raised.value.hints[0]
