"""One field of a cron expression."""

from dataclasses import dataclass

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class CronError(ValueError):
    """An expression that cannot be understood; the message names the field."""


@dataclass(frozen=True)
class Field:
    """The values that a field may take, `first..last`, and the names of the first ones."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> frozenset[int]:
        """All values that `text` stands for. Raises CronError."""
        return frozenset(value for part in text.split(",") for value in self._part(part))

    def _part(self, part: str) -> range:
        span, slash, step_text = part.partition("/")
        step = self._step(step_text) if slash else 1
        if span == "*":
            return range(self.first, self.last + 1, step)
        low_text, dash, high_text = span.partition("-")
        low = self._value(low_text)
        if dash:
            high = self._value(high_text)
            if high < low:
                raise CronError(f"{self.name}: the range {span!r} runs backwards")
        elif slash:
            raise CronError(f"{self.name}: a step needs a range or *, not {span!r}")
        else:
            high = low
        return range(low, high + 1, step)

    def _step(self, text: str) -> int:
        if not text.isdecimal() or int(text) == 0:
            raise CronError(f"{self.name}: {text!r} is no step")
        return int(text)

    def _value(self, text: str) -> int:
        if text.lower() in self.names:
            return self.first + self.names.index(text.lower())
        if not text.isdecimal():
            raise CronError(f"{self.name}: {text!r} is no value")
        if not self.first <= int(text) <= self.last:
            raise CronError(f"{self.name}: {text} is not between {self.first} and {self.last}")
        return int(text)


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of the month", 1, 31)
MONTH = Field("month", 1, 12, MONTHS)
WEEKDAY = Field("day of the week", 0, 7, DAYS)
