"""Small plots as SVG text: dots, or dots joined by lines, on one pair of axes. No dependency, no script."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Okabe and Ito's, which colour-blind readers can tell apart."""
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 44, 46
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    label: str
    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Place of a value on the axis, 0..1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [10.0**decade * step for decade in decades for step in (1, 2, 5)]
        else:
            step = 10 ** math.floor(math.log10((self.high - self.low) / 2))
            while (self.high - self.low) / step > 8:
                step *= 2
            values = [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [value for value in values if self.low <= value <= self.high]


def plot(
    title: str,
    x: Axis,
    y: Axis,
    series: Mapping[str, Points],
    *,
    lines: Sequence[str] = (),
    reference: Points = (),
    legend_below: bool = False,
) -> str:
    """An SVG document. `lines` are the names of series whose points are joined; `reference` is a thin grey line.

    The legend stands at the right, at the top or (`legend_below`) at the bottom.
    """
    legend_top = HEIGHT - BOTTOM - 16 * len(series) - 8 if legend_below else TOP + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
        *_axes(x, y),
    ]
    if reference:
        parts.append(f'<polyline points="{_path(x, y, reference)}" fill="none" stroke="#999" stroke-dasharray="4 3"/>')
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        if name in lines:
            parts.append(f'<polyline points="{_path(x, y, points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        radius = 3 if name in lines else 2.5
        parts += [
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="{radius}" fill="{colour}" fill-opacity="0.7"/>'
            for left, top in (_place(x, y, point) for point in points)
        ]
        parts.append(_legend(legend_top + 16 * number, name, colour))
    return "\n".join([*parts, "</svg>\n"])


def _axes(x: Axis, y: Axis) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#333"/>']
    for value in x.ticks():
        left = LEFT + x.at(value) * (right - LEFT)
        parts.append(f'<path d="M{left:.1f} {TOP}V{bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{left:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for value in y.ticks():
        top = bottom - y.at(value) * (bottom - TOP)
        parts.append(f'<path d="M{LEFT} {top:.1f}H{right}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x.label)}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}">{escape(y.label)}</text>')
    return parts


def _place(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    return LEFT + x.at(point[0]) * (right - LEFT), bottom - y.at(point[1]) * (bottom - TOP)


def _path(x: Axis, y: Axis, points: Points) -> str:
    return " ".join(f"{left:.1f},{top:.1f}" for left, top in (_place(x, y, point) for point in points))


def _legend(top: float, name: str, colour: str) -> str:
    left = WIDTH - RIGHT - 250
    dot = f'<circle cx="{left}" cy="{top - 4}" r="4" fill="{colour}"/>'
    return f'{dot}<text x="{left + 8}" y="{top}">{escape(name)}</text>'
