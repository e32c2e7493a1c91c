"""Small SVG charts, written by hand: grouped bars and lines.

Rules of this file: pure, text in and text out; no library, so that the report needs none.
"""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 300, 70, 54, 40
COLOURS = ("#2563eb", "#64748b", "#d97706", "#059669", "#7c3aed", "#db2777")
FONT = "font-family='system-ui, sans-serif' font-size='12' fill='#1f2937'"


def bars(
    title: str, unit: str, groups: Sequence[str], series: Mapping[str, Sequence[tuple[float, ...]]]
) -> str:
    """Draw grouped bars. Shape: each value is (median, low, high); () leaves a gap."""
    top = max((value[2] for values in series.values() for value in values if value), default=1)
    scale = _Scale(top)
    parts = _frame(title, unit, scale, list(series))
    group_width = (WIDTH - LEFT - 20) / max(len(groups), 1)
    bar_width = min(44.0, group_width * 0.8 / max(len(series), 1))
    for at, group in enumerate(groups):
        middle = LEFT + group_width * (at + 0.5)
        parts.append(_text(middle, HEIGHT - BOTTOM + 18, group, "middle"))
        for number, values in enumerate(series.values()):
            if values[at]:
                x = middle + (number - len(series) / 2) * bar_width
                parts += _bar(x, bar_width - 4, values[at], scale, COLOURS[number % len(COLOURS)])
    return _svg(parts)


def lines(title: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw lines over a common x axis. Shape: series of (x, y), x rising."""
    points = [point for values in series.values() for point in values]
    scale = _Scale(max((y for _, y in points), default=1))
    right = max((x for x, _ in points), default=1) or 1
    parts = _frame(title, unit, scale, list(series))
    for number, values in enumerate(series.values()):
        colour = COLOURS[number % len(COLOURS)]
        path = [(LEFT + 20 + x / right * (WIDTH - LEFT - 60), scale.y(y)) for x, y in values]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
        parts.append(
            f"<polyline points='{joined}' fill='none' stroke='{colour}' stroke-width='2'/>"
        )
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in path]
    for x in sorted({x for x, _ in points}):
        place = LEFT + 20 + x / right * (WIDTH - LEFT - 60)
        parts.append(_text(place, HEIGHT - BOTTOM + 18, f"{x:g}", "middle"))
    return _svg(parts)


class _Scale:
    """A y axis from 0 to a round number at or above the largest value."""

    def __init__(self, top: float) -> None:
        power = 10.0 ** (len(f"{int(max(top, 1))}") - 1)
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
        self.top = next(power * step for step in steps if power * step >= top)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - BOTTOM - TOP)


def _frame(title: str, unit: str, scale: _Scale, names: list[str]) -> list[str]:
    parts = [
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
        f"<text x='12' y='20' {FONT} font-weight='bold'>{escape(title)} ({escape(unit)})</text>",
    ]
    for step in range(5):
        value = scale.top * step / 4
        y = scale.y(value)
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - 20}' y1='{y:.1f}' y2='{y:.1f}' "
                     "stroke='#e5e7eb'/>")  # fmt: skip
        parts.append(_text(LEFT - 8, y + 4, f"{value:,.4g}", "end"))
    for number, name in enumerate(names):
        x = LEFT + number * 160
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f"<rect x='{x}' y='{HEIGHT - 20}' width='12' height='12' fill='{colour}'/>")
        parts.append(_text(x + 18, HEIGHT - 10, name, "start"))
    return parts


def _bar(x: float, width: float, value: tuple[float, ...], scale: _Scale, colour: str) -> list[str]:
    median, low, high = value
    y, middle = scale.y(median), x + width / 2
    return [
        f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{scale.y(0) - y:.1f}' "
        f"fill='{colour}'/>",
        f"<line x1='{middle:.1f}' x2='{middle:.1f}' y1='{scale.y(low):.1f}' "
        f"y2='{scale.y(high):.1f}' stroke='#111827'/>",
        _text(middle, scale.y(high) - 4, f"{median:,.3g}", "middle"),
    ]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {FONT}>{escape(text)}</text>"


def _svg(parts: list[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}'>"
    return "\n".join([head, *parts, "</svg>", ""])
