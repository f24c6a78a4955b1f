"""Answers as HTTP headers."""

import math

from quota.limits import Answer

_NAMES = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}


def headers(answer: Answer) -> dict[str, str]:
    """The headers of a response. Times are whole seconds, rounded up: who waits that long must not come too early."""
    limit = answer.limiting
    shown = {
        "RateLimit-Limit": str(limit.calls),
        "RateLimit-Remaining": str(answer.left),
        "RateLimit-Reset": str(math.ceil(answer.reset)),
    }
    if not answer.allowed:
        shown["Retry-After"] = str(math.ceil(answer.wait))
    return shown


def sentence(answer: Answer) -> str:
    """For the page that customers see."""
    limit = answer.limiting
    unit = _NAMES.get(limit.seconds, f"{limit.seconds} seconds")
    if answer.allowed:
        return f"{answer.left} of {limit.calls} calls per {unit} are left."
    return f"Your {limit.calls} calls per {unit} are used up. Try again in {_duration(answer.wait)}."


def _duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole} seconds"
    return f"{math.ceil(whole / 60)} minutes"
