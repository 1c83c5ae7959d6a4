"""Bars as SVG: one group a case, one bar a tool, with the figure written at its end.

The scale is logarithmic where the figures differ much. Drawn with the standard library; the text uses the
fonts of whoever looks at it, on a white ground that is readable in the dark too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.etree import ElementTree

from benchmarks.suite.report import measured

_WIDTH: Final = 760
_LETTER: Final = 6.7  # pixels that a letter of a label takes
_FIGURES: Final = 90  # pixels right of the longest bar
_BAR: Final = 20
_GAP: Final = 4
_BETWEEN: Final = 34  # pixels above each group, for its name
_TOP: Final = 56
_BOTTOM: Final = 44
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"

_INK, _PALE, _GRID, _GROUND = "#1b1f24", "#59636e", "#e4e7eb", "#ffffff"
_OWN, _OTHER, _FLOOR = "#0b6bcb", "#a9b4c2", "#d7dde4"

#: From this ratio of the largest to the smallest figure on, the scale is logarithmic.
_FAR: Final = 20.0


class Bar(NamedTuple):
    """One tool's figure; ``low`` and ``high`` are the quartiles. ``kind``: own, other or floor."""

    tool: str
    value: float
    low: float
    high: float
    kind: str = "other"


def bars(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Bar]]], subtitle: str = "") -> str:
    """The picture, as the text of an SVG file."""
    values = [value for _, group in groups for bar in group for value in (bar.low, bar.value, bar.high)]
    longest = max(len(bar.tool) for _, group in groups for bar in group)
    scale = _scale(values, max(120.0, 30 + longest * _LETTER))
    count = sum(len(group) for _, group in groups)
    height = _TOP + len(groups) * _BETWEEN + count * (_BAR + _GAP) + _BOTTOM
    picture = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "font-family": _FONT,
            "role": "img",
            "aria-label": title,
        },
    )
    _box(picture, 0, 0, _WIDTH, height, _GROUND)
    _text(picture, 20, 28, title, size=17, weight="600")
    _text(picture, 20, 46, subtitle, size=12, fill=_PALE)
    bottom = height - _BOTTOM + 8
    for tick in scale.ticks:
        at = f"{scale.place(tick):.1f}"
        ElementTree.SubElement(
            picture, "line", {"x1": at, "x2": at, "y1": str(_TOP), "y2": str(bottom), "stroke": _GRID}
        )
        _text(picture, scale.place(tick), bottom + 16, _tick(tick, unit), size=11, fill=_PALE, anchor="middle")
    top = float(_TOP)
    for name, group in groups:
        _text(picture, 20, top + 22, name, size=13, weight="600")
        top += _BETWEEN
        for bar in group:
            _draw(picture, bar, top, scale, unit)
            top += _BAR + _GAP
    ElementTree.indent(picture)
    return ElementTree.tostring(picture, encoding="unicode") + "\n"


def _draw(picture: ElementTree.Element, bar: Bar, top: float, scale: _Scale, unit: str) -> None:
    colour = {"own": _OWN, "floor": _FLOOR}.get(bar.kind, _OTHER)
    weight = "600" if bar.kind == "own" else "400"
    middle, end = top + _BAR / 2, max(scale.place(bar.value), scale.left + 2.0)
    _text(picture, scale.left - 10, middle + 4, bar.tool, size=12, anchor="end", weight=weight)
    _box(picture, scale.left, top, end - scale.left, _BAR, colour, radius=2)
    low, high = scale.place(bar.low), scale.place(bar.high)
    if high - low >= 2:
        spread = {"x1": f"{low:.1f}", "x2": f"{high:.1f}", "y1": str(middle), "y2": str(middle)}
        ElementTree.SubElement(
            picture, "line", {**spread, "stroke": _INK, "stroke-width": "1.5", "stroke-opacity": "0.55"}
        )
    _text(picture, max(end, high) + 7, middle + 4, measured(bar.value, unit), size=12, weight=weight)


class _Scale(NamedTuple):
    """Where values stand from left to right, in pixels: ``first`` at ``left``, ``last`` where the longest bar ends.

    On a logarithmic scale these are powers of ten.
    """

    left: float
    first: float
    last: float
    logarithmic: bool
    ticks: list[float]

    def place(self, value: float) -> float:
        at = math.log10(value) if self.logarithmic else value
        return self.left + (_WIDTH - self.left - _FIGURES) * (at - self.first) / (self.last - self.first)


def _scale(values: Sequence[float], left: float) -> _Scale:
    most, least = max(values) or 1.0, min(values)
    if least > 0 and most / least > _FAR:
        first = math.floor(math.log10(least))
        if 10**first * 1.5 > least:  # the shortest bar is to be one
            first -= 1
        last = math.log10(most)
        return _Scale(left, first, last, True, [10.0**power for power in range(first, math.floor(last) + 1)])
    step = _step(most)
    return _Scale(left, 0.0, most, False, [step * number for number in range(math.floor(most / step + 1e-9) + 1)])


def _step(most: float) -> float:
    """A round number, of which a handful fits into the scale."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step for step in (power / 5, power / 2, power, power * 2) if most / step <= 6)


def _tick(value: float, unit: str) -> str:
    return f"{value:g}" if not unit and value < 1000 else measured(value, unit)


def _box(
    picture: ElementTree.Element, left: float, top: float, width: float, height: float, fill: str, radius: float = 0
) -> None:
    size = {"x": f"{left:.1f}", "y": f"{top:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    ElementTree.SubElement(picture, "rect", {**size, "fill": fill, "rx": str(radius)})


def _text(
    picture: ElementTree.Element,
    left: float,
    top: float,
    words: str,
    *,
    size: int,
    fill: str = _INK,
    anchor: str = "start",
    weight: str = "400",
) -> None:
    look = {"font-size": str(size), "fill": fill, "text-anchor": anchor, "font-weight": weight}
    ElementTree.SubElement(picture, "text", {"x": f"{left:.1f}", "y": f"{top:.1f}", **look}).text = words
