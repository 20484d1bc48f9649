"""Many candidate kernels in one firmware: each computes its layer, a checksum tells whether it is right.

An image is an ordinary archive: its layers are the candidates, its outputs their checksums. So it is built, flashed,
run and counted as any model is, on every platform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from tvm_tiny import passes, pipeline, planner, schedules
from tvm_tiny.emit import CompiledModel, emit
from tvm_tiny.errors import MemoryBudgetError, RunError, ToolError
from tvm_tiny.memories import divide, weight_homes
from tvm_tiny.ops import CFunction, IoTensor, Kernel, Layer, ModelIo, Program, op_name, params_of, with_io
from tvm_tiny.quant import reference
from tvm_tiny.schedules.cortex_m.builder import KernelBuilder, address
from tvm_tiny.schedules.cortex_m.rule import dtype_of, is_constant, shape_of, values_of
from tvm_tiny.targets import Board

_SEED = 20_240_229
_FNV_BASIS, _FNV_PRIME = 0x811C9DC5, 0x01000193
"""FNV-1a, 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/"""


@dataclass(frozen=True)
class Candidate:
    """A layer with decisions about its kernel.

    call : of an operator; all arguments but activations are constants
    """

    call: relax.Call
    decisions: schedules.Decisions


@dataclass(frozen=True)
class Measurement:
    """What a candidate takes.

    status : "ok"; "impossible": its rule does not offer it; "wrong": other bytes than the reference's; "failed": it did
        not build, fit or run, alone in its image
    instructions : of an inference of the layer, counted; None unless ok, or where the device does not count
    cycles : modelled
    code_bytes : of its functions; layers with the same kernel share them
    seconds : on a board with a clock
    """

    status: str
    instructions: float | None = None
    cycles: float | None = None
    code_bytes: int | None = None
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Image:
    """A model whose layers are candidates and their checksums, in turn.

    inputs : for every layer
    """

    archive: Path
    inputs: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class LayerCost:
    """What a layer took; None where the device does not tell."""

    instructions: float | None = None
    cycles: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ImageRun:
    """What came out of a run: outputs by name, costs by layer, bytes of every function."""

    outputs: dict[str, NDArray[Any]]
    costs: Sequence[LayerCost]
    sizes: dict[str, int]


RunImage = Callable[[Image], ImageRun]


def measure(candidates: Sequence[Candidate], board: Board, folder: Path, run: RunImage) -> list[Measurement]:
    """Build one image of all candidates and run it; where that fails, halves of them.

    Parameters
    ----------
    folder : for the image
    run : runs it on a device

    Returns
    -------
    One measurement per candidate, in order.
    """
    results: dict[int, Measurement] = {}
    work: dict[int, Work] = {}
    for i, candidate in enumerate(candidates):
        try:
            chooser = schedules.Chooser(decisions=candidate.decisions)
            work[i] = candidate.call, schedules.select(candidate.call, board.cpu, chooser)
        except schedules.ChoiceError as e:
            results[i] = Measurement("impossible", detail=e.message)
    results.update(zip(work, _measure(list(work.values()), board, folder, run), strict=True))
    return [results[i] for i in range(len(candidates))]


Work = tuple[relax.Call, Kernel]


def _measure(work: Sequence[Work], board: Board, folder: Path, run: RunImage) -> list[Measurement]:
    if not work:
        return []
    try:
        return _measure_all(work, board, folder, run)
    except (RunError, ToolError, MemoryBudgetError) as e:
        if len(work) == 1:
            return [Measurement("failed", detail=e.message.splitlines()[0])]
    # One bad candidate costs nobody else its measurement.
    middle = len(work) // 2
    return [m for half in (work[:middle], work[middle:]) for m in _measure(half, board, folder, run)]


def _measure_all(work: Sequence[Work], board: Board, folder: Path, run: RunImage) -> list[Measurement]:
    layers = {call: _Layer(call) for call, _ in work}
    model = _build(work, list(layers.values()), board)
    inputs = {f"x{i}_{j}": a for i, layer in enumerate(layers.values()) for j, a in enumerate(layer.arrays)}
    result = run(Image(model.export(folder / "image.tar"), inputs))
    names = [layer["kernel"] for layer in model.report()["layers"][::2]]
    measurements = []
    for i, ((call, kernel), name) in enumerate(zip(work, names, strict=True)):
        found, expected = int(result.outputs[f"sum{i}"].reshape(-1)[0]) & 0xFFFFFFFF, layers[call].checksum
        if found != expected:
            measurements.append(Measurement("wrong", detail=f"checksum {found:08x}, expected {expected:08x}"))
            continue
        code = sum(result.sizes.get(n, 0) for n in (name, *(f.name for f in kernel.c_functions)))
        cost = result.costs[2 * i]
        measurements.append(Measurement("ok", cost.instructions, cost.cycles, code, cost.seconds))
    return measurements


def _build(work: Sequence[Work], layers: Sequence[_Layer], board: Board) -> CompiledModel:
    func = _function(layers, [call for call, _ in work])
    kernels = iter([kernel for _, kernel in work])
    program = _with_checksums(passes.extract_program(func, lambda _: next(kernels)))
    division = divide(board)
    plan = planner.plan_memory(program.graph, fusion="off", memories=division.ways, reorder=False, effort="fast")
    if any(a.size_bytes > a.memory.size_bytes for a in plan.arenas if a.memory.size_bytes is not None):
        raise MemoryBudgetError("the candidates' layers do not fit the board's memory")
    homes = weight_homes(board, plan, "flash", (), division)
    module, names = tvm.IRModule({"main": func}), {"model": "tuning", "module_name": "tuning"}
    with tvm.transform.PassContext(opt_level=3):
        return emit(program, plan, board, module, homes, division.default, pipeline.Options(), **names)


class _Layer:
    """A call with inputs for it, and the checksum of the right output."""

    def __init__(self, call: relax.Call) -> None:
        self.call = call
        rng = np.random.default_rng(_SEED)
        self.activations = [a for a in call.args if not is_constant(a)]
        self.arrays = [_random(rng, shape_of(a), dtype_of(a)) for a in self.activations]
        given = iter(self.arrays)
        arguments = [values_of(a) if is_constant(a) else next(given) for a in call.args]
        self.checksum = checksum(reference.run(op_name(call), params_of(call), *arguments))


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    info = np.iinfo(dtype)
    values: NDArray[Any] = rng.integers(info.min, info.max + 1, shape)
    # Extremes, which ordinary values seldom are.
    return np.where(rng.random(shape) < 0.1, rng.choice([info.min, info.max], shape), values).astype(dtype)


def checksum(array: NDArray[Any]) -> int:
    """FNV-1a of the bytes."""
    value = _FNV_BASIS
    for byte in array.tobytes():
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return value


def _function(layers: Sequence[_Layer], calls: Sequence[relax.Call]) -> relax.Function:
    """All calls, on one variable per activation of a layer; their results are the outputs."""
    names = {layer.call: i for i, layer in enumerate(layers)}
    variables = {
        layer.call: [relax.Var(f"x{i}_{j}", a.ty) for j, a in enumerate(layer.activations)]
        for i, layer in enumerate(layers)
    }
    builder = relax.BlockBuilder()
    flat = [v for vs in variables.values() for v in vs]
    with builder.function("main", flat):
        with builder.dataflow():
            results = []
            for i, call in enumerate(calls):
                given = iter(variables[call])
                arguments = [a if is_constant(a) else next(given) for a in call.args]
                var = builder.emit(relax.Call(call.op, arguments, attrs=call.attrs), f"c{i}_{names[call]}")
                results.append(var)
            out = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(out)
    io = ModelIo(tuple(IoTensor(str(v.name)) for v in flat), tuple(IoTensor(f"sum{i}") for i in range(len(calls))))
    return with_io(builder.finalize()["main"], io)


def _with_checksums(program: Program) -> Program:
    """The program with a checksum in place of every output."""
    tensors, ops, layers = list(program.graph.tensors), [], []
    outputs = []
    producers = {op.outputs[0]: (op, layer) for op, layer in zip(program.graph.ops, program.layers, strict=True)}
    for t in program.outputs:
        op, layer = producers[t]
        tensors[t] = replace(tensors[t], home=planner.Home.ARENA)
        name = f"sum of {tensors[t].name}"
        tensors.append(planner.Tensor(name, 1, 1, 4, home=planner.Home.ARENA, shape=(1,), dtype="int32"))
        kernel = _checksum_kernel(tensors[t].size_bytes)
        outputs.append(len(tensors) - 1)
        ops += [op, planner.Op(name, planner.Kind.WHOLE, (t,), (outputs[-1],))]
        layers += [layer, Layer(name, "checksum", (1,), kernel)]
    graph = planner.Graph(tuple(tensors), tuple(ops), tuple(outputs))
    return replace(program, graph=graph, layers=tuple(layers), outputs=tuple(outputs))


def _checksum_kernel(size: int) -> Kernel:
    b = KernelBuilder("tensor")
    data = b.input("data", size, "int8")
    out = b.output(1, "int32")
    b.call("tinyml_checksum", address(data, 0), address(out, 0), size)
    return b.finish("checksum", c_functions=[CFunction("tinyml_checksum", _checksum_text())])


def _checksum_text() -> str:
    return f"""static void tinyml_checksum(const int8_t* data, int32_t* out, int32_t size) {{
    uint32_t value = {_FNV_BASIS}U;
    int32_t i;
    for (i = 0; i < size; ++i) value = (value ^ (uint8_t)data[i]) * {_FNV_PRIME}U;
    *out = (int32_t)value;
}}
"""
