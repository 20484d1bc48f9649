"""Addresses in the emitted main function: the caller's pointers, or offsets in a workspace."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir import PointerType, PrimType

from tvm_tiny import planner
from tvm_tiny.ops import Program


class Buffers:
    """Typed pointers to the bytes of a program's tensors as a plan places them."""

    def __init__(self, program: Program, plan: planner.Plan) -> None:
        self._program = program
        self._plan = plan
        # One per memory in use; bytes of each.
        names = ["workspace", *(f"workspace_{i}" for i in range(1, len(plan.arenas)))]
        self._workspaces = [pointer(name, "uint8") for name in names]
        self._sizes = {name: max(1, a.size_bytes) for name, a in zip(names, plan.arenas, strict=True)}
        # First tensor of a tensor's block, and bytes from there on; alone it is the tensor itself.
        self._where = planner.view_places(program.graph)
        self._views: dict[tuple[str, str], tirx.Var] = {}  # (pointer name, dtype) -> buffer over it
        tensors = program.graph.tensors
        self._external = {
            t: pointer(f"{kind}_{i}", tensors[t].dtype)
            for kind, ids in (("input", program.inputs), ("output", program.outputs))
            for i, t in enumerate(ids)
            if tensors[t].home is planner.Home.CALLER
        }
        self._owner = {self._where[t][0]: (p, self._where[t][1]) for t, p in self._external.items()}

    def parameters(self) -> list[tirx.Var]:
        """Main's parameters: inputs and outputs that the caller owns, a workspace per memory."""
        return [*self._external.values(), *self._workspaces]

    def inputs(self) -> list[tirx.Var]:
        """Those parameters that are inputs."""
        return [self._external[t] for t in self._program.inputs if t in self._external]

    def declarations(self) -> list[tirx.Stmt]:
        """What has to stand in front of all code that uses the addresses handed out."""
        pointers = {p.name: p for p in self.parameters()}
        return [tirx.DeclBuffer(b, data=pointers[name]) for (name, _), b in self._views.items()]

    def address(self, stage: planner.PlannedStage, tensor: int, element: Any = 0) -> tirx.Expr:
        """Pointer to an element behind the first byte of a tensor (or of its ring) while ``stage`` runs."""
        info = self._program.graph.tensors[tensor]
        first, distance = self._where[tensor]
        if first in self._owner:
            owner, start = self._owner[first]
            return tirx.address_of(self._view(owner, info.dtype)[(distance - start) // _itemsize(info) + element])
        place = stage.places.get(first)
        # Only tensors of a block have a place in other stages; what has none at all has no bytes.
        offset = place.offset if place else self._plan.offset(first) or 0
        return self.at(info.dtype, offset + distance, element)

    def row(self, stage: planner.PlannedStage, tensor: int, row: Any) -> tirx.Expr:
        """Pointer to a row of an image of one batch; of a planar one in the first plane."""
        info = self._program.graph.tensors[tensor]
        itemsize = _itemsize(info)
        place = stage.places.get(self._where[tensor][0])
        if place is None or (place.layout.modulus == 1 and place.layout.inner):
            return self.address(stage, tensor, row * (info.row_bytes // info.planes // itemsize))
        layout = place.layout
        slot = tirx.truncmod(row, layout.modulus) * (layout.outer // itemsize)
        if layout.inner:
            slot = slot + tirx.truncdiv(row, layout.modulus) * (layout.inner // itemsize)
        return self.address(stage, tensor, slot)

    def ring_rows(self, stage: planner.PlannedStage, tensor: int) -> int | None:
        """Rows of a tensor's ring; None where the whole tensor is there."""
        place = stage.places.get(self._where[tensor][0])
        return None if place is None else place.ring_rows

    def scratch(self, offset: int) -> tirx.Expr:
        """Pointer to working memory."""
        return self.at("uint8", offset)

    def at(self, dtype: str, offset: int, element: Any = 0) -> tirx.Expr:
        """Pointer to an element behind (or before) the byte that the plan calls ``offset``, in a block's memory."""
        index, start = self._plan.locate(offset)
        view = self._view(self._workspaces[index], dtype)
        return tirx.address_of(view[start // np.dtype(dtype).itemsize + element])

    def _view(self, base: tirx.Var, dtype: str) -> tirx.Var:
        key = (str(base.name), dtype)
        if key not in self._views:
            size = self._sizes.get(str(base.name), 1 << 30)
            self._views[key] = tirx.decl_buffer((size,), dtype, name=f"{base.name}_{dtype}", data=base)
        return self._views[key]


def _itemsize(tensor: planner.Tensor) -> int:
    return np.dtype(tensor.dtype).itemsize


def pointer(name: str, dtype: str) -> tirx.Var:
    """A pointer parameter."""
    return tirx.Var(name, PointerType(PrimType(dtype), "global"))
