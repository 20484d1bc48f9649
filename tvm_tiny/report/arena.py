"""The arena over time: what an archive's plan says, as text and as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_tiny.report.svg import INK, Drawing, ticks

_COLOURS: Mapping[str, tuple[str, str]] = {  # neighbours take turns
    "tensor": ("#7fb2dd", "#a9cbe8"),
    "ring": ("#7cc08a", "#a5d5af"),
    "kept": ("#3f9f8f", "#69b8ab"),
    "staging": ("#f2c14e", "#f6d484"),
    "scratch": ("#b0b0b0", "#c8c8c8"),
    "accumulator": ("#b48ac8", "#cbaedb"),
}
_MEANING = {
    "tensor": "tensor",
    "ring": "rolling buffer",
    "kept": "kept rows",
    "staging": "new columns",
    "scratch": "scratch",
    "accumulator": "sums",
}
_LEFT, _TOP, _HEIGHT, _BELOW = 90, 60, 460, 70
_STAGE, _SPAN, _ROOM = 16.0, 7.0, 1500  # least width of a stage and a span, width that small networks fill
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LINES, _COLUMNS = 24, 120


@dataclass(frozen=True)
class Area:
    """Bytes ``[low, high)`` of a memory that a block uses from one span of a stage to another.

    Parameters
    ----------
    first, last : spans of the stage, both included
    block : as in the plan's timeline
    """

    stage: int
    first: int
    last: int
    low: int
    high: int
    block: Mapping[str, Any]


def areas(plan: Mapping[str, Any], memory: str) -> Iterator[Area]:
    """All that is in use in a memory, in order of time."""
    for index, stage in enumerate(plan["stages"]):
        count = len(stage["timeline"]["spans"])
        for block in stage["timeline"]["blocks"]:
            live = block["live"] * count if len(block["live"]) == 1 else block["live"]
            start = 0
            for k in range(1, count + 1):
                if k == count or live[k] != live[start]:
                    if live[start] is not None and block["memory"] == memory:
                        low, high = (block["offset"] + x for x in live[start])
                        yield Area(index, start, k - 1, low, high, block)
                    start = k


def draw_arena(info: Mapping[str, Any]) -> Drawing:
    """A model's arena, one panel per memory: stages to the right, bytes upwards."""
    plan = info["plan"]
    edges = _edges(plan["stages"])
    width = int(edges[-1][-1]) + 30
    panel = _TOP + _HEIGHT + _BELOW
    drawing = Drawing(width, panel * len(plan["memories"]))
    for k, memory in enumerate(plan["memories"]):
        _draw_memory(drawing, info, memory, edges, panel * k + _TOP)
    return drawing


def _edges(stages: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """For every stage where its spans begin, and where the last ends."""
    counts = [len(s["timeline"]["spans"]) for s in stages]
    span = max(_SPAN, min(60.0, _ROOM / max(1, sum(counts))))
    edges: list[list[float]] = []
    x = float(_LEFT)
    for count in counts:
        wide = max(_STAGE, count * span)
        edges.append([x + wide * k / count for k in range(count + 1)])
        x += wide
    return edges


def _draw_memory(
    drawing: Drawing, info: Mapping[str, Any], memory: Mapping[str, Any], edges: list[list[float]], top: int
) -> None:
    plan, size = info["plan"], max(1, memory["arena_bytes"])
    right, bottom = edges[-1][-1], top + _HEIGHT

    def y(offset: float) -> float:
        return float(bottom - offset / size * _HEIGHT)

    title = f"{info['model']} for {info['target']}: {memory['name']}, {memory['arena_bytes']:,} B over time"
    drawing.text(_LEFT, top - 36, title, css="title")
    for k, (role, colours) in enumerate(_COLOURS.items()):
        drawing.rect(_LEFT + 120 * k, top - 24, 12, 12, fill=colours[0])
        drawing.text(_LEFT + 120 * k + 17, top - 14, _MEANING[role])
    for value in ticks(size):
        drawing.line([(_LEFT, y(value)), (right, y(value))], css="grid")
        drawing.text(_LEFT - 6, y(value) + 4, f"{int(value):,}", anchor="end")
    shades: dict[tuple[str, str], str] = {}
    for area in areas(plan, memory["name"]):
        block = area.block
        pair = _COLOURS[block["role"]]
        before = sum(role == block["role"] for role, _ in shades)
        fill = shades.setdefault((block["role"], block["name"]), pair[before % 2])
        x0, x1 = edges[area.stage][area.first], edges[area.stage][area.last + 1]
        height = y(area.low) - y(area.high)
        drawing.rect(x0, y(area.high), x1 - x0, height, _title(plan, area), fill=fill, stroke="white", stroke_width=0.4)
        name = block["name"].split("/")[-1]
        room = int((x1 - x0) / 6)
        if room >= 4 and height >= 12:
            shown = name[-room:] if len(name) > room else name
            drawing.text(x0 + 3, y(area.high) + height / 2 + 4, shown, fill=INK)
    for k, (stage, spans) in enumerate(zip(plan["stages"], edges, strict=True)):
        operators = stage["operators"]
        drawing.line([(spans[0], top), (spans[0], bottom + 6)], stroke="#888", stroke_width=0.5, fill="none")
        drawing.rect(spans[0], bottom + 8, spans[-1] - spans[0] - 1, 14, ", ".join(operators), css="band")
        drawing.text((spans[0] + spans[-1]) / 2, bottom + 19, str(k), anchor="middle")
    drawing.line([(_LEFT, top), (_LEFT, bottom), (right, bottom)], css="axis")
    label = "stages, each over its steps; rest the pointer on anything to see what it is"
    drawing.text(_LEFT, bottom + 40, label)


def _title(plan: Mapping[str, Any], area: Area) -> str:
    stage, block = plan["stages"][area.stage], area.block
    spans = [*stage["timeline"]["spans"], stage["ticks"]]
    operators = stage["operators"]
    of = operators[0] if len(operators) == 1 else f"{operators[0]} ... {operators[-1]}"
    return (
        f"{block['name']} ({_MEANING[block['role']]})\nbytes {area.low:,} to {area.high:,} of "
        f"{block['offset']:,} + {block['size_bytes']:,}\nstage {area.stage}: {of}\n"
        f"steps {spans[area.first]:,} to {spans[area.last + 1] - 1:,} of {stage['ticks']:,}"
    )


def chart(plan: Mapping[str, Any], memory: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, Mapping[str, Any]]]]:
    """A memory over time in letters, highest bytes first, and the blocks the letters stand for.

    Every column is one span of a stage; where a network has more than fit, those that follow are drawn together.
    """
    stages = plan["stages"]
    first = [0]
    for stage in stages:
        first.append(first[-1] + len(stage["timeline"]["spans"]))
    columns = min(_COLUMNS, first[-1])
    size = max(1, memory["arena_bytes"])
    most = [[(0.0, " ")] * columns for _ in range(_LINES)]
    letters: dict[tuple[str, str, int], str] = {}
    legend: list[tuple[str, Mapping[str, Any]]] = []
    for area in areas(plan, memory["name"]):
        key = (area.block["role"], area.block["name"], area.block["offset"])
        if key not in letters:
            letters[key] = _LETTERS[len(letters) % len(_LETTERS)]
            legend.append((letters[key], area.block))
        begin = (first[area.stage] + area.first) * columns // first[-1]
        end = max(begin + 1, (first[area.stage] + area.last + 1) * columns // first[-1])
        for line in range(_LINES):
            low, high = size * line / _LINES, size * (line + 1) / _LINES
            covered = min(high, area.high) - max(low, area.low)
            for column in range(begin, min(end, columns)):
                if covered > most[line][column][0]:
                    most[line][column] = (covered, letters[key])
    return ["".join(letter for _, letter in line) for line in reversed(most)], legend
