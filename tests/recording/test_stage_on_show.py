"""The live view tells the time left by when a stage really began."""

import io
import sys
from pathlib import Path

from swarm.recording.live import LiveView, StageView
from swarm.recording.status import AgentStatus

sys.path.insert(0, str(Path(__file__).parent.parent / "analysis"))

from synthetic import Run, StoppedClock


def test_a_stage_that_waited_for_other_shards_has_its_whole_window_left():
    out, run = io.StringIO(), Run()
    stage = run.stage(window_s=10)
    view = LiveView(out, StoppedClock(stage.at(2)))
    view.begin(StageView("moe, 1 agent", 1, 1, stage.at(-60), stage.at(-50), [AgentStatus(0)], later_s=0))
    view.add(run.published[0])
    view.draw()
    assert "measuring, 8 s left" in out.getvalue()
