"""Mutations of .tflite files where their structure is: offsets, lengths, indices, shapes, scales, fields left out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from random import Random
from typing import Any

import tflite

from tests.fuzz.damage.raw import SIDES, extreme_bytes

Place = tuple[int, int]
"""Position and width of a number."""


def mutate(data: bytes, rng: Random) -> bytes:
    """``data``, a sound file, with one to three of its structural numbers replaced or its fields left out.

    One in ten is another network that may be sound: all sides of one length have another one.
    """
    if rng.random() < 0.1:
        return _resized(data, rng)
    fields, numbers = _places(data)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.random()
        if kind < 0.15:
            entry, _ = rng.choice(fields)
            changed[entry : entry + 2] = rng.choice((b"\0\0", extreme_bytes(rng, 2)))
        elif kind < 0.3:
            # One field of the schema gets another one's content: an offset that is sound in itself.
            (_, to), (_, source) = rng.choice(fields), rng.choice(fields)
            (target,) = struct.unpack_from("<I", data, source)
            changed[to : to + 4] = struct.pack("<I", source + target - to & 0xFFFFFFFF)
        elif kind < 0.5:
            _, at = rng.choice(fields)
            width = rng.choice((1, 4))
            changed[at : at + width] = extreme_bytes(rng, width)
        else:
            at, width = rng.choice(numbers)
            small = rng.randrange(12).to_bytes(width, "little")
            changed[at : at + width] = small if rng.random() < 0.4 else extreme_bytes(rng, width)
    return bytes(changed[: len(data)])


def _resized(data: bytes, rng: Random) -> bytes:
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    sides: dict[int, list[int]] = {}
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        if model.Buffers(tensor.Buffer()).DataLength() == 0:
            # Places of a vector are that of its length, then those of its elements.
            for at, _ in _vector(data, tensor._tab, (4,), 4)[1:]:
                sides.setdefault(struct.unpack_from("<i", data, at)[0], []).append(at)
    changed, other = bytearray(data), rng.choice(SIDES)
    for at in rng.choice([places for _, places in sorted(sides.items())]):
        struct.pack_into("<i", changed, at, other)
    return bytes(changed)


@lru_cache(None)
def _places(data: bytes) -> tuple[list[Place], list[Place]]:
    """Fields of tables, each as the position of its vtable entry and its own; and lengths and elements of vectors."""
    fields: list[Place] = []
    numbers: list[Place] = []
    for table in _tables(data):
        vtable = table.Pos - struct.unpack_from("<i", data, table.Pos)[0]
        size, _ = struct.unpack_from("<HH", data, vtable)
        for entry in range(vtable + 4, vtable + size, 2):
            (offset,) = struct.unpack_from("<H", data, entry)
            if offset:
                fields.append((entry, table.Pos + offset))
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    for table, entries in [(graph, (4, 6, 8, 10)), (model, (6, 8, 12))]:
        numbers += _vector(data, table._tab, entries, 4)
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        numbers += _vector(data, tensor._tab, (4, 18), 4)
        if tensor.Quantization() is not None:
            numbers += _vector(data, tensor.Quantization()._tab, (4, 6, 8), 4)
            numbers += _vector(data, tensor.Quantization()._tab, (10,), 8)
    for i in range(graph.OperatorsLength()):
        numbers += _vector(data, graph.Operators(i)._tab, (6, 8), 4)
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        numbers += _vector(data, buffer._tab, (4,), 1)[: 1 if buffer.DataLength() > 64 else None]
    return fields, numbers


def _tables(data: bytes) -> Iterator[Any]:
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    yield model._tab
    yield graph._tab
    for i in range(model.OperatorCodesLength()):
        yield model.OperatorCodes(i)._tab
    for i in range(model.BuffersLength()):
        yield model.Buffers(i)._tab
    for i in range(graph.TensorsLength()):
        yield graph.Tensors(i)._tab
        if graph.Tensors(i).Quantization() is not None:
            yield graph.Tensors(i).Quantization()._tab
    for i in range(graph.OperatorsLength()):
        yield graph.Operators(i)._tab
        if graph.Operators(i).BuiltinOptions() is not None:
            yield graph.Operators(i).BuiltinOptions()


def _vector(data: bytes, table: Any, entries: tuple[int, ...], width: int) -> list[Place]:
    """Length and elements of a table's vectors, by their places in its vtable."""
    found: list[Place] = []
    for entry in entries:
        offset = table.Offset(entry)
        if offset:
            start, count = table.Vector(offset), table.VectorLen(offset)
            found.append((start - 4, 4))
            found += [(start + i * width, width) for i in range(count)]
    return found
