"""The tasks of a scenario, whatever its agents follow, and an average turn of them."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from swarm.agents.prompt import opening, rendered_schemas, system_prompt
from swarm.engine.workloads.replay import mean_of_trace, tasks_of_trace
from swarm.engine.workloads.sessions import means, planned, real_tasks, sessions_of
from swarm.errors import ScenarioError
from swarm.scenario.schema import Scenario, TaskFolder
from swarm.scenario.units import BYTES_PER_TOKEN
from swarm.tasks import ScriptTurn, Task, load_tasks


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
