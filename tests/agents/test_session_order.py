"""Which sessions agents work through, and where they enter."""

from collections import Counter
from itertools import islice
from statistics import mean

import pytest

from swarm.agents.session import SessionJob, depth, session_jobs
from swarm.agents.trace import session_task

SESSIONS = tuple(
    tuple(SessionJob(session_task(f"{session}.{job}", None), 3 + job, job * 1000) for job in range(session % 3 + 2))
    for session in range(5)
)


def jobs(agent, number=20, order="7"):
    return list(islice(session_jobs(SESSIONS, order, agent, f"7-{agent:04d}"), number))


def test_agents_enter_in_the_middle_each_at_its_own_depth_and_go_on_with_whole_jobs():
    first = [jobs(agent)[0] for agent in range(8)]
    assert len({(job.task.variant, job.skip) for job in first}) == 8
    for agent in range(8):
        entered, *others = jobs(agent)
        assert entered.pause_ns == 0
        assert not any(job.skip for job in others)


def test_a_session_has_one_ticket_and_all_sessions_of_all_agents_different_ones():
    seen = Counter()
    for agent in range(4):
        for before, job in zip(jobs(agent), jobs(agent)[1:], strict=False):
            same = before.task.variant.partition(".")[0] == job.task.variant.partition(".")[0]
            assert (before.ticket == job.ticket) == same
        seen.update({job.ticket for job in jobs(agent)})
    assert max(seen.values()) == 1


def test_pauses_come_between_the_jobs_of_a_session():
    entered, *others = jobs(0)
    assert entered.pause_ns == 0
    assert [job.pause_ns for job in others] == [1000 * int(job.task.variant.partition(".")[2]) for job in others]


def test_the_order_is_the_seed_s():
    assert [job.task.variant for job in jobs(0, order="8")] != [job.task.variant for job in jobs(0)]
    assert jobs(0) == jobs(0)


@pytest.mark.parametrize("agents", [1, 4, 6, 8, 16, 64, 256])
def test_the_depth_is_the_same_on_average_however_many_agents_there_are(agents):
    assert mean(depth(agent) for agent in range(agents)) == pytest.approx(0.5, abs=0.01)


def test_depths_fill_the_session_evenly():
    tenths = Counter(int(depth(agent) * 10) for agent in range(1000))
    assert min(tenths.values()) > 80
    assert max(tenths.values()) < 120
