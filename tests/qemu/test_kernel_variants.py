"""Every kernel that a tuner may choose for random layers computes the same bytes as the reference."""

from __future__ import annotations

import pytest
from tvm import relax

from tests.kernel_variants import variants
from tests.random_layers import RandomLayers
from tvm_tiny import frontend, pipeline
from tvm_tiny.ops import is_tinyml_call, op_name
from tvm_tiny.schedules import KERNEL
from tvm_tiny.targets import resolve
from tvm_tiny.tune.devices import QemuDevice
from tvm_tiny.tune.image import Candidate


@pytest.mark.qemu
def test_variants_of_random_layers() -> None:
    target = resolve("tinyml/qemu-m7")
    model = frontend.load_model(RandomLayers(32, ("conv", "depthwise3x3"), 6).model)
    module, _ = pipeline.lower(model, target, pipeline.Options())
    calls = [b.value for block in module["main"].body.blocks for b in block.bindings]
    candidates = [
        Candidate(call, decisions)
        for call in calls
        if isinstance(call, relax.Call) and is_tinyml_call(call) and op_name(call) in ("qconv2d", "qdepthwise_conv2d")
        for decisions in variants(call, target.cpu.name)
    ]
    assert {"dsp", "dsp_3x3", "dsp_narrow", "general"} <= {c.decisions[KERNEL] for c in candidates}
    for candidate, result in zip(candidates, QemuDevice(target).measure(candidates), strict=True):
        assert result.status == "ok", f"{candidate.call.op} {candidate.decisions}: {result}"
