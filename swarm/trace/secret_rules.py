"""How secrets look, as rules of `swarm.trace.redact`: token shapes, and values that are named as secrets.

Each pattern takes time in proportion to the text, whatever is in it: repetitions are bounded or give nothing back, and
none holds another that could match the same characters.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from swarm.recording.redaction import KEY_SHAPES

ALONE = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
"""Not inside a word; in a string that was escaped, the n of a line's end is none."""

_APART = r"(?:(?<![\w-])|(?<=\\[nrt]))"
_LINE = r"(?:[^A-Za-z0-9\"'=<]|\\[nrt]|[\w./-]{0,60}:?\d{1,6}[:|\t ]|\d{1,6}\\t){1,24}"
"""Between two words of a file, with the ends of lines and what tools put before the next: `12:`, `> `, `a.py:12:`."""
_QUOTE = r"\\{0,7}[\"'`]"
"""As it is or escaped, in JSON in JSON too."""
_GAP = r"(?:\s|\\[nrt]){0,8}"
_KEYISH = (
    r"(?:passw(?:or)?d|passwrd|passphrase|passcode|pwd|(?<![a-z])pass(?![a-z])|secret|token|credential|cookie|jwt|bearer"
    r"|auth(?!or(?!i))|signature|mnemonic|dsn"
    r"|(?:api|access|private|account|shared|signing|encryption|encrypt|master|service|client|app|license|ssh|hmac|webhook"
    r"|storage|subscription|secure|deploy|consumer|integration|session|crypt|host|write|read|admin|root|user)[_-]?key)"
)
_NAME = r"(?<![A-Za-z0-9_.])(?P<name>[A-Za-z_$][A-Za-z0-9_.-]{2,100}+)"
_REST = r"[A-Za-z0-9_-]{0,60}"
KEYISH_NAME = re.compile(_KEYISH, re.IGNORECASE)
_BARE = r"[^\s\"'`,;(){}\[\]<>\\=]"
"""A character of a value without quotes."""
_QUOTED = r"[^\s\"'`\\]"


@dataclass(frozen=True)
class Rule:
    """Replaces the matches of `pattern`: the group `secret` where it has one, else the whole match.

    A group `name` must say that it is one. `replacement` is a template of `re.Match.expand`; None: a placeholder.
    `accepts` may let a find pass. A text without `mark` is not searched.
    """

    name: str
    pattern: re.Pattern[str]
    replacement: str | None = None
    accepts: Callable[[str], bool] | None = None
    mark: str = ""


def looks_random(value: str, least: int = 8) -> bool:
    """Letters mixed with digits or signs, `least` or more, of more than 2.5 bits each (Shannon's entropy of the
    characters' counts)."""
    if len(value) < least or not re.search("[A-Za-z]", value) or not re.search(r"[0-9!@#$%^&*?~]", value):
        return False
    counts = Counter(value[:200])
    shares = (count / counts.total() for count in counts.values())
    return -sum(share * math.log2(share) for share in shares) > 2.5


def said_secret(value: str) -> bool:
    """Whether a value named as a secret may be one: random, but no expression, path or placeholder."""
    return looks_random(value, 6) and not re.match(r"[$%&*!]|[./~]{1,2}/|https?:|f[\"']|\[|sha\d+-", value)


_EXPRESSION = re.compile(r"[A-Za-z_]+\d?(?:[._:-][A-Za-z_]+\d?)*")


def _assigned(value: str) -> bool:
    return said_secret(value) and not _EXPRESSION.fullmatch(value)


def _no_word(value: str) -> bool:
    return not re.fullmatch("[a-z-]+|[A-Za-z][a-z]+", value)


def _unknown_token(value: str) -> bool:
    """As long and as mixed as only what was drawn at random: digits in three places, both cases, no run of a word."""
    return (
        len(re.findall("[A-Za-z_-][0-9]", value)) >= 3
        and re.search("[a-z]", value) is not None
        and re.search("[A-Z]", value) is not None
        and re.search("[a-z]{6}|[A-Z]{9}|[0-9]{9}", value) is None
        and looks_random(value, 24)
    )


def _password(value: str) -> bool:
    """Between the colon after a user and the last @; a port and a path before an @ are none."""
    return not re.fullmatch(r"\d{1,5}/[^@]*", value)


def _holds_a_key(block: str) -> bool:
    return re.search("[A-Za-z0-9+/=]{20}", block) is not None


def _no_number(value: str) -> bool:
    return not value.isdecimal()


def _short_password(value: str) -> bool:
    return looks_random(value, 4)


def _drawn(value: str) -> bool:
    return looks_random(value, 11) and len(re.findall("[A-Za-z][0-9]", value)) >= 3


def _alone(mark: str, shape: str) -> str:
    """The shape as `ALONE`. Where it begins with its mark, that comes first: it is what a search can skip to."""
    begins = re.escape(mark) if shape.startswith(re.escape(mark)) else mark
    if not shape.startswith(begins):
        return ALONE + shape
    return rf"{begins}(?:(?<![A-Za-z0-9]{begins})|(?<=\\[nrt]{begins})){shape.removeprefix(begins)}"


def _rule(name: str, pattern: str, accepts: Callable[[str], bool] | None = None, mark: str = "") -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), accepts=accepts, mark=mark)


_TYPE = r"(?:\s{0,3}:\s{0,3}[&\w'][\w.<>|'& ]{0,40}+(?=\s{0,3}=))?"
"""Type of a constant, between its name and its value."""

SECRETS = (
    Rule("picture", re.compile(r"data:[\w.+/-]{1,100}+;base64,[A-Za-z0-9+/=_-]{64,}+"), mark=";base64,"),
    Rule(
        "private-key",
        re.compile(
            r"-{4,5} ?BEGIN [A-Za-z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}(?:(?:(?!-----)[\s\S]){0,30000}+-{4,7}"
            r" ?END [A-Za-z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|(?:(?!-----|\.\s)[^;(){}<]){0,30000}+)"
        ),
        accepts=_holds_a_key,
        mark="PRIVATE KEY",
    ),
    *(Rule("api-key", re.compile(_alone(mark, shape)), mark=mark) for mark, shape in KEY_SHAPES),
    _rule("bearer-token", rf"{ALONE}(?:bearer|basic)\s{{1,3}}(?P<secret>[A-Za-z0-9._~+/=-]{{16,8000}}+)", _no_word),
    _rule(
        "header",
        rf"(?:proxy-)?authorization{_QUOTE}?\s{{0,3}}[:=,]\s{{0,3}}(?:{_QUOTE})?(?:[a-z][a-z-]{{2,20}}\s{{1,3}})?"
        rf"(?P<secret>{_BARE}{{6,8000}}+={{0,2}})",
        said_secret,
    ),
    _rule(
        "header",
        r"cookie2?\s{0,3}(?:\\{0,7}[\"'])?\s{0,3}:\s{0,3}(?:\\{0,7}[\"'])?(?P<secret>[\w.-]{1,80}=[^\"'\r\n\\]{6,4000}+)",
        said_secret,
    ),
    _rule(
        "url-password",
        r"(?<=://)[^\s/:@\"'`<>]{0,200}+:(?P<secret>[^\s\"'`<>]{1,300})@(?=[a-z0-9.\[-])",
        _password,
        mark="://",
    ),
    _rule("url-password", r"(?<=://)(?P<secret>[^\s/:@\"'`<>]{12,300}+)@", said_secret, mark="://"),
    _rule(
        "query-secret",
        rf"[?&][\w.-]{{0,40}}?(?:{_KEYISH}|key|sig|code){_REST}=(?P<secret>[^\s&#?=\"'`<>\\]{{6,4000}}+={{0,2}})",
        said_secret,
        mark="=",
    ),
    _rule(
        "netrc",
        rf"{_APART}login(?:\s|\\[nrt]){{1,8}}[^\s\\]{{1,200}}{_LINE}password(?:\s|\\[nrt]){{1,8}}(?P<secret>[^\s\\\"']{{1,400}}+)",
        mark="password",
    ),
    _rule(
        "command-password",
        rf"{_APART}(?:curl|wget|http|https)\b[\s\S]{{0,400}}?\s(?:-u|-U|--user|--proxy-user|-a)[ =]?(?:{_QUOTE})?"
        r"[^\s:\"'\\/]{0,100}+:(?P<secret>[^\s\"'\\]{3,300}+)",
        _no_number,
        mark=":",
    ),
    _rule(
        "command-password",
        rf"{_APART}(?:sshpass|mysql(?:dump|admin)?|mariadb|(?:docker|podman) login|redis-cli|mongosh?|7z)"
        rf"\b[^\n]{{0,300}}?\s-[paw]\s?(?:{_QUOTE})?(?P<secret>[^\s\"'\\]{{4,300}}+)",
        _short_password,
        mark=" -",
    ),
    _rule(
        "assigned-secret",
        rf"{_NAME}(?:{_QUOTE}|\])?[)\]]?{_TYPE}{_GAP}(?:=>|:=|===?|[:=,(])?{_GAP}[\[(@$rbu]{{0,2}}"
        rf"(?P<quote>{_QUOTE})(?P<secret>(?:(?!(?P=quote))(?:{_QUOTED}|\\(?!\\{{0,6}}[\"'`nrt]))){{6,8000}}+)(?P=quote)",
        said_secret,
    ),
    _rule(
        "assigned-secret",
        rf"{_NAME}(?:{_QUOTE}|\])?{_TYPE}\s{{0,4}}(?:=>|:=|[:=])\s{{0,4}}(?P<secret>{_BARE}{{6,8000}}+={{0,2}})(?![(\[])",
        _assigned,
    ),
    _rule(
        "assigned-secret",
        rf"{_APART}--?[\w-]{{0,30}}?(?:{_KEYISH}|key)[\w-]{{0,20}}\s{{1,3}}(?:{_QUOTE})?(?P<secret>{_QUOTED}{{6,4000}}+)",
        _assigned,
    ),
    _rule(
        "assigned-secret",
        rf"{_APART}(?:password|passwd|passphrase|token|secret)(?:\s|\\[nrt]){{1,4}}(?:is|was)?(?:\s|\\[nrt]|:){{0,4}}(?:{_QUOTE})?"
        rf"(?P<secret>{_QUOTED}{{6,400}}+)",
        _assigned,
    ),
    _rule(
        "assigned-secret",
        rf"<[\w.:-]{{0,60}}?(?:{_KEYISH}|key)[\w.:-]{{0,60}}(?:\s[^<>]{{0,200}})?>{_GAP}(?:<!\[CDATA\[)?"
        r"(?P<secret>[^\s<>\]\\]{6,4000}+)",
        said_secret,
        mark="<",
    ),
    _rule(
        "assigned-secret",
        rf"(?:key|name|id|property|variable)(?:{_QUOTE})?\s{{0,4}}[=:]\s{{0,4}}(?:{_QUOTE})?[\w.:-]{{0,60}}?(?:{_KEYISH}|key)"
        rf"[\w.:-]{{0,60}}(?:{_QUOTE})?{_LINE}(?:{_QUOTE})?(?:value|content|default)(?:{_QUOTE})?"
        rf"\s{{0,4}}[=:]\s{{0,4}}(?:{_QUOTE})?(?P<secret>{_QUOTED}{{6,4000}}+)",
        said_secret,
    ),
    Rule(
        "assigned-secret",
        re.compile(rf"{ALONE}(?P<secret>(?:AP[0-9A-F]|AC|SK)[A-Za-z0-9]{{11,60}}+)(?![A-Za-z0-9_-])"),
        accepts=_drawn,
    ),  # Artifactory's passwords, Twilio's
    Rule(
        "random-token",
        re.compile(
            r"(?<![A-Za-z0-9+/=_.-])(?P<secret>[A-Za-z0-9_-]{24,512}+)(?![A-Za-z0-9+/=_.-]*\.(?:py|js|ts|woff2?|png)\b)"
        ),
        accepts=_unknown_token,
    ),
    Rule(
        "random-token",
        re.compile(
            rf"{ALONE}[MNO][A-Za-z0-9_-]{{23,27}}\.[A-Za-z0-9_-]{{6}}\.[A-Za-z0-9_-]{{27,40}}"  # Discord
            r"|(?<![0-9A-Za-z])[0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"  # Telegram
        ),
    ),
    Rule(
        "email",
        re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}"),
        mark="@",
    ),
)
"""In the order in which they are tried."""
