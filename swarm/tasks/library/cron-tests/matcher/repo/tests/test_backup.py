from datetime import datetime

import pytest

from cronlite import CronError
from cronlite.backup import due_now, read_plan

PLAN = """
# name keep schedule
mail  14  0 3 * * *
photos 4  30 4 * * sun

books  7  */20 * 1,15 * *
"""


def test_the_plan_is_read_line_by_line():
    plan = read_plan(PLAN.splitlines())
    assert [(backup.name, backup.keep) for backup in plan] == [("mail", 14), ("photos", 4), ("books", 7)]


def test_what_is_due():
    plan = read_plan(PLAN.splitlines())
    assert due_now(plan, datetime(2024, 6, 15, 3, 0)) == ["mail", "books"]
    assert due_now(plan, datetime(2024, 6, 16, 4, 30)) == ["photos"]
    assert due_now(plan, datetime(2024, 6, 16, 4, 31)) == []


def test_mistakes_name_the_line():
    with pytest.raises(CronError, match="line 2: hour: 24 is not between"):
        read_plan(["a 1 * * * * *", "b 1 0 24 * * *"])
    with pytest.raises(CronError, match="line 1: 'x' is not a number"):
        read_plan(["a x * * * * *"])
