"""The page's view of agents over time: rates, what each was doing when, and who waited for whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from swarm.analysis.timeline import Span, Timeline
from swarm.report.charts import element, scale_of, steps
from swarm.report.table import number
from swarm.text import counted

LANE, BAR = 16, 12
"""Height of a lane, and of the bars in it."""
MOST_LANES = 64
TICKS = 6
MOST_AGENTS_IN_TABLE = 12
NS_PER_UNIT = 1_000_000
"""The picture's horizontal unit is a millisecond, so that the script reads times from the bars themselves."""


@dataclass(frozen=True)
class Lanes:
    """A timeline for the template."""

    title: str
    picture: Markup
    agents: list[str]
    ticks: list[tuple[str, str]]
    """(place in percent, label)"""
    waits: list[tuple[str, list[tuple[str, str]]]]
    """For each agent a row: (share of the most, seconds) behind each other agent; empty where nobody waited."""
    waited: str
    no_waits: str
    open: bool


@dataclass(frozen=True)
class Multiples:
    """Output rates over time, a small picture for each agent, all on one scale."""

    title: str
    scale: str
    agents: list[tuple[str, str, Markup]]


def multiples(label: str, timeline: Timeline) -> Multiples:
    top = scale_of([rate for rates in timeline.rates.values() for rate in rates])[-1]
    agents = [
        (f"agent {agent}", number(sum(rates) / len(rates), 1), _small(rates, top))
        for agent, rates in [*timeline.rates.items()][:MOST_LANES]
    ]
    length = (timeline.window.stop_ns - timeline.window.start_ns) / 1e9
    return Multiples(
        f"{label}, {counted(timeline.agents, 'agent')}",
        f"height: 0 to {top:g} tok/s; width: the window of {number(length, 0)} s, "
        f"{number(timeline.bucket_s, 0)} s a step",
        agents,
    )


def _small(rates: Sequence[float], top: float) -> Markup:
    return Markup('<svg viewBox="0 0 120 36" preserveAspectRatio="none" role="presentation">{}</svg>').format(
        steps(rates, top, 120, 36)
    )


def lanes(label: str, timeline: Timeline, *, unfolded: bool) -> Lanes:
    shown = timeline.shown
    length = max(1, (shown.stop_ns - shown.start_ns) // NS_PER_UNIT)
    drawn = [*timeline.lanes.items()][:MOST_LANES]
    names = [_name(timeline, agent) for agent, _ in drawn]
    rows = [_lane(timeline, names[place], place, spans) for place, (_, spans) in enumerate(drawn)]
    for name, row in _server_rows(timeline, len(rows)):
        names.append(name)
        rows.append(row)
    picture = Markup(
        '<svg class="lanes" viewBox="0 0 {0} {1}" preserveAspectRatio="none" data-ms="{0}" style="height:{1}px" '
        'role="img"><title>{2}</title>{3}</svg>'
    ).format(length, len(rows) * LANE, f"Activity of {label}'s agents", Markup("").join(rows))
    seconds = length / 1000
    return Lanes(
        f"{label}, {counted(timeline.agents, 'agent')}",
        picture,
        names,
        [(f"{100 * at / seconds:.3f}", f"{at:g} s") for at in scale_of([seconds], TICKS) if at <= seconds],
        _waits(timeline),
        waited := number(sum(timeline.waits.values()), 1),
        "No reply was stalled by another agent's prompt."
        if not timeline.waits
        else f"Replies were stalled for {waited} s in total by other agents' prompts.",
        unfolded,
    )


def _lane(timeline: Timeline, name: str, place: int, spans: Sequence[Span]) -> Markup:
    top = place * LANE + (LANE - BAR) // 2
    bars = Markup("").join(_bar(timeline, top, span) for span in spans)
    return Markup('<g data-name="{}">{}</g>').format(name, bars)


def _name(timeline: Timeline, agent: int) -> str:
    """A sub-agent has the number of its agent and a multiple of their number."""
    return f"agent {agent}" if agent < timeline.agents else f"sub-agent of {agent % timeline.agents}"


def _bar(timeline: Timeline, top: int, span: Span) -> Markup:
    start = max(span.start_ns, timeline.shown.start_ns) - timeline.shown.start_ns
    end = min(span.end_ns, timeline.shown.stop_ns) - timeline.shown.start_ns
    note = span.note
    if span.behind:
        note = "behind " + ", ".join(
            f"{_name(timeline, other)} ({seconds:.2f} s)" for other, seconds in span.behind[:4]
        )
    fields = {"data_n": note} if note else {}
    return element(
        "rect",
        class_=span.kind,
        x=round(start / NS_PER_UNIT),
        y=top,
        width=max(1, round((end - start) / NS_PER_UNIT)),
        height=BAR,
        **fields,
    )


def _server_rows(timeline: Timeline, place: int) -> list[tuple[str, Markup]]:
    """The server's own metrics, a bar for each second: the darker, the nearer to the end of its name's scale."""
    rows: list[tuple[str, Markup]] = []
    for name, scale, metric, most, unit in (
        ("waiting", f"0-{timeline.agents}", "waiting", float(timeline.agents), "requests waiting in the server"),
        ("KV cache", "0-100%", "kv_usage", 1.0, "of the KV cache used"),
    ):
        samples = [
            (sample.t_ns, value) for sample in timeline.server if (value := sample.metrics.get(metric)) is not None
        ]
        if not samples:
            continue
        ends = [*(at for at, _ in samples[1:]), timeline.shown.stop_ns]
        top = (place + len(rows)) * LANE + 1
        bars = [
            element(
                "rect",
                class_="server",
                x=(at - timeline.shown.start_ns) // NS_PER_UNIT,
                y=top,
                width=max(1, (end - at) // NS_PER_UNIT),
                height=LANE - 2,
                style=f"opacity:{min(1.0, value / most):.2f}",
                data_n=f"{value:.0%} {unit}" if most == 1 else f"{value:g} {unit}",
            )
            for (at, value), end in zip(samples, ends, strict=True)
        ]
        rows.append((f"{name}, {scale}", Markup('<g data-name="{}">{}</g>').format(name, Markup("").join(bars))))
    return rows


def _waits(timeline: Timeline) -> list[tuple[str, list[tuple[str, str]]]]:
    if not timeline.waits or len(timeline.lanes) > MOST_AGENTS_IN_TABLE:
        return []
    most = max(timeline.waits.values())
    return [
        (str(agent), [_cell(timeline.waits.get((agent, other)), most) for other in timeline.lanes])
        for agent in timeline.lanes
    ]


def _cell(seconds: float | None, most: float) -> tuple[str, str]:
    return ("0", "") if seconds is None else (f"{seconds / most:.2f}", number(seconds, 1))
