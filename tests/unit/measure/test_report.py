"""The report's dictionary has the promised keys, its numbers are means, its text prints."""

from __future__ import annotations

import io
import json

from rich.console import Console

from tests.fake_archive import DEFAULT
from tvm_tiny.measure.accounting import Flash, Ram, account, estimate
from tvm_tiny.measure.counter import INSTRUCTION_CLASSES, LayerCounts, RunCounts
from tvm_tiny.measure.cycles import cycle_model
from tvm_tiny.measure.elf import Firmware, Section, Symbol
from tvm_tiny.measure.report import make_report
from tvm_tiny.targets import FlashTiming


def counts(*instructions: int) -> LayerCounts:
    (n,) = instructions
    return LayerCounts(n, 0, 0, (n, *[0] * (len(INSTRUCTION_CLASSES) - 1)))


RUNS = [
    RunCounts((counts(10), counts(100)), counts(1), None, ()),
    RunCounts((counts(10), counts(101)), counts(1), None, ()),
]


def test_keys_and_means() -> None:
    report = make_report(DEFAULT, "qemu-m4", Ram(64, 52, 8, 128), Flash(300, 64), RUNS)
    assert report.to_dict() == {
        "model": "fake",
        "target": "tinyml/qemu-m4",
        "board": "qemu-m4",
        "macs": 80,
        "executed_macs": 80,
        "instructions": 111.5,
        "instructions_min": 111,
        "instructions_max": 112,
        "instruction_mix": {"alu": 111.5},
        "modelled_cycles": None,
        "cycle_model": None,
        "cycles": None,
        "cycle_counter": None,
        "ram": {
            "arena_bytes": 64,
            "io_bytes": 52,
            "data_bss_bytes": 8,
            "stack_bytes": 128,
            "total_bytes": 252,
            "weights_bytes": 0,
            "memories": {},
        },
        "flash": {"code_bytes": 300, "weights_bytes": 64, "external_bytes": 0, "total_bytes": 364},
        "layers": [
            {
                "name": "y",
                "op": "scale",
                "output_shape": [1, 16],
                "macs": 16,
                "instructions": 10,
                "share": 0.089686,
                "instructions_per_mac": 0.625,
                "floor_instructions": 8 + 32 + 8,
                "modelled_cycles": None,
            },
            {
                "name": "totals",
                "op": "totals",
                "output_shape": [4],
                "macs": 64,
                "instructions": 100.5,
                "share": 0.901345,
                "instructions_per_mac": 1.5703,
                "floor_instructions": 32 + 8 + 5,
                "modelled_cycles": None,
            },
        ],
    }
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


def test_nothing_is_made_up_where_nothing_was_counted() -> None:
    content = make_report(DEFAULT, "native", *estimate(DEFAULT), None).to_dict()
    assert content["instructions"] is None
    assert content["instructions_min"] is None
    assert content["ram"] == {
        "arena_bytes": 64,
        "io_bytes": 52,
        "data_bss_bytes": None,
        "stack_bytes": None,
        "weights_bytes": 0,
        "total_bytes": None,
        "memories": {},
    }
    assert content["flash"] == {"code_bytes": None, "weights_bytes": 64, "external_bytes": 0, "total_bytes": None}
    assert content["layers"][0]["instructions"] is None
    told = make_report(DEFAULT, "zephyr", *estimate(DEFAULT, 196), None).to_dict()
    assert told["ram"] == {**content["ram"], "stack_bytes": 196}


def test_text() -> None:
    report = make_report(DEFAULT, "qemu-m4", Ram(64, 52, 8, 128), Flash(300, 64), RUNS)
    out = io.StringIO()
    report.print(Console(file=out, width=100), layers=True)
    text = out.getvalue()
    for words in ("fake on qemu-m4", "111 to 112", "arena 64, inputs and outputs 52", "code 300, weights 64", "1x16"):
        assert words in text


def test_harness_is_not_counted() -> None:
    sizes = {
        ".harness": 5000, ".harness_bss": 5000, ".model_stack": 4096, ".model_io": 48, ".model_weights": 64,
        ".model_code": 200, ".model_constants": 12, ".ARM.exidx": 8, ".model_data": 4, ".model_bss": 70,
    }  # fmt: skip
    symbols = {"tvmgen_default_workspace": Symbol("tvmgen_default_workspace", 0, 64, False)}
    firmware = Firmware({name: Section(0, size) for name, size in sizes.items()}, symbols, ())
    ram, flash = account(firmware, "default", DEFAULT, 100)
    assert (ram.arena_bytes, ram.io_bytes, ram.data_bss_bytes, ram.stack_bytes) == (64, 52, 10, 100)
    assert (flash.code_bytes, flash.weights_bytes) == (200 + 12 + 8 + 4, 64)


def test_cycles_are_modelled_and_say_so() -> None:
    model = cycle_model("cortex-m4", FlashTiming(5, 16))
    content = make_report(DEFAULT, "own", Ram(64, 52, 8, 128), Flash(300, 64), RUNS, model)
    assert content.modelled_cycles == 111.5  # ALU instructions
    assert content.layers[1].modelled_cycles == 100.5
    assert content.cycle_model == "cortex-m4, flash with 5 wait states"
    out = io.StringIO()
    content.print(Console(file=out, width=140), layers=True)
    assert "a model, not measured" in out.getvalue()
    assert make_report(DEFAULT, "native", *estimate(DEFAULT), None, model).modelled_cycles is None
