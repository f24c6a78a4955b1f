"""Whole expressions."""

from datetime import datetime

from cronlite.fields import DAY, HOUR, MINUTE, MONTH, WEEKDAY, CronError


class Cron:
    """A cron expression; `due` tells whether it stands for a given minute."""

    def __init__(self, expression: str) -> None:
        texts = expression.split()
        if len(texts) != 5:
            raise CronError(f"expected 5 fields, found {len(texts)}: {expression!r}")
        minute, hour, day, month, weekday = texts
        self.expression = " ".join(texts)
        self.minutes = MINUTE.parse(minute)
        self.hours = HOUR.parse(hour)
        self.days = DAY.parse(day)
        self.months = MONTH.parse(month)
        self.weekdays = frozenset(value % 7 for value in WEEKDAY.parse(weekday))
        self._any_day = day.startswith("*")
        self._any_weekday = weekday.startswith("*")

    def due(self, moment: datetime) -> bool:
        """Whether the minute of `moment` is one that the expression stands for."""
        return (
            moment.minute in self.minutes
            and moment.hour in self.hours
            and moment.month in self.months
            and self._due_on(moment)
        )

    def _due_on(self, moment: datetime) -> bool:
        day = moment.day in self.days
        weekday = (moment.weekday() + 1) % 7 in self.weekdays  # Python counts from Monday
        if self._any_day or self._any_weekday:
            return day and weekday
        return day or weekday

    def __repr__(self) -> str:
        return f"Cron({self.expression!r})"
