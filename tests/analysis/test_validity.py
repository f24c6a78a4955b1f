"""One run for each check that it violates: the reason says what, how much against which limit, and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from as_json import analyse
from synthetic import Run, Stage, ns

from swarm.recording import rundir
from swarm.report.table import every, rows
from swarm.results import read_results

Analysed = Callable[[Run], dict[str, Any]]


def busy(agents: int = 1) -> tuple[Run, Stage]:
    """A run whose only stage is complete but for its end."""
    run = Run(levels=[agents])
    stage = run.stage(agents=agents)
    for agent in range(agents):
        stage.work(agent)
    return run, stage


def dead_agent(agents: int) -> Run:
    run, stage = busy(agents)
    for agent in range(agents - 1):
        stage.live(agent, -2, 10)
    stage.live(agents - 1, -2, 4, crash="Traceback ...\nValueError: no \x1b[31mpath")
    stage.end(alive=False)
    return run


def idle_agents() -> Run:
    run, stage = busy()
    stage.live(0, -2, 9)
    stage.end(alive=False)
    return run


def client(**sample: Any) -> Run:
    run, stage = busy()
    for second in range(1, 10):
        stage.watch(second, **sample)
    stage.end(watched=False)
    return run


def failures() -> Run:
    run, stage = busy()
    for kind in ("timeout", "timeout", "reset"):
        stage.failed(2.6, 2.7, kind, message=f"{kind} after 600 s\x07")
    stage.end()
    return run


def lost_calls(count: int, finish: str | None, **fields: Any) -> Run:
    run, stage = busy()
    for number in range(count):
        stage.attempt(number + 0.7, waits=[0.1], tokens=10, finish_reason=finish, **{"tool_calls": 0} | fields)
    stage.end()
    return run


def slow_tools(over: float, count: int, **fields: Any) -> Run:
    """Ten turns of 0.9 s, and so many tool calls that took `over` seconds more than they may."""
    run, stage = busy()
    for number in range(count):
        timed = {"planned_ns": ns(0.1), "work_ns": ns(0.1 + over)} | fields
        stage.tool(number + 0.6, number + 0.8, name="run_tests", **timed)
    stage.end()
    return run


SLOW_TOOLS = (
    "this machine could not run the tools in time: overruns and waits for a core took 1 s of the 9 s of all turns "
    "(11.1%, limit 10%), so the server got fewer requests than such agents send; use fewer agents, more cores or "
    "another machine, or plan longer tool times (`takes` in the tasks)"
)


def others_busy(window_s: float = 60.0) -> tuple[Run, Stage]:
    """Three agents that work through a window, and a fourth of which nothing is on record yet."""
    run = Run(levels=[4], max_error_share="50%")
    stage = run.stage(agents=4, window_s=window_s)
    for agent in range(3):
        stage.work(agent)
    return run, stage


HTTP_429 = "HTTP 429 from http://h/v1"


def sent_away(until: float = 60.0, **job: Any) -> Run:
    """The fourth agent was refused in the warm-up and waits to try again; it works from `until` on."""
    run, stage = others_busy()
    stage.failed(-1.0, -0.9, "rate_limited", agent=3, message=HTTP_429)
    for second in range(int(until), 60):
        stage.attempt(second, agent=3)
        stage.turn(second, second + 0.9, agent=3)
    if job:
        stage.job(-1.0, 60.0, agent=3, outcome="censored", **job)
    stage.end()
    return run


def parked(**job: Any) -> Run:
    """The fourth agent has been in one turn all the time."""
    run, stage = others_busy()
    stage.job(-1.0, 60.0, agent=3, outcome="censored", **{"serving_ns": 0} | job)
    stage.end()
    return run


def off_script() -> Run:
    run = Run()
    run.healthy(planned_tokens=12, finish_reason="length")
    return run


def no_usage() -> Run:
    run, stage = busy()
    stage.attempt(9.65, waits=[0.1], prompt_tokens=None)
    stage.end(counters=None)
    return run


def counters(**growth: float) -> Run:
    run, stage = busy()
    stage.end(counters=growth)
    return run


def frozen(*stops: tuple[float, float, float], **sample: Any) -> Run:
    """`stops`: from, until (seconds of the window) and how long the machine was suspended meanwhile."""
    run, stage = busy()
    for second in range(1, 10):
        stage.watch(second)
    for since, until, slept in stops:
        stage.watch(max(until, since + 0.02), frozen=[(stage.at(since), stage.at(until), ns(slept))], **sample)
    stage.end(watched=False)
    return run


STOPPED = (
    "; keep the machine, its VM and the process from being suspended or stopped (sleep, Ctrl-Z, a debugger, no CPU "
    "or memory left), and run it again"
)


def stalled() -> Run:
    run, stage = busy()
    stage.attempt(8.0, waits=[0.2, 0.1], tokens=4, end=10.0, aborted=True)
    stage.end(counters=None)
    return run


def overloaded(slip_s: float, **sample: Any) -> Run:
    run, stage = busy()
    for second in range(1, 10):
        late = second == 5
        stage.server(second, simulator_overloaded=float(late), simulator_slip_p99=slip_s if late else 0.001)
    stage.server(-1, simulator_overloaded=1.0, simulator_slip_p99=9.0)  # in the warm-up
    for second in range(1, 10):
        stage.watch(second, **sample)
    stage.end(watched=False)
    return run


def restarted() -> Run:
    run, stage = busy()
    for second, started_at in enumerate((7.0, None, 7.0, 12.5, 12.5), start=3):
        stage.server(second, **({} if started_at is None else {"started_at": started_at}))
    stage.end(counters={"prompt_tokens": -700.0, "completion_tokens": -72.0})
    return run


def too_short() -> Run:
    run = Run()
    run.healthy(until=9.0)
    return run


def interrupted() -> Run:
    run = Run()
    stage = run.stage()
    stage.work(until=4.0)
    stage.end(t=4.0, interrupted="SIGINT")
    return run


def broken_off() -> Run:
    run, _ = busy()
    return run


REASONS = [
    (
        dead_agent(4),
        "agents died: 3.40 of 4 were alive on average, 3.80 needed (agent 3 crashed: ValueError: no "
        "\\u001b[31mpath); see the agent_end records in events.jsonl",
    ),
    (
        idle_agents(),
        "agents died: 0.90 of 1 were alive on average, 0.95 needed (they ended before their stage); see the "
        "agent_end records in events.jsonl",
    ),
    (
        client(cpu_ns=ns(0.93)),
        "the load generator was too slow: it used 93% of a CPU core (limit 80%, client.max_cpu), so latencies "
        "include its own work; use fewer agents, a faster machine, or `route: direct`",
    ),
    (
        client(lag_ns=[100_000] * 98 + [ns(0.012)] * 2),
        "the load generator was too slow: times may be off by 12 ms (limit 5 ms, client.max_lag; p99, no kernel "
        "stamps); use fewer agents, a faster machine, or `route: direct`",
    ),
    (
        client(lag_ns=[100_000] * 98 + [ns(0.012)] * 2, busy_share=0.97),
        "the machine was busy: times may be off by 12 ms (limit 5 ms, client.max_lag; p99, no kernel stamps): the "
        "CPUs were 97% in use, swarm used 20% of one core; stop other programs, or move the server to another "
        "machine",
    ),
    (
        client(lag_ns=[100_000] * 98 + [ns(0.012)] * 2, busy_share=None),
        "the load generator was too slow: times may be off by 12 ms (limit 5 ms, client.max_lag; p99, no kernel "
        "stamps); use fewer agents, a faster machine, or `route: direct`",
    ),
    (
        client(lag_ns=[100_000] * 98 + [ns(0.012)] * 2, busy_share=0.65, cores=2, companions_ns=ns(0.1)),
        "the machine was busy: times may be off by 12 ms (limit 5 ms, client.max_lag; p99, no kernel stamps): "
        "other programs used 1 of 2 cores (swarm with its tools and simulated servers: 0.3); close them, or run "
        "swarm on another machine",
    ),
    (
        client(lag_ns=[100_000] * 98 + [ns(0.012)] * 2, busy_share=0.65, cores=2, companions_ns=ns(0.9)),
        "the load generator was too slow: times may be off by 12 ms (limit 5 ms, client.max_lag; p99, no kernel "
        "stamps); use fewer agents, a faster machine, or `route: direct`",
    ),
    (
        overloaded(0.0125, busy_share=0.65, cores=2, companions_ns=ns(0.1)),
        "the simulated server could not keep up: its steps were up to 12.5 ms late (p99; limit 5 ms, "
        "client.max_lag): other programs used 1 of 2 cores (swarm with its tools and simulated servers: 0.3); "
        "close them, or use `swarm predict`, which does not run in real time",
    ),
    (
        client(stamp_source="kernel", coalesced=2, shared_ns=[ns(0.011), ns(0.012)], lag_ns=[ns(0.003)] * 100),
        "the load generator was too slow: times may be off by 12 ms (limit 5 ms, client.max_lag; p99); use fewer "
        "agents, a faster machine, or `route: direct`",
    ),
    (
        frozen((2.0, 6.5, 0)),
        "the load generator stood still for 4.5 s of the 10 s window (limit 0.5 s): 4.5 s at 2.0 s" + STOPPED,
    ),
    (
        frozen((2.0, 2.0, 3600)),
        "the load generator stood still for 3,600 s of the 10 s window (limit 0.5 s): 3,600 s at 2.0 s" + STOPPED,
    ),
    (
        frozen(*((second, second + 0.1 + second / 100, 0) for second in range(1, 7))),
        "the load generator stood still for 0.81 s of the 10 s window (limit 0.5 s): 0.14 s at 4.0 s, "
        f"0.15 s at 5.0 s, 0.16 s at 6.0 s, and 3 shorter stops{STOPPED}",
    ),
    (
        lost_calls(1, "tool_calls"),
        "tool calls were lost: 1 of 11 replies that ended for tool calls (9.09%, limit 5%) held none, so agents "
        "did not do what the model wanted; check the server's tool-call parser, or raise stage.max_lost_calls",
    ),
    (slow_tools(0.2, 5), SLOW_TOOLS),
    (slow_tools(0.0, 4, planned_ns=None, waited_ns=ns(0.25)), SLOW_TOOLS),
    (
        failures(),
        "requests failed: 3 of 13 (23.1%, limit 0%): 2 timeout, 1 reset (timeout after 600 s\\u0007); see the "
        "attempts in events.jsonl, or raise stage.max_error_share",
    ),
    (
        off_script(),
        "replies were off their planned length by 16.7% (limit 10%; 10 were truncated), so agents did not do the "
        "planned work; use a server that supports min_tokens and ignore_eos, and a context large enough for the "
        "replies",
    ),
    (
        no_usage(),
        "no token counts: 1 of 11 replies came without `usage`; use a server that supports "
        "stream_options.include_usage",
    ),
    (
        counters(prompt_tokens=10_000, completion_tokens=102),
        "token counts disagree: the server counted 102 completion tokens over the stage, swarm 100 (limit 1%); "
        "make sure that swarm is the server's only client",
    ),
    (
        counters(prompt_tokens=9_800, completion_tokens=100),
        "token counts disagree: the server counted 9800 prompt tokens over the stage, swarm 10000 (limit 1%); make "
        "sure that swarm is the server's only client",
    ),
    (
        stalled(),
        "the server fell silent: at the end of the window a request had received nothing for 1.70 s (limit 0.60 s: "
        "2% of the window or 3 times the longest earlier wait); check the server's log",
    ),
    (
        overloaded(0.0125),
        "the simulated server could not keep up: its steps were up to 12.5 ms late (p99; limit 5 ms, "
        "client.max_lag), because this machine is too busy; use fewer agents, stop other programs, or use `swarm "
        "predict`, which does not run in real time",
    ),
    (
        restarted(),
        "the server restarted during the stage, so its caches and counters were lost; check its log for the cause",
    ),
    (too_short(), "too few turns: 9 finished in the window, 10 needed (10 per agent); raise stage.duration"),
]


@pytest.mark.parametrize(("run", "reason"), REASONS, ids=[reason.split(":")[0] for _, reason in REASONS])
def test_a_violated_check_makes_the_stage_invalid_for_exactly_that_reason(
    only_stage: Analysed, run: Run, reason: str
) -> None:
    stage = only_stage(run)
    assert stage["invalid_reasons"] == [reason]
    assert not stage["valid"]


def test_late_reading_of_chunks_that_the_kernel_stamped_is_noted_and_no_fault(only_stage: Analysed) -> None:
    found = only_stage(client(stamp_source="kernel", coalesced=0, lag_ns=[ns(0.012)] * 100))
    assert found["valid"]
    assert found["client"]["timing_error_p99_s"] == 0.00005
    assert (
        "swarm read chunks up to 12 ms late (p99), which delayed agents as much; the measured times are still "
        "right to 0.05 ms, as the kernel stamps the chunks"
    ) in found["notes"]


@pytest.mark.parametrize(
    ("stops", "lost"),
    [
        ([(2.0, 2.4, 0)], 0.4),
        ([(-9.0, -1.0, 0)], 0.0),  # in the warm-up
        ([(-9.0, 0.4, 0)], 0.4),  # into the window
        ([(9.7, 19.0, 0)], 0.3),  # beyond it
        ([(-0.1, -0.1, 3600)], 0.0),  # suspended before it
        ([(10.0, 10.0, 3600)], 0.0),  # and after it
    ],
)
def test_only_what_was_lost_of_the_window_counts(
    only_stage: Analysed, stops: list[tuple[float, float, float]], lost: float
) -> None:
    stage = only_stage(frozen(*stops))
    assert stage["client"]["frozen_s"] == pytest.approx(lost)
    assert stage["valid"], stage["invalid_reasons"]


@pytest.mark.parametrize(("stop", "lost"), [((-9.0, 0.6, 0), 0.6), ((9.4, 19.0, 0), 0.6), ((9.99, 9.99, 60), 60.0)])
def test_a_freeze_over_the_windows_border_counts_by_its_part_in_it(
    only_stage: Analysed, stop: tuple[float, float, float], lost: float
) -> None:
    stage = only_stage(frozen(stop))
    assert stage["client"]["frozen_s"] == pytest.approx(lost)
    assert not stage["valid"]


def test_each_shard_is_judged_by_the_time_that_it_lost_itself(only_stage: Analysed) -> None:
    run, stage = busy(2)
    for shard in range(2):
        stage.join(shard, f"shard {shard} (h, process {shard})", [shard])
        for second in range(1, 10):
            stage.watch(second, shard=shard)
    for shard, seconds in ((0, 0.4), (1, 0.6)):
        stage.watch(4 + seconds, shard=shard, frozen=[(stage.at(4), stage.at(4 + seconds), 0)])
    stage.end(watched=False)
    found = only_stage(run)
    assert [reason.partition(" for ")[0] for reason in found["invalid_reasons"]] == [
        "shard 1 (h, process 1): the load generator stood still"
    ]
    assert found["client"]["frozen_s"] == pytest.approx(0.6)


def test_a_simulated_server_that_is_less_late_than_the_client_may_be_is_good_enough(only_stage: Analysed) -> None:
    assert only_stage(overloaded(0.005))["valid"]


def test_an_interrupted_stage_is_invalid_and_measured_as_far_as_it_came(only_stage: Analysed) -> None:
    stage = only_stage(interrupted())
    assert stage["invalid_reasons"] == [
        "interrupted by SIGINT after 4.0 s of the 10.0 s window; run it again",
        "too few turns: 4 finished in the window, 10 needed (10 per agent); raise stage.duration",
    ]
    assert (stage["window_s"], stage["throughput"]["output_tokens_per_s"]) == (4.0, 10.0)
    assert stage["achieved"]["agents_alive_mean"] == 1.0


def test_the_wait_for_an_idle_server_after_an_interruption_is_not_measured_time(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    stage.work(until=4.0)
    stage.live(0, -2, 4.0)
    stage.end(alive=False, watched=False, t=9.0, interrupted="SIGTERM")
    assert only_stage(run)["window_s"] == 4.0


def test_a_stage_interrupted_in_its_warm_up_measured_nothing(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    stage.attempt(-1.5, aborted=True)
    stage.live(0, -2, -0.5)
    stage.end(alive=False, watched=False, t=-0.5, interrupted="budget: 10 requests spent")
    found = only_stage(run)
    assert found["status"] == "run"
    assert found["invalid_reasons"][0] == (
        "interrupted by budget: 10 requests spent after 0.0 s of the 10.0 s window; run it again"
    )
    assert found["window_s"] is None
    assert found["throughput"]["output_tokens_per_s"] is None
    assert found["achieved"]["in_flight_max"] is None
    assert found["jobs"] == {"started": None, "finished": None, "censored": None, "outcomes": {}}


def test_a_broken_off_stage_is_invalid_and_its_agents_fate_unknown(only_stage: Analysed) -> None:
    stage = only_stage(broken_off())
    assert stage["invalid_reasons"] == [
        "the run broke off before this stage had ended, so requests in flight are missing; run it again"
    ]
    assert stage["achieved"]["agents_alive_mean"] is None
    assert stage["window_s"] == pytest.approx(9.9)
    assert stage["jobs"]["finished"] == 5


def test_a_stage_that_never_began_is_skipped(analysed: Analysed) -> None:
    run = Run(levels=[1, 4])
    run.healthy()
    results = analysed(run)
    first, second = results["targets"][0]["stages"]
    assert (first["status"], first["valid"]) == ("run", True)
    assert (second["status"], second["valid"], second["agents"]) == ("skipped", False, 4)
    assert second["invalid_reasons"] == ["not run: the run ended before this stage"]
    assert second["trials_detail"][0]["status"] == "skipped"
    assert results["verdict"] == "invalid"
    assert results["invalid_reasons"] == ["moe with 4 agents: not run: the run ended before this stage"]


def test_errors_within_the_allowed_share_are_allowed(only_stage: Analysed) -> None:
    run = failures()
    run.max_error_share = "25%"
    assert only_stage(run)["valid"]


@pytest.mark.parametrize(
    ("finish", "fields", "found"),
    [
        ("tool_calls", {}, (14, 4)),
        ("function_call", {}, (14, 4)),
        ("tool_calls", {"tool_calls": 2}, (14, 0)),
        ("stop", {}, (10, 0)),
        ("stop", {"tool_calls": 1}, (10, 0)),
        ("length", {}, (10, 0)),
        ("tool_calls", {"error": "cut"}, (10, 0)),  # a failed request already
        (None, {"aborted": True}, (10, 0)),
    ],
)
def test_a_lost_call_is_a_whole_reply_that_ended_for_tool_calls_without_one(
    only_stage: Analysed, finish: str | None, fields: dict[str, Any], found: tuple[int, int]
) -> None:
    stage = only_stage(lost_calls(4, finish, **fields))
    assert (stage["lost_calls"]["replies"], stage["lost_calls"]["lost"]) == found
    assert stage["tool_errors"].get("lost", 0) == found[1]
    assert any(reason.startswith("tool calls were lost") for reason in stage["invalid_reasons"]) == (found[1] > 0)


def test_as_many_lost_calls_as_the_scenario_allows_are_told_in_note_and_table(analysed: Analysed) -> None:
    run = lost_calls(1, "tool_calls")
    run.max_lost_calls = "10%"
    results = analysed(run)
    (stage,) = results["targets"][0]["stages"]
    assert stage["valid"]
    assert "lost tool calls: 1 of 11 replies that ended for tool calls held none" in stage["notes"]
    assert "0, 1 lost" in rows(read_results(results), every())[0]


@pytest.mark.parametrize(
    ("run", "overruns"),
    [
        (slow_tools(0.15, 5), 5),  # 8.3% of the turns' time
        (slow_tools(-0.05, 9), 0),  # sooner than planned
        (slow_tools(3.0, 9, planned_ns=None), 0),  # the model's own tests are slow, and waited for no core
        (slow_tools(0.0, 9, waited_ns=ns(0.09)), 0),  # waited, and was ready when planned all the same
    ],
)
def test_tools_in_time_and_tools_that_are_slow_by_themselves_are_no_fault(
    only_stage: Analysed, run: Run, overruns: int
) -> None:
    stage = only_stage(run)
    assert stage["valid"], stage["invalid_reasons"]
    assert any("overran the planned time" in note for note in stage["notes"]) == (overruns > 0)


def test_an_agent_that_waits_for_the_whole_window_takes_no_part_and_counts_in_fairness(only_stage: Analysed) -> None:
    stage = only_stage(sent_away())
    assert stage["invalid_reasons"][:1] == [
        "agents took no part: agent 3 finished no turn in the window, the median agent 60; it spent its time waiting "
        f"to retry a failed request (60.0 s); its last request failed: {HTTP_429}; see its records in "
        "events.jsonl and the server's log"
    ]
    assert stage["fairness_jain"] == pytest.approx(0.75)
    assert stage["achieved"]["agents_alive_mean"] == 3.0


def test_agents_that_are_kept_away_for_a_part_of_the_window_are_not_alive_meanwhile(only_stage: Analysed) -> None:
    stage = only_stage(sent_away(until=29.0))
    assert stage["invalid_reasons"] == [
        "agents backed off too long: they spent 29.0 s of 240.0 s waiting to retry failed requests (limit 5%), agent 3 "
        f"29.0 s ({HTTP_429}); raise the server's limits or lower client.retry_after_max"
    ]
    assert stage["achieved"]["agents_alive_mean"] == pytest.approx(4 - 29 / 60)


def test_a_short_wait_after_a_failure_is_no_absence(only_stage: Analysed) -> None:
    stage = only_stage(sent_away(until=5.0))
    assert stage["valid"], stage["invalid_reasons"]
    assert stage["achieved"]["agents_alive_mean"] == 4.0


@pytest.mark.parametrize(
    ("spent", "doing"),
    [
        ({"tool_ns": ns(60)}, "in tool calls"),
        ({"client_ns": ns(60)}, "between requests"),
        ({"serving_ns": ns(60)}, "in requests"),
    ],
)
def test_an_agent_that_ends_no_turn_while_others_end_many_is_named_with_what_it_did(
    only_stage: Analysed, spent: dict[str, int], doing: str
) -> None:
    (reason,) = only_stage(parked(**spent))["invalid_reasons"]
    assert reason.startswith(
        "agents took no part: agent 3 finished no turn in the window, the median agent 60; it spent"
    )
    assert f"spent its time {doing};" in reason


def test_a_pause_that_a_trace_wants_is_no_absence(only_stage: Analysed) -> None:
    stage = only_stage(parked(think_ns=ns(60)))
    assert stage["valid"], stage["invalid_reasons"]
    assert stage["fairness_jain"] == pytest.approx(1.0)
    assert stage["achieved"]["agents_alive_mean"] == 4.0


@pytest.mark.parametrize(("tokens", "valid"), [(500, True), (20, False)], ids=["a long turn", "a stream that drips"])
def test_one_turn_as_long_as_the_window_takes_part_if_it_is_served(
    only_stage: Analysed, tokens: int, valid: bool
) -> None:
    run, stage = others_busy()
    waits = [59.0 / 10] * 10
    stage.attempt(0.5, agent=3, waits=waits, tokens=tokens, planned_tokens=None, end=60.0, aborted=True)
    stage.end(counters=None)
    found = only_stage(run)
    assert any(reason.startswith("agents took no part") for reason in found["invalid_reasons"]) != valid


def test_where_the_others_end_few_turns_too_nobody_is_missed(only_stage: Analysed) -> None:
    run = Run(levels=[2])
    stage = run.stage(agents=2)
    stage.work(0, until=9.0)
    stage.end()
    assert not any(reason.startswith("agents took no part") for reason in only_stage(run)["invalid_reasons"])


def test_the_turns_of_a_sub_agent_are_its_agents(only_stage: Analysed) -> None:
    run, stage = others_busy()
    stage.work(7)  # agent 3 of 4 waits for it
    stage.job(-1.0, 60.0, agent=3, outcome="censored", tool_ns=ns(60), serving_ns=0)
    stage.end()
    found = only_stage(run)
    assert found["valid"], found["invalid_reasons"]


def test_aborts_at_the_windows_end_are_no_errors_and_no_stall(only_stage: Analysed) -> None:
    run, stage = busy()
    stage.attempt(9.7, waits=[0.2], end=10.0, aborted=True, finish_reason=None)
    stage.end()
    found = only_stage(run)
    assert (found["valid"], found["errors"]) == (True, {})


def test_a_long_but_usual_wait_at_the_windows_end_is_no_stall(only_stage: Analysed) -> None:
    """2.9 s of silence where a first token took 1 s before; it does not matter that a chunk came afterwards."""
    for silent_since, valid in ((7.1, True), (6.9, False)):
        run, stage = busy()
        stage.attempt(0.0, waits=[1.0], tokens=2)
        stage.attempt(silent_since - 0.2, waits=[0.2, 10 - silent_since + 0.5], tokens=4, aborted=True)
        stage.end(counters=None)
        assert only_stage(run)["valid"] is valid, silent_since


def test_silence_is_judged_without_recorded_chunks_too(only_stage: Analysed) -> None:
    for last, valid in ((9.6, True), (8.0, False)):
        run, stage = busy()
        waits = [0.2, last - 7.2]
        stage.attempt(7.0, waits=waits, tokens=20, chunks=None, chunk_tokens=None, end=10.0, aborted=True)
        stage.end(counters=None)
        assert only_stage(run)["valid"] is valid, last


def test_what_an_aborted_request_had_not_told_yet_is_allowed_for(only_stage: Analysed) -> None:
    """The server may have counted the prompt of a request cut off before its first token, and tokens on their way."""
    for prompt, completion, valid in (
        (10_000, 100, True),
        (11_000, 104, True),
        (11_200, 100, False),  # a prompt larger than any that is known, and 1%
        (10_000, 106, False),  # more than 4 tokens and 1%
        (9_800, 100, False),
    ):
        run, stage = busy()
        stage.attempt(
            9.7, waits=[], tokens=None, prompt_tokens=None, planned_tokens=300, chunks=None, end=10.0, aborted=True
        )
        stage.end(counters={"prompt_tokens": prompt, "completion_tokens": completion})
        assert only_stage(run)["valid"] is valid, (prompt, completion)


def test_a_server_that_holds_tokens_back_may_have_held_as_many_back_at_an_abort(only_stage: Analysed) -> None:
    """As vLLM's parser of tool calls does: up to 170 tokens of a reply came with one chunk."""
    for completion, valid in ((190, True), (230, True), (236, False)):
        run, stage = busy()
        stage.attempt(5.0, waits=[0.2, 0.1], tokens=80, planned_tokens=None)  # two chunks of 40
        stage.attempt(9.7, waits=[0.2], tokens=10, planned_tokens=None, end=10.0, aborted=True)
        stage.end(counters={"completion_tokens": completion})
        assert only_stage(run)["valid"] is valid, completion


def test_a_reply_cut_off_without_a_count_may_have_been_as_long_as_planned(only_stage: Analysed) -> None:
    for completion, valid in ((100, True), (300, True), (310, False)):
        run, stage = busy()
        stage.attempt(9.7, waits=[0.2], tokens=None, planned_tokens=200, end=10.0, aborted=True)
        stage.end(counters={"completion_tokens": completion})
        assert only_stage(run)["valid"] is valid, completion


def test_counters_are_compared_over_the_whole_stage_warm_up_included(only_stage: Analysed) -> None:
    run, stage = busy()
    stage.attempt(-1.5)
    stage.end(counters={"prompt_tokens": 11_000, "completion_tokens": 110})
    assert only_stage(run)["valid"]


def test_several_reasons_are_all_told_and_the_run_names_the_stage(analysed: Analysed) -> None:
    run = Run(levels=[2])
    stage = run.stage(agents=2)
    stage.work(0)
    stage.failed(9.7, 9.8)
    stage.end(counters={"prompt_tokens": 99})
    results = analysed(run)
    assert [reason.split(": ")[:2] for reason in results["invalid_reasons"]] == [
        ["moe with 2 agents", "requests failed"],
        ["moe with 2 agents", "token counts disagree"],
        ["moe with 2 agents", "too few turns"],
    ]
    assert results["verdict"] == "invalid"


def logged(lines: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    """Changes the interval log of a run directory."""

    def change(directory: Path) -> None:
        path = directory / rundir.HISTOGRAMS
        path.write_bytes(b"".join(lines(path.read_bytes().splitlines(keepends=True))))

    return change


@pytest.mark.parametrize(
    ("change", "held"),
    [
        (logged(lambda lines: []), "0 of the 40 values of itl"),
        (logged(lambda lines: [*lines[:-1]]), "0 of the 5 values of ttfat"),
        (logged(lambda lines: [*lines[:-1], lines[-1][:40]]), "0 of the 5 values of ttfat"),
    ],
    ids=["emptied", "without its last line", "torn"],
)
def test_a_stage_whose_latencies_are_gone_from_the_log_is_invalid(
    tmp_path: Path, change: Callable[[Path], None], held: str
) -> None:
    run, stage = busy()
    stage.end()
    directory = run.write(tmp_path / "run")
    assert analyse(directory)["verdict"] == "valid"
    change(directory)
    (found,) = analyse(directory)["targets"][0]["stages"]
    assert found["invalid_reasons"] == [
        f"latencies were lost: histograms.hlog holds {held} in events.jsonl, so it was cut off or never "
        "fully written; check for a full disk and run it again"
    ]
