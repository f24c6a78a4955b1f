"""Takes secrets and paths out of texts: each find is replaced by a placeholder, the same one for the same find.

A placeholder such as `[api-key 3f9a01c2]` names the rule; its digits tell two finds apart and nothing else, as a salt
that is kept nowhere goes into them. Texts that were equal stay equal. Rules know shapes, not meanings: a password that
looks like a word, where nothing says that it is one, stays.

Each pattern takes time in proportion to the text, whatever is in it: repetitions are bounded, and none holds another
that could match the same characters.
"""

import getpass
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from swarm.errors import UsageError
from swarm.recording.redaction import KEY_SHAPES

_ALONE = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
"""Not inside a word; in a string that was escaped, the n of a line's end is none."""

_KEYISH = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth)"
    r"[A-Za-z0-9_-]{0,30}"
)
_KEYISH_NAME = re.compile(_KEYISH, re.IGNORECASE)
_NAME = r"[^\s/\\:\"'`<>|*?,;()\[\]{}]{1,64}"
"""Of a user, as part of a path."""
_USER = "user"
_PLACEHOLDER = re.compile(rf"{_USER}(?:-[0-9a-f]{{8}})?")
_NOT_TELLING = frozenset({"root", "user", "admin", "ubuntu", "debian", "node", "app", "shared", "public", "home"})
_MOST_PATTERN_CHARS = 2000
_KNOWN = "known-secret"
_LEAST_KNOWN = 12


@dataclass(frozen=True)
class Rule:
    """What `pattern` finds is replaced: its group `secret` where it has one, else the whole match.

    `replacement` is a template of `re.Match.expand`; None: a placeholder. `accepts` may let a find pass.
    """

    name: str
    pattern: re.Pattern[str]
    replacement: str | None = None
    accepts: Callable[[str], bool] | None = None


def looks_random(value: str) -> bool:
    """Letters and digits mixed, 8 or more, of more than 2.5 bits each (Shannon's entropy of the characters' counts)."""
    if len(value) < 8 or not re.search("[0-9]", value) or not re.search("[A-Za-z]", value):
        return False
    shares = (count / len(value) for count in Counter(value).values())
    return -sum(share * math.log2(share) for share in shares) > 2.5


def _no_placeholder(name: str) -> bool:
    return not _PLACEHOLDER.fullmatch(name)


def _no_word(value: str) -> bool:
    return not re.fullmatch("[a-z-]+|[A-Za-z][a-z]+", value)


SECRETS = (
    Rule(
        "private-key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?:\s|\\[nr]){0,4}(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): [^\n\\]{0,200}){0,4}"
            r"[A-Za-z0-9+/=\s\\]{0,20000}+(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
        ),
    ),
    Rule("api-key", re.compile(f"{_ALONE}(?:{'|'.join(shape for _, shape in KEY_SHAPES)})")),
    Rule(
        "bearer-token",
        re.compile(rf"{_ALONE}(?:bearer|basic)\s{{1,3}}(?P<secret>[A-Za-z0-9._~+/=-]{{16,4000}}+)", re.IGNORECASE),
        accepts=_no_word,
    ),
    Rule("url-password", re.compile(r"(?<=://)[^\s/:@\"'`<>]{0,200}+:(?P<secret>[^\s/@\"'`<>\[\]]{1,300}+)@")),
    Rule(
        "assigned-secret",
        re.compile(
            rf"{_KEYISH}\\?[\"']?\s{{0,4}}(?:=>|:=|[:=])\s{{0,4}}\\?[\"']?(?P<secret>[^\s\"'`,;(){{}}\[\]<>\\]{{8,500}}+)",
            re.IGNORECASE,
        ),
        accepts=looks_random,
    ),
    Rule(
        "email",
        re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}"),
    ),
    Rule("picture", re.compile(r"data:[\w.+/-]{1,100}+;base64,[A-Za-z0-9+/=_-]{64,}+")),
)
"""In the order in which they are tried."""


def path_rules(home: Path, user: str, workspace: Path | None) -> tuple[Rule, ...]:
    """Rules for the workspace, the home directory, anybody's home directory, and the user's name as a word."""
    rules = []
    for name, path, put in (("workspace", workspace, "/workspace"), ("home", home, f"/home/{_USER}")):
        if path is not None and len(path.parts) > 1 and str(path) != "/root":
            rules.append(Rule(name, re.compile(rf"{re.escape(str(path))}(?![A-Za-z0-9_.-])"), put))
    rules.append(
        Rule(
            "user",
            re.compile(rf"(?:/home/|/Users/|[A-Za-z]:\\{{1,2}}Users\\{{1,2}})(?P<secret>{_NAME})", re.IGNORECASE),
            accepts=_no_placeholder,
        )
    )
    if len(user) >= 3 and user.lower() not in _NOT_TELLING:
        rules.append(Rule("user", re.compile(rf"{_ALONE}{re.escape(user)}(?![A-Za-z0-9])"), _USER))
    return tuple(rules)


def default_rules(workspace: Path | None = None) -> tuple[Rule, ...]:
    """Secrets, and the paths of whoever runs this; `workspace` is where the recorded agents work."""
    return (*SECRETS, *path_rules(Path.home(), _login(), workspace))


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return ""


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Rules of a user: a YAML (or JSON) list of `{name, pattern, replacement}`; without a replacement, a placeholder.

    Raises UsageError naming the file, the entry, and what is wrong with it.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list):
        raise UsageError(f"{path}: expected a list of rules, as in '- {{name: ticket, pattern: \"ACME-[0-9]+\"}}'")
    return tuple(_rule(f"{path}: rule {number}", entry) for number, entry in enumerate(entries, 1))


def _rule(where: str, entry: Any) -> Rule:
    if not isinstance(entry, dict) or not {"name", "pattern"} <= entry.keys() <= {"name", "pattern", "replacement"}:
        raise UsageError(f"{where}: expected the keys name, pattern and, if wanted, replacement; found {entry!r:.120}")
    name, pattern, replacement = entry["name"], entry["pattern"], entry.get("replacement")
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9_-]{1,40}", name):
        raise UsageError(f"{where}: name: expected letters, digits, - and _, at most 40; found {name!r:.120}")
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _MOST_PATTERN_CHARS:
        raise UsageError(f"{where}: pattern: expected a regular expression of at most {_MOST_PATTERN_CHARS} characters")
    if not isinstance(replacement, str | None):
        raise UsageError(f"{where}: replacement: expected a text; found {replacement!r:.120}")
    try:
        compiled = re.compile(pattern)
        if replacement is not None:
            compiled.sub(replacement, "")  # reads the template, whether or not it matches
    except (re.error, IndexError, RecursionError, OverflowError) as error:
        raise UsageError(f"{where}: {error}") from None
    if compiled.match(""):
        raise UsageError(f"{where}: pattern: it matches nothing at all too, and so everywhere")
    return Rule(name, compiled, replacement)


class Redactor:
    """Applies rules to texts and to JSON, and counts what they found."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._salt = os.urandom(32)
        self._known: set[str] = set()
        self.found: Counter[str] = Counter()
        """Finds by the rule's name."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rules, each once."""
        return (*dict.fromkeys(rule.name for rule in self._rules), _KNOWN)

    def learn(self, secret: str) -> None:
        """A secret that is known as such, and is taken out wherever it stands; what may be a word is not."""
        if len(secret) >= _LEAST_KNOWN:
            self._known.add(secret)

    def text(self, text: str) -> str:
        """The text without what the rules find, and in characters that UTF-8 has."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, self._placeholder(_KNOWN, secret))
        for rule in self._rules:
            text = rule.pattern.sub(lambda match, rule=rule: self._replaced(match, rule), text)  # type: ignore[misc]
        return text.encode("utf-8", "replace").decode()

    def value(self, value: Any) -> Any:
        """A copy of a JSON value, every text in it redacted, names of keys and JSON inside texts too."""
        if isinstance(value, str):
            return self._json_or_text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(str(name)): self._named(str(name), item) for name, item in value.items()}
        return value

    def _named(self, name: str, value: Any) -> Any:
        """The value of a key, which may be a secret because of the key's name."""
        if isinstance(value, str) and _KEYISH_NAME.search(name) and looks_random(value):
            redacted = self.value(value)
            return self._placeholder("assigned-secret", value) if redacted == value else redacted
        return self.value(value)

    def _json_or_text(self, text: str) -> str:
        """Arguments of calls are JSON in a text, where a secret may be escaped."""
        if text[:1] in ("{", "[") and text[-1:] in ("}", "]"):
            try:
                parsed = json.loads(text)
                redacted = self.value(parsed)
                return self.text(text if redacted == parsed else json.dumps(redacted, ensure_ascii=False))
            except (ValueError, RecursionError):
                pass  # it only looks like JSON
        return self.text(text)

    def _replaced(self, match: re.Match[str], rule: Rule) -> str:
        group = "secret" if "secret" in match.re.groupindex else 0
        secret = match[group]
        if rule.accepts is not None and not rule.accepts(secret):
            return match[0]
        if rule.replacement is not None:
            self.found[rule.name] += 1
            return match.expand(rule.replacement)
        before, after = match.start(group) - match.start(), match.end(group) - match.start()
        return match[0][:before] + self._placeholder(rule.name, secret) + match[0][after:]

    def _placeholder(self, rule: str, secret: str) -> str:
        self.found[rule] += 1
        tag = hashlib.blake2b(secret.encode("utf-8", "replace"), key=self._salt, digest_size=4).hexdigest()
        return f"{_USER}-{tag}" if rule == "user" else f"[{rule} {tag}]"
