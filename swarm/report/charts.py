"""The pictures of the HTML page, as SVG that takes its colours from the page's style sheet.

Text is escaped by markupsafe: whatever a run directory holds, it stays text.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from swarm.report.plot import Axis

HEIGHT = 216
LEFT, RIGHT, TOP, BOTTOM = 48, 22, 12, 34
COLOURS = 7
"""Series that the style sheet has a colour for; more begin again."""


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    interval: tuple[float, float] | None = None
    trials: tuple[float, ...] = ()
    valid: bool = True
    title: str = ""


@dataclass(frozen=True)
class Line:
    """A series: `colour` is its number in the style sheet's palette; `label` stands at its last point."""

    points: Sequence[Point]
    colour: int
    dots: bool = True
    label: str = ""
    weight: float = 1.0
    """Opacity, for lines of one colour: the heavier, the more agents."""


def element(name: str, text: str = "", **attributes: object) -> Markup:
    """An SVG element; `_` in an attribute's name is written "-", one at its end is dropped. Values are escaped."""
    fields = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _shown(value)) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), fields, escape(text))


def _shown(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def seconds(value: float) -> str:
    """20 us, 0.5 ms, 20 ms, 1.5 s, 60 s."""
    if value < 1e-4:
        return f"{value * 1e6:.3g} us"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"


def scale_of(values: Sequence[float], steps: int = 5) -> list[float]:
    """Round numbers in equal steps from 0, the last one not below any of `values`."""
    most = max(values, default=0.0)
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most / steps))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * steps >= most * 0.999)
    return [step * place for place in range(math.ceil(most * 0.999 / step) + 1)]


def chart(
    name: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    x_ticks: Mapping[float, str],
    y_ticks: Mapping[float, str],
    width: int,
) -> Markup:
    """Lines with dots and whiskers on a pair of axes. `name` is what a screen reader says of it."""

    def across(value: float) -> float:
        return LEFT + x.at(value) * (width - LEFT - RIGHT)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - max(-0.02, min(1.04, y.at(value))) * (HEIGHT - TOP - BOTTOM)

    bottom, right = HEIGHT - BOTTOM, width - RIGHT
    parts = [element("title", name)]
    for value, text in y_ticks.items():
        parts.append(element("path", class_="grid", d=f"M{LEFT} {up(value):.1f}H{right}"))
        parts.append(element("text", text, x=LEFT - 6, y=up(value) + 3.5, text_anchor="end"))
    for value, text in x_ticks.items():
        parts.append(element("path", class_="tick", d=f"M{across(value):.1f} {bottom}v4"))
        parts.append(element("text", text, x=across(value), y=bottom + 15, text_anchor="middle"))
    parts.append(element("path", class_="axis", d=f"M{LEFT} {bottom}H{right}"))
    parts.append(element("text", x.label, x=(LEFT + right) / 2, y=HEIGHT - 4, text_anchor="middle", class_="unit"))
    for number, line in enumerate(lines):
        aside = (number - (len(lines) - 1) / 2) * 5 if line.dots else 0.0  # so that whiskers do not hide each other
        parts.append(_line(line, [(across(point.x) + aside, point) for point in line.points], up))
    parts += _labels(lines, across, up)
    return Markup('<svg viewBox="0 0 {} {}" role="img">{}</svg>').format(width, HEIGHT, Markup("").join(parts))


def _line(line: Line, placed: Sequence[tuple[float, Point]], up: Callable[[float], float]) -> Markup:
    solid = _path([(left, up(point.y)) for left, point in placed])
    parts = [element("path", class_="line", d=solid, style=f"opacity:{line.weight:.2f}")]
    for left, point in placed if line.dots else ():
        parts += [element("circle", class_="trial", cx=left, cy=up(value), r=1.6) for value in point.trials]
        if point.interval:
            low, high = (up(value) for value in point.interval)
            parts.append(element("path", class_="whisker", d=f"M{left - 4:.1f} {high:.1f}h8m-4 0V{low:.1f}m-4 0h8"))
        dot = element("title", point.title)
        kind = "dot" if point.valid else "dot invalid"
        parts.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="4">{}</circle>').format(
                kind, _shown(left), _shown(up(point.y)), dot
            )
        )
    return Markup('<g class="c{}">{}</g>').format(line.colour % COLOURS, Markup("").join(parts))


def _labels(lines: Sequence[Line], across: Callable[[float], float], up: Callable[[float], float]) -> list[Markup]:
    """The labels at the ends of lines, pushed apart where they would overlap."""
    ends = sorted(
        ((up(line.points[-1].y), line) for line in lines if line.label and line.points), key=lambda end: end[0]
    )
    parts, lowest = [], -math.inf
    for wanted, line in ends:
        lowest = max(wanted, lowest + 11)
        left = across(line.points[-1].x) + 5
        parts.append(element("text", line.label, x=left, y=lowest + 3.5, class_=f"end c{line.colour % COLOURS}"))
    return parts


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in points) if points else ""


def stacked(shares: Mapping[str, float]) -> Markup:
    """Shares of 1 side by side, in the colours of their names."""
    parts, left = [], 0.0
    for name, share in shares.items():
        bar = Markup("<title>{}</title>").format(f"{name}: {share:.0%}")
        parts.append(
            Markup('<rect class="k-{}" x="{:.1f}" width="{:.1f}" height="18">{}</rect>').format(
                name, left, share * 1000, bar
            )
        )
        left += share * 1000
    return Markup('<svg viewBox="0 0 1000 18" preserveAspectRatio="none" role="img">{}</svg>').format(
        Markup("").join(parts)
    )


def steps(values: Sequence[float], top: float, width: float, height: float) -> Markup:
    """Values over time as a filled staircase without axes, for small multiples."""
    if not values or top <= 0:
        return Markup("")
    each = width / len(values)
    heights = [height - min(1.0, value / top) * height for value in values]
    outline = "".join(f"V{at:.1f}h{each:.2f}" for at in heights)
    return element("path", class_="steps", d=f"M0 {height:g}{outline}V{height:g}z")
