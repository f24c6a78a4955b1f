"""A run, or several, as one self-contained HTML page: nothing is fetched, and what a run directory holds stays text.

The template escapes every value, and the page's own policy allows no script but ours, by its hash.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, get_args

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from swarm import __version__
from swarm.analysis.report_data import View
from swarm.analysis.summary import meaning, sentences
from swarm.analysis.timeline import Timeline
from swarm.catalogue import number_of
from swarm.report import html_timeline
from swarm.report.charts import COLOURS, stacked
from swarm.report.compared import verdict
from swarm.report.html_curves import Series, degradation, percentiles, tradeoff
from swarm.report.table import SERVED, columns, every, judged, notes, percent, rows, trust
from swarm.results import Cause, Comparison, Results
from swarm.scenario.thresholds import Slo, parse_slo
from swarm.text import MOST_SETTINGS, counted, listed

CAUSES: tuple[Cause, ...] = get_args(Cause)
"""In the order of their bars, each with a colour in the style sheet."""
MOST_TIMELINES = 12
"""On a page; those of the most agents come first."""


@dataclass(frozen=True)
class Run:
    """A run's own lines on the page."""

    name: str
    started: str | None
    workload: str | None
    badges: list[tuple[str, str]]
    lead: str
    lines: list[str]
    reasons: list[str]
    passed: str
    """Said of a run without reasons: what was checked."""
    thresholds: list[tuple[str, bool]]
    notes: list[str]
    environment: list[tuple[str, str]]
    server: list[tuple[str, str]]
    scenario: str


def to_html(views: Sequence[View]) -> str:
    """The page; the same for the same runs."""
    series = list(_series(views))
    predicted = any(view.results.predicted for view in views)
    timelines = _timelines(views, series)
    script, style = _asset("page.js"), _asset("page.css")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.from_string(_asset("page.html.j2")).render(
        title=" and ".join(view.results.name for view in views),
        version=__version__,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(style),
        colours=COLOURS,
        runs=[_run(view) for view in views],
        columns=columns(every(), predicted=predicted),
        served=" ".join([SERVED, *dict.fromkeys(line for view in views for line in trust(view.results))]),
        rows=[group for view in views for group in _groups(view, predicted, several=len(views) > 1)],
        any_invalid=any(view.results.verdict != "valid" for view in views),
        series=series,
        panels=[*degradation(series), tradeoff(series, _slos(views))],
        interval_note=_interval_note(views),
        comparisons=[one for view in views for one in _comparisons(view)],
        causes=[cause for one in series for cause in _causes(one)],
        cause_names=CAUSES,
        no_causes=_no_causes(series),
        percentiles=percentiles(series),
        multiples=[
            html_timeline.multiples(label, timeline)
            for label, timeline, highest in timelines
            if highest and any(map(any, timeline.rates.values()))
        ],
        lanes=[html_timeline.lanes(label, timeline, unfolded=highest) for label, timeline, highest in timelines],
    )


def _slos(views: Sequence[View]) -> list[Slo]:
    """Objectives of the runs that searched for capacity."""
    return [parse_slo(text) for view in views if view.results.capacity for text in view.results.capacity.slo]


def _asset(name: str) -> str:
    return resources.files("swarm.report").joinpath(name).read_text(encoding="utf-8")


def _series(views: Sequence[View]) -> Iterator[Series]:
    """Every target of every run; with the run's name where another run has a target of the same name."""
    names = [target.name for view in views for target in view.results.targets]
    colour = 0
    for view in views:
        for target in view.results.targets:
            name = target.name
            label = name if names.count(name) == 1 else f"{name} ({view.name})"
            curves = {agents: found for (of, agents), found in view.curves.items() if of == name}
            yield Series(label, colour, target, curves, not view.results.predicted)
            colour += 1


def _timelines(views: Sequence[View], series: Sequence[Series]) -> list[tuple[str, Timeline, bool]]:
    """(label, timeline, whether it is the target's of the most agents), by target and from the most agents down."""
    found = []
    labels = iter(series)
    for view in views:
        for target in view.results.targets:
            label = next(labels).label
            own = [timeline for timeline in view.timelines if timeline.target == target.name]
            own.sort(key=lambda timeline: -timeline.agents)
            found += [(place, label, timeline) for place, timeline in enumerate(own)]
    shown = sorted(found, key=lambda item: item[0])[:MOST_TIMELINES]
    return [(label, timeline, place == 0) for place, label, timeline in found if (place, label, timeline) in shown]


def _run(view: View) -> Run:
    results = view.results
    begun = {(timeline.target, timeline.agents) for timeline in view.timelines}
    broken = any(stage.status == "skipped" for target in results.targets for stage in target.stages)
    valid = results.verdict == "valid"
    badges = [("valid", "VALID") if valid else ("invalid", "INVALID")]
    badges += [("warn", "PREDICTED")] if results.predicted else []
    badges += [("warn", "BROKEN OFF")] if broken and begun else []
    environment, server = _environment(view.environment)
    lead = meaning(results)
    return Run(
        name=view.name,
        started=results.started_at,
        workload=results.workload,
        badges=badges,
        lead=lead,
        lines=[line for line in sentences(results) if line != lead],
        reasons=results.invalid_reasons,
        passed=_passed(results),
        thresholds=[(judged(one), one.passed) for one in results.thresholds],
        notes=notes(results),
        environment=environment,
        server=server,
        scenario=view.scenario,
    )


def _passed(results: Results) -> str:
    checked = ("errors", "reply lengths", "token counts", "no latency lost", "no silence at the end")
    if results.predicted:
        return f"Every stage passed every check that a prediction can fail: agents alive, {', '.join(checked)}."
    return f"Every stage passed every check: agents alive, load generator fast enough, {', '.join(checked)}."


def _groups(view: View, predicted: bool, *, several: bool) -> Iterator[list[list[str]]]:
    """The table's rows by target; the name stands in the first row of each. `predicted`: any run of the page is."""
    cells = rows(view.results, every(), predicted=predicted)
    for target in view.results.targets:
        own = [row for row in cells if row[0] == target.name]
        name = f"{target.name} ({view.name})" if several else target.name
        yield [[name if not place else "", *row[1:]] for place, row in enumerate(own)]


def _interval_note(views: Sequence[View]) -> str:
    measured = [view.results for view in views if not view.results.predicted]
    if not measured:
        return (
            "Predicted: trials differ in the order of the jobs alone and tell nothing of how a real server varies, so "
            "that there are no intervals."
        )
    if all(stage.trials == 1 for results in measured for target in results.targets for stage in target.stages):
        return "One trial of each stage: no interval can be given, and small differences may be chance."
    return (
        "Whiskers are 95% intervals of the mean over trials (Student's t), faint dots the single trials; "
        "a dashed ring is an invalid stage."
    )


@dataclass(frozen=True)
class Cell:
    ratio: str
    interval: str
    verdict: str


@dataclass(frozen=True)
class ComparedTargets:
    """Two targets of a run: a row for each metric, a cell for each level."""

    baseline: str
    candidate: str
    levels: list[str]
    rows: list[tuple[str, list[Cell]]]
    note: str


def _comparisons(view: View) -> Iterator[ComparedTargets]:
    found = view.results.comparison
    for baseline, candidate in {(row.baseline, row.candidate): None for row in found}:
        own = [row for row in found if (row.baseline, row.candidate) == (baseline, candidate)]
        levels = sorted({row.agents for row in own})
        metrics: dict[str, dict[int, Cell]] = {row.metric: {} for row in own}
        for row in own:
            metrics[row.metric][row.agents] = _cell(row)
        known = any(row.significant is not None for row in own)
        yield ComparedTargets(
            baseline,
            candidate,
            [counted(level, "agent") for level in levels],
            [
                (number_of(metric).title, [cells.get(level, Cell("-", "", "")) for level in levels])
                for metric, cells in metrics.items()
                if any(cell.ratio != "-" for cell in cells.values())
            ],
            "In brackets the 95% t interval of the trial-paired log ratio; significant is what leaves out 1."
            if known
            else "Ratios without intervals: whether a difference is more than chance takes three measured trials.",
        )


def _cell(row: Comparison) -> Cell:
    if row.ratio is None:
        return Cell("-", "", "")
    interval = f"[{row.ci95[0]:.2f}, {row.ci95[1]:.2f}]" if row.ci95 else ""
    return Cell(f"{row.ratio:.2f}", interval, verdict(row))


@dataclass(frozen=True)
class CauseRow:
    """Causes of one stage: where the time came from that it needed more than one agent alone."""

    label: str
    agents: int
    valid: bool
    bar: Markup
    shares: list[str]


def _causes(series: Series) -> Iterator[CauseRow]:
    for stage in series.stages:
        if found := stage.attribution:
            shares = {str(name): found[name] for name in CAUSES}
            texts = [percent(found[name]) for name in CAUSES]
            yield CauseRow(series.label, stage.agents, stage.valid, stacked(shares), texts)


def _environment(environment: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Key and value of what the run was made with, and of what its servers told."""
    flat = [*_flat(environment)]
    return (
        [(key, value) for key, value in flat if not key.startswith("targets.")],
        [(key, value) for key, value in flat if key.startswith("targets.")],
    )


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested JSON by their dotted path; a list of plain values is one leaf."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{place}]")
    else:
        yield path, listed(value, MOST_SETTINGS) if isinstance(value, list) else "-" if value is None else str(value)


def _no_causes(series: Sequence[Series]) -> str:
    levels = {stage.agents for one in series for stage in one.stages}
    if not levels:
        return "Nothing was measured."
    if levels == {1} or 1 not in levels:
        return "Not known: the causes are those of the growth against one agent; that takes level 1 and a higher one."
    return "Not known: no valid stage has become slower, or it has no turns in common with the stage of one agent."
