"""Every number of a stage against one worked out by hand (see `synthetic` for the usual turn)."""

from collections.abc import Callable
from typing import Any

import pytest
from synthetic import Run, ns

Analysed = Callable[[Run], dict[str, Any]]


def close(value: float) -> Any:
    """Within what the histograms keep."""
    return pytest.approx(value, rel=1e-3)


def test_one_agent_at_work(only_stage: Analysed) -> None:
    """10 turns of 10 tokens, 0.6 s of service each, and 5 jobs in 10 s."""
    run = Run(gpus=2)
    run.healthy()
    stage = only_stage(run)
    assert (stage["agents"], stage["trials"], stage["status"], stage["window_s"]) == (1, 1, "run", 10.0)
    assert (stage["valid"], stage["invalid_reasons"], stage["notes"]) == (True, [], [])
    assert stage["achieved"] == {
        "in_flight_mean": pytest.approx(0.6),
        "in_flight_max": 1,
        "agents_alive_mean": 1.0,
        "server_running_mean": None,
        "thinking_mean": 0.0,
    }
    assert stage["throughput"] == {
        "output_tokens_per_s": 10.0,
        "output_tokens_per_s_ci95": None,
        "requests_per_s": 1.0,
        "jobs_per_h": 1800.0,
        "jobs_per_h_per_gpu": 900.0,
    }
    latency = {name: (stats["count"], stats["p50"]) for name, stats in stage["latency"].items()}
    assert latency == {
        "ttft_s": (10, close(0.2)),
        "itl_s": (40, close(0.1)),
        "tpot_s": (10, close(0.4 / 9)),
        "e2e_s": (10, close(0.6)),
        "effective_e2e_s": (10, close(0.6)),
        "start_delay_s": (10, pytest.approx(0, abs=1e-6)),
        "tool_s": (10, close(0.3)),
        "job_s": (5, close(1.9)),
        "ttfat_s": (5, close(1.2)),
    }
    assert stage["decode_tokens_per_s"] == dict.fromkeys(("p10", "p50", "p90"), close(22.5))
    assert stage["agent_output_tokens_per_s"] == dict.fromkeys(("p10", "p50", "p90", "min", "max"), close(10 / 0.6))
    assert stage["error_adjusted"] == {"e2e_s": dict.fromkeys(("p50", "p95", "p99"), close(0.6))}
    (agent,) = stage["per_agent"]
    assert agent == {
        "agent": 0,
        "output_tokens_per_s": close(10 / 0.6),
        "ttft_s_p50": close(0.2),
        "ttft_s_p95": close(0.2),
        "turns": 10,
        "jobs": 5,
        "errors": 0,
        "prefix_cache_hit_rate": 0.8,
    }
    assert (stage["fairness_jain"], stage["retention"], stage["contention"]) == (1.0, 1.0, 0.0)
    assert (stage["decode_retention"], stage["slowdown"]) == (1.0, 1.0)
    assert stage["tokens"] == {"prompt": 10_000, "cached_prompt": 8_000, "completion": 100}
    assert stage["jobs"] == {"started": 5, "finished": 5, "censored": 0, "outcomes": {"answered": 5}}
    assert (stage["errors"], stage["finish_reasons"]) == ({}, {"tool_calls": 10})
    assert stage["attribution"] is None
    assert stage["client"] == {
        "cpu_share": pytest.approx(0.2),
        "cpu_per_chunk_s": pytest.approx(0.2 / 50),
        "lag_p99_s": pytest.approx(100e-6, abs=512e-9),
        "frozen_s": 0.0,
        "timing_error_p99_s": pytest.approx(100e-6, abs=512e-9),
        "chunks_per_s": 50.0,
        "coalesced_chunks": 9,
        "coalesced_share": 1 / 50,
        "stamp_source": "user",
    }


def test_tokens_per_second_are_requests_in_flight_times_the_rate_of_each(only_stage: Analysed) -> None:
    """Little's law holds exactly, also across the window's borders: 4 agents out of step, of different speeds."""
    run = Run(levels=[4])
    stage = run.stage(agents=4)
    for agent in range(4):
        for turn in range(-1, 12):
            waits = [wait * (1 + agent / 4) for wait in (0.2, 0.1, 0.1, 0.1, 0.1)]
            stage.attempt(turn + agent / 7, agent=agent, waits=waits, aborted=turn == 11)
    stage.end(counters=None)
    found = only_stage(run)
    served = sum(  # seconds in flight, by agent
        min(10, turn + agent / 7 + 0.6 * (1 + agent / 4)) - max(0, turn + agent / 7)
        for agent in range(4)
        for turn in range(-1, 12)
        if turn + agent / 7 < 10 and turn + agent / 7 + 0.6 * (1 + agent / 4) > 0
    )
    assert found["achieved"]["in_flight_mean"] == pytest.approx(served / 10)
    tokens = found["throughput"]["output_tokens_per_s"] * 10
    assert tokens == found["tokens"]["completion"]
    # The pooled rate of the agents, tokens / serving time, is what links the two.
    assert found["throughput"]["output_tokens_per_s"] == pytest.approx(
        found["achieved"]["in_flight_mean"] * (tokens / served)
    )


def test_the_most_in_flight_is_counted_in_the_window_and_ends_meet_starts(only_stage: Analysed) -> None:
    run = Run(levels=[3])
    stage = run.stage(agents=3)
    for agent in range(3):
        stage.attempt(-1.0, agent=agent, waits=[0.5], end=-0.5)  # three at once, before the window
    stage.attempt(1.0, agent=0, waits=[1.0])
    stage.attempt(2.0, agent=1, waits=[1.0])  # begins as the one before ends
    stage.attempt(2.5, agent=2, waits=[0.1])
    stage.end()
    assert only_stage(run)["achieved"]["in_flight_max"] == 2


def test_the_servers_own_number_of_running_requests_is_averaged_over_the_window(only_stage: Analysed) -> None:
    run = Run()
    stage = run.healthy()
    for t, running in ((-1, 9.0), (1, 1.0), (2, 0.0), (3, 2.0), (11, 9.0)):
        stage.server(t, running=running)
    stage.server(4, waiting=3.0)
    assert only_stage(run)["achieved"]["server_running_mean"] == 1.0


def test_failed_requests_are_counted_by_kind_and_make_the_tail_infinite(only_stage: Analysed) -> None:
    run = Run(max_error_share="50%")
    stage = run.stage()
    stage.work()
    for number in range(3):
        stage.failed(number + 0.6, number + 0.7, "reset" if number else "timeout")
    stage.failed(-1.0, -0.5)  # before the window
    stage.end()
    found = only_stage(run)
    assert found["errors"] == {"reset": 2, "timeout": 1}
    assert found["per_agent"][0]["errors"] == 3
    assert found["error_adjusted"]["e2e_s"] == {"p50": close(0.6), "p95": "inf", "p99": "inf"}
    assert found["latency"]["e2e_s"]["count"] == 10
    assert found["throughput"]["requests_per_s"] == 1.0
    # The agent waited 0.1 s for each of the three: 100 tokens in 6.3 s.
    assert found["per_agent"][0]["output_tokens_per_s"] == pytest.approx(100 / 6.3)


def test_jobs_are_counted_where_they_end_and_unfinished_ones_are_censored(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    stage.work()
    stage.job(-1.5, 0.5)  # finished in the window, started before it
    stage.job(8.0, 12.0, outcome="censored")
    stage.job(9.0, 10.5)  # answered, but only after the window's end
    stage.job(5.0, 6.0, outcome="error")
    stage.job(6.0, 7.0, outcome="turn_limit")
    stage.job(11.0, 12.0)  # nothing of it in the window
    stage.end()
    assert only_stage(run)["jobs"] == {
        "started": 9,
        "finished": 7,
        "censored": 2,
        "outcomes": {"answered": 6, "censored": 2, "error": 1, "turn_limit": 1},
    }


def test_too_few_jobs_leave_the_job_metrics_out_and_say_so(only_stage: Analysed) -> None:
    """3 finished jobs where 4 are needed; what is not about jobs stands."""
    run = Run()
    run.healthy(jobs=3)
    found = only_stage(run)
    assert found["jobs"]["finished"] == 3
    none = dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))
    assert found["latency"]["job_s"] == found["latency"]["ttfat_s"] == {"count": 3, **none}
    assert (found["throughput"]["jobs_per_h"], found["throughput"]["jobs_per_h_per_gpu"]) == (None, None)
    assert found["slowdown"] is None
    assert (found["retention"], found["throughput"]["output_tokens_per_s"]) == (1.0, 10.0)
    assert found["valid"]
    assert found["notes"] == [
        "too few jobs: 3 finished in the window, 4 needed (4 per agent), so job times, jobs/h, TTFAT and slowdown "
        "are left out; raise stage.duration"
    ]


def test_four_jobs_an_agent_are_enough(only_stage: Analysed) -> None:
    run = Run()
    run.healthy(jobs=4)
    found = only_stage(run)
    assert found["latency"]["job_s"]["p50"] == close(1.9)
    assert (found["throughput"]["jobs_per_h"], found["slowdown"]) == (1440.0, 1.0)


def test_an_agents_fate_shows_in_the_spread_and_in_jains_index(only_stage: Analysed) -> None:
    """Three agents at 12.5 tok/s and one at 25: Jain = 5^2 / (4 * 7)."""
    run = Run(levels=[4])
    stage = run.stage(agents=4)
    for agent in range(4):
        for second in range(10):
            stage.attempt(second, agent=agent, waits=[0.4, 0.4], tokens=20 if agent == 3 else 10)
    stage.end()
    found = only_stage(run)
    assert [row["output_tokens_per_s"] for row in found["per_agent"]] == [12.5, 12.5, 12.5, 25.0]
    assert found["agent_output_tokens_per_s"] == {"p10": 12.5, "p50": 12.5, "p90": 25.0, "min": 12.5, "max": 25.0}
    assert found["fairness_jain"] == pytest.approx(25 / 28)


def test_a_starved_agent_has_a_rate_of_zero_and_lowers_fairness(only_stage: Analysed) -> None:
    run = Run(levels=[2])
    stage = run.stage(agents=2)
    for second in range(10):
        stage.attempt(second, agent=0, waits=[0.4, 0.4])
    stage.attempt(0.0, agent=1, waits=[], tokens=None, end=10.0, aborted=True, chunks=None, planned_tokens=10)
    stage.end()
    found = only_stage(run)
    assert [row["output_tokens_per_s"] for row in found["per_agent"]] == [12.5, 0.0]
    assert found["fairness_jain"] == 0.5


def test_what_the_server_did_not_count_is_left_out_of_the_rates_and_said(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    stage.work(until=8.0)
    stage.attempt(9.0, tokens=None, planned_tokens=None, waits=[0.2, 0.5], aborted=True, end=10.0)
    stage.end(counters=None)
    found = only_stage(run)
    assert found["throughput"]["output_tokens_per_s"] == 8.0
    assert found["per_agent"][0]["output_tokens_per_s"] == pytest.approx(10 / 0.6)
    assert "1 request left out of all rates because the server did not count the tokens" in found["notes"]


def test_a_server_that_counts_nothing_leaves_the_rates_null(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    for second in range(10):
        stage.attempt(second, tokens=None, prompt_tokens=None, cached_tokens=None)
    stage.end(counters=None)
    found = only_stage(run)
    assert found["throughput"]["output_tokens_per_s"] is None
    assert found["per_agent"][0]["output_tokens_per_s"] is None
    assert found["fairness_jain"] is None
    assert found["tokens"] == {"prompt": None, "cached_prompt": None, "completion": None}
    assert found["latency"]["ttft_s"]["p50"] == close(0.2)
    assert found["latency"]["tpot_s"] == {"count": 0, **dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))}


def test_what_a_reader_should_know_is_noted(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    stage.work()
    stage.tool(1.0, 1.5, planned_ns=ns(0.2))
    stage.attempt(9.7, waits=[0.1], finish_reason="length", tokens=5, planned_tokens=None)
    stage.end(counters=None, watched=False)
    found = only_stage(run)
    assert found["valid"]
    assert found["notes"] == [
        "1 tool call overran the planned time because this machine was busy; job times include it",
        "truncated: 1 reply ended at a limit and not at the planned length",
        "token counts were not checked against the server's own counters: it has none, or they were not read",
        "the load generator did not monitor itself in the window, so that check is missing",
    ]
    assert set(found["client"].values()) == {None}


def test_the_client_block_takes_the_busiest_process_and_all_lags(only_stage: Analysed) -> None:
    """Two processes at 10% and 70% of a core; 2 lags of 200 are late, so the p99 is the smaller of the two."""
    run = Run()
    stage = run.stage()
    stage.work()
    stage.watch(1.0, shard=0, cpu_ns=ns(0.1), lag_ns=[1_000_000] * 100, chunks=100, coalesced=3, stamp_source="kernel")
    late = [1_000_000] * 97 + [3_000_000, 4_000_000, 4_500_000]
    stage.watch(
        1.0, shard=1, cpu_ns=ns(0.7), lag_ns=late, chunks=300, coalesced=4, stamp_source="user", shared_ns=[4_000_000]
    )
    stage.watch(-1.0, cpu_ns=ns(1.0), lag_ns=[ns(1)])  # before the window
    stage.end(watched=False)
    assert only_stage(run)["client"] == {
        "cpu_share": pytest.approx(0.7),
        "cpu_per_chunk_s": pytest.approx(0.8 / 400),
        "lag_p99_s": close(0.003),
        "frozen_s": 0.0,
        "timing_error_p99_s": close(0.003),
        "chunks_per_s": 400.0,
        "coalesced_chunks": 7,
        "coalesced_share": 7 / 400,
        "stamp_source": "user",
    }


def test_jobs_that_the_context_cut_off_are_told_with_their_share(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    stage.work(jobs=4)
    stage.job(8.0, 9.9, outcome="context_limit")
    stage.end()
    found = only_stage(run)
    assert found["jobs"]["outcomes"] == {"answered": 4, "context_limit": 1}
    assert (
        "cut off by the context: 1 of 5 finished jobs (20%) hit the context limit before their work was done, yet "
        "count in job times and jobs/h; raise agents.context"
    ) in found["notes"]
