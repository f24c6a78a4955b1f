"""The causes of a slowdown in words, the largest first."""

from collections.abc import Mapping

from swarm.results import Cause

CAUSES: dict[Cause, str] = {
    "decode": "slower token generation",
    "prefill": "waiting while other agents' prompts are processed",
    "cache": "prefix-cache misses",
    "queue": "queueing",
    "preemption": "preemption",
    "tools": "slower tool calls",
    "client": "the load generator",
    "unknown": "unexplained, as the server does not report it",
}
"""The causes of `attribution` in the results, as parts of a sentence."""
WORTH_SAYING = 0.05


def causes_of(shares: Mapping[Cause, float] | None) -> str:
    """Such as "62% queueing, 38% preemption"; empty where nothing is known."""
    largest = sorted(
        ((share, CAUSES[cause]) for cause, share in (shares or {}).items() if share >= WORTH_SAYING), reverse=True
    )
    return ", ".join(f"{share * 100:.0f}% {name}" for share, name in largest)
