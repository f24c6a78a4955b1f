"""Keeps secrets out of a run's files: those that it was given, and whatever looks like a key.

This runs while chunks arrive, so it must take microseconds: `swarm.trace.redact`, which has milliseconds, knows more.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

PLACEHOLDER = "[redacted]"
SHORTEST = 6
"""Characters: what is shorter is no secret, and stands in every other text."""

_WORD = "[A-Za-z0-9_-]"


def _token(beginning: str, least: int) -> re.Pattern[str]:
    """A token that begins like this and goes on for `least` characters or more. Each is tried once: time is linear."""
    return re.compile(f"(?<!{_WORD}){beginning}{_WORD}{{{least},}}")


_SHAPES = (
    ("sk-", _token("sk-", 16)),  # OpenAI, Anthropic, LiteLLM and others
    ("hf_", _token("hf_", 16)),
    *((f"gh{kind}_", _token(f"gh{kind}_", 20)) for kind in "opsur"),
    ("github_pat_", _token("github_pat_", 20)),
    ("glpat-", _token("glpat-", 16)),
    ("nvapi-", _token("nvapi-", 16)),
    ("npm_", _token("npm_", 20)),
    ("pypi-", _token("pypi-", 32)),
    ("xox", _token("xox[a-z]-", 10)),
    ("AKIA", _token("AKIA", 16)),
    ("ASIA", _token("ASIA", 16)),
    ("AIza", _token("AIza", 30)),
    ("eyJ", re.compile(rf"(?<!{_WORD})eyJ{_WORD}{{8,}}\.{_WORD}{{8,}}\.{_WORD}*")),  # a JSON web token
    ("earer ", re.compile(r"(?<=earer )[A-Za-z0-9._~+/=-]{16,}")),
    ("://", re.compile(r"(?<=://)[^\s/@:]{1,256}:[^\s/@]{1,256}(?=@)")),  # user and password in an address
    (
        "PRIVATE KEY",
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.S),
    ),
)
"""What must stand in a text for a pattern to be worth trying, and the pattern."""


@cache
def _forms(secrets: tuple[str, ...]) -> list[str]:
    """As they may stand in a text, the longest first: one may be a part of another."""
    known = [secret for secret in secrets if len(secret) >= SHORTEST]
    escaped = (json.dumps(secret, ensure_ascii=plain)[1:-1] for secret in known for plain in (True, False))
    return sorted({*known, *escaped}, key=len, reverse=True)


@dataclass(frozen=True)
class Redaction:
    """Replaces secrets by `PLACEHOLDER`; picklable, and its repr shows none."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Found wherever they stand, as they are or escaped as in JSON."""

    def text(self, text: str) -> str:
        """Without secrets, and without the lone surrogates that no file can hold."""
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        for form in _forms(self.secrets):
            text = text.replace(form, PLACEHOLDER)
        for mark, shape in _SHAPES:
            if mark in text:
                text = shape.sub(PLACEHOLDER, text)
        return text

    def value(self, value: Any) -> Any:
        """The same for every text in a JSON value, keys included."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(item) for item in value]
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
        return value
