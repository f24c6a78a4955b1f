"""The search for the next minute."""

from datetime import date, datetime, time, timedelta

from nextrun.parse import Schedule, parse

HORIZON = timedelta(days=4 * 366)
"""How far to look before giving up."""


class NeverDue(ValueError):
    """There is no such day in the calendar."""


def next_run(expression: str, after: datetime) -> datetime:
    """The first minute strictly after `after` at which `expression` is due. Raises BadExpression or NeverDue."""
    schedule = parse(expression)
    earliest = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    day = earliest.date()
    not_before = earliest.time()
    while day - earliest.date() <= HORIZON:
        if _due_on(schedule, day):
            moment = _first_minute(schedule, not_before)
            if moment is not None:
                return datetime.combine(day, moment)
        day += timedelta(days=1)
        not_before = time.min
    raise NeverDue(f"{expression!r} is never due")


def _due_on(schedule: Schedule, day: date) -> bool:
    if day.month not in schedule.months:
        return False
    by_day = day.day in schedule.days
    by_weekday = day.isoweekday() % 7 in schedule.weekdays
    return by_day or by_weekday if schedule.either_day else by_day and by_weekday


def _first_minute(schedule: Schedule, not_before: time) -> time | None:
    """The first minute of a day that is due and not before `not_before`; None if that day has none left."""
    for hour in sorted(schedule.hours):
        if hour < not_before.hour:
            continue
        for minute in sorted(schedule.minutes):
            if hour > not_before.hour or minute >= not_before.minute:
                return time(hour, minute)
    return None
