"""Reads a Relax function as a straight-line program: what the planner plans and the main loop runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_tiny import planner
from tvm_tiny.ops import Kernel, Layer, Program, get_dead_macs, op_name
from tvm_tiny.ops.movement import shown_bytes
from tvm_tiny.passes._dataflow import permutation_of
from tvm_tiny.passes._windows import PLANES, TO_PIXELS, split_cost, windows_of

# Relax operators that give the same bytes another shape.
_VIEWS = {"reshape", "flatten", "squeeze", "expand_dims"}


def extract_program(
    func: relax.Function, select: Callable[[relax.Call], Kernel], *, caller_io: bool = False
) -> Program:
    """The program of ``func``, one layer per call, in the order of its bindings.

    Parameters
    ----------
    func : one dataflow block of operator calls on static shapes; constants only as operator arguments
    select : gives the kernel of a call (``tvm_tiny.schedules.select``)
    caller_io : inputs and outputs are buffers of the caller, whose inputs stay; otherwise they lie in the arena
    """
    return _Extractor(select, caller_io).run(func)


class _Extractor:
    def __init__(self, select: Callable[[relax.Call], Kernel], caller_io: bool) -> None:
        self._select = select
        self._caller_io = caller_io
        self._tensors: list[planner.Tensor] = []
        self._ops: list[planner.Op] = []
        self._layers: list[Layer] = []
        self._transposes: dict[int, bool] = {}  # operators between planes and pixels, by rows; whether to pixels
        self._planar: dict[int, bool] = {}  # what they read and write: whether stored as planes
        self._values: dict[Any, tuple[int, ...]] = {}  # Relax var -> its tensors (several for a tuple)

    def run(self, func: relax.Function) -> Program:
        home = planner.Home.CALLER if self._caller_io else planner.Home.INPUT
        inputs = tuple(self._add_tensor(p.name, p.ty, home) for p in func.params)
        self._values.update({p: (t,) for p, t in zip(func.params, inputs, strict=True)})
        for block in func.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)
        outputs = self._finish(self._resolve(func.body.body))
        self._store_planes()
        graph = planner.Graph(tuple(self._tensors), tuple(self._ops), outputs)
        return Program(graph, tuple(self._layers), inputs, outputs, dead_macs=get_dead_macs(func))

    def _bind(self, var: relax.Var, value: relax.Expr) -> None:
        if not isinstance(value, relax.Call):
            self._values[var] = self._resolve(value)
            return
        name = op_name(value)
        inputs = tuple(t for a in value.args for t in self._activations(a))
        fields = list(var.ty.fields) if isinstance(var.ty, tvm.ir.TupleType) else [var.ty]
        outputs = tuple(
            self._add_tensor(var.name if len(fields) == 1 else f"{var.name}:{i}", ty, planner.Home.ARENA)
            for i, ty in enumerate(fields)
        )
        self._values[var] = outputs
        shape = self._tensors[outputs[0]].shape
        if name in _VIEWS:
            self._ops.append(planner.Op(var.name, planner.Kind.VIEW, inputs, outputs))
            self._layers.append(Layer(var.name, name, shape, None))
            return
        kernel = self._select(value)
        windows = windows_of(value, kernel, len(inputs))
        rows, columns = (tuple(w[axis] for w in windows or ()) for axis in range(2))
        if name == PLANES and windows:
            to_pixels = permutation_of(value) == TO_PIXELS
            inputs = (self._stored(inputs[0], planar=to_pixels),)
            self._planar[outputs[0]] = not to_pixels
            self._transposes[len(self._ops)] = to_pixels
        adds_up = kernel.granularity == "sum"
        kind = planner.Kind.REDUCE if adds_up else planner.Kind.ROWS if windows else planner.Kind.WHOLE
        op = planner.Op(
            var.name,
            kind,
            inputs,
            outputs,
            rows,
            columns,
            scratch_bytes=0 if adds_up else kernel.scratch_bytes,
            accumulator_bytes=kernel.scratch_bytes if adds_up else 0,
            in_place=kernel.in_place_inputs,
            macs=kernel.macs,
            segment_scratch_bytes=kernel.segment.scratch_bytes if kernel.segment is not None else None,
            whole_rows_only=kernel.segment is None,
            shows=shown_bytes(value),
        )
        if kind is planner.Kind.ROWS:
            op = replace(op, split_cost=split_cost(op, shape[3], shape[1] * shape[2]))
        self._ops.append(op)
        self._layers.append(Layer(var.name, name, shape, kernel))

    def _stored(self, tensor: int, *, planar: bool) -> int:
        """``tensor``, or a copy where it has the rows of the other layout already: there is one kind to a tensor."""
        if self._planar.setdefault(tensor, planar) != planar:
            tensor = self._copy(tensor)
            self._planar[tensor] = planar
        return tensor

    def _store_planes(self) -> None:
        """Let images stored as planes say so; who takes them for something else has to take them as wholes."""
        planar = set()
        for i, to_pixels in self._transposes.items():
            (source,), (result,) = self._ops[i].inputs, self._ops[i].outputs
            image, other = (source, result) if to_pixels else (result, source)
            pixels = self._tensors[other]
            self._tensors[image] = replace(
                self._tensors[image],
                rows=pixels.rows,
                columns=pixels.columns,
                pixel_bytes=pixels.pixel_bytes,
                planes=pixels.shape[3],
            )
            planar.add(image)
        for i, op in enumerate(self._ops):
            if i not in self._transposes and not planar.isdisjoint((*op.inputs, *op.outputs)):
                self._ops[i] = planner.as_whole(op)

    def _resolve(self, value: relax.Expr) -> tuple[int, ...]:
        if isinstance(value, relax.Tuple):
            return tuple(t for f in value.fields for t in self._resolve(f))
        if isinstance(value, relax.TupleGetItem):
            return (self._resolve(value.tuple_value)[value.index],)
        return self._values[value]

    def _activations(self, arg: relax.Expr) -> tuple[int, ...]:
        """Tensors an argument stands for; constants and shapes are the kernel's business."""
        if isinstance(arg, relax.Tuple):
            return tuple(t for f in arg.fields for t in self._activations(f))
        return self._resolve(arg) if isinstance(arg, relax.Var | relax.TupleGetItem) else ()

    def _add_tensor(self, name: str, ty: Any, home: planner.Home) -> int:
        shape = tuple(int(d) for d in ty.shape.values)
        dtype = str(ty.dtype)
        # An image of one batch has rows; anything else is a single one.
        rows, columns, *pixel = shape[1:] if len(shape) == 4 and shape[0] == 1 else (1, 1, *shape)
        pixel_bytes = math.prod(pixel) * np.dtype(dtype).itemsize
        self._tensors.append(planner.Tensor(name, rows, columns, pixel_bytes, home=home, shape=shape, dtype=dtype))
        return len(self._tensors) - 1

    def _finish(self, results: tuple[int, ...]) -> tuple[int, ...]:
        """Give each result bytes of its own, the caller's where asked for; copy where they have an owner already."""
        where = planner.view_places(planner.Graph(tuple(self._tensors), tuple(self._ops), ()))
        owned = {where[t][0] for t, x in enumerate(self._tensors) if x.home is not planner.Home.ARENA}
        outputs = []
        for t in results:
            out = self._copy(t) if where[t][0] in owned else t
            owned.add(where[t][0])
            if self._caller_io:
                self._tensors[out] = replace(self._tensors[out], home=planner.Home.CALLER)
            outputs.append(out)
        return tuple(outputs)

    def _copy(self, tensor: int) -> int:
        source = self._tensors[tensor]
        self._tensors.append(replace(source, name=f"{source.name} copy", home=planner.Home.ARENA))
        out = len(self._tensors) - 1
        self._ops.append(planner.Op(self._tensors[out].name, planner.Kind.WHOLE, (tensor,), (out,)))
        self._layers.append(Layer(self._tensors[out].name, "copy", source.shape, None))
        return out
