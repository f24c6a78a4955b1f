"""When a stage's numbers count. Each check returns why not: what, how much against which limit, and what to do."""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median

from swarm.analysis.plan import Limits
from swarm.analysis.stage.load_generator import client_late, simulator_late, stood_still_for
from swarm.analysis.trial.agents import Agent, parked
from swarm.analysis.trial.trial import Trial
from swarm.recording.redaction import one_line
from swarm.results import Code, Finding
from swarm.text import counted, listed, percent, significant

ALIVE_SHARE = 0.95
TURNS_PER_AGENT = 10
LENGTH_SHARE = 0.10
COUNTER_SHARE = 0.01
TOOLS_SHARE = 0.10
SILENT_SHARE = 0.02
SILENT_TIMES = 3


BROKE_OFF = "the run broke off before this stage had ended, so requests in flight are missing; run it again"


def trial_reasons(trial: Trial, limits: Limits) -> list[Finding]:
    """Why this trial's numbers do not count; empty: they do."""
    if trial.ended is None:
        return [_finding("broke_off", BROKE_OFF)]
    reasons = []
    if by := trial.ended.interrupted:
        reasons.append(_finding("interrupted", _interrupted(trial, by)))
    if not trial.seconds:
        return reasons
    return reasons + [_finding(code, text) for code, check in _CHECKS.items() if (text := check(trial, limits))]


def _finding(code: Code, text: str) -> Finding:
    return Finding(kind="invalid", code=code, text=text)


def too_few_turns(trials: Sequence[Trial], agents: int) -> str | None:
    """A stage needs 10 turns per agent, over all its trials."""
    turns, needed = sum(trial.finished_turns for trial in trials), TURNS_PER_AGENT * agents
    if turns >= needed:
        return None
    return (
        f"too few turns: {turns} finished in the window, {needed} needed ({TURNS_PER_AGENT} per agent); "
        "raise stage.duration"
    )


def _interrupted(trial: Trial, by: str) -> str:
    planned = trial.window.overlap(trial.window.start_ns, trial.window.stop_ns) / 1e9
    return f"interrupted by {by} after {trial.seconds:.1f} s of the {planned:.1f} s window; run it again"


def _alive(trial: Trial, _: Limits) -> str | None:
    agents = trial.began.planned_alive or trial.began.agents
    needed = ALIVE_SHARE * agents
    alive = trial.load.alive_ns / 1e9 / trial.seconds
    if alive >= needed:
        return None
    crashes = [f"agent {agent} crashed: {one_line(crash)}" for agent, crash in sorted(trial.load.crashes.items())]
    return (
        f"agents died: {alive:.2f} of {agents:g} were alive on average, {needed:.2f} needed "
        f"({'; '.join(crashes) or 'they ended before their stage'}); see the agent_end records in events.jsonl"
    )


def _parked(trial: Trial, _: Limits) -> str | None:
    """One is enough: a stage of 8 agents of which 7 work is none of 8."""
    idle = parked(trial.agents, trial.seconds)
    if not idle:
        return None
    number, agent = next(iter(idle.items()))
    turns = median(each.turns for each in trial.agents.values())
    others = f" (nor did {counted(len(idle) - 1, 'other agent')})" if len(idle) > 1 else ""
    failed = f"; its last request failed: {one_line(agent.failure)}" if agent.failure else ""
    return (
        f"agents took no part: agent {number} finished no turn in the window{others}, the median agent {turns:g}; it "
        f"spent its time {_doing(agent)}{failed}; see its records in events.jsonl and the server's log"
    )


def _doing(agent: Agent) -> str:
    if agent.waited_ns:
        return f"waiting to retry a failed request ({agent.waited_ns / 1e9:.1f} s)"
    longest = agent.spent.most_common(1)[0][0] if agent.spent else "nothing"
    return {"request": "in requests", "tool": "in tool calls", "between": "between requests"}.get(
        longest, "before its first request"
    )


def _waited(trial: Trial, _: Limits) -> str | None:
    waits = {number: agent for number, agent in trial.agents.items() if agent.waited_ns}
    waited = sum(agent.waited_ns for agent in waits.values()) / 1e9
    planned = (trial.began.planned_alive or trial.began.agents) * trial.seconds
    if waited <= (1 - ALIVE_SHARE) * planned:
        return None
    number, agent = max(waits.items(), key=lambda one: one[1].waited_ns)
    return (
        f"agents backed off too long: they spent {waited:.1f} s of {planned:.1f} s waiting to retry failed requests "
        f"(limit {percent(1 - ALIVE_SHARE)}), agent {number} {agent.waited_ns / 1e9:.1f} s "
        f"({one_line(agent.failure)}); raise the server's limits or lower client.retry_after_max"
    )


def _lost(trial: Trial, _: Limits) -> str | None:
    """One is enough: what it had not handed over is missing from every number, and its agents left the rest alone."""
    if not trial.lost:
        return None
    each = [
        f"{shard.name} after {max(0, shard.t_ns - trial.began.t_ns) / 1e9:.1f} s with {_agents(shard.numbers)}: "
        f"{one_line(shard.reason)}"
        for _, shard in sorted(trial.lost.items())
    ]
    return f"shards were lost: {'; '.join(each)}; run it again"


def _values(trial: Trial, _: Limits) -> str | None:
    """The interval log holds every value that the events tell of. Where several clocks or a moved end drew the window's
    border, values beside it may be on either side; a soak that was killed lost the lines that were not written yet."""
    if trial.lost:
        return None  # said already
    beside = trial.began.agents if trial.shards or trial.closed else 0
    lost = {
        metric: (held, count)
        for metric, count in trial.recorded.counts.items()
        if (held := trial.distributions.get(metric, Counter()).total()) < count - beside
        and not (trial.window.holes and trial.distributions)
    }
    if not lost:
        return None
    metric, (held, count) = max(lost.items(), key=lambda item: 1 - item[1][0] / item[1][1])
    return (
        f"latencies were lost: histograms.hlog holds {held} of the {count} values of {metric} in events.jsonl, so it "
        "was cut off or never fully written; check for a full disk and run it again"
    )


def _agents(numbers: Sequence[int]) -> str:
    if not numbers:
        return "no agents"
    return f"{counted(len(numbers), 'agent')} ({listed(numbers)})"


def _tools(trial: Trial, _: Limits) -> str | None:
    lost, turns = trial.overrun_ns / 1e9, trial.turn_ns / 1e9
    if not turns or lost <= TOOLS_SHARE * turns:
        return None
    return (
        "this machine could not run the tools in time: overruns and waits for a core took "
        f"{significant(lost)} s of the {significant(turns)} s of all turns ({percent(lost / turns)}, limit "
        f"{percent(TOOLS_SHARE)}), so the server got fewer requests than such agents send; use fewer agents, more "
        "cores or another machine, or plan longer tool times (`takes` in the tasks)"
    )


def _errors(trial: Trial, limits: Limits) -> str | None:
    errors, complete = trial.requests.errors, trial.requests.complete
    failed, ended = errors.total(), errors.total() + complete
    if failed <= limits.max_error_share * ended:
        return None
    kinds = ", ".join(f"{count} {kind}" for kind, count in errors.most_common())
    example = one_line(trial.requests.messages[errors.most_common(1)[0][0]])
    return (
        f"requests failed: {failed} of {ended} ({percent(failed / ended)}, limit {percent(limits.max_error_share)}): "
        f"{kinds}{f' ({example})' if example else ''}; see the attempts in events.jsonl, or raise stage.max_error_share"
    )


def _lost_calls(trial: Trial, limits: Limits) -> str | None:
    lost, ended = trial.requests.lost_calls, trial.requests.ended_for_tools
    if lost <= limits.max_lost_calls * ended:
        return None
    return (
        f"tool calls were lost: {lost} of {ended} replies that ended for tool calls ({percent(lost / ended)}, limit "
        f"{percent(limits.max_lost_calls)}) held none, so agents did not do what the model wanted; check "
        "the server's tool-call parser, or raise stage.max_lost_calls"
    )


def _restart(trial: Trial, _: Limits) -> str | None:
    if not trial.restarts:
        return None
    times = "" if trial.restarts == 1 else f" {trial.restarts} times"
    return (
        f"the server restarted{times} during the stage, so its caches and counters were lost; "
        "check its log for the cause"
    )


def _lengths(trial: Trial, _: Limits) -> str | None:
    planned, off = trial.accounts.planned_tokens, trial.accounts.off_plan_tokens
    if off <= LENGTH_SHARE * planned:
        return None
    return (
        f"replies were off their planned length by {percent(off / max(1, planned))} "
        f"(limit {percent(LENGTH_SHARE)}; {trial.requests.truncated} were truncated), so agents did not do the planned "
        "work; use a server that supports min_tokens and ignore_eos, and a context large enough for the replies"
    )


def _usage(trial: Trial, _: Limits) -> str | None:
    missing, complete = trial.accounts.without_usage, trial.accounts.complete
    if not missing:
        return None
    return (
        f"no token counts: {missing} of {complete} replies came without `usage`; "
        "use a server that supports stream_options.include_usage"
    )


def _counters(trial: Trial, _: Limits) -> str | None:
    comparable = trial.ended is not None and not (trial.restarts or trial.window.holes or trial.lost)
    counters = (trial.ended.counters if trial.ended and comparable else None) or {}
    for name, account in (("prompt", trial.accounts.prompt), ("completion", trial.accounts.completion)):
        server, least, most = counters.get(f"{name}_tokens"), account.least, account.most
        if server is None or (1 - COUNTER_SHARE) * least <= server <= (1 + COUNTER_SHARE) * most:
            continue
        ours = f"{least}" if least == most else f"{least} to {most}"
        return (
            f"token counts disagree: the server counted {server:.0f} {name} tokens over the stage, swarm {ours} "
            f"(limit {percent(COUNTER_SHARE)}); make sure that swarm is the server's only client"
        )
    return None


def _silence(trial: Trial, _: Limits) -> str | None:
    silent = trial.silence.silent_ns / 1e9
    limit = max(SILENT_SHARE * trial.seconds, SILENT_TIMES * trial.silence.longest_wait_ns / 1e9)
    if silent <= limit:
        return None
    return (
        f"the server fell silent: at the end of the window a request had received nothing for {silent:.2f} s "
        f"(limit {limit:.2f} s: {percent(SILENT_SHARE)} of the window or {SILENT_TIMES} times the longest earlier "
        "wait); check the server's log"
    )


_CHECKS: dict[Code, Callable[[Trial, Limits], str | None]] = {
    "shards_lost": _lost,
    "latencies_lost": _values,
    "agents_died": _alive,
    "agents_idle": _parked,
    "agents_kept_away": _waited,
    "load_generator_froze": stood_still_for,
    "load_generator_late": client_late,
    "simulator_late": simulator_late,
    "tools_late": _tools,
    "requests_failed": _errors,
    "tool_calls_lost": _lost_calls,
    "server_restarted": _restart,
    "reply_lengths_off": _lengths,
    "usage_missing": _usage,
    "token_counts_disagree": _counters,
    "server_silent": _silence,
}
"""In the order in which they are reported: first what makes the rest doubtful."""
