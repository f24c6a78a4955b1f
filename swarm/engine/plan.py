"""What a run would take, before it takes it: `swarm run --dry-run`."""

from pathlib import Path
from statistics import mean

from swarm.agents.prompt import opening, rendered_schemas, system_prompt
from swarm.agents.script import BYTES_PER_TOKEN
from swarm.engine.schedule import load_summary, schedule
from swarm.errors import ScenarioError
from swarm.scenario.schema import Scenario, Target, TaskFolder
from swarm.tasks import ScriptTurn, Task, load_tasks

ASSUMED_TOKENS_PER_S = 40.0
"""Of each agent, at a server that nothing is known of."""


def tasks_of(scenario: Scenario) -> list[Task]:
    """The scenario's tasks. Raises ScenarioError when one cannot begin within the context."""
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
    turns = [turn for task in tasks_of(scenario) for turn in turns_of(scenario, task)]
    reply = mean(turn.reply_tokens.median for turn in turns) * scenario.agents.reply_scale
    pause = mean(sum(call.takes_s for call in turn.calls) for turn in turns) + scenario.agents.think
    requests = level * seconds / (reply / _tokens_per_s(target, level, _prompt_tokens(scenario)) + pause)
    return requests, requests * reply


def _prompt_tokens(scenario: Scenario) -> float:
    return (scenario.agents.system_tokens + scenario.agents.context) / 2


def describe(scenario: Scenario) -> str:
    """Time, requests and tokens of a run, a line per target; what is assumed is said."""
    prompt = _prompt_tokens(scenario)
    load_s = (scenario.stage.warmup + scenario.stage.longest) * scenario.stage.trials
    stages = schedule(scenario, "")
    lines = [load_summary(scenario)]
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
    from swarm.simulator import cost, profiles  # only where something is simulated

    profile = profiles.load(target.simulate.profile, **target.simulate.overrides())
    return 1 / cost.CostModel(profile).terms(level, round(level * context)).total
