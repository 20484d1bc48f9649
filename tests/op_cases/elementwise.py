"""Cases of ADD, SUB, MUL, of the functions of one value and of QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.tflite_graph import TensorRef
from tests.tflite_writer import TfliteWriter

from .case import OpCase

Quant = tuple[float, int]
Shape = tuple[int, ...]
IMAGE: Shape = (1, 4, 5, 6)
ALL_VALUES: Shape = (1, 16, 16, 1)


def elementwise_cases() -> list[OpCase]:
    """All cases of elementwise operators."""
    return [*_binary_cases(), *_unary_cases(), *_quantize_cases()]


def binary_case(
    operator: str,
    name: str,
    a_q: Quant = (0.031, -7),
    b_q: Quant = (0.052, 12),
    out_q: Quant = (0.067, 4),
    a: Shape = IMAGE,
    b: Shape = IMAGE,
    constant: bool = False,
    **kw: Any,
) -> OpCase:
    """ADD, SUB or MUL of two inputs; with ``constant`` the second is one."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        first = w.input("a", a, *a_q)
        second = w.const("b", rng.integers(-128, 128, b).astype(np.int8), *b_q) if constant else w.input("b", b, *b_q)
        method = getattr(w, operator.lower())
        w.output(method(first, second, out_scale=out_q[0], out_zp=out_q[1], name="y", **kw))

    return OpCase(f"{operator.lower()}-{name}", operator, build)


def unary_case(operator: str, name: str, q: Quant, make: Callable[[TfliteWriter, TensorRef], TensorRef]) -> OpCase:
    """A function of one value over all 256 of them; ``make`` gets the writer and the input."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        w.output(make(w, w.input("x", ALL_VALUES, *q)))

    return OpCase(f"{operator.lower()}-{name}", operator, build)


def _binary_cases() -> list[OpCase]:
    cases = []
    for op in ("ADD", "SUB", "MUL"):
        # Products of two inputs need a wider output.
        wide = {"out_q": (0.31, 4)} if op == "MUL" else {}
        cases += [
            binary_case(op, "same-shape"),
            binary_case(op, "same-shape-wide", **wide),
            binary_case(op, "equal-scales", a_q=(0.05, 0), b_q=(0.05, 0), out_q=(0.05, 0)),
            binary_case(op, "first-far-larger", a_q=(0.9, 3), b_q=(0.0007, -3), out_q=(1.1, 0)),
            binary_case(op, "second-far-larger", a_q=(0.00011, 3), b_q=(0.7, -3), out_q=(0.8, 0)),
            binary_case(op, "output-saturates", out_q=(0.0004, 9)),
            binary_case(op, "output-tiny", out_q=(40.0, -2)),
            binary_case(op, "zero-points-minimum", a_q=(0.02, -128), b_q=(0.03, -128), out_q=(0.04, -128)),
            binary_case(op, "zero-points-maximum", a_q=(0.02, 127), b_q=(0.03, 127), out_q=(0.04, 127)),
            binary_case(op, "long-mantissas", a_q=(0.0173917, 1), b_q=(0.0271931, -9), out_q=(0.0331117, 5)),
            binary_case(op, "relu", activation="relu"),
            binary_case(op, "relu6", activation="relu6", a_q=(0.11, 0), b_q=(0.13, 0)),
            binary_case(op, "relu-n1-to-1", activation="relu_n1_to_1"),
            binary_case(op, "constant", constant=True),
            binary_case(op, "constant-per-channel", b=(6,), constant=True, **wide),
            binary_case(op, "scalar", b=(1,)),
            binary_case(op, "scalar-first", a=(1,), b=IMAGE),
            binary_case(op, "per-channel", b=(1, 1, 1, 6), **wide),
            binary_case(op, "per-channel-first", a=(1, 1, 1, 6), b=IMAGE),
            binary_case(op, "per-pixel", b=(1, 4, 5, 1)),
            binary_case(op, "per-row", b=(1, 4, 1, 1)),
            binary_case(op, "both-broadcast", a=(1, 4, 1, 6), b=(1, 1, 5, 6)),
            binary_case(op, "vectors", a=(1, 37), b=(1, 37)),
            binary_case(op, "lower-rank", b=(5, 6)),
            binary_case(op, "batch-3", a=(3, 2, 2, 4), b=(3, 2, 2, 4)),
        ]

    def twice(w: TfliteWriter, rng: np.random.Generator) -> None:
        x = w.input("x", IMAGE, 0.05, 3)
        w.output(w.add(x, x, out_scale=0.11, out_zp=-4, name="y"))

    def telling(w: TfliteWriter, rng: np.random.Generator) -> None:
        # -87 - 104 and 87 + 104 come out differently when factors are formed in float32.
        a = w.input("a", (256, 1), 0.00775624206289649, 0)
        b = w.const("b", np.array([[-104, 104, 0, 33]], dtype=np.int8), 0.015092970803380013, 0)
        w.output(w.sub(a, b, out_scale=0.02972797490656376, out_zp=0, name="y"))

    return [*cases, OpCase("add-to-itself", "ADD", twice), OpCase("sub-factor-in-float64", "SUB", telling)]


def _unary_cases() -> list[OpCase]:
    inputs: list[Quant] = [(0.05, -3), (0.031, 127), (0.0024, 5), (0.11, -128), (0.5, 0), (3.7, 9), (40.0, 0)]
    cases = []
    for i, q in enumerate(inputs):
        cases += [
            unary_case("LOGISTIC", f"{i}", q, lambda w, x: w.logistic(x, name="y")),
            unary_case("TANH", f"{i}", q, lambda w, x: w.tanh(x, name="y")),
            unary_case("RELU6", f"{i}", q, lambda w, x: w.unary("RELU6", x, name="y")),
            unary_case(
                "RELU6", f"{i}-other", q, lambda w, x: w.unary("RELU6", x, out_scale=0.0196, out_zp=1, name="y")
            ),
        ]
    pairs: list[tuple[Quant, Quant]] = [
        ((0.05, -3), (0.05, -3)),
        ((0.05, -3), (0.025, -128)),
        ((0.031, 127), (0.017, 12)),
        ((0.0173917, 5), (0.0331117, -9)),
        ((0.4, -128), (0.3, -128)),
        ((7.0, 11), (0.2, -60)),
        ((0.002, 11), (0.9, 20)),
    ]
    for i, (q, (scale, zp)) in enumerate(pairs):
        to: dict[str, Any] = {"out_scale": scale, "out_zp": zp, "name": "y"}
        cases += [
            unary_case("RELU", f"{i}", q, lambda w, x, to=to: w.unary("RELU", x, **to)),
            unary_case("HARD_SWISH", f"{i}", q, lambda w, x, to=to: w.hard_swish(x, **to)),
            unary_case("LEAKY_RELU", f"{i}", q, lambda w, x, to=to: w.leaky_relu(x, 0.1, **to)),
        ]
    alphas = (0.0, 0.3, 1.0, 1.7, -0.25)
    cases += [
        unary_case(
            "LEAKY_RELU", f"alpha-{a}", (0.05, -3), lambda w, x, a=a: w.leaky_relu(x, a, out_scale=0.06, name="y")
        )
        for a in alphas
    ]
    return cases


def _quantize_cases() -> list[OpCase]:
    pairs: list[tuple[Quant, Quant]] = [
        ((0.05, -3), (0.05, -3)),
        ((0.05, -3), (0.05, 10)),
        ((0.05, -3), (0.021, -128)),
        ((0.0173917, 127), (0.0331117, 5)),
        ((0.9, 0), (0.0003, 3)),
        ((0.0003, 0), (0.9, 3)),
    ]
    cases = [
        unary_case("QUANTIZE", f"int8-int8-{i}", q, lambda w, x, to=to: w.quantize(x, *to, name="y"))
        for i, (q, to) in enumerate(pairs)
    ]
    bytes_pairs: list[tuple[Quant, Quant]] = [((0.05, -3), (0.05, 125)), ((0.05, -3), (0.07, 128))]
    for i, (signed, unsigned) in enumerate(bytes_pairs):
        cases += [
            _between(f"int8-uint8-{i}", "int8", signed, "uint8", unsigned),
            _between(f"uint8-int8-{i}", "uint8", unsigned, "int8", signed),
        ]
    for i, q in enumerate([(0.125, 0), (0.05, -3), (0.0173917, 127), (3.0, -128), (1e-4, 0)]):
        cases += [
            _between(f"float32-int8-{i}", "float32", None, "int8", q),
            unary_case("DEQUANTIZE", f"int8-{i}", q, lambda w, x: w.dequantize(x, name="y")),
        ]
    return [*cases, _between("uint8-float32", "uint8", (0.031, 128), "float32", None)]


def _between(name: str, from_dtype: str, from_q: Quant | None, to_dtype: str, to_q: Quant | None) -> OpCase:
    """QUANTIZE or DEQUANTIZE between two types."""

    def build(w: TfliteWriter, rng: np.random.Generator) -> None:
        x = w.input("x", ALL_VALUES, *(from_q or (None, 0)), dtype=from_dtype)
        w.output(w.dequantize(x, name="y") if to_q is None else w.quantize(x, *to_q, dtype=to_dtype, name="y"))

    operator = "DEQUANTIZE" if to_q is None else "QUANTIZE"
    return OpCase(f"{operator.lower()}-{name}", operator, build)
