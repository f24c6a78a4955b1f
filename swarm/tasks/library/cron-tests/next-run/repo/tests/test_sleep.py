from datetime import datetime, timedelta

from nextrun.sleep import Job, plan, run

NOON = datetime(2024, 6, 1, 12, 0)


def job(name, expression, log=None):
    return Job(name, expression, lambda: log.append(name) if log is not None else None)


def test_the_plan_holds_everything_due_at_the_same_minute():
    jobs = [job("a", "30 * * * *"), job("b", "0 13 * * *"), job("c", "*/30 * * * *")]
    coming = plan(jobs, NOON)
    assert coming.at == NOON + timedelta(minutes=30)
    assert [one.name for one in coming.jobs] == ["a", "c"]


def test_what_is_never_due_is_left_out():
    assert plan([job("a", "0 0 31 4 *")], NOON) is None
    assert plan([job("a", "0 0 31 4 *"), job("b", "1 * * * *")], NOON).jobs[0].name == "b"


def test_the_loop_sleeps_until_the_next_job():
    clock, log = [NOON], []

    def sleep(seconds):
        clock[0] += timedelta(seconds=seconds)

    jobs = [job("quarter", "*/15 * * * *", log), job("hour", "0 * * * *", log)]
    assert run(jobs, lambda: clock[0], sleep, rounds=4) == 5
    assert log == ["quarter", "quarter", "quarter", "quarter", "hour"]
    assert clock[0] == NOON + timedelta(hours=1)
