"""Objectives of a search for capacity that nothing in it could be judged by: refused before anything runs."""

from collections.abc import Mapping

from swarm.catalogue import METRICS
from swarm.engine.workloads.replay import trace_of
from swarm.engine.workloads.tasks import tasks_of, turns_of
from swarm.errors import UsageError
from swarm.scenario.schema import Scenario
from swarm.scenario.thresholds import parse_slo


def of_client() -> set[str]:
    """Keys of the load generator's own numbers; a prediction has none."""
    return {metric.key for metric in METRICS if metric.block == "client"}


def refuse_unmeasurable(scenario: Scenario, why: Mapping[str, str]) -> None:
    """Raises UsageError for an SLO on one of the keys in `why`, which tells why it would never have a value."""
    for text in scenario.capacity.slo if scenario.capacity else ():
        if reason := why.get(parse_slo(text).key):
            raise UsageError(f"capacity.slo: {text} could never be judged: {reason}")


def unmeasurable(scenario: Scenario, *, virtual: bool) -> dict[str, str]:
    """The keys that would never have a value, as far as the scenario alone tells, and why. UsageError as `tasks_of`."""
    found: dict[str, str] = {}
    if virtual:
        reason = "it is a number of the load generator, and a prediction has none; leave it out, or leave out --predict"
        found |= dict.fromkeys(of_client(), reason)
    if not _calls_tools(scenario):
        found["tool_s"] = "no agent calls a tool"
    return found


def _calls_tools(scenario: Scenario) -> bool:
    if scenario.agents.driver == "model":
        return True
    if scenario.agents.trace:
        turns = trace_of(scenario.agents.trace).turns
        return any(turn.parent or (turn.reply and turn.reply.calls) for turn in turns)
    return any(turn.calls for task in tasks_of(scenario) for turn in turns_of(scenario, task))
