"""How far off predicted numbers may be: the errors of a stage, and what they make of the most agents within an SLO."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from swarm.analysis.plan import ErrorBand
from swarm.results import ExpectedError, Objective, Probe, StageResults
from swarm.scenario.thresholds import Slo

THROUGHPUT = ("throughput", "decode_tokens_per_s", "agent_output_tokens_per_s", "itl_s", "tpot_s")
"""Keys (their beginnings) that decoding decides alone; the wait for the first token is in all others."""


def of_stage(stage: StageResults, bands: Sequence[ErrorBand]) -> ExpectedError | None:
    """The errors of the class that the stage is in, by requests in flight and mean context; None where none is known.

    A stage that did not tell these is in the class of the fewest streams and the shortest contexts.
    """
    streams = stage.achieved.in_flight_mean or 0.0
    replies = stage.latency["ttft_s"].count if "ttft_s" in stage.latency else 0
    context = (stage.tokens.prompt or 0) / replies if replies else 0.0
    for band in bands:
        if (band.streams is None or streams <= band.streams) and (band.context is None or context <= band.context):
            return ExpectedError(
                tokens_per_s=band.tokens_per_s, ttft_s=band.ttft_s, points=band.points, advice=band.advice
            )
    return None


def agents_between(
    probes: Mapping[int, Probe], slos: Sequence[Slo], errors: Mapping[int, ExpectedError]
) -> tuple[int, int] | None:
    """The most agents within the SLO if all numbers are as much worse as their errors say, and if they are as much
    better. Between two levels that were tried numbers are taken to lie on a line; None without errors.

    The second is at most the highest level that was tried.
    """
    if not errors or not probes:
        return None
    tried = sorted(level for level in probes if level in errors)
    return _most(tried, probes, slos, errors, 1), _most(tried, probes, slos, errors, -1)


def _most(
    tried: Sequence[int],
    probes: Mapping[int, Probe],
    slos: Sequence[Slo],
    errors: Mapping[int, ExpectedError],
    sign: int,
) -> int:
    """The highest level up to which every level holds, with all numbers worse (`sign` 1) or better (-1)."""

    def holds(level: int, above: int, share: float) -> bool:
        for at, slo in enumerate(slos):
            low = _shifted(probes[level].values[at], slo, errors[level], sign)
            high = _shifted(probes[above].values[at], slo, errors[above], sign)
            value = low if not share else None if low is None or high is None else low + share * (high - low)
            if value is None or not slo.holds(value):
                return False
        return True

    if not tried or not holds(tried[0], tried[0], 0):
        return 0
    for below, above in pairwise(tried):
        for level in range(below + 1, above + 1):
            share = (level - below) / (above - below)
            if not (holds(above, above, 0) if level == above else holds(below, above, share)):
                return level - 1
    return tried[-1]


def _shifted(objective: Objective, slo: Slo, error: ExpectedError, sign: int) -> float | None:
    if not isinstance(objective.value, int | float):
        return None
    by = error.tokens_per_s if slo.key.startswith(THROUGHPUT) else max(error.tokens_per_s, error.ttft_s)
    larger = (sign > 0) == slo.operator.startswith("<")
    return objective.value * (1 + by) if larger else objective.value / (1 + by)
