"""Hypothesis strategies for what nobody would write: values and bytes that are nearly right, or not at all."""

import os
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

DEPTH = int(os.environ.get("SWARM_TEST_FUZZ", "1"))
"""So many times as many examples where one takes long; CI's `make test-slow` sets it."""
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=12,
)


def places(value, path=()):
    """Every path into a value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value, path, by):
    """A copy with another value at `path`."""
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def spoilt(value):
    return st.tuples(st.sampled_from(list(places(value))), anything).map(lambda spot: replaced(value, *spot))


@st.composite
def damaged(draw, data: bytes) -> bytes:
    """Some bytes overwritten, put in or left out, and perhaps the end cut off."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 12)) :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


NESTED = "[" * 50_000
"""Deeper than any parser goes."""


def dumped(value) -> str:
    try:
        return yaml.safe_dump(value)
    except yaml.YAMLError:
        return "!"


def attempt(act: Callable[[], Any], refusal: type[Exception], begins: str) -> Any:
    """What `act` gives, or the words of its refusal, which must begin so; any other exception fails the test."""
    try:
        return act()
    except refusal as refused:
        words = str(refused)
    assert words.startswith(begins)
    return words
