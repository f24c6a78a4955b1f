"""No secret gets into a file, whatever it stands in."""

import json
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.recording.redaction import PLACEHOLDER, SHORTEST, Redaction

KEYS = {
    "OpenAI": "sk-proj-4f9aB7c2D1e8F6a5b3C9",
    "Hugging Face": "hf_AbCdEfGhIjKlMnOpQrSt",
    "GitHub": "ghp_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "GitHub, fine-grained": "github_pat_11ABCDEFG0AbCdEfGhIjKl_MnOp",
    "GitLab": "glpat-AbCdEfGhIjKlMnOpQrSt",
    "NVIDIA": "nvapi-AbCdEfGhIjKlMnOpQrSt",
    "npm": "npm_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "PyPI": "pypi-AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAw",
    "Slack": "xoxb-123456789012-AbCdEfGhIjKl",
    "AWS": "AKIAIOSFODNN7EXAMPLE",
    "AWS, for a session": "ASIAIOSFODNN7EXAMPLE",
    "Google": "AIzaSyA1234567890abcdefghijklmnopqrstu",
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("around", ["{}", "the key is {}.", 'KEY="{}"', "a/{}/b", '{{\\"key\\": \\"{}\\"}}', "={}\n"])
def test_what_looks_like_a_key_is_replaced_and_what_stands_beside_it_stays(key, around):
    assert Redaction().text(around.format(key)) == around.format(PLACEHOLDER)


def test_bearer_tokens_passwords_in_addresses_and_private_keys_are_replaced():
    told = Redaction().text
    assert told("Authorization: Bearer abcdefgh12345678==") == f"Authorization: Bearer {PLACEHOLDER}"
    assert told("git clone https://me:p4ss@host/x") == f"git clone https://{PLACEHOLDER}@host/x"
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----"
    assert told(f"before\n{pem}\nafter") == f"before\n{PLACEHOLDER}\nafter"
    assert told(pem[:50]) == PLACEHOLDER  # cut off


@pytest.mark.parametrize(
    "text", ["a task-list of risk-assessments-and-more-things", "def sketch(): ...", "http://host:8000/v1", "Bearer x"]
)
def test_ordinary_text_is_left_alone(text):
    assert Redaction().text(text) == text


secrets = st.text(min_size=SHORTEST, max_size=30).filter(lambda text: text not in PLACEHOLDER)


@given(secret=secrets, before=st.text(), after=st.text(), key=st.text())
def test_a_known_secret_is_nowhere_in_a_value_of_any_shape(secret, before, after, key):
    value = {"messages": [{key: [before + secret + after]}, {secret: json.dumps({"path": secret})}], "kept": 3}
    found = Redaction((secret,)).value(value)
    texts = [found["messages"][0].popitem()[1][0], *found["messages"][1].popitem()]
    assert all(secret not in text and json.dumps(secret)[1:-1] not in text for text in texts)
    assert found["kept"] == 3


def test_a_secret_that_holds_another_is_replaced_whole():
    assert Redaction(("secret", "my-secret-key")).text("x my-secret-key y secret") == f"x {PLACEHOLDER} y {PLACEHOLDER}"


def test_words_too_short_for_a_secret_are_left():
    assert Redaction(("EMPT", "")).text("EMPT") == "EMPT"


def test_secrets_travel_in_a_pickle_and_show_in_no_repr():
    redaction = Redaction(("my-secret-key",))
    assert pickle.loads(pickle.dumps(redaction)) == redaction
    assert "my-secret-key" not in repr(redaction)


def test_lone_surrogates_are_replaced_as_no_file_can_hold_them():
    assert Redaction().value(["a\ud800b"]) == ["a?b"]


@pytest.mark.parametrize("piece", ["eyJ-", "eyJaaaaaaaa.", "sk-", "://a:", "-----BEGIN PRIVATE KEY", "Bearer ", "gho_"])
def test_the_time_it_takes_grows_with_the_text_and_not_with_its_square(piece):
    def took(text: str) -> float:
        best = []
        for _ in range(3):
            start = time.thread_time()  # other work on this machine does not count
            Redaction().text(text)
            best.append(time.thread_time() - start)
        return min(best)

    once, eight_times = (took(piece * (count // len(piece))) for count in (40_000, 320_000))
    assert eight_times < 30 * once + 0.001  # 8 if linear, 64 if quadratic
