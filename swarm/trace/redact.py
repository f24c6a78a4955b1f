"""Takes secrets and paths out of texts: each find is replaced by a placeholder, the same one for the same find.

A placeholder such as `[api-key 3f9a01c2]` names the rule; its digits tell two finds apart and nothing else, as a salt
that is kept nowhere goes into them. Texts that were equal stay equal. Rules know shapes, not meanings: a password that
looks like a word, where nothing says that it is one, stays.
"""

import getpass
import hashlib
import json
import os
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from swarm.errors import UsageError
from swarm.trace.secret_rules import ALONE, KEYISH_NAME, SECRETS, Rule, looks_random, said_secret

_NAME = r"[^\s/\\:\"'`<>|*?,;()\[\]{}]{1,64}"
"""Pattern of a user's name, as part of a path."""
_USER = "user"
_PLACEHOLDER = re.compile(rf"{_USER}(?:-[0-9a-f]{{8}})?")
_NOT_TELLING = frozenset({"root", "user", "admin", "ubuntu", "debian", "node", "app", "shared", "public", "home"})
_MOST_PATTERN_CHARS = 2000
_KNOWN = "known-secret"
_LEAST_KNOWN, _LEAST_RANDOM = 12, 6
"""Characters of a secret that is learned: of any, and of one that looks random."""


def _no_placeholder(name: str) -> bool:
    return not _PLACEHOLDER.fullmatch(name)


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
        rules.append(Rule("user", re.compile(rf"{ALONE}{re.escape(user)}(?![A-Za-z0-9])"), _USER))
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


def _accepted(rule: Rule, match: re.Match[str], secret: str) -> bool:
    if "name" in rule.pattern.groupindex and not KEYISH_NAME.search(match["name"]):
        return False
    return rule.accepts is None or rule.accepts(secret)


def _base64(text: str) -> str:
    return b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")


class Redactor:
    """Applies rules to texts and to JSON, and counts what they found."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._salt = os.urandom(32)
        self._learned: set[str] = set()
        self._known: list[str] = []
        """Forms of what was learned, the longest first: one may be a part of another."""
        self.found: Counter[str] = Counter()
        """Finds by the rule's name."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rules, each once."""
        return (*dict.fromkeys(rule.name for rule in self._rules), _KNOWN)

    def learn(self, *secrets: str) -> None:
        """Secrets that are known as such, and are taken out wherever they stand, as they are, as in JSON, in an address
        or in base64; what may be a word is not."""
        for secret in secrets:
            if secret not in self._learned and (len(secret) >= _LEAST_KNOWN or looks_random(secret, _LEAST_RANDOM)):
                self._learned.add(secret)
                forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], _base64(secret)}
                self._known = sorted(forms.union(self._known), key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without what the rules find, and in characters that UTF-8 has."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, self._placeholder(_KNOWN, secret))
        for rule in self._rules:
            if rule.mark not in text:
                continue
            text = self._applied(rule, text)
        return text.encode("utf-8", "replace").decode()

    def value(self, value: Any) -> Any:
        """A copy of a JSON value, every text in it redacted, names of keys and JSON inside texts too."""
        if isinstance(value, str):
            return self._json_or_text(value)
        if isinstance(value, list):
            return [self._listed(before, item) for before, item in zip([None, *value], value, strict=False)]
        if isinstance(value, dict):
            said = value.get("name") or value.get("key")
            return {
                self.text(str(name)): self._named(
                    said if name == "value" and isinstance(said, str) else str(name), item
                )
                for name, item in value.items()
            }
        return value

    def _listed(self, before: Any, item: Any) -> Any:
        """An item of a list, which may be the arguments of a command: the option before it says what it is."""
        if not isinstance(before, str) or not before.startswith("-") or not isinstance(item, str):
            return self.value(item)
        if before in ("-u", "--user", "-U", "--proxy-user") and re.fullmatch("[^:/]{0,100}:[^/]{3,}", item):
            user, _, password = item.partition(":")
            return item if password.isdecimal() else f"{user}:{self._placeholder('command-password', password)}"
        return self._named(before, item)

    def _named(self, name: str, value: Any) -> Any:
        """The value of a key, which may be a secret because of the key's name."""
        if isinstance(value, str) and KEYISH_NAME.search(name) and said_secret(value):
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

    def _applied(self, rule: Rule, text: str) -> str:
        """The text without what a rule finds; what it lets pass is looked at again, as it may hold another find."""
        group = "secret" if "secret" in rule.pattern.groupindex else 0
        parts, done, at = [], 0, 0
        while (match := rule.pattern.search(text, at)) is not None:
            begin, at = match.span(group)
            if not _accepted(rule, match, match[group]):
                at = begin if begin > match.start() else at
                continue
            if rule.replacement is None:
                parts += [text[done:begin], self._placeholder(rule.name, match[group])]
                done = at
            else:
                self.found[rule.name] += 1
                parts += [text[done : match.start()], match.expand(rule.replacement)]
                done = at = match.end()
        return "".join([*parts, text[done:]]) if parts else text

    def _placeholder(self, rule: str, secret: str) -> str:
        self.found[rule] += 1
        tag = hashlib.blake2b(secret.encode("utf-8", "replace"), key=self._salt, digest_size=4).hexdigest()
        return f"{_USER}-{tag}" if rule == "user" else f"[{rule} {tag}]"
