"""A random quantized ONNX network: QDQ mostly, operators with their scales inside now and then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.fuzz.draws import Draws
from tests.fuzz.quantities import quant_of
from tests.onnx_models import onnx_model

Layer = Callable[["OnnxNetwork", "Activation"], "Activation | Sequence[Activation] | None"]
SHAPES = ((8, 8), (7, 5), (1, 13), (13, 1), (1, 1), (12, 9), (17, 6))


@dataclass(frozen=True)
class Activation:
    """A quantized tensor of the model; ``zero_point`` as int8 has it, in models with uint8 activations, too."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


class OnnxNetwork:
    """One network in the making; tensors are channels first."""

    def __init__(self, draws: Draws, layers: Sequence[tuple[Layer, int]], most: int = 6) -> None:
        self.draws = draws
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.readable: list[Activation] = []
        self._inputs: dict[str, tuple[tuple[int, ...], int, int]] = {}
        draws.next_span()
        self.limit = draws.weighted([(1200, 6), (300, 3), (5000, 2)])
        self.unsigned = draws.one_in(4)
        self.q_operators = draws.one_in(4)
        self.opset = draws.pick(17, 13, 11, 21, 12)
        edge = draws.weighted([("float32", 6), ("int8", 0 if self.unsigned else 3)])
        self._ending = draws.weighted([("float32", 6), ("int8", 0 if self.unsigned else 3)])
        for i in range(draws.pick(1, 1, 1, 2)):
            self._input(f"x{i}", edge)
        for _ in draws.layers(most):
            x = draws.pick(*reversed(self.readable)) if draws.one_in(4) else self.readable[-1]
            made = draws.weighted(layers)(self, x)
            self.readable += [] if made is None else [made] if isinstance(made, Activation) else made

    def model(self) -> bytes:
        """The network as an .onnx file; its output is the last tensor."""
        y = self.readable[-1]
        if not self.nodes or y.name in self._inputs:
            y = self.quantized(self.node("Relu", [self.real(y)]), y.shape, y.scale, y.zero_point)
        ending = self._ending == "float32"
        output = self.real(y) if ending else y.name
        types = {output: TensorProto.FLOAT if ending else TensorProto.INT8}
        types |= {name: kind for name, (_, kind, _) in self._inputs.items()}
        shapes = {name: list(shape) for name, (shape, _, _) in self._inputs.items()}
        model = onnx_model(self.nodes, shapes, {output: list(y.shape)}, self.constants, self.opset, types)
        data: bytes = model.SerializeToString()
        return data

    def inputs(self) -> list[tuple[str, tuple[int, ...], str, int]]:
        """Name, shape, type and zero point of every input."""
        names = {TensorProto.FLOAT: "float32", TensorProto.INT8: "int8"}
        return [(name, shape, names[kind], zp) for name, (shape, kind, zp) in self._inputs.items()]

    def fits(self, shape: Sequence[int]) -> bool:
        return 0 < int(np.prod(shape)) <= self.limit

    def other(self, fits: Callable[[Activation], bool]) -> Activation | None:
        """A tensor for which ``fits`` holds, late ones rather than early ones."""
        found = [t for t in reversed(self.readable) if fits(t)]
        return self.draws.pick(*found) if found else None

    def node(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Append a node; the name of its output, of the first if there are several (``name_1`` and so on follow)."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        domain = "com.microsoft" if operator.startswith("Q") and operator not in _STANDARD else ""
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=name, domain=domain, **attributes))
        return name

    def constant(self, value: Any, dtype: str) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def numbers(self, scale: float, zero_point: int) -> list[str]:
        """Scale and zero point as constants, of the activations' type."""
        point = self.constant(zero_point + 128, "uint8") if self.unsigned else self.constant(zero_point, "int8")
        return [self.constant(scale, "float32"), point]

    def real(self, x: Activation) -> str:
        """``x`` behind DequantizeLinear."""
        return self.node("DequantizeLinear", [x.name, *self.numbers(x.scale, x.zero_point)])

    def quantized(self, name: str, shape: Sequence[int], scale: float, zero_point: int) -> Activation:
        """A float tensor behind QuantizeLinear."""
        scale = float(np.float32(scale))
        return Activation(
            self.node("QuantizeLinear", [name, *self.numbers(scale, zero_point)]), tuple(shape), scale, zero_point
        )

    def q_operator(
        self, operator: str, operands: Sequence[str], y: tuple[Sequence[int], float, int], **a: Any
    ) -> Activation:
        """An operator that carries its scales; ``y`` is the output's shape, scale and zero point."""
        shape, scale, zero_point = y
        return Activation(self.node(operator, operands, **a), tuple(shape), float(np.float32(scale)), zero_point)

    def _input(self, name: str, edge: str) -> None:
        draws = self.draws
        height, width = draws.pick(*SHAPES, (draws.size(1, 16), draws.size(1, 16)))
        shape: tuple[int, ...] = (1, draws.pick(3, 1, 4, 8, draws.size(1, 16)), height, width)
        if draws.one_in(6):
            shape = draws.pick(1, 1, 3), draws.size(1, 150)
        elif draws.one_in(12):
            shape = tuple(draws.size(1, 5) for _ in range(draws.size(1, 5)))
        scale, zero_point = quant_of(draws)
        if edge == "int8":
            self._inputs[name] = (shape, TensorProto.INT8, zero_point)
            self.readable.append(Activation(name, shape, scale, zero_point))
        else:
            self._inputs[name] = (shape, TensorProto.FLOAT, 0)
            self.readable.append(self.quantized(name, shape, scale, zero_point))


_STANDARD: Mapping[str, None] = dict.fromkeys(("QuantizeLinear", "QLinearConv", "QLinearMatMul"))
