"""Makes a program take its input row by row instead of as a whole."""

from __future__ import annotations

from dataclasses import replace

from tvm_tiny import planner
from tvm_tiny.errors import OptionError
from tvm_tiny.ops import Layer, Program, RowStream

_LEAVE_OUT = "leave out --stream-input: the input then lies in the arena as a whole"


def stream_input(program: Program) -> Program:
    """``program`` with its only input delivered by an operator of its own, which runs first and reads nothing.

    A row is what the readers of the input take for one: ``input[:, y]`` of an NHWC image, ``input[:, :, y]`` of an NCHW
    image, a frame of audio features whose leading axis is time, and behind a reshape the row of the new shape.

    Raises
    ------
    OptionError : several inputs; an input without rows, or one whose readers need all of it at once
    """
    graph = program.graph
    if len(program.inputs) != 1:
        names = ", ".join(f"'{graph.tensors[t].name}'" for t in program.inputs)
        raise OptionError(
            f"--stream-input: the model has {len(program.inputs)} inputs ({names}), expected one", hints=[_LEAVE_OUT]
        )
    (tensor,) = program.inputs
    plain = planner.without_views(graph)
    given, seen = graph.tensors[tensor], plain.tensors[tensor]
    _check_readers(plain, tensor, given)
    tensors = list(graph.tensors)
    tensors[tensor] = replace(seen, home=given.home, planes=1, beside=None)
    streamed = planner.stream_input(planner.Graph(tuple(tensors), graph.ops, graph.outputs), tensor)
    layers = list(program.layers)
    first = next((i for i, size in enumerate(given.shape) if size > 1), 0)
    axis = first if given.shape[first] == seen.rows else None
    if seen.planes > 1:
        axis = 2
        for reader in graph.consumers[tensor]:
            kernel = layers[reader].kernel
            assert kernel is not None
            layers[reader] = replace(layers[reader], kernel=kernel.streamed)
    source = Layer(streamed.ops[0].name, "push_row", given.shape, None)
    return replace(program, graph=streamed, layers=(source, *layers), stream=RowStream(tensor, axis))


def _check_readers(graph: planner.Graph, tensor: int, given: planner.Tensor) -> None:
    """Refuse what would need the whole input all the same, and say why."""
    image = graph.tensors[tensor]
    what = f"input '{image.name}', {image.dtype} {list(image.shape)}"
    hints = ["--quantized-io: rows of int8", _LEAVE_OUT] if image.dtype == "float32" else [_LEAVE_OUT]
    readers = [graph.ops[c] for c in graph.consumers[tensor]]
    whole = [op.name for op in readers if op.kind is planner.Kind.WHOLE]
    if whole:
        raise OptionError(f"--stream-input: {what}: layer '{whole[0]}' reads all of it at once", hints=hints)
    scattered = image.planes > 1 and given.planes == 1  # a reshape made planes of it
    if image.rows < 2 or not readers or scattered:
        raise OptionError(f"--stream-input: {what}, has no rows that could come one by one", hints=hints)
