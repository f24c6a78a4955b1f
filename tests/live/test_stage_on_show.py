"""What the live view says of a stage: the time left, by when it really began, and no more than there is room for."""

import io

import pytest
from synthetic import Run, StoppedClock, ns

from swarm.live.view import LiveView, StageView
from swarm.recording.status import AgentStatus


def test_a_stage_that_waited_for_other_shards_has_its_whole_window_left():
    out, run = io.StringIO(), Run()
    stage = run.stage(window_s=10)
    view = LiveView(out, StoppedClock(stage.at(2)))
    view.begin(StageView("moe, 1 agent", 1, 1, stage.at(-60), stage.at(-50), [AgentStatus(0)], later_s=0))
    view.add(run.published[0])
    view.draw()
    assert "measuring, 8 s left" in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_is_left_of_the_run_holds_the_window_that_has_not_begun():
    out, run = io.StringIO(), Run()
    stage = run.stage(window_s=16)
    view = LiveView(out, StoppedClock(stage.at(-2)))
    view.begin(StageView("moe, 1 agent", 1, 2, stage.at(0), stage.at(16), [AgentStatus(0)], later_s=18))
    view.draw()
    assert "warm-up, 2 s left  0% of the run, 36 s left" in out.getvalue()


def test_a_terminal_shows_a_bar_of_the_load_so_far_and_the_time_left_of_the_run():
    out, clock = Terminal(), StoppedClock(ns(30))  # servers took half a minute to start
    view = LiveView(out, clock)
    view.begin(StageView("moe, 1 agent", 1, 2, ns(40), ns(90), [AgentStatus(0)], later_s=140))
    clock.t_ns = ns(80)
    view.draw()
    assert f"[{'#' * 8}{'-' * 22}] 25% of the run, 2 min 30 s left" in out.getvalue()


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (60, "  load generator: 60% of a core, lag 0.1 ms"),
        (90, "  load generator: 60% of a core, lag 0.1 ms, timing error 0.05 ms (kernel stamps)"),
        (110, "  load generator: 60% of a core, lag 0.1 ms, timing error 0.05 ms (kernel stamps), 600 us per chunk"),
    ],
)
def test_a_narrow_terminal_leaves_out_whole_parts_of_a_line(columns, line, monkeypatch):
    out, run = Terminal(), Run()
    monkeypatch.setenv("COLUMNS", str(columns))
    stage = run.stage()
    stage.watch(3, cpu_ns=ns(0.6), chunks=1000, coalesced=0, stamp_source="kernel")
    view = LiveView(out, StoppedClock(stage.at(5)))
    view.begin(StageView("moe, 1 agent", 1, 1, stage.at(0), stage.at(10), [AgentStatus(0)], later_s=0))
    for record in run.published:
        view.add(record)
    view.draw()
    assert out.getvalue().splitlines()[-1] == line
