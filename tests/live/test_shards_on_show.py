"""What the live view says of shards: two of them, and then only one."""

import io

from synthetic import Run, StoppedClock, ns

from swarm.live.view import LiveView, StageView
from swarm.recording.status import AgentStatus


def test_it_tells_of_the_busiest_shard_and_of_a_lost_one():
    run = Run()
    stage = run.stage(agents=2)
    for shard, cpu_s in enumerate((0.1, 0.6)):
        stage.join(shard, f"shard {shard} (process {100 + shard})", [shard])
        stage.watch(3, shard=shard, cpu_ns=ns(cpu_s), chunks=1000, coalesced=0, stamp_source="kernel")
    stage.lose(4.0, 1, "shard 1 (process 101)", [1], "its process was killed (SIGKILL)")
    out = io.StringIO()
    view = LiveView(out, StoppedClock(stage.at(5)))
    statuses = [AgentStatus(agent) for agent in (0, 1)]
    view.begin(StageView("moe, 2 agents", 1, 1, stage.at(0), stage.at(10), statuses, later_s=0))
    for record in run.published:
        view.add(record)
    view.draw()
    lost, line = out.getvalue().splitlines()
    assert lost == "shard 1 (process 101) was lost with 1 agent: its process was killed (SIGKILL)"
    assert "busiest of 2 shards: 60% of a core, lag 0.1 ms, timing error 0.05 ms (kernel stamps)" in line
    assert "350 us per chunk" in line
