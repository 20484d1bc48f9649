"""A report's content as one page of HTML that needs no network, and as Markdown for a pull request comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from tvm_tiny.report.arena import draw_arena
from tvm_tiny.report.front_svg import draw_front
from tvm_tiny.report.graph_svg import draw_graph

# Neighbours in a bar are told apart; classes of instructions that belong together are alike.
CLASS_COLOURS = {
    "alu": "#7fb2dd",
    "multiply": "#e07b39",
    "multiply_accumulate": "#d9534f",
    "long_multiply": "#f0a35e",
    "divide": "#8c564b",
    "load": "#2e8b57",
    "store": "#8fd19e",
    "load_multiple": "#3f9f8f",
    "store_multiple": "#a5d5af",
    "branch": "#b48ac8",
    "loop": "#d3b3e0",
    "float": "#c9a227",
    "float_accumulate": "#e0c35c",
    "float_divide": "#8a6d1b",
    "vector": "#5b6abf",
    "vector_multiply": "#c2497c",
    "vector_memory": "#45b3a0",
    "other": "#b0b0b0",
}
PART_COLOURS = ("#1f6fb4", "#2e8b57", "#f2a541", "#b48ac8", "#d9534f")


def render_html(content: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """The whole page.

    Parameters
    ----------
    info : the archive's ``tinyml`` metadata, for the drawing of the arena
    """
    drawings = {
        "graph": draw_graph(content).to_page(),
        "arena": draw_arena(info).to_page(),
        "front": "" if content["front"] is None else draw_front(content["front"]).to_page(),
    }
    environment = _environment(autoescape=True)
    max_share = max((layer["share"] or 0 for layer in content["layers"]), default=0) or 1
    template = environment.get_template("report.html.j2")
    return template.render(
        r=content, drawings=drawings, bars=_bars(content), class_colours=CLASS_COLOURS, max_share=max_share
    )


def render_markdown(content: Mapping[str, Any]) -> str:
    """Tables that GitHub and GitLab show; the layers folded."""
    template = _environment(autoescape=False).get_template("report.md.j2")
    return template.render(r=content, bars=_bars(content))


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tvm_tiny.report"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=_number, words=_words, shape=_shape, cell=_cell, percent=_percent)
    return environment


def _bars(content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Parts of RAM, flash and instructions, each with its share of the whole; None and 0 are left out."""
    ram, flash = content["ram"], content["flash"]
    inside = all(t["arena_offset"] is not None for t in (*content["inputs"], *content["outputs"]))
    label = "arena, inputs and outputs in it" if inside else "arena"
    beside = [] if inside else [("inputs and outputs", ram["io_bytes"])]
    data, copied = (".data and .bss", ram["data_bss_bytes"]), ("weights", ram["weights_bytes"])
    mix = content["instruction_mix"] or {}
    return {
        "ram": _parts([(label, ram["arena_bytes"]), *beside, data, copied, ("stack", ram["stack_bytes"])]),
        "flash": _parts([("code", flash["code_bytes"]), ("weights", flash["weights_bytes"])]),
        "mix": _parts([(name, mix.get(name)) for name in CLASS_COLOURS], list(CLASS_COLOURS.values())),
    }


def _parts(values: Sequence[tuple[str, float | None]], colours: Sequence[str] = PART_COLOURS) -> list[dict[str, Any]]:
    total = sum(value or 0 for _, value in values)
    return [
        {"name": name, "value": value, "share": value / total, "colour": colours[k % len(colours)]}
        for k, (name, value) in enumerate(values)
        if value
    ]


def _number(value: float | None, digits: int = 0) -> str:
    """With commas; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _cell(text: str, length: int = 48) -> str:
    """For a cell of a Markdown table: the end of a long name tells it from others."""
    shown = text if len(text) <= length else f"…{text[1 - length :]}"
    return shown.replace("|", "\\|").replace("`", "'").replace("\n", " ")
