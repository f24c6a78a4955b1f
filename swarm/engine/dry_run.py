"""Estimates the time, requests and tokens of a run before it starts: `swarm run --dry-run`."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from swarm.agents.prompt import opening, rendered_schemas, system_prompt
from swarm.engine.replay import mean_of_trace, outlook, tasks_of_trace
from swarm.engine.schedule import load_summary, schedule
from swarm.engine.sessions import means, planned, real_tasks, sessions_of
from swarm.errors import ScenarioError
from swarm.scenario.schema import Scenario, Target, TaskFolder
from swarm.scenario.units import BYTES_PER_TOKEN
from swarm.tasks import ScriptTurn, Task, load_tasks

ASSUMED_TOKENS_PER_S = 40.0
"""Output rate of each agent, at a server that nothing is known of."""


@dataclass(frozen=True)
class MeanTurn:
    """An average turn: tokens of its prompt and its reply, the seconds after it, and how many such a job has."""

    prompt_tokens: float
    reply_tokens: float
    pause_s: float
    per_job: float


def mean_turn(scenario: Scenario) -> MeanTurn:
    agents = scenario.agents
    if agents.session:
        return MeanTurn(*means(planned(scenario)))
    if agents.trace:
        return MeanTurn(*mean_of_trace(agents.trace, agents.context, agents.think))
    scripts = [turns_of(scenario, task) for task in tasks_of(scenario)]
    turns = [turn for script in scripts for turn in script]
    return MeanTurn(
        prompt_tokens=(agents.system_tokens + agents.context) / 2,
        reply_tokens=mean(turn.reply_tokens.median for turn in turns) * agents.reply_scale,
        pause_s=mean(sum(call.takes_s for call in turn.calls) for turn in turns) + agents.think,
        per_job=mean(map(len, scripts)),
    )


def tasks_of(scenario: Scenario) -> list[Task]:
    """The scenario's tasks. Raises UsageError when none can begin within the context, or a script cannot."""
    if scenario.agents.session:
        return [job.task for session in sessions_of(planned(scenario), real_tasks(scenario)) for job in session]
    if scenario.agents.trace:
        return tasks_of_trace(scenario.agents.trace, scenario.agents.context)
    tasks = load_tasks(Path(scenario.tasks.path) if isinstance(scenario.tasks, TaskFolder) else scenario.tasks)
    agents = scenario.agents
    preamble = system_prompt(agents.system_tokens, "0" * 16) + rendered_schemas()
    for task in tasks:
        first = len((preamble + opening(task, "0-0000-00000")).encode()) / BYTES_PER_TOKEN
        needed = round(first + _longest_first_reply(scenario, task))
        if needed > agents.context:
            raise ScenarioError(
                f"agents.context: {agents.context} tokens, but the first turn of {task.name} may take {needed}; "
                f"raise `context` or lower `system_tokens` (now {agents.system_tokens})"
            )
    return tasks


def _longest_first_reply(scenario: Scenario, task: Task) -> float:
    agents = scenario.agents
    if agents.driver == "model":
        return agents.max_reply_tokens
    return turns_of(scenario, task)[0].reply_tokens.max * agents.reply_scale


def turns_of(scenario: Scenario, task: Task) -> tuple[ScriptTurn, ...]:
    return task.quick_turns if scenario.agents.script == "quick" else task.turns


def expected(scenario: Scenario, target: Target, level: int, seconds: float) -> tuple[float, float]:
    """Requests and completion tokens of `level` agents in so many seconds: about the most."""
    turn = mean_turn(scenario)
    serving = turn.reply_tokens / _tokens_per_s(target, level, turn.prompt_tokens)
    requests = level * seconds / (serving + turn.pause_s)
    return requests, requests * turn.reply_tokens


def describe(scenario: Scenario) -> str:
    """Time, requests and tokens of a run, a line per target; what is assumed is said."""
    prompt = mean_turn(scenario).prompt_tokens
    load_s = (scenario.stage.warmup + scenario.stage.longest) * scenario.stage.trials
    stages = schedule(scenario, "")
    lines = [load_summary(scenario)]
    if scenario.agents.trace:
        lines += [f"  {note}" for note in outlook(scenario.agents.trace, scenario.agents.context)]
    for target in scenario.targets:
        of_levels = [expected(scenario, target, level, load_s) for level in scenario.agents.levels]
        requests, tokens = (sum(column) for column in zip(*of_levels, strict=True))
        basis = "by its profile" if target.simulate else f"assuming {ASSUMED_TOKENS_PER_S:g} tok/s for each agent"
        if scenario.agents.driver == "model":
            basis += " and replies as long as the scripts' (the model decides)"
        lines.append(
            f"  {target.name}: at most about {requests:,.0f} requests, {requests * prompt:,.0f} prompt tokens (most of "
            f"them a cached prefix, where the server keeps one) and {tokens:,.0f} completion tokens, {basis}"
        )
    lines.append("  order: " + " ".join(f"{stage.target}@{stage.agents}" for stage in stages))
    return "\n".join(lines)


def _tokens_per_s(target: Target, level: int, context: float) -> float:
    """Decode rate of each of `level` requests of `context` tokens."""
    if not target.simulate:
        return ASSUMED_TOKENS_PER_S
    from swarm.simulator.engine import cost
    from swarm.simulator.profiles import profiles  # only where something is simulated

    profile = profiles.load(target.simulate.profile, **target.simulate.overrides())
    return 1 / cost.CostModel(profile).terms(level, round(level * context)).total
