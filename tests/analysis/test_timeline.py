"""What each agent did, when, and whom it waited for."""

from collections import Counter

import pytest
from synthetic import Run, S

from swarm.analysis.report_data import curve
from swarm.analysis.stats.distribution import Distribution
from swarm.analysis.timeline import Span, read_timelines


def timeline(run, tmp_path, at=0):
    return read_timelines(run.write(tmp_path / "run"), Counter())[at]


def shown(line, agent):
    """Its spans in seconds since the window's start."""
    start = line.window.start_ns
    return [(span.kind, (span.start_ns - start) / S, (span.end_ns - start) / S) for span in line.lanes[agent]]


def stage_of(agents=2, window_s=10.0):
    run = Run(levels=[agents])
    return run, run.stage(agents=agents, window_s=window_s)


def test_a_turn_is_prefill_then_decode_then_tools(tmp_path):
    run, stage = stage_of(1)
    stage.work(until=1)
    stage.end()
    line = timeline(run, tmp_path)
    assert shown(line, 0) == [
        ("prefill", 0, pytest.approx(0.2)),
        ("decode", pytest.approx(0.2), pytest.approx(0.6)),
        ("tool", pytest.approx(0.6), pytest.approx(0.9)),
    ]
    assert [span.note for span in line.lanes[0]] == ["1,000 prompt tokens, 800 of them cached", "", "read_file"]


def test_a_gap_while_another_prompt_is_prefilled_is_a_stall_behind_it(tmp_path):
    run, stage = stage_of()
    stage.attempt(0, agent=0, waits=[0.2, 0.1, 0.1, 0.6, 0.1])
    stage.attempt(0.5, agent=1, waits=[0.5, 0.1, 0.1, 0.1, 0.1])
    stage.end()
    line = timeline(run, tmp_path)
    assert [kind for kind, _, _ in shown(line, 0)] == ["prefill", "decode", "stall", "decode"]
    (stall,) = (span for span in line.lanes[0] if span.kind == "stall")
    assert (stall.end_ns - stall.start_ns) / S == pytest.approx(0.6)
    assert stall.behind == ((1, pytest.approx(0.5)),)
    assert line.waits == {(0, 1): pytest.approx(0.5)}


def test_a_stall_behind_two_is_shared_out_by_how_long_each_was_before_its_first_token(tmp_path):
    run, stage = stage_of(3)
    stage.attempt(0, agent=0, waits=[0.2, 0.1, 0.1, 0.1, 1.0, 0.1, 0.1])  # stands still from 0.5 to 1.5
    stage.attempt(0.5, agent=1, waits=[0.6, 0.1])
    stage.attempt(0.5, agent=2, waits=[0.3, 0.1])
    stage.end()
    line = timeline(run, tmp_path)
    assert line.waits == {(0, 1): pytest.approx(0.6), (0, 2): pytest.approx(0.3)}


def test_a_gap_that_nobody_else_explains_stands_still_behind_no_one(tmp_path):
    run, stage = stage_of()
    stage.attempt(0, agent=0, waits=[0.2, 0.1, 0.1, 0.6, 0.1])
    stage.end()
    line = timeline(run, tmp_path)
    assert [span.behind for span in line.lanes[0] if span.kind == "stall"] == [()]
    assert line.waits == {}


def test_a_slow_but_steady_reply_does_not_stand_still(tmp_path):
    run, stage = stage_of()
    stage.attempt(0, agent=0, waits=[0.2, 0.5, 0.6, 0.5, 0.4])
    stage.attempt(0.3, agent=1, waits=[0.9, 0.1])
    stage.end()
    assert [kind for kind, _, _ in shown(timeline(run, tmp_path), 0)] == ["prefill", "decode"]


def test_a_request_that_failed_is_shown_from_where_it_failed(tmp_path):
    run, stage = stage_of(1)
    stage.failed(0, 0.4)
    stage.attempt(1, waits=[0.2, 0.1], end=2, error="cut")
    stage.end()
    line = timeline(run, tmp_path)
    assert shown(line, 0) == [
        ("failed", 0, pytest.approx(0.4)),
        ("prefill", 1, pytest.approx(1.2)),
        ("decode", pytest.approx(1.2), pytest.approx(1.3)),
        ("failed", pytest.approx(1.3), 2),
    ]
    assert line.lanes[0][0] == Span("failed", line.lanes[0][0].start_ns, line.lanes[0][0].end_ns, "reset")


def test_rates_count_tokens_where_their_chunk_arrives(tmp_path):
    run, stage = stage_of(1, window_s=3)
    stage.attempt(0.7, waits=[0.2, 0.1, 0.1], tokens=6)  # at 0.9, 1.0 and 1.1
    stage.attempt(1.5, waits=[0.2, 1.0], tokens=8, per_chunk=False)  # at 1.7 and 2.7
    stage.end()
    line = timeline(run, tmp_path)
    assert (line.bucket_s, line.rates[0]) == (1.0, [2, 8, 4])


def test_a_long_window_is_shown_in_part_and_its_rates_whole(tmp_path):
    run, stage = stage_of(64, window_s=120)
    stage.work(until=120)
    stage.end()
    line = timeline(run, tmp_path)
    assert (line.shown.stop_ns - line.shown.start_ns) / S == 10  # 64 agents
    assert max(end for _, _, end in shown(line, 0)) <= 11
    assert len(line.rates) == 64
    assert len(line.rates[0]) == 60
    assert line.rates[0][-1] == pytest.approx(10)


def test_a_window_that_ended_when_its_number_was_sure_is_shown_as_far_as_it_came(tmp_path):
    run, stage = stage_of(1, window_s=20)
    stage.work(until=5)
    stage.close(5, reached=0.04)
    stage.end(t=5)
    line = timeline(run, tmp_path)
    assert (line.shown.stop_ns - line.shown.start_ns) / S == 5
    assert len(line.rates[0]) == 5


def test_the_first_trial_of_each_stage_is_the_one_that_is_shown(tmp_path):
    run = Run(levels=[1, 2], trials=2)
    for trial in (1, 2):
        for level in (1, 2):
            run.healthy(agents=level, trial=trial, slower=trial)
    lines = read_timelines(run.write(tmp_path / "run"), Counter())
    assert [(line.agents, line.trial) for line in lines] == [(1, 1), (2, 1)]
    assert shown(lines[0], 0)[0] == ("prefill", 0, pytest.approx(0.2))


def test_an_agent_that_did_nothing_has_an_empty_lane(tmp_path):
    run, stage = stage_of(2)
    stage.work(agent=0)
    stage.end()
    line = timeline(run, tmp_path)
    assert (line.lanes[1], set(line.rates[1])) == ([], {0})


def test_a_percentile_curve_rises_to_the_largest_value():
    points = curve(Distribution({(1 << 20) * step: 1 for step in range(1, 1025)}))
    odds, values = zip(*points, strict=True)
    assert (odds[0], odds[-1]) == (1, 1024)
    assert list(values) == sorted(values)
    median = next(value for at, value in points if at == pytest.approx(2))
    assert median == pytest.approx(512 * (1 << 20) / 1e9, rel=0.002)
    assert values[-1] == pytest.approx(1024 * (1 << 20) / 1e9, rel=0.002)


def test_a_percentile_curve_of_nothing_is_empty():
    assert curve(Distribution({})) == []
