"""The units that scenario files are written in: durations, shares, token counts and sizes, read and written back.

Each type reads what a person writes ("90s", "5%", "8k", "64MiB"), holds a plain number (seconds, a share of 1, tokens,
bytes), and is written back so that a resolved scenario can be run again.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

BYTES_PER_TOKEN = 4.0
"""Bytes of text per token, as long as nothing better is known."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TOKENS = {"": 1, "k": 1000, "K": 1024}  # as vLLM reads --max-model-len


def parse_duration(value: Any) -> float:
    """Seconds of "500ms", "10s", "5m" or "8h". Raises ValueError for anything else, a bare number too (0 excepted)."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)", value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"expected a duration such as 500ms, 10s, 5m or 8h, not {value!r}")
    return float(match[1]) * _SECONDS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest form that reads back as the same number: 90.0 -> "90s", 0.25 -> "250ms", 7200.0 -> "2h"."""
    for unit, size in (("h", 3600.0), ("m", 60.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms" if 0 < seconds < 1 else f"{seconds:g}s"


def parse_share(value: Any) -> float:
    """A share of 1 from "5%" or 0.05. Raises ValueError outside 0..1."""
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())):
        number = float(match[1]) / 100
    if number is None or not 0 <= number <= 1:
        raise ValueError(f"expected a share such as 5% or 0.05, not {value!r}")
    return number


def parse_tokens(value: Any) -> int:
    """A number of tokens from 8192, "8k" (8000) or "8K" (8192), as vLLM reads them."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)([kK]?)", value.strip())):
        number = round(float(match[1]) * _TOKENS[match[2]])
    else:
        raise ValueError(f"expected a number of tokens such as 4096, 8k (8000) or 8K (8192), not {value!r}")
    if number <= 0:
        raise ValueError(f"expected more than 0 tokens, not {value!r}")
    return number


def parse_bytes(value: Any) -> int:
    """Bytes of 1000000, "64MiB" or "1GB". Raises ValueError for anything else, and for less than one."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]B|[KMG]iB)?", value.strip())):
        number = round(float(match[1]) * _BYTES[match[2] or ""])
    if number is None or number <= 0:
        raise ValueError(f"expected a size such as 64MiB, 1GB or a number of bytes, not {value!r}")
    return number


def format_bytes(number: int) -> str:
    """The shortest form that reads back as the same number: 67108864 -> "64MiB"."""
    sizes = ((size, unit) for unit, size in _BYTES.items() if number % size == 0)
    size, unit = max(sizes)
    return f"{number // size}{unit}"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=str),
    PlainSerializer(format_duration, return_type=str),
]
PositiveDuration = Annotated[Duration, Field(gt=0)]
Share = Annotated[
    float,
    BeforeValidator(parse_share, json_schema_input_type=str | float),
    PlainSerializer(lambda share: f"{share * 100:g}%", return_type=str),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes, json_schema_input_type=str | int),
    PlainSerializer(format_bytes, return_type=str),
]
Tokens = Annotated[int, BeforeValidator(parse_tokens, json_schema_input_type=str | int)]
