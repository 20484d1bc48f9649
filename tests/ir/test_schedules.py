"""What kernels look like from outside: shared functions, parameters in the agreed order, honest memory needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tvm_ffi
from tvm import tirx

from tests.kernel_case import KernelCase
from tests.kernel_cases import all_cases
from tests.tflite_writer import TfliteWriter
from tvm_tiny.compiler import compile_model
from tvm_tiny.errors import UnsupportedOperatorError
from tvm_tiny.ops import OPS
from tvm_tiny.schedules import RULES

CASES = {case.name: case for case in all_cases()}
CONV = CASES["qconv2d-3x3-same-tflm"]


def _with_arrays(case: KernelCase, **changes: np.ndarray) -> KernelCase:
    names = ("data", "weight", "bias", "multiplier", "shift")
    return replace(case, arrays=tuple(changes.get(n, a) for n, a in zip(names, case.arrays, strict=True)))


def test_every_operator_has_a_rule() -> None:
    assert set(RULES) == set(OPS)


def test_layers_of_one_shape_share_a_function() -> None:
    _, weight, bias, multiplier, shift = CONV.arrays
    other = _with_arrays(CONV, weight=weight[::-1].copy(), bias=-bias, multiplier=multiplier - 5, shift=shift - 1)
    one, two = CONV.kernel_call("cortex-m3").kernel, other.kernel_call("cortex-m3").kernel
    assert tvm_ffi.structural_equal(one.func, two.func)
    assert any((a != b).any() for a, b in zip(one.constants, two.constants, strict=True))


def test_unpadded_layers_share_a_function_whatever_their_input_zero_point() -> None:
    case = CASES["qconv2d-pointwise-tflm"]
    other = replace(case, params=replace(case.params, input_zero_point=case.params.input_zero_point // 2 + 1))
    assert tvm_ffi.structural_equal(
        case.kernel_call("cortex-m3").kernel.func, other.kernel_call("cortex-m3").kernel.func
    )


@pytest.mark.parametrize(
    ("change", "helper"),
    [
        ({}, "tinyml_requantize_tflm_clamped"),
        ({"shift": np.zeros(8, np.int32)}, "tinyml_requantize_tflm"),
        ({"bias": np.full(8, 2**30, np.int32)}, "tinyml_requantize_tflm"),
        ({"multiplier": np.zeros(8, np.int32), "shift": np.zeros(8, np.int32)}, "tinyml_requantize_tflm_clamped"),
    ],
    ids=["usual", "shift-0", "huge-bias", "zero-multiplier"],
)
def test_short_requantization_only_where_exact(change: dict[str, np.ndarray], helper: str) -> None:
    script = _with_arrays(CONV, **change).kernel_call("cortex-m3").kernel.func.script()
    assert f'"{helper}"' in script
    assert script.count("tinyml_requantize") == script.count(f'"{helper}"')


@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4"])
@pytest.mark.parametrize("name", list(CASES))
def test_parameters_follow_the_convention(name: str, cpu: str) -> None:
    call = CASES[name].kernel_call(cpu)
    kernel, params = call.kernel, list(call.kernel.func.params)
    row = kernel.granularity == "row"
    sizes = [int(np.prod(a.shape[1:] if row else a.shape)) for a in call.arrays]
    sizes += [int(np.prod(s[2:] if row else s)) for s, _ in call.outputs]
    sizes += [c.size for c in kernel.constants]
    buffers = [p for p in params if isinstance(p.ty, tirx.BufferType)]
    declared = [int(p.shape[0]) for p in buffers[: len(sizes)]]
    shared_by_shapes = [1] * len(sizes)  # micro-kernels take sizes at run time
    assert declared == sizes or (cpu == "cortex-m4" and declared == shared_by_shapes)
    rest = [str(p.name) for p in params[len(sizes) :]]
    expected = ["scratch"] if kernel.scratch_bytes else []
    expected += ["y", *(f"rows_{i}" for i in range(len(call.arrays)))] if kernel.granularity != "tensor" else []
    assert rest == expected
    assert kernel.scratch_bytes % 8 == 0


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("qconv2d-3x3-stride-tflm", 4 * 4 * 9 * 4 * 4),
        ("qconv2d-pointwise-odd-tflm", 2 * 3 * 4 * 3 * 5),
        ("qconv2d-groups-tflm", 5 * 5 * 9 * 4 * 6),
        ("qdepthwise_conv2d-5x5-stride-tflm", 4 * 4 * 25 * 6),
        ("qdepthwise_conv2d-multiplier-tflm", 5 * 5 * 9 * 6),
        ("qdense-odd-tflm", 3 * 13 * 7),
        ("qadd-rows-tflm", 0),
    ],
)
def test_macs_count_padded_taps(name: str, macs: int) -> None:
    assert CASES[name].kernel_call().kernel.macs == macs


def test_what_tvm_cannot_lower_is_a_clear_error() -> None:
    w = TfliteWriter()
    w.output(w.resize(w.input("x", (1, 3, 3, 1), dtype="float32"), (1, 4), "nearest", align_corners=True, name="y"))
    with pytest.raises(UnsupportedOperatorError, match=r"'image.resize2d' has no kernel: TVM cannot lower it"):
        compile_model(w.finish())
