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

_DIGIT = "(?=[A-Za-z0-9._-]{0,40}[0-9])"
"""A secret has a digit where its beginning could be that of a name in a program."""

_MARKS = (
    (16, "", "sk- gsk_ xai- nvapi- tvly- pplx- r8_ hf_ api_org_ csk- pcsk_ whsec_ xapp-"),
    (20, "", "npm_ dop_v1_ doo_v1_ dor_v1_ pypi- github_pat_ gho_ ghp_ ghr_ ghs_ ghu_ lin_api_ lin_oauth_ ntn_ figd_"),
    (20, "", "glpat- gldt- glft- glffct- glsoat- glrt- glcbt- glimt- glptt- glagent- gloas- GR1348941 glc_ glsa_"),
    (
        20,
        "",
        "shpat_ shpca_ shppa_ shpss_ NRAK- NRJS- NRII- NRIQ- pscale_ sbp_ sntrys_ sntryu_ fo1_ dckr_pat_ dckr_oat_",
    ),
    (20, "", "CCIPAT_ CCIPRJ_ bkua_ rubygems_ ATATT3 ATCTT3 FLWSECK fio-u- pnu_ rdme_ xkeysib- xsmtpsib- shippo_live_"),
    (
        20,
        "",
        "shippo_test_ tfp_ CFPAT- duffel_live_ duffel_test_ sq0atp- sq0csp- sq0idp- GOCSPX- AGE-SECRET-KEY-1 HRKU-",
    ),
    (20, "", "tskey- lsv2_ tgp_v1_ jina_ apify_api_ sgp_ phc_ phx_ pat-na1- pat-eu1- PMAK- tk-us- ctx7sk- nfp_"),
    (20, _DIGIT, "pul- key- secret_ ops_ dapi oy2 EAAA EAAC LTAI AKID EZAK EZTK ATBB fw_ waka_ sdp_ e2b_ cfut_"),
)
"""Characters after the mark at least, what must follow it, and the marks."""

KEY_SHAPES = (
    *((mark, f"{mark}{next_}{_WORD}{{{least},}}+") for least, next_, marks in _MARKS for mark in marks.split()),
    *((f"k_{kind}_", f"[rsp]k_{kind}_[A-Za-z0-9]{{16,}}+") for kind in ("live", "test")),
    *((mark, f"{mark}[A-Z0-9]{{16}}(?![A-Z0-9])") for mark in ("AKIA", "ASIA", "ABIA", "ACCA")),
    ("A3T", "A3T[A-Z0-9]{17}(?![A-Z0-9])"),
    ("AKC", "AKC[A-Za-z0-9]{10,}+"),  # Artifactory
    ("AIza", f"AIza{_WORD}{{30,}}+"),
    ("ya29.", rf"ya29\.{_WORD}{{20,}}+"),
    ("xox", r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}+"),
    ("SG.", rf"SG\.{_WORD}{{16,32}}\.{_WORD}{{32,64}}"),
    ("eyJ", rf"eyJ{_WORD}{{8,1000}}+={{0,2}}\.{_WORD}{{8,}}+={{0,2}}(?:\.{_WORD}*+)?"),  # a JSON web token
    *((mark, rf"{mark[:-1]}\.{_DIGIT}{_WORD}{{20,}}+") for mark in ("hvs.", "hvb.", "hvr.", "mlsn.", "sl.")),
    *((mark, rf"dp\.{mark[3:-1]}\.{_WORD}{{20,}}+") for mark in ("dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.")),
    ("dt0", r"dt0[a-z]\d\d\.[A-Z0-9]{20,}+\.[A-Z0-9]{40,}+"),  # Dynatrace
    (".atlasv1.", rf"[A-Za-z0-9]{{14}}\.atlasv1\.{_WORD}{{40,}}+"),  # Terraform
    ("sha256~", rf"sha256~{_WORD}{{40,}}+"),  # OpenShift
    ("hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/_-]{20,}+"),
    ("/webhooks/", rf"/webhooks/[0-9]{{10,}}+/{_WORD}{{40,}}+"),  # Discord
    ("-us", "[0-9a-z]{32}-us[0-9]{1,2}"),  # Mailchimp
    (":AA", f"[0-9]{{8,10}}:AA{_WORD}{{33}}"),  # Telegram
)
"""Text without which a pattern is not tried, and the pattern, which takes linear time."""

_LONG = re.compile("[A-Za-z0-9_.~/:-]{14,}+")
"""Texts that a key can be a part of: looked through for all the marks, they are a tenth of most texts."""

_KEYS = tuple((mark, re.compile(f"(?<!{_WORD}){shape}")) for mark, shape in KEY_SHAPES)
_OTHERS = (
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
    candidates = " ".join(_LONG.findall(text))
    for mark, shape in _KEYS:
        if mark in candidates:
            text = shape.sub(PLACEHOLDER, text)
    for mark, shape in _OTHERS:
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
