"""Which durations a record holds, and when each of them ended."""

from synthetic import Run, S, Stage, ns

from swarm.catalogue import latencies
from swarm.recording.observations import observations, tpot_ns


def seen(record: object) -> dict[str, list[tuple[float, float]]]:
    """Metric -> (seconds, end in seconds from the window's start at 2 s)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for metric, value, end in observations(record):  # type: ignore[arg-type]
        found.setdefault(metric, []).append((value / S, end / S - 2))
    return found


def stage() -> Stage:
    return Run().stage(warmup_s=2)


def test_a_complete_attempt_has_delay_ttft_gaps_tpot_and_both_latencies() -> None:
    attempt = stage().attempt(1.0, waits=[0.25, 0.125, 0.375], tokens=5, end=2.0, intended_ns=ns(2.5))
    assert seen(attempt) == {
        "start_delay": [(0.5, 1.0)],
        "ttft": [(0.25, 1.25)],
        "itl": [(0.125, 1.375), (0.375, 1.75)],
        "e2e": [(1.0, 2.0)],
        "effective_e2e": [(1.5, 2.0)],
        "tpot": [(0.125, 1.75)],
    }


def test_an_attempt_cut_off_by_ourselves_keeps_what_was_seen_but_has_no_latency() -> None:
    attempt = stage().attempt(1.0, waits=[0.25, 0.125], end=2.0, aborted=True)
    assert set(seen(attempt)) == {"start_delay", "ttft", "itl"}


def test_a_failed_attempt_keeps_what_was_seen_but_has_no_latency() -> None:
    assert set(seen(stage().failed(1.0, 2.0))) == {"start_delay"}
    assert set(seen(stage().attempt(1.0, waits=[0.25], error="cut"))) == {"start_delay", "ttft"}


def test_a_retry_has_no_start_delay_and_its_latency_counts_from_the_turns_intended_send() -> None:
    attempt = stage().attempt(31.0, waits=[0.25], end=32.0, intended_ns=ns(3.0), number=2)
    assert "start_delay" not in seen(attempt)
    assert seen(attempt)["effective_e2e"] == [(31.0, 32.0)]


def test_tpot_says_nothing_of_one_token_one_chunk_or_unknown_tokens() -> None:
    assert tpot_ns(stage().attempt(0, waits=[0.2, 0.1], tokens=1)) is None
    assert tpot_ns(stage().attempt(0, waits=[0.2], tokens=9)) is None
    assert tpot_ns(stage().attempt(0, waits=[0.2, 0.1], tokens=None)) is None
    assert tpot_ns(stage().attempt(0, waits=[0.2, 0.1], tokens=2)) == ns(0.1)


def test_tpot_leaves_out_the_tokens_of_the_first_chunk_where_they_are_counted() -> None:
    waits = [0.5, 0.1, 0.1]
    assert tpot_ns(stage().attempt(0, waits=waits, tokens=23, first_tokens=21)) == ns(0.1)
    assert tpot_ns(stage().attempt(0, waits=waits, tokens=3, first_tokens=1)) == ns(0.1)
    assert tpot_ns(stage().attempt(0, waits=waits, tokens=3, first_tokens=0)) == ns(0.1)
    assert tpot_ns(stage().attempt(0, waits=waits, tokens=23, first_tokens=23)) is None


def test_without_recorded_chunks_there_are_no_gaps() -> None:
    assert "itl" not in seen(stage().attempt(0, chunks=None, chunk_tokens=None))


def test_a_finished_job_has_its_time_and_its_answer_both_counted_at_its_end() -> None:
    assert seen(stage().job(1.0, 3.0, answer=2.5)) == {"job": [(2.0, 3.0)], "ttfat": [(1.5, 3.0)]}


def test_a_job_that_failed_or_was_cut_off_has_no_job_time() -> None:
    assert seen(stage().job(1.0, 3.0, outcome="error")) == {}
    assert seen(stage().job(1.0, 3.0, outcome="censored")) == {}


def test_a_tool_call_takes_from_its_start_to_its_result() -> None:
    assert seen(stage().tool(1.0, 1.5, work_ns=ns(0.1), planned_ns=ns(0.5))) == {"tool": [(0.5, 1.5)]}


def test_other_records_hold_no_durations() -> None:
    assert seen(stage().turn(1.0, 2.0)) == {}
    assert seen(stage().watch(2.0)) == {}


def test_every_metric_has_a_name_in_the_list() -> None:
    everything = {*seen(stage().attempt(0)), *seen(stage().tool(0, 1)), *seen(stage().job(0, 1, answer=0.5))}
    assert everything == {metric.observation for metric in latencies()}
