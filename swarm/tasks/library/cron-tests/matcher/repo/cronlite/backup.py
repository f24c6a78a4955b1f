"""Which backups are due, as the wake-up script asks it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Iterable

from cronlite.cron import Cron
from cronlite.fields import CronError


@dataclass(frozen=True)
class Backup:
    """A directory and when to save it; `keep` is how many copies stay."""

    name: str
    schedule: Cron
    keep: int = 7


def read_plan(lines: Iterable[str]) -> list[Backup]:
    """Backups from lines of `name keep minute hour day month weekday`; empty lines and those with # are left out.

    Raises CronError with the number of the line.
    """
    plan: list[Backup] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(" ")
        keep, _, expression = rest.strip().partition(" ")
        if not keep.isdecimal():
            raise CronError(f"line {number}: {keep!r} is not a number of copies")
        try:
            plan.append(Backup(name, Cron(expression), int(keep)))
        except CronError as error:
            raise CronError(f"line {number}: {error}") from None
    return plan


def due_now(plan: Iterable[Backup], moment: datetime) -> list[str]:
    """The names of the backups that are due, in the order of the plan."""
    return [backup.name for backup in plan if backup.schedule.due(moment)]
