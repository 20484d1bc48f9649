"""Mutations of JSON, JSON lines and TOML: wrong types, numbers out of all bounds, missing and repeated keys, depth."""

from __future__ import annotations

import json
import math
import re
from random import Random
from typing import Any

from tests.fuzz.damage.raw import EXTREMES, SIDES

_TEXTS = ("", "x", "../../x", "/dev/zero", "$(touch x)", "\u0000", "\ud800", "a" * 3000, "int8", "NaN", "-1", "1e999")
_DEPTH = 100_000
_INTEGER = re.compile(rb"(?<=[\[ ])\d+(?=[,\]}\n])")
_TOML_VALUES = (
    "0", "-1", "1", "true", '""', "[]", "{}", "nan", "inf", "-inf", "1e400", "9223372036854775808", "0x" + "f" * 40,
    "[[1]]", "1979-05-27", '"x"', '["x", 1]', "{ a = 1 }", "9" * 5000, '"\\uD800"', "[" * 5000, "{a=" * 2000, '"""',
    "0.5", "4000000000",
)  # fmt: skip


def value(rng: Random) -> Any:
    """Something that JSON can say."""
    numbers = (*EXTREMES, 0.5, -1.5, 1e308, math.nan, math.inf, 10**400)
    return rng.choice(
        (None, True, False, [], {}, [[]], {"": None}, *rng.sample(numbers, 6), *rng.sample(_TEXTS, 3), list(range(20)))
    )


def mutate_json(data: bytes, rng: Random) -> bytes:
    """A JSON document with one to three of its values changed; in one of ten all integers that are the same one."""
    if rng.random() < 0.1:
        old = rng.choice(_INTEGER.findall(data) or [b"0"])
        new = str(rng.choice((*SIDES, *EXTREMES))).encode()
        return _INTEGER.sub(lambda m: new if m[0] == old else m[0], data)
    root = [json.loads(data)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change(*_place(root, rng), rng)
    text = json.dumps(root[0])
    if rng.random() < 0.03:
        text = rng.choice(("[" * _DEPTH, '{"a":' * _DEPTH, text + text, "1" * 5000, f'{{"modules": {"[" * _DEPTH}'))
    return text.encode("utf-8", "surrogatepass")


def mutate_lines(data: bytes, rng: Random) -> bytes:
    """JSON lines: some of them changed, left out, repeated, cut."""
    lines = data.splitlines()
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(lines))
        kind = rng.random()
        if kind < 0.7:
            lines[at] = mutate_json(data.splitlines()[rng.randrange(data.count(b"\n"))], rng).replace(b"\n", b" ")
        elif kind < 0.8:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        elif kind < 0.9:
            lines.insert(at, lines[at])
        else:
            lines[at] = rng.choice((b"", b"null", b"[]", b"\xff\xfe", b"0"))
    return b"\n".join(lines) + rng.choice((b"\n", b"\n", b""))


def mutate_toml(data: bytes, rng: Random) -> bytes:
    """A TOML document with values and lines changed."""
    lines = data.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        kind, key = rng.random(), lines[at].partition("=")[0].strip()
        if kind < 0.6 and "=" in lines[at]:
            lines[at] = f"{key} = {rng.choice(_TOML_VALUES)}"
        elif kind < 0.7:
            del lines[at : at + rng.choice((1, 1, 5))]
        elif kind < 0.8:
            lines.insert(
                at,
                rng.choice((lines[at], "[x]", "[[memory]]", "[memory]", ".".join("a" * 3000) + " = 1", "=", "x = 1")),
            )
        elif kind < 0.9:
            lines[at] = re.sub(r"[A-Za-z_]+", lambda m: rng.choice((m[0], m[0], "name", "x")), lines[at], count=1)
        else:
            lines[at] = re.sub(r"\d+", lambda m: rng.choice((m[0], str(rng.choice(EXTREMES)))), lines[at])
        lines = lines or [""]
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def _place(node: Any, rng: Random) -> tuple[Any, Any]:
    """A container in a document and one of its keys; every depth is met."""
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = rng.choice(keys)
        below = node[key]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.15:
            return node, key
        node = below


def _change(node: Any, key: Any, rng: Random) -> None:
    kind, old = rng.random(), node[key]
    if kind < 0.2:
        del node[key]
        if not node:  # there always is something to change next
            node.update({"x": None}) if isinstance(node, dict) else node.append(None)
    elif kind < 0.3 and isinstance(old, list) and old:
        node[key] = old * rng.choice((2, 3)) if rng.random() < 0.6 else old[: rng.randrange(len(old))] or [0]
    elif kind < 0.6 and isinstance(old, int | float) and not isinstance(old, bool):
        node[key] = rng.choice((old + 1, old - 1, -old, rng.randrange(10), *EXTREMES))
    elif kind < 0.65 and isinstance(node, dict):
        node[rng.choice(("x", "", "name"))] = old
    else:
        node[key] = value(rng)
