"""microTVM's ``--workspace-pools`` flags, ``--allow`` and ``--weights`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvm_tiny import demo
from tvm_tiny.cli.main import build_parser, main
from tvm_tiny.cli.workspace_pools import parse_pools
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import OptionError
from tvm_tiny.memories import WorkspacePool


def parse(*flags: str) -> tuple[WorkspacePool, ...]:
    arguments = [f"--workspace-pools{flag}" for flag in flags]
    return parse_pools(build_parser().parse_args(["compile", "m.tflite", *arguments]), 200_000_000)


def test_names_and_sizes() -> None:
    assert parse() == ()
    assert parse("=sram,dtcm") == (WorkspacePool("sram"), WorkspacePool("dtcm"))
    given = parse("=sram,dtcm", "-size-hint-bytes=sram:400", "-size-hint-bytes=dtcm:-1", "-size-hint-bytes=sram:500")
    assert given == (WorkspacePool("sram", 500), WorkspacePool("dtcm"))
    assert parse("=a", "-targets=a:llvm,c", "-target-burst-bytes=a:c:8") == (WorkspacePool("a"),)


@pytest.mark.parametrize(
    ("flags", "speed"),
    [
        (("-clock-frequency-hz=a:100000000",), 0.5),
        (("-read-bandwidth-bytes-per-cycle=a:1", "-write-bandwidth-bytes-per-cycle=a:1"), 0.25),
        (("-read-latency-cycles=a:1", "-write-latency-cycles=a:3"), 1 / 3),
        (("-read-bandwidth-bytes-per-cycle=a:16",), 1.0),
        (("-clock-frequency-hz=a:400000000",), 1.0),
    ],
)
def test_speed_in_words_per_cycle_of_the_core(flags: tuple[str, ...], speed: float) -> None:
    (pool,) = parse("=a", *flags)
    assert pool.relative_speed == pytest.approx(speed)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-size-hint-bytes=a:1",), "--workspace-pools-size-hint-bytes a:1: there is no pool 'a'"),
        (("=a", "-size-hint-bytes=a"), "--workspace-pools-size-hint-bytes a: expected POOL:BYTES"),
        (("=a", "-size-hint-bytes=a:x"), "a:x: expected a number of bytes, or -1 for all"),
        (("=a", "-size-hint-bytes=a:0"), "a:0: expected a number of bytes, or -1 for all"),
        (("=a", "-targets=a:llvm"), "--workspace-pools-targets a:llvm: this compiler's targets are c and tinyml"),
        (("=a", "-clock-frequency-hz=a:0"), "a:0: expected a number above 0"),
        (("=a", "-read-latency-cycles=a:-1"), "a:-1: expected a number of cycles"),
    ],
)
def test_wrong_values(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message) as raised:
        parse(*flags)
    assert raised.value.hints


def compiled(folder: Path, *flags: str) -> dict[str, Any]:
    archive = folder / "m.tar"
    assert main(["compile", str(demo.TFLITE), "-o", str(archive), *flags]) == 0
    return archive_info(archive)


def archive_info(archive: Path) -> dict[str, Any]:
    from tvm_tiny.aot import module_info, read_mlf

    return module_info(read_mlf(archive))[1]


def test_compile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pools = ["--workspace-pools=dtcm,axi_sram", "--workspace-pools-size-hint-bytes=dtcm:700"]
    info = compiled(tmp_path, "--target", "tinyml/stm32h743", *pools, "--workspace-pools-targets=dtcm:c")
    assert [(m["name"], m["section"]) for m in info["memories"]] == [("dtcm", ".bss.tvm_tiny.dtcm"), ("axi_sram", None)]
    assert info["memories"][0]["arena_bytes"] <= 700
    assert "dtcm" in capsys.readouterr().out
    info = compiled(tmp_path, "--target", "tinyml/stm32f746g_disco", "--allow", "external", "--weights", "ram")
    assert [w["name"] for w in info["weights"]] == ["ram"]
    assert main(["compile", str(demo.TFLITE), "--target", "tinyml/stm32h743", "--workspace-pools", "itcm"]) == 1
    err = capsys.readouterr().err
    assert "error: --workspace-pools itcm: board 'stm32h743' has no such memory, and no size is given" in err
    assert "dtcm, axi_sram" in err


@pytest.mark.parametrize(
    ("config", "owned"),
    [
        ({"tir.usmp.enable": True, "tir.usmp.algorithm": "hill_climb", "tir.disable_vectorize": 1}, False),
        ({"tir.usmp.use_workspace_io": 1}, False),
        ({"tir.usmp.use_workspace_io": False}, True),
    ],
)
def test_usmp_options_that_can_be_honoured(config: dict[str, Any], owned: bool) -> None:
    model = compile_model(demo.TFLITE, pass_config=config)
    assert (model.report()["inputs"][0]["arena_offset"] is None) == owned


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tir.usmp.enable": 0}, "tir.usmp.enable=0: working memory is always planned"),
        ({"tir.usmp.algorithm": "best"}, "tir.usmp.algorithm=best: expected one of greedy_by_size"),
        ({"tir.usmp.custom_algorithm": "mine"}, "custom_algorithm=mine: the planner also decides"),
        ({"tir.usmp.use_workspace_io": "maybe"}, "use_workspace_io=maybe: expected true or false"),
        ({"tir.usmp.other": 1}, "tir.usmp.other=1: there is no such option; known: tir.usmp.enable"),
    ],
)
def test_usmp_options_that_cannot(config: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"--pass-config .*{message}") as raised:
        compile_model(demo.TFLITE, pass_config=config)
    assert raised.value.hints == (f"leave {next(iter(config))} out",)


def test_usmp_options_that_contradict() -> None:
    with pytest.raises(
        OptionError, match="--caller-io and --pass-config tir.usmp.use_workspace_io=1 exclude each other"
    ):
        compile_model(demo.TFLITE, caller_io=True, pass_config={"tir.usmp.use_workspace_io": 1})


def test_targets_lists_memories(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "--json"]) == 0
    boards = {b["target"]: b for b in json.loads(capsys.readouterr().out)}
    assert [m["name"] for m in boards["tinyml/stm32f746g_disco"]["memories"]] == [
        *("flash", "dtcm", "sram1", "sram2", "sdram", "qspi")
    ]
