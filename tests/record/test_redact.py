"""Redaction: no secret of a known shape survives, and what is no secret stays."""

import json
import re
import string
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import UsageError
from swarm.trace.redact import SECRETS, Redactor, load_rules, path_rules

RULES = (*SECRETS, *path_rules(Path("/home/alice"), "alice", Path("/home/alice/work/shop")))

ALNUM = string.ascii_letters + string.digits


def of(alphabet: str, least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=most)


SHAPES = {
    "openai": of(ALNUM, 24, 60).map("sk-".__add__),
    "anthropic": of(ALNUM + "-_", 40, 90).map("sk-ant-api03-".__add__),
    "github": of(ALNUM, 36, 36).map("ghp_".__add__),
    "github-fine": of(ALNUM + "_", 60, 80).map("github_pat_".__add__),
    "gitlab": of(ALNUM, 20, 20).map("glpat-".__add__),
    "aws": of(string.ascii_uppercase + string.digits, 16, 16).map("AKIA".__add__),
    "google": of(ALNUM + "-_", 35, 35).map("AIza".__add__),
    "slack": of(ALNUM, 24, 40).map("xoxb-".__add__),
    "huggingface": of(ALNUM, 34, 34).map("hf_".__add__),
    "stripe": of(ALNUM, 24, 24).map("sk_live_".__add__),
    "jwt": st.tuples(of(ALNUM, 20, 40), of(ALNUM, 20, 80), of(ALNUM + "-_", 20, 43)).map(lambda t: "eyJ" + ".".join(t)),
}
KEYS = st.sampled_from(sorted(SHAPES)).flatmap(SHAPES.__getitem__)
PRIVATE_KEYS = of(ALNUM + "+/", 64, 64).map(
    lambda body: f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n{body[::-1]}=\n-----END RSA PRIVATE KEY-----"
)
PROSE = of(" .,;:\n\"'(){}", 0, 8)


def redactor() -> Redactor:
    return Redactor(RULES)


def strings(value) -> str:
    """Every text in a JSON value, names of keys too, and what texts hold as JSON."""
    if isinstance(value, dict):
        return " ".join(f"{strings(name)} {strings(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(strings, value))
    if isinstance(value, str) and value.startswith("{"):
        return value + strings(json.loads(value))
    return str(value)


@given(KEYS, PROSE, PROSE)
def test_a_key_of_a_known_shape_is_gone_from_any_text(secret, before, after):
    text = redactor().text(f"{before}{secret}{after} and so on")
    assert secret not in text
    assert "[api-key " in text


@given(KEYS, st.integers(1, 3))
def test_a_key_is_gone_from_texts_that_were_escaped_again_and_again(secret, times):
    text = f"first line\n{secret}\nlast"
    for _ in range(times):
        text = json.dumps(text)
    assert secret not in redactor().text(text)


@given(PRIVATE_KEYS, PROSE)
def test_a_private_key_is_gone_as_a_whole_and_what_follows_stays(secret, after):
    text = redactor().text(f"key:\n{secret}{after}\n# the end")
    assert secret.splitlines()[1] not in text
    assert secret.splitlines()[2] not in text
    assert text.endswith("# the end")


@given(KEYS | PRIVATE_KEYS, st.sampled_from(["content", "name", "arguments", "id", "nested", "key"]))
def test_no_field_of_a_message_is_a_way_past(secret, field):
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": f"see {secret if field == 'content' else 'here'}"}],
        "name": secret if field == "name" else "helper",
        "tool_calls": [
            {
                "id": secret if field == "id" else "call_1",
                "function": {
                    "name": "write_file",
                    "arguments": json.dumps(
                        {
                            "text": f"a\n{secret}" if field == "arguments" else "a",
                            "inner": json.dumps({"deep": [secret]}) if field == "nested" else None,
                            (secret if field == "key" else "k"): 1,
                        }
                    ),
                },
            }
        ],
    }
    seen = strings(redactor().value(message))
    assert secret not in seen
    assert secret.replace("\n", "\\n") not in seen


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abcDEF1234567890abcd", r"Authorization: Bearer \[bearer-token [0-9a-f]{8}\]"),
        ("postgres://shop:hunter2@db:5432/x", r"postgres://shop:\[url-password [0-9a-f]{8}\]@db:5432/x"),
        ("export DB_PASSWORD='s3cretPass99'", r"export DB_PASSWORD='\[assigned-secret [0-9a-f]{8}\]'"),
        ('{"client_secret": "a8Fq02Lx91"}', r'\{"client_secret": "\[assigned-secret [0-9a-f]{8}\]"\}'),
        ("cat /home/alice/work/shop/a.py", "cat /workspace/a.py"),
        ("cat /home/alice/.netrc", "cat /home/user/.netrc"),
        ("ls /home/bob/x", r"ls /home/user-[0-9a-f]{8}/x"),
        (r"type C:\Users\carol\x.txt", r"type C:\\Users\\user-[0-9a-f]{8}\\x\.txt"),
        ("commit by alice <al@example.com>", r"commit by user <\[email [0-9a-f]{8}\]>"),
        ("![](data:image/png;base64," + "iVBORw0K" * 20 + ")", r"!\[\]\(\[picture [0-9a-f]{8}\]\)"),
    ],
)
def test_what_each_rule_makes_of_what_it_finds(text, redacted):
    assert re.fullmatch(redacted, redactor().text(text))


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 4096, temperature=0.7",
        "task-runner-with-a-long-name-and-more",
        "def token(self): return self.tokenizer.decode(ids)",
        "bearer authentication-middleware is on",
        "password: str | None = None",
        "https://example.com/a:b/c?d=e",
        'x = "-----BEGIN CERTIFICATE-----"',
        "malice and alicea",
        "see https://docs.example.com/eyJ and sk-short",
    ],
)
def test_prose_and_code_stay_as_they_are(text):
    assert redactor().text(text) == text


def test_the_same_secret_has_the_same_placeholder_in_one_trace_and_another_in_the_next():
    one, other = redactor(), redactor()
    first, again, different = (one.text(f"sk-{part * 12}") for part in ("ab1", "ab1", "cd2"))
    assert first == again != different
    assert other.text(f"sk-{'ab1' * 12}") != first


@given(st.lists(KEYS | PROSE | st.sampled_from(["token=", "Bearer ", "://u:p@h"]), max_size=8))
def test_what_is_redacted_is_not_redacted_again(parts):
    one = redactor()
    once = one.text(" ".join(parts))
    assert one.text(once) == once


def test_a_secret_that_is_known_is_gone_whatever_its_shape_and_short_ones_are_words():
    one = redactor()
    one.learn("correct horse battery")
    one.learn("dummy")
    assert re.fullmatch(r"a dummy: \[known-secret [0-9a-f]{8}\]", one.text("a dummy: correct horse battery"))
    assert one.found == {"known-secret": 1}


def test_lone_surrogates_do_not_reach_the_file():
    assert redactor().text("a\ud800b").encode() == b"a?b"


def test_no_pattern_repeats_a_repetition_of_more_than_a_few():
    """Unbounded or nested repetitions are what makes patterns take exponential time, or the square of the length."""
    for rule in RULES:
        assert not list(nested(_parser.parse(rule.pattern.pattern, rule.pattern.flags), 1)), rule.name


def nested(parsed, around):
    """Repetitions that could be tried in more than a handful of ways inside another one, or without an end."""
    for operation, argument in parsed:
        if operation in (_parser.MAX_REPEAT, _parser.MIN_REPEAT, _parser.POSSESSIVE_REPEAT):
            _, most, inner = argument
            gives_back = operation is not _parser.POSSESSIVE_REPEAT
            if (most is _parser.MAXREPEAT and gives_back) or (around > 1 and most > 1 and most * around > 1500):
                yield operation, most
            yield from nested(inner, max(around, most))
        elif operation is _parser.SUBPATTERN:
            yield from nested(argument[3], around)
        elif operation is _parser.BRANCH:
            for branch in argument[1]:
                yield from nested(branch, around)


def test_rules_of_a_user_come_with_a_replacement_or_a_placeholder(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "- {name: ticket, pattern: 'ACME-([0-9]+)', replacement: 'T-\\1'}\n- {name: host, pattern: 'srv[0-9]+'}\n"
    )
    one = Redactor(load_rules(path))
    assert re.fullmatch(r"T-12 on \[host [0-9a-f]{8}\]", one.text("ACME-12 on srv7"))
    assert one.names == ("ticket", "host", "known-secret")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{a: 1}", "expected a list of rules"),
        ("- 7", "rule 1: expected the keys name, pattern"),
        ("- {name: 'a b', pattern: x}", "rule 1: name: expected letters"),
        ("- {name: a, pattern: '('}", "rule 1: missing ), unterminated subpattern"),
        ("- {name: a, pattern: 'x*'}", "rule 1: pattern: it matches nothing at all too"),
        ("- {name: a, pattern: x, replacement: '\\1'}", "rule 1: invalid group reference 1"),
        ("[", "no YAML"),
    ],
)
def test_a_rule_that_cannot_be_applied_is_refused_with_its_place(tmp_path, text, wrong):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_rules(path)
    assert str(refused.value).startswith(f"{path}: {wrong}")
