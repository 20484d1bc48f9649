"""Plain SVG, element by element."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape, quoteattr

_STYLE = (
    "text{font-family:sans-serif;font-size:11px}text[font-size='9']{font-size:9px}text[font-size='10']{font-size:10px}"
    ".title{font-size:14px;font-weight:bold}.axis{stroke:#444;fill:none}.grid{stroke:#ddd;fill:none}"
    ".band{fill:#eee}"
    ".stage{fill:#1f6fb412;stroke:#1f6fb466}.edge{stroke:#5c6773;fill:none}.bar{fill:#1f6fb4}"
    ".patch{fill:none;stroke:#d2691e;stroke-width:1.5;stroke-dasharray:5 3}.patch-text{fill:#d2691e}"
)
INK = "#222"  # of text, and of what is drawn on colours that stay in the dark


class Drawing:
    """Collects elements; coordinates in pixels, y downwards."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._elements: list[str] = []

    def line(self, points: list[tuple[float, float]], **attributes: str | float) -> None:
        """A polyline."""
        self._add("polyline", "", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), **attributes)

    def rect(self, x: float, y: float, width: float, height: float, title: str = "", **attributes: str | float) -> None:
        """A rectangle; ``title`` shows when the pointer rests on it."""
        self._add("rect", title, x=x, y=y, width=width, height=height, **attributes)

    def circle(self, x: float, y: float, radius: float, title: str = "", **attributes: str | float) -> None:
        """A filled circle."""
        self._add("circle", title, cx=x, cy=y, r=radius, **attributes)

    def text(self, x: float, y: float, content: str, **attributes: str | float) -> None:
        """A line of text; ``anchor`` is start, middle or end."""
        anchor = attributes.pop("anchor", "start")
        own = {} if "fill" in attributes else {"css": "ink", "fill": INK}
        given = _attributes({"x": x, "y": y, "text-anchor": anchor, **own, **attributes})
        self._elements.append(f"<text{given}>{escape(content)}</text>")

    def to_text(self) -> str:
        """The whole file."""
        background = '<rect width="100%" height="100%" fill="white"/>'
        return self._element(f"<style>{_STYLE}</style>", background)

    def to_page(self) -> str:
        """An element for a page of HTML, which has styles for the classes and the background."""
        return self._element()

    def _element(self, *first: str) -> str:
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
        return "\n".join([head, *first, *self._elements, "</svg>", ""])

    def _add(self, element: str, title: str, **attributes: str | float) -> None:
        inside = f"<title>{escape(title)}</title>" if title else ""
        self._elements.append(f"<{element}{_attributes(attributes)}>{inside}</{element}>")


def _attributes(values: dict[str, str | float]) -> str:
    texts = {k: f"{v:.1f}" if isinstance(v, float) else str(v) for k, v in values.items()}
    return "".join(f" {k.replace('_', '-').replace('css', 'class')}={quoteattr(v)}" for k, v in texts.items())


def ticks(limit: float, count: int = 8) -> list[float]:
    """Round values from 0 to ``limit``, at most ``count`` and one more."""
    power: float = 10 ** math.floor(math.log10(limit / count))
    step = next(power * k for k in (1, 2, 5, 10) if power * k * count >= limit)
    return [k * step for k in range(int(limit / step) + 1)]
