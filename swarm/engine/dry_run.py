"""Estimates the time, requests and tokens of a run before it starts: `swarm run --dry-run`."""

from swarm.engine.schedule import load_summary, schedule
from swarm.engine.workloads.replay import outlook
from swarm.engine.workloads.tasks import mean_turn
from swarm.scenario.schema import Scenario, Target

ASSUMED_TOKENS_PER_S = 40.0
"""Output rate of each agent, at a server that nothing is known of."""


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
