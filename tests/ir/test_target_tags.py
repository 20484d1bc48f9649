"""Target tags: there after a bare ``import tvm``, and each leads back to its board."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tvm

from tvm_tiny.errors import TargetError
from tvm_tiny.targets import board_names, load_board, register, resolve, target_config


@pytest.mark.parametrize("name", board_names())
def test_tag_of_each_board(name: str) -> None:
    target = tvm.target.Target(f"tinyml/{name}")
    assert str(target.kind) == "c"
    assert list(target.keys) == ["tinyml", "arm_cpu", "cpu"]
    assert target.attrs["mcpu"] == load_board(name).cpu.name
    assert resolve(target) == load_board(name)


def test_tinyml_alone_is_the_default_board() -> None:
    assert resolve(tvm.target.Target("tinyml")) == load_board("qemu-m7")


def test_registering_again_changes_nothing() -> None:
    before = str(tvm.target.Target("tinyml"))
    register()
    assert str(tvm.target.Target("tinyml")) == before


def test_a_target_made_from_a_config_leads_back() -> None:
    board = load_board("rp2040")
    assert resolve(tvm.target.Target(target_config(board))) == board


def test_a_foreign_target_is_refused() -> None:
    with pytest.raises(TargetError, match="does not name a board of tvm-tiny"):
        resolve(tvm.target.Target({"kind": "c"}))


IMPORTS = {
    "tvm alone": "import tvm",
    "tvm first": "import tvm, tvm_tiny.ops",
    "targets first": "import tvm_tiny.targets, tvm",
    "ops first": "import tvm_tiny.ops, tvm",
    "registry first": "import tvm_tiny.ops.registry, tvm",
    "passes first": "import tvm_tiny.passes, tvm",
}


@pytest.mark.parametrize("imports", IMPORTS.values(), ids=IMPORTS.keys())
def test_a_bare_import_of_tvm_registers_us(imports: str) -> None:
    # A failing entry point is only a warning to TVM, hence -W error.
    code = (
        f"{imports}\n"
        "assert tvm.target.Target('tinyml/nrf52840dk').attrs['mcpu'] == 'cortex-m4'\n"
        "assert 'relax.tinyml.qconv2d' in tvm.ir.Op.list_op_names()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
