"""Operators without a rule of their own: TVM's implementation behind the kernel interface, against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tvm import relax
from tvm.relax import op

from tests.kernel_library import KernelCall, KernelLibrary, normalized_call
from tvm_tiny.errors import UnsupportedOperatorError
from tvm_tiny.ops import Kernel
from tvm_tiny.schedules import select
from tvm_tiny.targets import CPUS

Array = NDArray[Any]
RNG = np.random.default_rng(11)
IMAGE = RNG.normal(0, 2, (2, 7, 6, 4)).astype(np.float32)
VECTORS = RNG.normal(0, 3, (3, 50)).astype(np.float32)
BYTES = RNG.integers(-128, 128, (2, 6, 5, 4)).astype(np.int8)
OHWI = RNG.normal(0, 1, (5, 3, 3, 4)).astype(np.float32)
MATRIX = RNG.normal(0, 1, (50, 7)).astype(np.float32)
FEW_ULP = 1e-6
"""Relative; float32 has 6e-8 a step."""
SUMS = 3e-5


@dataclass(frozen=True)
class Case:
    """``build`` makes the operator's call, ``expected`` its results in float64 or exactly.

    atol : absolute tolerance, larger for sums whose terms cancel
    scratch : whether the kernel needs scratch memory
    in_place, macs : as in ``Kernel``
    """

    build: Callable[..., Any]
    inputs: tuple[Array, ...]
    expected: Callable[..., Any]
    scratch: bool = False
    in_place: tuple[int, ...] = ()
    macs: int = 0
    atol: float = FEW_ULP


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _conv(x: Array, w: Array, stride: int) -> Array:
    """NHWC by OHWI with one pixel of padding."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[1:3], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,oijc->nhwo", windows, w)


def _average(x: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2))[:, ::2, ::2]
    return windows.mean(axis=(-1, -2))


NCHW = np.ascontiguousarray(IMAGE.transpose(0, 3, 1, 2))
NHWC_CONV = {"padding": (1, 1, 1, 1), "data_layout": "NHWC", "kernel_layout": "OHWI"}
CASES: dict[str, Case] = {
    "conv2d-nhwc": Case(
        lambda x: op.nn.conv2d(x, relax.const(OHWI), strides=(2, 2), **NHWC_CONV),
        (IMAGE,),
        lambda x: _conv(x, OHWI, 2),
        macs=2 * 4 * 3 * 5 * 36,
        atol=SUMS,
    ),
    "conv2d-nchw": Case(
        lambda x: op.nn.conv2d(x, relax.const(OHWI.transpose(0, 3, 1, 2).copy()), padding=(1, 1, 1, 1)),
        (NCHW,),
        lambda x: _conv(x.transpose(0, 2, 3, 1), OHWI, 1).transpose(0, 3, 1, 2),
        macs=2 * 7 * 6 * 5 * 36,
        atol=SUMS,
    ),
    "matmul": Case(
        lambda x: op.matmul(x, relax.const(MATRIX)),
        (VECTORS,),
        lambda x: x @ MATRIX.astype(np.float64),
        macs=3 * 50 * 7,
        atol=SUMS,
    ),
    "matmul-of-activations": Case(
        lambda x, y: op.matmul(x, y),
        (VECTORS, MATRIX),
        lambda x, y: x @ y,
        macs=3 * 50 * 7,
        atol=SUMS,
    ),
    "add": Case(lambda x, y: op.add(x, y), (VECTORS, VECTORS[:1]), lambda x, y: x + y, in_place=(0,)),
    "add-twice-the-same": Case(lambda x, y: op.add(x, y), (VECTORS, VECTORS), lambda x, y: x + y, in_place=(0, 1)),
    "divide-by-literal": Case(
        lambda x: op.divide(x, relax.const(np.float32(1 / 3))),
        (VECTORS,),
        lambda x: x / np.float32(1 / 3),
        in_place=(0,),
    ),
    "softmax": Case(lambda x: op.nn.softmax(x), (VECTORS,), _softmax, scratch=True),
    "sigmoid": Case(lambda x: op.sigmoid(x), (VECTORS,), lambda x: 1 / (1 + np.exp(-x)), in_place=(0,)),
    "tanh": Case(lambda x: op.tanh(x), (VECTORS,), np.tanh, in_place=(0,)),
    "relu": Case(lambda x: op.nn.relu(x), (IMAGE,), lambda x: np.maximum(x, 0), in_place=(0,)),
    "leaky-relu": Case(
        lambda x: op.nn.leakyrelu(x, 0.1234567), (IMAGE,), lambda x: np.where(x > 0, x, x * 0.1234567), in_place=(0,)
    ),
    "clip": Case(lambda x: op.clip(x, 0, 6), (IMAGE,), lambda x: np.clip(x, 0, 6), in_place=(0,)),
    "avg-pool": Case(lambda x: op.nn.avg_pool2d(x, (2, 2), (2, 2), layout="NHWC"), (IMAGE,), _average, scratch=True),
    "mean": Case(lambda x: op.mean(x, [1, 2]), (IMAGE,), lambda x: x.mean((1, 2))),
    "quantize": Case(
        lambda x: op.quantize(x, relax.const(np.float32(0.25)), relax.const(np.int8(3)), out_dtype="int8"),
        (VECTORS,),
        lambda x: np.clip(np.round(x / 0.25) + 3, -128, 127).astype(np.int8),
    ),
    "permute-dims": Case(lambda x: op.permute_dims(x, [0, 3, 1, 2]), (BYTES,), lambda x: x.transpose(0, 3, 1, 2)),
    "concat": Case(
        lambda x, y: op.concat([x, y, x], axis=3), (BYTES, BYTES[..., :3]), lambda x, y: np.concatenate([x, y, x], 3)
    ),
    "split": Case(lambda x: op.split(x, [1, 4], axis=2), (BYTES,), lambda x: np.split(x, [1, 4], axis=2)),
    "strided-slice": Case(
        lambda x: op.strided_slice(x, [1, 2], [4, 0], [0, 5], [-2, 2]), (BYTES,), lambda x: x[:, 4:0:-2, 0:5:2]
    ),
    "pad": Case(
        lambda x: op.nn.pad(x, [0, 0, 1, 2, 0, 3, 0, 0], pad_value=-7),
        (BYTES,),
        lambda x: np.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=-7),
    ),
    "resize2d": Case(
        lambda x: op.image.resize2d(
            x,
            (14, 12),
            layout="NHWC",
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        ),
        (IMAGE,),
        lambda x: x.repeat(2, 1).repeat(2, 2),
    ),
}


def _kernel(case: Case) -> Kernel:
    variables = [relax.Var(f"x{i}", relax.TensorType(list(a.shape), a.dtype.name)) for i, a in enumerate(case.inputs)]
    return select(normalized_call(case.build(*variables), variables), CPUS["cortex-m4"])


def _expected(case: Case) -> list[Array]:
    exact = [a.astype(np.float64) if a.dtype == np.float32 else a for a in case.inputs]
    result = case.expected(*exact)
    return list(result) if isinstance(result, list) else [result]


def _inputs(name: str) -> tuple[Array, ...]:
    # An activation that occurs twice among the arguments is two inputs.
    given = CASES[name].inputs
    return (*given, given[0]) if name == "concat" else given


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> KernelLibrary:
    calls = []
    for name, case in CASES.items():
        outputs = tuple((r.shape, "int8" if r.dtype == np.int8 else "float32") for r in _expected(case))
        calls.append(KernelCall(_kernel(case), _inputs(name), outputs))
    return KernelLibrary(calls, tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("name", CASES)
def test_matches_numpy(name: str, library: KernelLibrary) -> None:
    kernel, expected, index = _kernel(CASES[name]), _expected(CASES[name]), list(CASES).index(name)
    for in_place in (None, *kernel.in_place_inputs):
        for actual, reference in zip(library.run(index, in_place=in_place), expected, strict=True):
            if reference.dtype == np.int8:
                np.testing.assert_array_equal(actual, reference)
            else:
                np.testing.assert_allclose(actual, reference, rtol=FEW_ULP, atol=CASES[name].atol)


@pytest.mark.parametrize("name", CASES)
def test_what_the_planner_is_told(name: str) -> None:
    case, kernel = CASES[name], _kernel(CASES[name])
    assert kernel.granularity == "tensor"
    assert (kernel.scratch_bytes > 0, kernel.in_place_inputs, kernel.macs) == (case.scratch, case.in_place, case.macs)


def test_pads_are_not_copied() -> None:
    """A float convolution needs no second copy of its image."""
    assert _kernel(CASES["conv2d-nhwc"]).scratch_bytes == 0


def test_operator_of_the_runtime_is_refused() -> None:
    x = relax.Var("x", relax.TensorType([1, 4], "float32"))
    with pytest.raises(UnsupportedOperatorError, match="operator 'sort' has no kernel") as raised:
        select(normalized_call(op.sort(x), [x]), CPUS["cortex-m4"])
    assert raised.value.hints
