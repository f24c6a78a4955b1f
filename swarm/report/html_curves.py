"""The page's curves: what degrades over the number of agents, and latencies on a percentile axis."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from swarm.analysis.lookup import value_of
from swarm.analysis.report_data import Curve
from swarm.catalogue import Number, latencies, numbers
from swarm.report.charts import COLOURS, LEFT, RIGHT, Line, Point, chart, scale_of, seconds
from swarm.report.plot import Axis
from swarm.report.table import number
from swarm.results import StageResults, TargetResults
from swarm.scenario.thresholds import Slo
from swarm.text import counted

NARROW, WIDE = 300, 390
"""Units across: of the pictures that stand four in a row, and three."""


@dataclass(frozen=True)
class Series:
    """A target on the page: `label` is unique on it, `colour` its number in the palette."""

    label: str
    colour: int
    target: TargetResults
    curves: Mapping[int, Mapping[str, Curve]]
    """Agents -> metric -> distribution."""
    measured: bool
    """False of a prediction, whose trials are alike and tell nothing of chance."""

    @property
    def stages(self) -> list[StageResults]:
        return [stage for stage in self.target.stages if stage.window_s]


NINES = {1.0: "0", 2.0: "50", 10.0: "90", 1e2: "99", 1e3: "99.9", 1e4: "99.99", 1e5: "99.999", 1e6: "99.9999"}
"""1 / (1 - percentile / 100) -> percentile."""
AT_ONCE_S = 1e-4
"""No engine takes a step in so little time: shorter gaps are of chunks that came together, and stretch no axis."""
LOG = "log scale"


@dataclass(frozen=True)
class Figure:
    """`picture` is None where there is nothing to draw; `note` then says why."""

    title: str
    unit: str
    picture: Markup | None
    note: str = ""


def degradation(series: Sequence[Series]) -> list[Figure]:
    """A figure for each number that the catalogue draws over the agents, all targets in it."""
    return [_panel(number, series) for number in numbers(lambda metric: metric.panels)]


def tradeoff(series: Sequence[Series], slos: Sequence[Slo] = ()) -> Figure:
    """Output of all agents against TTFT p95: a point for each number of agents, a line where an objective limits it."""
    title = "Throughput against TTFT"
    lines, names = [], []
    for one in series:
        points = [point for stage in one.stages if (point := _traded(one.label, stage))]
        lines.append(Line([point for _, point in points], one.colour))
        names += [Line([point], one.colour, dots=False, label=str(level)) for level, point in points]
    values = [point for line in lines for point in line.points]
    if not values:
        return Figure(title, "", None, "not measured")
    limits = [slo.limit for slo in slos if (slo.key, slo.stat) == ("ttft_s", "p95") and slo.limit > 0]
    x = replace(_decades([*(point.x for point in values), *limits]), label=f"TTFT p95, {LOG}")
    scale = scale_of([point.y for point in values])
    y = Axis("", 0, scale[-1])
    walls = [Line([Point(at, 0), Point(at, scale[-1])], COLOURS - 1, dots=False, label="SLO") for at in limits]
    ticks = _labelled(x, {value: seconds(value) for value in _thinned(x)}, NARROW)
    picture = chart(title, x, y, [*lines, *names, *walls], ticks, {value: f"{value:,.6g}" for value in scale}, NARROW)
    return Figure(title, "tok/s total", picture)


def _traded(label: str, stage: StageResults) -> tuple[int, Point] | None:
    rate, ttft = stage.throughput.output_tokens_per_s, stage.latency["ttft_s"].p95
    if rate is None or not ttft:
        return None
    text = f"{label}, {counted(stage.agents, 'agent')}: {rate:,.0f} tok/s total, TTFT p95 {seconds(ttft)}"
    return int(stage.agents), Point(ttft, rate, None, (), stage.valid, text if stage.valid else f"{text}, INVALID")


def _scale(number: Number) -> float:
    """Logarithmic axes are of seconds, and say the unit at each tick."""
    return 1.0 if number.metric.log else number.metric.scale


def _panel(panel: Number, series: Sequence[Series]) -> Figure:
    lines = [Line(points, one.colour) for one in series if (points := [*_points(panel, one)])]
    values = [value for line in lines for point in line.points for value in (point.y, *(point.interval or ()))]
    if not values:
        return Figure(panel.title, panel.metric.unit, None, "not measured")
    if panel.metric.log:
        y = _decades(values)
        ticks = {value: seconds(value) for value in _thinned(y)}
    else:
        scale = scale_of([panel.metric.most] if panel.metric.most else values)
        y = Axis("", 0, scale[-1])
        ticks = {value: f"{value:,.6g}" for value in scale}
    levels = sorted({int(point.x) for line in lines for point in line.points})
    x = Axis(f"agents, {LOG}", levels[0] / 1.2, levels[-1] * 1.2, log=True)
    names = _labelled(x, {float(level): str(level) for level in levels}, NARROW)
    picture = chart(panel.title, x, y, lines, names, ticks, NARROW)
    return Figure(panel.title, LOG if panel.metric.log else panel.metric.unit, picture)


def _points(panel: Number, series: Series) -> Iterator[Point]:
    for stage in series.stages:
        value = value_of(stage, panel)
        if value is None or (panel.metric.log and value <= 0):
            continue
        trials = [
            found * _scale(panel)
            for trial in stage.trials_detail
            if trial.valid and (found := value_of(trial, panel)) is not None
        ]
        interval = _interval(panel, stage, min(trials, default=0.0)) if series.measured else None
        yield Point(
            stage.agents,
            value * _scale(panel),
            interval,
            tuple(trials) if len(trials) > 1 and series.measured else (),
            stage.valid,
            _title(panel, series.label, stage, value * _scale(panel), interval),
        )


def _interval(panel: Number, stage: StageResults, least: float) -> tuple[float, float] | None:
    found = stage.ci95.get(panel.name)
    if not found or not stage.valid:
        return None
    low, high = (value * _scale(panel) for value in found)
    return (max(low, least / 2) if panel.metric.log else low), high  # 0 has no logarithm


def _title(panel: Number, label: str, stage: StageResults, value: float, interval: tuple[float, float] | None) -> str:
    text = f"{label}, {counted(stage.agents, 'agent')}: {_shown(panel, value)} {_unit(panel)}".rstrip()
    if interval:
        text += f" (95%: {_shown(panel, interval[0])} to {_shown(panel, interval[1])})"
    return text if stage.valid else f"{text}, INVALID"


def _shown(panel: Number, value: float) -> str:
    return seconds(value) if panel.metric.log else number(value, panel.metric.digits)


def _unit(panel: Number) -> str:
    return "" if panel.metric.log else panel.metric.unit


def percentiles(series: Sequence[Series]) -> list[tuple[Series, list[Figure]]]:
    """For each target a figure for each latency, a line for each level; the axes are the same for all targets."""
    axes = {metric: _latency_axes(metric, series) for metric, _ in _curves()}
    return [
        (one, [_latency(title, one, metric, axes[metric]) for metric, title in _curves()])
        for one in series
        if any(one.curves.values())
    ]


def _curves() -> list[tuple[str, str]]:
    """Observation and title of each latency that is shown whole."""
    return [(metric.observation, metric.title) for metric in latencies() if metric.curve]


def _latency_axes(metric: str, series: Sequence[Series]) -> tuple[Axis, Axis] | None:
    points = [point for one in series for curves in one.curves.values() for point in curves.get(metric, [])]
    if not points:
        return None
    return Axis("percentile", 1, max(10, max(odds for odds, _ in points)), log=True), _decades([at for _, at in points])


def _latency(title: str, series: Series, metric: str, axes: tuple[Axis, Axis] | None) -> Figure:
    levels = [level for level, curves in sorted(series.curves.items()) if curves.get(metric)]
    if axes is None or not levels:
        return Figure(title, "", None, "not measured")
    lines = [
        Line(
            [Point(odds, value) for odds, value in series.curves[level][metric]],
            series.colour,
            dots=False,
            label=str(level),
            weight=0.35 + 0.65 * (place + 1) / len(levels),
        )
        for place, level in enumerate(levels)
    ]
    x, y = axes
    x_ticks = {odds: f"{text}%" for odds, text in NINES.items() if odds <= x.high}
    y_ticks = {value: seconds(value) for value in _thinned(y)}
    picture = chart(f"{title}, {series.label}", x, y, lines, _labelled(x, x_ticks, WIDE), y_ticks, WIDE)
    return Figure(title, LOG, picture)


def _decades(values: Sequence[float]) -> Axis:
    """A logarithmic axis from a round number (1, 2 or 5 times a power of ten) to another one."""
    told = [value for value in values if value >= AT_ONCE_S] or [value for value in values if value > 0] or [1.0]
    low, high = min(told), max(told)
    round_ones = Axis("", low / 10, high * 10, log=True).ticks()
    begin = max(value for value in round_ones if value <= low)
    return Axis("", begin, min(value for value in round_ones if value >= high and value > begin), log=True)


def _thinned(axis: Axis, most: int = 8) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2, 5; where these are too many, powers of ten."""
    ticks = axis.ticks()
    if len(ticks) <= most:
        return ticks
    return [tick for tick in ticks if f"{tick:e}".startswith("1.0")]


def _labelled(axis: Axis, labels: Mapping[float, str], width: int) -> dict[float, str]:
    """The labels, from the right, but for those that would overlap: 6 units a letter."""
    shown: dict[float, str] = {}
    free = float(width)
    for value in sorted(labels, reverse=True):
        middle, half = axis.at(value) * (width - LEFT - RIGHT), 3 * len(labels[value]) + 5
        shown[value] = labels[value] if middle + half <= free else ""
        free = middle - half if shown[value] else free
    return shown
