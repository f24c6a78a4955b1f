"""How far a prediction may be off: what was found where predictions could be held against published measurements.

    found = expected(profile, streams=8, context=12_000)       found.decode 0.12: four of five were within 12%

The errors are those on machines that the constants were not fitted to, by class: link between the GPUs, format of the
weights, streams, context. `accuracy.json` has them; `bench.fit_model` writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from swarm.simulator.profiles import data_files
from swarm.simulator.profiles.profiles import Profile

WITHIN = 0.8
"""Share of the points that were no further off than an error says."""
LEAST_POINTS = 8
"""A class of fewer takes the error of all, times `WIDENED`."""
WIDENED = 1.5
STREAMS = (4, 32)
CONTEXTS = (4000,)
"""Upper ends of the bands; the last one is open."""
ALIKE = {"gptq": "awq"}
"""Formats that are read and computed with alike."""
MEASURE_IT = "too few published points of this kind: measure it (swarm calibrate)"


@dataclass(frozen=True)
class Expected:
    """Relative errors. `points`: of the class that `decode` is from, or of all where `pooled`."""

    decode: float
    """Error of tok/s while requests decode."""
    ttft: float
    points: int
    pooled: bool
    """The class has too few points: the errors are those of all, widened, and only a measurement helps."""

    @property
    def advice(self) -> str | None:
        return MEASURE_IT if self.pooled else None


def band(value: float, ends: Sequence[int]) -> str:
    """`<=4`, `<=32` or `>32`."""
    return next((f"<={end}" for end in ends if value <= end), f">{ends[-1]}")


def expected(profile: Profile, streams: float, context: float) -> Expected:
    """Errors to expect of a prediction with `streams` requests at once, each of `context` tokens.

    A calibrated profile says its own errors. One that was fitted to published runs has theirs, up to four requests and
    within the contexts that they had.
    """
    own = profile.decode_error
    if own and profile.ttft_error:
        return Expected(own, profile.ttft_error, 0, pooled=False)
    where = {"link": profile.link, "quant": ALIKE.get(profile.quant, profile.quant)}
    at = {"streams": band(streams, STREAMS), "context": band(context, CONTEXTS)}
    decode, points, pooled = _error("decode", **where, **at)
    if own and streams <= STREAMS[0] and context <= CONTEXTS[0]:
        decode, pooled = own, False
    waits = _error("ttft", **where, streams=at["streams"], context="")
    prefill = _error("prefill", **where, streams="", context=at["context"])
    # The wait is made of prefills: where loops were not measured, it is no better known than these.
    ttft = waits[0] if not waits[2] else max(waits[0], prefill[0])
    return Expected(decode, ttft, points, pooled)


def bands(profile: Profile) -> list[dict[str, Any]]:
    """`expected` by band, the narrowest first, as JSON: a number of `streams` or `context` is the band's upper end, and
    None stands for all above."""
    found = []
    for streams in (*STREAMS, None):
        for context in (*CONTEXTS, None):
            one = expected(profile, streams or STREAMS[-1] + 1, context or CONTEXTS[-1] + 1)
            found.append(
                {
                    "streams": streams,
                    "context": context,
                    "tokens_per_s": one.decode,
                    "ttft_s": one.ttft,
                    "points": one.points,
                    "advice": one.advice,
                }
            )
    return found


def _error(kind: str, **where: str) -> tuple[float, int, bool]:
    """The error of a class, its points, and whether it is that of all, widened."""
    found = _classes().get((kind, *(where[key] for key in ("link", "quant", "streams", "context"))))
    if found and found["points"] >= LEAST_POINTS:
        return found["error"], found["points"], False
    every = data_files.accuracy()["pooled"][kind]
    return round(every["error"] * WIDENED, 3), every["points"], True


@cache
def _classes() -> dict[tuple[str, ...], dict[str, Any]]:
    keys = ("kind", "link", "quant", "streams", "context")
    return {tuple(one[key] for key in keys): one for one in data_files.accuracy()["classes"]}
