"""Families of series, and how they are written: Prometheus' text format 0.0.4, and OpenMetrics 1.0 with timestamps.

Written by hand, because it runs between the chunks of the streams that are being measured: a histogram takes 0.02 ms,
and prometheus_client, which builds every line from objects, takes 1 ms for each (`bench/scrape.py` measures both).
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from swarm.exporter.buckets import Histogram
from swarm.recording.redaction import shown

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["gauge", "counter", "histogram", "summary"]
Sample = tuple[str, float]
"""A series with its name and labels written out, such as `swarm_jobs_total{outcome="answered"}`, and its value."""


@dataclass(frozen=True)
class Family:
    """All series of one name. A counter's name has no `_total`, its series have."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


_OF_A_POINT = re.compile(r',(le|quantile)="[^"]*"}$')
"""The last label of a series, where a point of its metric has several."""


def labels(pairs: Mapping[str, object]) -> str:
    """`name="value"` pairs as they stand between braces."""
    return ",".join(f'{name}="{_escaped(str(value))}"' for name, value in pairs.items())


def gauges(name: str, text: str, values: Iterable[tuple[str, float]]) -> Family:
    """A family of gauges from labels, written out, and values."""
    return Family(name, "gauge", text, [(f"{name}{{{labels}}}", value) for labels, value in values])


class HistogramText:
    """The series of one histogram with their labels, written once and not at every scrape."""

    def __init__(self, name: str, labels: str, histogram: Histogram) -> None:
        self._histogram = histogram
        bounds = [*map(repr, histogram.edges), "+Inf"]
        self._buckets = [f'{name}_bucket{{{labels},le="{bound}"}}' for bound in bounds]
        self._sum, self._count = f"{name}_sum{{{labels}}}", f"{name}_count{{{labels}}}"

    def samples(self) -> list[Sample]:
        counts = list(self._histogram.cumulative())
        rest = [(self._sum, self._histogram.sum_ns / 1e9), (self._count, counts[-1])]
        return [*zip(self._buckets, counts, strict=True), *rest]


def to_text(family: Family) -> str:
    """One family in Prometheus' text format 0.0.4."""
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    lines = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
    lines += [f"{series} {number(value)}" for series, value in family.samples]
    return "\n".join(lines) + "\n"


class OpenMetrics:
    """Families at several times, put together to OpenMetrics 1.0: each family whole, and in it each metric with its
    points in the order of time. Holds the text of all of them."""

    def __init__(self) -> None:
        self._heads: dict[str, str] = {}
        self._points: dict[str, dict[str, list[str]]] = {}
        """Family -> labels of a metric -> its points."""

    def add(self, family: Family, at_s: float) -> None:
        """Adds the values of a family at a time, in seconds since 1970; the times of one family ascend."""
        self._heads.setdefault(family.name, f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n")
        metrics = self._points.setdefault(family.name, {})
        for series, value in family.samples:
            labels = _OF_A_POINT.sub("}", series[series.index("{") :])
            metrics.setdefault(labels, []).append(f"{series} {number(value)} {at_s:.3f}\n")

    def text(self) -> Iterator[str]:
        for name, head in self._heads.items():
            yield head
            for points in self._points[name].values():
                yield "".join(points)
        yield "# EOF\n"


def number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escaped(text: str) -> str:
    return shown(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
