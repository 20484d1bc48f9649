"""Mutations of .onnx files: any field of any message, by the schema."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random
from typing import Any

import onnx
from google.protobuf.message import Message

from tests.fuzz.damage.raw import EXTREMES, FLOATS, SIDES

TEXTS = ("", "x", "\u00e9", "../../etc/passwd", "/etc/passwd", "a" * 5000, "%s%n", "Loop", "com.microsoft", "\n")


def mutate(data: bytes, rng: Random) -> bytes:
    """``data``, a sound file, with one to three fields changed.

    One in ten is another network that may be sound: all sides of one length have another one.
    """
    model = onnx.ModelProto.FromString(data)
    if rng.random() < 0.1:
        return _resized(model, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        messages = list(_messages(model))
        # Tensors and values outnumber nodes; types of messages are equally likely.
        kind = rng.choice(sorted({m.DESCRIPTOR.name for m in messages}))
        _change(rng.choice([m for m in messages if m.DESCRIPTOR.name == kind]), messages, rng)
    return bytes(model.SerializeToString())


def _resized(model: onnx.ModelProto, rng: Random) -> bytes:
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    dims = [d for v in values for d in v.type.tensor_type.shape.dim]
    side, other = rng.choice(sorted({d.dim_value for d in dims} or {1})), rng.choice(SIDES)
    for dim in dims:
        if dim.dim_value == side:
            dim.dim_value = other
    return bytes(model.SerializeToString())


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if _repeated(field) else [value]:
                yield from _messages(each)


def _repeated(field: Any) -> bool:
    """Whether a field is a list; protobuf before 6.31 has no other name for it than one that is deprecated now."""
    found = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED) if found is None else bool(found)


def _change(message: Any, messages: list[Any], rng: Random) -> None:
    field = rng.choice(message.DESCRIPTOR.fields)
    if rng.random() < 0.7 and message.ListFields():
        field = rng.choice(message.ListFields())[0]
    if _repeated(field):
        _change_list(getattr(message, field.name), field, messages, rng)
    elif field.message_type is not None:
        others = [m for m in messages if m.DESCRIPTOR is field.message_type]
        if others and rng.random() < 0.6:
            _copy(rng.choice(others), getattr(message, field.name))
        else:
            message.ClearField(field.name)
    elif rng.random() < 0.2:
        message.ClearField(field.name)
    else:
        _try(lambda: setattr(message, field.name, _value(field, rng)))


def _change_list(values: Any, field: Any, messages: list[Any], rng: Random) -> None:
    at = rng.randrange(len(values)) if len(values) else 0
    kind = rng.random()
    if values and kind < 0.3:
        del values[at]
    elif values and kind < 0.5:
        item = values[at]
        for _ in range(rng.choice((1, 1, 20))):
            _try(lambda item=item: values.append(item) if field.message_type is None else values.add().CopyFrom(item))
    elif field.message_type is not None:
        others = [m for m in messages if m.DESCRIPTOR is field.message_type]
        if others:
            _copy(rng.choice(others), values[at] if values and kind < 0.8 else values.add())
    elif values and kind < 0.9:
        _try(lambda: values.__setitem__(at, _value(field, rng)))
    else:
        _try(lambda: values.append(_value(field, rng)))


def _copy(source: Message, target: Message) -> None:
    copy = type(source)()
    copy.CopyFrom(source)  # the one may lie inside the other
    target.CopyFrom(copy)


def _value(field: Any, rng: Random) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == field.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 7, 64))))
    return rng.choice((*EXTREMES, rng.randrange(20)))


def _try(change: Any) -> None:
    """What the schema's types do not take is left."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        change()
