"""Keeps secrets out of a run's files: those that it was given, and whatever looks like a key. And what a person is
shown, on a terminal, in a log, a page or a label, comes through `shown`: no secrets, and no control characters.

This runs while chunks arrive, so it must take microseconds: `swarm.trace.redact`, which has milliseconds, knows more.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TextIO

PLACEHOLDER = "[redacted]"
SHORTEST = 6
"""Characters: what is shorter is no secret, and stands in every other text."""

_WORD = "[A-Za-z0-9_-]"

KEY_SHAPES = (
    ("sk-", f"sk-{_WORD}{{16,}}+"),  # OpenAI, Anthropic, OpenRouter, LiteLLM
    *((mark, f"{mark}{_WORD}{{16,}}+") for mark in ("gsk_", "xai-", "nvapi-", "tvly-", "pplx-", "r8_", "hf_")),
    *((mark, f"{mark}{_WORD}{{20,}}+") for mark in ("npm_", "dop_v1_", "pypi-", "glpat-", "github_pat_")),
    *((f"gh{kind}_", f"gh{kind}_{_WORD}{{20,}}+") for kind in "oprsu"),
    *((f"k_{kind}_", f"[rs]k_{kind}_[A-Za-z0-9]{{16,}}+") for kind in ("live", "test")),
    *((mark, f"{mark}[A-Z0-9]{{16}}(?![A-Z0-9])") for mark in ("AKIA", "ASIA")),
    ("AIza", f"AIza{_WORD}{{30,}}+"),
    ("ya29.", rf"ya29\.{_WORD}{{20,}}+"),
    ("xox", "xox[a-z]-[A-Za-z0-9-]{10,}+"),
    ("SG.", rf"SG\.{_WORD}{{16,32}}\.{_WORD}{{32,64}}"),
    ("eyJ", rf"eyJ{_WORD}{{8,}}+\.{_WORD}{{8,}}+(?:\.{_WORD}*+)?"),  # a JSON web token
)
"""What a text must hold for a pattern to be worth trying, and the pattern, which takes linear time."""

_SHAPES = (
    *((mark, re.compile(f"(?<!{_WORD}){shape}")) for mark, shape in KEY_SHAPES),
    ("earer ", re.compile(r"(?<=earer )[A-Za-z0-9._~+/=-]{16,}")),
    ("://", re.compile(r"(?<=://)[^\s/@:]{1,256}:[^\s/@]{1,256}(?=@)")),  # user and password in an address
    (
        "PRIVATE KEY",
        re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.S),
    ),
)


@cache
def _forms(secrets: tuple[str, ...]) -> list[str]:
    """As they may stand in a text, the longest first: one may be a part of another."""
    known = [secret for secret in secrets if len(secret) >= SHORTEST]
    escaped = (json.dumps(secret, ensure_ascii=plain)[1:-1] for secret in known for plain in (True, False))
    return sorted({*known, *escaped}, key=len, reverse=True)


def _without(secrets: tuple[str, ...], text: str) -> str:
    for form in _forms(secrets):
        text = text.replace(form, PLACEHOLDER)
    for mark, shape in _SHAPES:
        if mark in text:
            text = shape.sub(PLACEHOLDER, text)
    return text


@dataclass(frozen=True)
class Redaction:
    """Replaces secrets by `PLACEHOLDER`; picklable, and its repr shows none."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Found wherever they stand, as they are or escaped as in JSON."""

    def text(self, text: str) -> str:
        """Without secrets, and without the lone surrogates that no file can hold."""
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        return _without(self.secrets, text)

    def value(self, value: Any) -> Any:
        """The same for every text in a JSON value, keys included."""
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.value(item) for item in value]
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
        return value


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""All but tab and line feed of C0, DEL, C1, and what turns the direction of a line or ends it."""
_remembered: set[str] = set()


def remember(*secrets: str) -> None:
    """Secrets of this process, which `shown` takes out wherever they stand."""
    _remembered.update(secrets)


def plain(text: str) -> str:
    """Without control characters: each becomes the six characters of its escape in JSON, such as \\u001b."""
    if text.isprintable():
        return text
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(text: str) -> str:
    """As a terminal, a log or a label may have it: without secrets and control characters."""
    return plain(_without(tuple(sorted(_remembered)), text))


def one_line(text: str, most: int = 120) -> str:
    """The last line of what a server, a trace or a traceback says, as it is shown, and short."""
    line = shown((text.strip().split("\n") or [""])[-1])
    return line if len(line) <= most else line[: most - 1] + "…"


def styled(out: TextIO, text: str) -> None:
    """Writes a text with swarm's own colours and movements, in which all else has come through `shown`."""
    getattr(out, "styled", out.write)(text)
