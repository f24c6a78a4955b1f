"""The checks of a run: its own validity and thresholds, its drift, a baseline, and the runs before it.

A run that is invalid is neither a regression nor a pass: every other gate is then skipped.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from swarm.analysis.headline import finite
from swarm.analysis.soak.drift import BLOCK, ENOUGH, START_UP
from swarm.analysis.stats import rank_tests
from swarm.analysis.thresholds import value_of
from swarm.catalogue import Number, gated
from swarm.recording.history import Entry, StageEntry
from swarm.results import Results, StageResults
from swarm.text import counted

Status = Literal["passed", "failed", "invalid", "skipped"]
TOLERANCE = 0.05
ENOUGH_TO_DIFFER = 2
"""Values a side: of one against one, the slower is always slower."""
NIGHTS = 14
ENOUGH_NIGHTS = 5
SPREADS = 4.0
"""Median absolute deviations."""


@dataclass(frozen=True)
class Check:
    """`gate` is what it belongs to: validity, threshold, drift, baseline or nights."""

    gate: str
    name: str
    status: Status
    text: str


def judge(
    results: Results,
    baseline: Results | None = None,
    night: Entry | None = None,
    before: Sequence[Entry] = (),
    tolerance: float | None = None,
    *,
    allow_uncompared: bool = False,
) -> list[Check]:
    """All checks of a run. `baseline`: results of another one; `night`: the run in the history, `before`: its past.

    `tolerance`: of a change for the worse, where one was asked for; then a single trial is held against a baseline too.
    `allow_uncompared`: a baseline with which nothing at all could be compared fails nothing.
    """
    checks = [*_validity(results)]
    others = [*_thresholds(results), *_drift(results)]
    if baseline is not None:
        compared = [*_baseline(results, baseline, tolerance)]
        others += compared
        if not allow_uncompared and all(check.status == "skipped" for check in compared):
            others.append(_nothing_compared(compared))
    if night is not None:
        others += _nights(night, before, TOLERANCE if tolerance is None else tolerance)
    if any(check.status == "invalid" for check in checks):
        others = [Check(check.gate, check.name, "skipped", "the run is invalid") for check in others]
    return checks + others


def summary(name: str, started_at: str | None, checks: Sequence[Check]) -> str:
    """One line that tells the whole."""
    of = {status: [check for check in checks if check.status == status] for status in ("invalid", "failed", "passed")}
    skipped = len(checks) - sum(map(len, of.values()))
    for status in ("invalid", "failed"):
        if bad := of[status]:
            more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
            text = f"{bad[0].name}: {bad[0].text}{more}"
            break
    else:
        status, text = "passed", counted(len(of["passed"]), "check")
        text += f", {skipped} skipped ({_gates(checks)})" if skipped else ""
    return f"{status.upper()} {name}{f' of {started_at}' if started_at else ''}: {text}"


def _gates(checks: Sequence[Check]) -> str:
    """Those that skipped something, with how much of all that they had to look at."""
    all_of = Counter(check.gate for check in checks)
    skipped = Counter(check.gate for check in checks if check.status == "skipped")
    return ", ".join(f"{count} of {all_of[gate]} {gate}" for gate, count in skipped.items())


def _stages(results: Results) -> Iterable[tuple[str, str, StageResults]]:
    """The name of a stage, its target and itself."""
    for target in results.targets:
        for stage in target.stages:
            yield f"{target.name} at {counted(stage.agents, 'agent')}", target.name, stage


def _validity(results: Results) -> Iterable[Check]:
    for name, _, stage in _stages(results):
        reasons = "; ".join(stage.invalid_reasons)
        yield Check("validity", name, "passed" if stage.valid else "invalid", reasons or "valid")


def _thresholds(results: Results) -> Iterable[Check]:
    for row in results.thresholds:
        yield Check("threshold", f"{row.target}: {row.expression}", _status(row.passed), value_of(row))


def _drift(results: Results) -> Iterable[Check]:
    for row in results.soak.drift if results.soak else ():
        status: Status = "failed" if row.worse else "skipped" if row.why_not else "passed"
        yield Check("drift", row.metric, status, row.text)


def _status(passed: bool) -> Status:
    return "passed" if passed else "failed"


def _baseline(results: Results, baseline: Results, tolerance: float | None) -> Iterable[Check]:
    known = {(target, stage.agents): (stage, baseline) for _, target, stage in _stages(baseline)}
    ours = {(target, stage.agents) for _, target, stage in _stages(results)}
    for name, target, stage in _stages(baseline):
        if (target, stage.agents) not in ours:
            yield Check("baseline", name, "skipped", "the run has no such stage")
    for name, target, stage in _stages(results):
        before = known.get((target, stage.agents))
        for number in gated():
            title = f"{name}: {number.label}"
            if before is None or not before[0].valid:
                why = "the baseline has no such stage" if before is None else "the baseline's stage is invalid"
                yield Check("baseline", title, "skipped", why)
                continue
            old, new = _values(number, *before), _values(number, stage, results)
            yield _against_baseline(title, number, old, new, tolerance)


def _nothing_compared(skipped: Sequence[Check]) -> Check:
    """A gate that looked at nothing must not pass for one that found nothing."""
    why = Counter(check.text for check in skipped).most_common()
    told = "; ".join(f"{text} ({counted(count, 'number')})" for text, count in why) or "neither has a stage"
    return Check(
        "baseline",
        "comparison",
        "failed",
        f"nothing was compared with the baseline: {told}; pass --allow-uncompared to accept that",
    )


def _against_baseline(
    title: str, number: Number, old: Sequence[float], new: Sequence[float], asked: float | None
) -> Check:
    """Worse when by more than the tolerance, and surely worse: the 99% interval of the ratio leaves out 1.

    With a few trials that means that all of them are worse than all of the baseline's. With one it would say nothing:
    then only a tolerance that was asked for decides.
    """
    if not old or not new:
        return Check("baseline", title, "skipped", "not measured in both")
    if asked is None and min(len(old), len(new)) < ENOUGH_TO_DIFFER:
        why = f"one trial each is too few; run at least {ENOUGH_TO_DIFFER} of both, or pass --tolerance 5%"
        return Check("baseline", title, "skipped", why)
    sign = 1 if number.metric.better == "lower" else -1
    before, after = ([sign * math.log(value) for value in values] for values in (old, new))
    change = rank_tests.shift(before, after)
    limit = _allowed(number, TOLERANCE if asked is None else asked)
    worse = change.value > math.log1p(limit) and change.low > 0
    text = (
        f"{number.shown(median(new))}, baseline {number.shown(median(old))}: {math.expm1(sign * change.value):+.1%} "
        f"(limit {limit:.0%})"
    )
    return Check("baseline", title, _status(not worse), text)


def _values(number: Number, stage: StageResults, results: Results) -> list[float]:
    """As many independent values as there are: of a soak medians of ten windows, else a value a trial."""
    soak = results.soak
    if soak:
        blocks: dict[int, list[float]] = defaultdict(list)
        for row in soak.windows:
            if not row.disturbed and getattr(row, number.column) and row.number >= START_UP * BLOCK:
                blocks[row.number // BLOCK].append(getattr(row, number.column))
        whole = [median(values) for values in blocks.values() if len(values) >= BLOCK // 2]
        if len(whole) >= ENOUGH:
            return whole
    trials = [finite(number, trial) for trial in stage.trials_detail if trial.status == "run"]
    return [value for value in (trials if None not in trials else [finite(number, stage)]) if value]


def _nights(night: Entry, before: Sequence[Entry], tolerance: float) -> Iterable[Check]:
    for stage in night.stages:
        past = comparable(night, stage, before)
        for number in gated():
            title = f"{stage.target} at {counted(stage.agents, 'agent')}: {number.label}"
            values = [found.numbers[number.name] for found in past if number.name in found.numbers]
            tonight = stage.numbers.get(number.name)
            yield _against_nights(title, number, values, tonight, tolerance)


def comparable(night: Entry, stage: StageEntry, entries: Iterable[Entry]) -> list[StageEntry]:
    """The same stage in earlier runs that it may be compared with, the latest first; invalid ones are left out."""
    same = (
        (entry.started_at, found)
        for entry in entries
        for found in entry.stages
        if found.valid
        and entry.id != night.id
        and entry.started_at < night.started_at
        and (entry.scenario, entry.hardware, entry.predicted) == (night.scenario, night.hardware, night.predicted)
        and (found.target, found.model, found.engine, found.agents)
        == (stage.target, stage.model, stage.engine, stage.agents)
    )
    return [found for _, found in sorted(same, key=lambda pair: pair[0], reverse=True)]


def _against_nights(
    title: str, number: Number, latest_first: Sequence[float], tonight: float | None, tolerance: float
) -> Check:
    """Worse when this night and the last are both further from the median of up to 14 before than max(4 MAD, 5%).

    One bad night is an accident; of two in a row, one in a hundred quiet months sees a false one (docs/soak.md).
    """
    if tonight is None:
        return Check("nights", title, "skipped", "not measured")
    last, past = latest_first[:1], latest_first[1 : NIGHTS + 1]
    if len(past) < ENOUGH_NIGHTS:
        needed = f"needs {ENOUGH_NIGHTS + 1} comparable valid earlier runs, found {len(latest_first)}"
        return Check("nights", title, "skipped", needed)
    middle, sign = median(past), 1 if number.metric.better == "lower" else -1
    margin = max(SPREADS * rank_tests.mad(past), _allowed(number, tolerance) * middle)
    beyond = [sign * (value - middle) > margin for value in (tonight, *last)]
    limit = number.shown(middle + sign * margin)
    text = f"{number.shown(tonight)}; median of {len(past)} runs {number.shown(middle)}, limit {limit}"
    if beyond[0] and not beyond[1]:
        text += "; first night beyond the limit: a second in a row fails"
    return Check("nights", title, _status(not all(beyond)), text)


def _allowed(number: Number, tolerance: float) -> float:
    return 2 * tolerance if number.tail else tolerance
