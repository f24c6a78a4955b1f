"""All of a run that a page shows: its results, and what only its other files tell."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.analysis.read import Notes, read_histograms
from swarm.analysis.stats.distribution import Distribution, rank
from swarm.analysis.timeline import Timeline, read_timelines
from swarm.catalogue import latencies
from swarm.recording import rundir
from swarm.results import Results

TICKS_PER_HALF = 5
"""Points of a curve each time that the share of values above it halves, as HdrHistogram prints them."""

Curve = list[tuple[float, float]]
"""(1 / (1 - percentile / 100), seconds), ascending: what HdrHistogram's plots have on their horizontal axis."""


@dataclass(frozen=True)
class View:
    """A run for a page; `name` is its directory's."""

    name: str
    results: Results
    scenario: str
    environment: dict[str, Any]
    timelines: list[Timeline]
    curves: dict[tuple[str, int], dict[str, Curve]]
    """(target, agents) -> metric -> its distribution over all trials."""


def read_view(directory: Path, results: Results) -> View:
    """`results` are the run's own, as `analyse` makes them. Raises UsageError where a file cannot be read."""
    notes = Notes()  # the results tell them already
    shown = [metric.observation for metric in latencies() if metric.curve]
    pooled: dict[tuple[str, int], dict[str, Counter[int]]] = {}
    for (target, agents, _), metrics in read_histograms(directory, notes, only=shown).items():
        stage = pooled.setdefault((target, agents), {})
        for metric, counts in metrics.items():
            stage.setdefault(metric, Counter()).update(counts)
    return View(
        rundir.name_of(directory),
        results,
        (directory / rundir.SCENARIO).read_text(encoding="utf-8"),
        rundir.read_environment(directory),
        read_timelines(directory, notes),
        {
            key: {metric: curve(Distribution(counts)) for metric, counts in stage.items()}
            for key, stage in pooled.items()
        },
    )


def curve(values: Distribution) -> Curve:
    """The percentiles of a distribution, up to the one that only its largest value exceeds; empty of no values."""
    if not values.count:
        return []
    points = []
    odds = 1.0
    while odds < values.count:
        points.append((odds, values.at_rank(rank(100 * (1 - 1 / odds), values.count)) / 1e9))
        odds *= 2 ** (1 / TICKS_PER_HALF)
    return [*points, (float(values.count), values.at_rank(values.count) / 1e9)]
