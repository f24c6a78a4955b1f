"""A soak's windows in which the load generator did not run."""

import pytest

from swarm.analysis.plan import SoakPlan
from swarm.analysis.soak.soak_windows import Minutes
from swarm.recording.records import ClientSample, Stage, StageEnd

S = 1_000_000_000
HEADER = {"run": "r", "target": "t", "agents": 1, "trial": 1}
WINDOW_S = 60.0


def disturbed(*stops, shards=1):
    """Window -> what disturbed it; `stops`: from, until and suspended, seconds of the soak, of every shard."""
    minutes = Minutes(SoakPlan("steady", WINDOW_S, 5 * WINDOW_S, (1,) * 5))
    minutes.add(
        Stage(**HEADER, id="0.1", t_ns=0, window_start_ns=0, window_end_ns=round(5 * WINDOW_S) * S, salt="", seed=1)
    )
    for since, until, slept in stops:
        for shard in range(shards):
            minutes.add(
                ClientSample(
                    **HEADER,
                    id="0.2",
                    shard=shard,
                    t_ns=round((since - 1) * S),
                    end_ns=round(until * S),
                    cpu_ns=0,
                    busy_share=None,
                    lag_ns=[],
                    chunks=0,
                    coalesced=0,
                    stamp_source="kernel",
                    frozen=[(round(since * S), round(until * S), round(slept * S))],
                )
            )
    minutes.add(StageEnd(**HEADER, id="0.3", t_ns=round(5 * WINDOW_S) * S))
    rows = minutes.rows(0.005)
    return {row.number: row.disturbed for row in rows if "stood still" in (row.disturbed or "")}


@pytest.mark.parametrize(
    ("stops", "found"),
    [
        ([(70, 71.2, 0)], {}),  # 2% of the window
        ([(70, 71.3, 0)], {1: "the load generator stood still for 1.3 s"}),
        ([(70, 70.7, 0), (80, 80.8, 0)], {1: "the load generator stood still for 1.5 s"}),
        (
            [(100, 185, 0)],
            {1: "the load generator stood still for 20 s", 2: "the load generator stood still for 60 s"}
            | {3: "the load generator stood still for 5 s"},
        ),
        ([(130, 130, 600)], {2: "the load generator stood still for 600 s"}),
    ],
)
def test_a_window_in_which_the_load_generator_stood_still_is_disturbed(stops, found):
    assert disturbed(*stops) == found


def test_several_shards_that_stood_still_at_once_lost_the_time_once():
    assert disturbed((70, 71, 0), shards=4) == {}
