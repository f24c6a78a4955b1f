"""From fields to a sentence."""

from saywhen.parts import Every, Part, Span, Values, read
from saywhen.words import clock, joined, month, ordinal, weekday


def describe(expression: str) -> str | None:
    """What an expression means, or None where there is no sentence for it. Raises ValueError for bad text."""
    minute, hour, day, months, weekdays = read(expression)
    pieces = [_time(minute, hour), _days(day, weekdays), _months(months)]
    if None in pieces:
        return None
    return ", ".join(piece for piece in pieces if piece)


def _time(minute: Part, hour: Part) -> str | None:
    match minute, hour:
        case Values(minutes), Values(hours):
            return f"at {joined(clock(h, m) for h in hours for m in minutes)}"
        case Values((single,)), Every(1):
            return f"at minute {single} of every hour"
        case Every(step), Every(1):
            return _interval(step)
        case Every(step), Span(first, last):
            return f"{_interval(step)} between {clock(first, 0)} and {clock(last, 59)}"
    return None


def _interval(step: int) -> str:
    return "every minute" if step == 1 else f"every {step} minutes"


def _days(day: Part, weekdays: Part) -> str | None:
    dates = _dates(day)
    names = _weekdays(weekdays)
    if dates is None or names is None:
        return None
    if dates and names:
        return f"{dates} or on {names}"
    return dates or names


def _dates(day: Part) -> str | None:
    match day:
        case Every(1):
            return ""
        case Values(numbers):
            return f"on the {joined(ordinal(number) for number in numbers)} of the month"
        case Span(first, last):
            return f"from the {ordinal(first)} to the {ordinal(last)} of the month"
    return None


def _weekdays(part: Part) -> str | None:
    match part:
        case Every(1):
            return ""
        case Values(numbers):
            return joined(weekday(number) for number in numbers)
        case Span(first, last):
            return f"{weekday(first)} to {weekday(last)}"
    return None


def _months(part: Part) -> str | None:
    match part:
        case Every(1):
            return ""
        case Values(numbers):
            return f"in {joined(month(number) for number in numbers)}"
        case Span(first, last):
            return f"from {month(first)} to {month(last)}"
    return None
