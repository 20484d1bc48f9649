"""Drawings are well-formed, hold what they should, and stay inside their frame."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.planner_graphs import Builder
from tvm_tiny.planner import Fusion, Memory, Plan, Window, pareto
from tvm_tiny.report.arena import areas, chart, draw_arena
from tvm_tiny.report.front_svg import draw_front
from tvm_tiny.report.svg import ticks

SVG = "{http://www.w3.org/2000/svg}"


def planned(fusion: Fusion, **options: Any) -> Plan:
    """The smallest plan, whatever its work."""
    b = Builder(20, 20, 3)
    x = 0
    for channels in (16, 16, 4):
        x = b.conv(x, channels, Window(3, 1, 1), Window(3, 1, 1), (1, 1), scratch=24)
    return pareto(b.graph(b.dense(b.view(b.mean(x)), 4)), fusion=fusion, mac_factor=1.0, effort="fast", **options)[
        -1
    ].plan


def info(plan: Plan) -> dict[str, Any]:
    return {"model": "a <model>", "target": "tinyml/qemu-m7", "plan": plan.to_dict()}


@pytest.mark.parametrize("fusion", ["off", "rows", "columns"])
def test_areas_are_the_bytes_in_use(fusion: Fusion) -> None:
    plan = planned(fusion)
    found = list(areas(plan.to_dict(), "ram"))
    assert max(a.high for a in found) == plan.arena_bytes
    roles = {a.block["role"] for a in found}
    assert {"tensor", "scratch", "accumulator"} <= roles
    assert ("ring" in roles) == (fusion != "off")
    assert ("staging" in roles) == ("kept" in roles) == (fusion == "columns")
    assert all(0 <= a.low < a.high for a in found)
    # The image goes: fewer and fewer of its bytes are in use.
    image = [a.high - a.low for a in found if a.block["name"] == "input"]
    assert image == sorted(image, reverse=True)
    assert image[0] == 20 * 20 * 3


def test_several_memories_have_a_panel_each() -> None:
    memories = ((Memory("dtcm", 2500), Memory("sram", 10**6)),)
    plan = planned("off", memories=memories)
    root = ET.fromstring(draw_arena(info(plan)).to_text())
    titles = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "title"]
    assert [str(t).split(": ")[1].split(",")[0] for t in titles] == ["dtcm", "sram"]
    assert all(
        a.high <= plan.arenas[k].size_bytes for k, m in enumerate(("dtcm", "sram")) for a in areas(plan.to_dict(), m)
    )


def test_arena_svg() -> None:
    root = ET.fromstring(draw_arena(info(planned("columns"))).to_text())
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    rects = [r for r in root.iter(f"{SVG}rect") if r.get("width") != "100%"]
    assert len(rects) > 20
    for r in rects:
        assert 0 <= float(r.attrib["x"]) <= float(r.attrib["x"]) + float(r.attrib["width"]) <= width
        assert 0 <= float(r.attrib["y"]) <= float(r.attrib["y"]) + float(r.attrib["height"]) <= height
    said = "\n".join(t.text or "" for t in root.iter(f"{SVG}title"))
    assert "input (tensor)" in said
    assert "(kept rows)" in said
    assert "a <model> for tinyml/qemu-m7: ram" in "".join(t.text or "" for t in root.iter(f"{SVG}text"))


def test_chart_fills_what_is_in_use() -> None:
    plan = planned("off")
    lines, legend = chart(plan.to_dict(), plan.to_dict()["memories"][0])
    letters = dict(legend)
    assert {len(line) for line in lines} == {len(lines[0])}
    assert {x for line in lines for x in line} - {" "} <= set(letters)
    image = next(letter for letter, block in legend if block["name"] == "input")
    assert any(image in line for line in lines)


def test_front_svg() -> None:
    b = Builder(20, 20, 3)
    graph = b.graph(b.conv(0, 8, Window(3, 1, 1), Window(3, 1, 1), (1, 1)))
    front = [x.to_dict() for x in pareto(graph, effort="fast")]
    plans = {"model": "m", "target": "tinyml/x", "board_ram_bytes": 3000, "fronts": {"resident": front}}
    root = ET.fromstring(draw_front(plans).to_text())
    titles = [t.text or "" for t in root.iter(f"{SVG}title")]
    assert len(titles) == len(front)
    assert titles[0].startswith(f"{front[0]['ram_bytes']:,} B")
    assert any("RAM of the board, 3,000 B" in (t.text or "") for t in root.iter(f"{SVG}text"))


@pytest.mark.parametrize(("limit", "step"), [(16192, 5000), (100, 20), (20, 5), (0.02, 0.005), (8, 1)])
def test_ticks_are_round(limit: float, step: float) -> None:
    found = ticks(limit)
    assert found[1] == pytest.approx(step)
    assert found[-1] <= limit < found[-1] + step
