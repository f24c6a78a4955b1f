"""The work of a run's agents in one line, as it stands above every report of it."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

from swarm.engine.workloads.replay import lengths, replayable, trace_of
from swarm.engine.workloads.sessions import planned
from swarm.engine.workloads.tasks import tasks_of, turns_of
from swarm.scenario.schema import Scenario, TraceSettings
from swarm.sessions.presets import Shape


def workload(scenario: Scenario) -> str:
    """Raises UsageError as `tasks_of`, where the agents could not work at all."""
    agents = scenario.agents
    if agents.trace:
        said = _trace(agents.trace)
    elif shape := agents.shape:
        said = _sessions(scenario, shape)
    elif agents.driver == "model":
        said = (
            f"model's choice: {tokens(agents.system_tokens)} shared, up to {agents.max_turns} turns, replies to "
            f"{tokens(agents.max_reply_tokens)}"
        )
    else:
        said = _scripts(scenario)
    return f"{said}, contexts to {tokens(agents.context)}"


def _sessions(scenario: Scenario, shape: Shape) -> str:
    sessions = planned(scenario)
    steps = [step for session in sessions for step in session.steps]
    parts = [
        f"sessions: {tokens(shape.system)} shared + {_range([shape.prompt.min, shape.prompt.max])}",
        f"{mean(len(session.steps) for session in sessions):.0f} turns",
        f"replies {tokens(median(step.reply_tokens for step in steps))} (median)",
        f"tools {median(step.tool_s for step in steps if step.tools and not step.launches):.2g} s",
    ]
    if shape.sub_agents.share:
        parts.append(f"{shape.sub_agents.fan_out} sub-agents in {shape.sub_agents.share:.0%} of the jobs")
    if shape.pause.max:
        parts.append(f"pauses {shape.pause.at(0.5):.2g} s")
    return ", ".join(parts)


def _scripts(scenario: Scenario) -> str:
    scripts = [turns_of(scenario, task) for task in tasks_of(scenario)]
    turns = [turn for script in scripts for turn in script]
    replies = median(turn.reply_tokens.median for turn in turns) * scenario.agents.reply_scale
    tools = median(sum(call.takes_s for call in turn.calls) for turn in turns if turn.calls)
    return (
        f"scripts: {tokens(scenario.agents.system_tokens)} shared, {_range([*map(len, scripts)])} turns, replies "
        f"{tokens(replies)} (median), tools {tools:.2g} s"
    )


def _trace(settings: TraceSettings) -> str:
    sessions = [prompts for turns in trace_of(settings).sessions().values() if (prompts := replayable(turns))]
    sizes = [lengths(prompt) for prompts in sessions for prompt in prompts]
    return (
        f"trace {Path(settings.path).name}: {len(sessions)} sessions, prompts {_range([size[0] for size in sizes])}, "
        f"{_range([*map(len, sessions)])} turns, replies {tokens(median(size[1] for size in sizes))} (median)"
    )


def _range(values: Sequence[float]) -> str:
    """ "3-15k"; one number where all are the same."""
    low, high = tokens(min(values)), tokens(max(values))
    if low == high:
        return low
    return f"{low.removesuffix('k') if high.endswith('k') and low.endswith('k') else low}-{high}"


def tokens(number: float) -> str:
    """ "250", "1.2k", "32k"."""
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1000:.1f}".removesuffix(".0") + "k" if number < 10_000 else f"{number / 1000:.0f}k"
