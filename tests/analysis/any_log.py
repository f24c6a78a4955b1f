"""Runs as no engine makes them, and as the recorder could write them: any records, in any order, of any numbers."""

from random import Random
from typing import Any, get_args

from synthetic import Run, Stage, ns

from swarm.recording.records import CallMistake, ErrorKind, JobOutcome

HOUR_S = 3600.0
THRESHOLDS = ("ttft_s.p95 < 2", "contention < 0.7", "slowdown < 3", "error_adjusted.e2e_s.p95 < 9", "errors < 1")


def any_run(chance: Random) -> Run:
    """A run of a few stages, of which some never began, were interrupted, or were killed."""
    run = Run(
        targets=dict(chance.sample([("moe", "moe"), ("dense", "dense"), ("other", "moe")], chance.randint(1, 3))),
        levels=sorted(chance.sample([1, 2, 3, 8], chance.randint(1, 3))),
        trials=chance.randint(1, 3),
        thresholds=[f"*.agents={agents}.{what}" for agents in (1, 2, 3, 8) for what in THRESHOLDS],
        max_error_share=chance.choice(["0%", "100%"]),
        driver=chance.choice(["script", "model", "trace"]),
        predicted=chance.random() < 0.2,
        gpus=chance.choice([1, 8]),
    )
    match chance.choice(["run", "run", "soak", "capacity"]):
        case "soak":
            pattern = chance.choice(["steady", "ramp", "day", "spikes"])
            run.levels, run.trials = run.levels[:1], 1
            run.more["soak"] = {"pattern": pattern, "window": chance.choice(["1s", "60s"])}
            for _ in range(chance.randint(0, 2)):  # parts that broke off
                any_stage(chance, run, next(iter(run.targets)), run.levels[0], 1)
        case "capacity":
            run.more["capacity"] = {"slo": ["ttft_s.p95 < 2", "contention < 0.5"], "most": 8}
    for trial in range(1, run.trials + 1):
        for target in run.targets:
            for agents in run.levels:
                if chance.random() < 0.9:
                    any_stage(chance, run, target, agents, trial)
    return run


def any_stage(chance: Random, run: Run, target: str, agents: int, trial: int) -> None:
    window_s = chance.choice([0.0, 1e-9, 1.0, 10.0, 10.0, 10.0, HOUR_S])
    stage = run.stage(target, agents, trial, window_s, warmup_s=chance.choice([0.0, 2.0]))
    first = len(run.published)
    kind = chance.choice(["healthy", "any", "both", "empty", "alike"])
    if kind in ("healthy", "both"):
        for agent in range(agents):
            stage.work(agent, until=min(window_s, 12.0))
    if kind == "alike":
        chunks = chance.randint(0, 6)
        for number in range(chance.randint(1, 40)):
            stage.attempt(number / 10, agent=number % agents, waits=[0.1] * chunks, per_chunk=chance.random() < 0.5)
            stage.turn(number / 10, number / 10 + 0.5, agent=number % agents)
    if kind in ("any", "both"):
        for _ in range(chance.randint(1, 30)):
            any_thing(chance, stage)
    if chance.random() < 0.3:  # out of order
        rest = run.published[first:]
        chance.shuffle(rest)
        run.published[first:] = rest
    match chance.choice(["ended", "ended", "ended", "interrupted", "killed", "closed"]):
        case "ended":
            stage.end(alive=chance.random() < 0.8, watched=chance.random() < 0.8)
        case "interrupted":
            stage.end(t=chance.uniform(0, window_s), interrupted=chance.choice(["SIGINT", "budget: 3 requests spent"]))
        case "closed":
            reached = chance.choice([None, 0.0, 0.01, 5.0])
            stage.close(chance.uniform(0, window_s), metric="ttft_s.p50", asked=0.05, reached=reached)
            stage.end(counters=chance.choice([None, {}, {"prompt_tokens": 0.0}]))


def any_time(chance: Random, window_s: float) -> float:
    """From the start of a window: in it, before, behind, at its borders."""
    return chance.choice([chance.uniform(-2, window_s + 2), 0.0, window_s, -1e-9, 1e-9, -2.0])


def any_span(chance: Random) -> float:
    return chance.choice([0.0, 0.0, 1e-9, 1e-6, chance.uniform(0, 1), chance.uniform(0, 20), HOUR_S, 400 * 24 * HOUR_S])


def any_count(chance: Random) -> int | None:
    return chance.choice([None, 0, 1, 2, chance.randint(0, 5000), 2**40])


def any_thing(chance: Random, stage: Stage) -> None:
    start = any_time(chance, stage.window_s)
    end = start + any_span(chance)
    # A number of `agents` or more is a sub-agent's.
    agent = chance.choice([0, chance.randrange(stage.agents), stage.agents * chance.randint(0, 3)])
    match chance.choice(["attempt", "attempt", "attempt", "turn", "job", "tool", "watch", "server", "life", "shard"]):
        case "attempt":
            any_attempt(chance, stage, start, agent)
        case "turn":
            number, ok = chance.randint(1, 3), chance.choice([True, False, None])
            stage.turn(start, end, agent=agent, number=number, ok=ok)
        case "job":
            outcome = chance.choice(get_args(JobOutcome))
            answer = chance.choice([None, chance.uniform(start, end)])
            stage.job(start, end, agent=agent, answer=answer, outcome=outcome, completion_tokens=any_count(chance) or 0)
        case "tool":
            mistake = chance.choice([None, *get_args(CallMistake)])
            stage.tool(start, end, agent=agent, ok=mistake is None, mistake=mistake, sub_agents=chance.randint(0, 2))
        case "watch":
            any_watch(chance, stage, start)
        case "server":
            names = ["running", "kv_usage", "preemptions", "queue_time_sum", "queue_time_count", "prefix_hits"]
            names += ["prefix_queries", "started_at", "simulator_overloaded", "simulator_slip_p99"]
            stage.server(start, **{name: chance.choice([None, 0.0, 1.0, 1e300]) for name in names})
        case "life":
            stage.live(agent % stage.agents, start, end, crash=chance.choice([None, "", "Traceback\nKeyError: 'x'"]))
        case "shard":
            shard, numbers = chance.randint(0, 3), list(range(chance.randint(0, stage.agents)))
            stage.join(shard, "node", numbers, offset_ns=chance.choice([0, -(10**12)]))
            if chance.random() < 0.3:
                stage.lose(start, shard, "node", numbers, "gone")


def any_attempt(chance: Random, stage: Stage, start: float, agent: int) -> None:
    many = chance.choice([0, 1, 2, 3, 5, 60, 400])
    alike = any_span(chance)
    waits = [alike if chance.random() < 0.5 else any_span(chance) for _ in range(many)]
    error = chance.choice([None, None, *get_args(ErrorKind)])
    given: dict[str, Any] = {
        "error": error,
        "message": chance.choice([None, "", "it broke\n\n", "\ud800 \x1b[31m" + "x" * 300]) if error else None,
        "aborted": error is None and chance.random() < 0.2,
        "number": chance.randint(1, 3),
        "prompt_tokens": any_count(chance),
        "cached_tokens": any_count(chance),
        "planned_tokens": any_count(chance),
        "finish_reason": chance.choice([None, "stop", "length"]),
        "intended_ns": stage.at(start - any_span(chance)),
        "variant": chance.choice(["ttl", "stats", ""]),
    }
    if chance.random() < 0.2:
        given["chunks"] = None  # `record.chunks: false`
    if chance.random() < 0.2:
        given["chunk_tokens"] = chance.choice([None, [], [0] * many, [0, 7] * many])
    end = start + sum(map(ns, waits)) / 1e9 + any_span(chance)
    stage.attempt(start, agent=agent, waits=waits, tokens=any_count(chance), end=end, **given)


def any_watch(chance: Random, stage: Stage, start: float) -> None:
    values = sorted(chance.choice([0, 1, 10**6, 10**10]) for _ in range(chance.randint(0, 5)))
    chunks = chance.choice([0, 1, 1000])
    stage.watch(
        start + chance.choice([1.0, 0.0]),
        lag_ns=values,
        shared_ns=chance.choice([[], values]),
        chunks=chunks,
        coalesced=chance.randint(0, chunks),
        busy_share=chance.choice([None, 0.0, 1.0]),
        cores=chance.choice([None, 1]),
        companions_ns=chance.choice([None, 0, 10**9]),
        cpu_ns=chance.choice([0, 10**9]),
        stamp_source=chance.choice(["kernel", "user"]),
        shard=chance.randint(0, 3),
        rss_bytes=any_count(chance),
    )
