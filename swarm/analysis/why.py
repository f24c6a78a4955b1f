"""Why agents got slower, in a line for each target, from a run's results alone."""

from collections.abc import Mapping

from swarm.results import Cause, Results

NAMES = {
    "decode": "decode",
    "prefill": "prefill interference",
    "cache": "cache misses",
    "queue": "queueing",
    "preemption": "preemption",
    "tools": "tools",
    "client": "the client",
    "unknown": "what the server does not tell",
}
"""As `attribution` of the results has them, for readers."""
WORTH_SAYING = 0.05


def why(results: Results) -> list[str]:
    """Such as "dense at 8: slower mostly because of queueing 62 %, decode 30 %.": at the highest valid level."""
    lines = []
    for target in results.targets:
        told = [(stage.agents, stage.attribution) for stage in target.stages if stage.valid and stage.attribution]
        if told:
            agents, shares = max(told, key=lambda one: one[0])
            lines.append(f"{target.name} at {agents}: {_causes(shares)}.")
    return lines


def _causes(shares: Mapping[Cause, float]) -> str:
    """The causes that are worth saying, the largest first."""
    largest = sorted(((share, NAMES[cause]) for cause, share in shares.items() if share >= WORTH_SAYING), reverse=True)
    mostly = "mostly " if largest[0][0] >= 0.5 else ""
    return f"slower {mostly}because of {', '.join(f'{name} {share * 100:.0f} %' for share, name in largest)}"
