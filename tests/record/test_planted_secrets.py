"""Secrets of every kind, drawn at random and planted as they stand in what coding agents read: none is left.

The shapes of services' tokens are those of detect-secrets (https://github.com/Yelp/detect-secrets), read from its
plugins; the rest are the forms in which files and commands hold secrets.
"""

import json
import random
import string
import time
from pathlib import Path
from re import _constants as op
from re import _parser

import pytest
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from multidict import CIMultiDict

from swarm.proxy.keys import keys_of
from swarm.recording.redaction import Redaction
from swarm.trace.redact import Redactor
from swarm.trace.secret_rules import SECRETS

ALNUM = string.ascii_letters + string.digits
DRAWS = 5


def drawn(pattern, chance):
    """A text that a parsed regular expression matches, every choice at random."""
    return "".join(_drawn(operation, argument, chance) for operation, argument in pattern)


def _drawn(operation, argument, chance):
    if operation is op.LITERAL:
        return chr(argument)
    if operation is op.IN:
        return chance.choice(sorted(_characters(argument)))
    if operation in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, most, inner = argument
        count = chance.randint(20, 40) if int(most) > 1000 else chance.randint(least, min(int(most), least + 6))
        return "".join(drawn(inner, chance) for _ in range(max(least, count)))
    if operation is op.SUBPATTERN:
        return drawn(argument[3], chance)
    if operation is op.BRANCH:
        return drawn(chance.choice(argument[1]), chance)
    if operation in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return ""
    return chance.choice(ALNUM)


def _characters(items):
    """Of a set: letters and digits where there are some, as the rest ends values in most contexts."""
    found = set()
    for kind, value in items:
        if kind is op.LITERAL:
            found.add(chr(value))
        elif kind is op.RANGE:
            found.update(map(chr, range(value[0], min(value[1], 126) + 1)))
        elif kind is op.CATEGORY:
            found.update(string.digits if "DIGIT" in str(value) else ALNUM)
        else:  # everything but
            return set(ALNUM)
    return found & set(ALNUM + "_-") or found


SHAPES = {
    "Artifactory", "AWSKey", "DiscordBotToken", "GitHubToken", "GitLabToken", "JwtToken", "Mailchimp", "Npm", "OpenAI",
    "PypiToken", "SendGrid", "Slack", "SquareOAuth", "Stripe", "TelegramBotToken", "Twilio", "AzureStorageKey",
}  # fmt: skip


LIKE_WORDS = {("AWSKey", 1), ("Artifactory", 1)}
"""Shapes that need a word before them, or that words have too."""


def corpus():
    """Name and pattern of every token shape that detect-secrets knows by itself, without a word before it."""
    for plugin in get_mapping_from_secret_type_to_class().values():
        for number, pattern in enumerate(getattr(plugin, "denylist", ())):
            name = plugin.__name__.removesuffix("Detector")
            if name in SHAPES and (name, number) not in LIKE_WORDS:
                yield pytest.param(pattern, id=f"{name}-{number}")


def secret_of(pattern, chance):
    text = drawn(_parser.parse(pattern.pattern, pattern.flags), chance).strip(" =:\"'\n\t,")
    return text, text.partition("=")[2] if text.startswith(("AccountKey=", "//registry")) else text


SURROUNDINGS = {
    "prose": "Use {} for it, please.",
    "quoted": 'KEY = "{}"',
    "env": "export A_TOKEN={}\n",
    "json": '{{"api_token": "{}"}}',
    "yaml": "token: {}\n",
    "diff": "@@ -1 +1 @@\n-x\n+api_token = '{}'\n",
    "numbered": "   12: token = '{}'\n   13: x\n",
    "table": "12 | SECRET_TOKEN={}\n",
    "quoted mail": "> the token {} is mine\n",
    "shell": "curl -H 'X-Api-Key: {}' https://h/x",
    "url": "https://h/x?access_token={}&y=1",
    "xml": "<apiToken>{}</apiToken>",
}


def seen(text):
    """What is left of a text where it stands as a tool's output does: as it is, and escaped once and twice."""
    redactor = Redactor(SECRETS)
    once = json.dumps({"output": text})
    return redactor.text(text), redactor.text(once), json.dumps(redactor.value({"a": text, "arguments": once}))


def gone(secret, text):
    for left in seen(text):
        assert secret not in left, left
        assert json.dumps(secret)[1:-1] not in left, left


@pytest.mark.parametrize("pattern", corpus())
def test_a_token_of_a_shape_that_detect_secrets_knows_is_gone_from_every_surrounding(pattern):
    chance = random.Random(pattern.pattern)
    for _ in range(DRAWS):
        text, secret = secret_of(pattern, chance)
        for around in SURROUNDINGS.values():
            gone(secret, around.format(text))


PREFIXES = (
    "sk-proj-", "sk-ant-api03-", "sk-or-v1-", "ghp_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "hf_", "gsk_", "AIza",
    "ya29.", "GOCSPX-", "npm_", "pypi-", "dop_v1_", "shpat_", "lin_api_", "ntn_", "figd_", "glsa_", "NRAK-", "sbp_",
    "sntrys_", "dckr_pat_", "ATATT3xFfGF0", "hvs.", "tskey-auth-", "lsv2_pt_", "pcsk_", "rubygems_", "PMAK-", "dapi",
    "HRKU-", "AGE-SECRET-KEY-1", "whsec_", "rk_live_", "sk_test_", "nvapi-", "xai-", "pplx-", "tvly-", "r8_",
    "apify_api_",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_token_with_a_service_s_prefix_is_gone_by_both_redactors(prefix):
    chance = random.Random(prefix)
    for _ in range(DRAWS):
        secret = prefix + "".join(chance.choices(ALNUM, k=40))
        for around in ("see {} there", "a={}", '"{}"', "{}\n", "+{}"):
            gone(secret, around.format(secret))
            assert secret not in Redaction().text(around.format(secret))


def password(chance):
    """What a generator of passwords gives."""
    return "".join(chance.choices(ALNUM, k=8)) + "7a" + "".join(chance.choices("!@#%^*-_.", k=2)) + "Zq4"


HOLDERS = (
    "export FOO_TOKEN=\"{}\"", "FOO_TOKEN={}", "set FOO_PASSWORD={}", "DB_PASS={}", "password = '{}'", "password: {}",
    '"clientSecret": "{}"', "client_secret = \"{}\"", "private const string ApiKey = \"{}\";",
    'public static final String API_KEY = "{}";', "const apiKey: string = '{}';", 'const API_KEY: &str = "{}";',
    'apiKey := "{}"', "$config['db_password'] = '{}';", "define('DB_PASSWORD', '{}');", "'password' => '{}',",
    'os.environ["SERVICE_TOKEN"] = "{}"', "spring.datasource.password={}", "set_password(\"{}\")", "--password {}",
    "--token={}", "--api-key '{}'", "mysql -u root -p{} shop", "sshpass -p '{}' ssh h", "curl -u me:{} https://h/x",
    'curl --user "me:{}" https://h/x', "curl -s -X POST \\\n  -u me:{} \\\n  https://h/x", "postgres://me:{}@db:5432/x",
    "redis://:{}@cache:6379/0", "mongodb+srv://me:{}@c.example.net/x", "https://{}@git.example.com/a/b",
    "machine h login me password {}", "machine h\n  login me\n  password {}\n", "<password>{}</password>",
    '<add key="ApiKey" value="{}"/>', '<property name="password" value="{}"/>', '<server password="{}"/>',
    "<m:clientSecret>{}</m:clientSecret>", "- name: DB_PASSWORD\n  value: {}\n", "Authorization: Token {}",
    "Authorization: Basic {}", '-H "X-Api-Key: {}"', "Cookie: session={}; theme=dark", "Set-Cookie: sid={}; HttpOnly",
    "Server=h;Database=x;User Id=sa;Password={};", "//registry.npmjs.org/:_authToken={}", "https://h/x?api_key={}",
    "https://h/x?sig={}&se=1", "AccountName=a;AccountKey={};", "[default]\naws_secret_access_key = {}\n",
    "stringData:\n  password: {}\n", "passphrase={}", "the password is {}",
)  # fmt: skip
LINES = {
    "as it is": str,
    "numbered": lambda text: "".join(f"{number:>4}: {line}\n" for number, line in enumerate(text.splitlines(), 9)),
    "with a bar": lambda text: "".join(f"{number} | {line}\n" for number, line in enumerate(text.splitlines(), 9)),
    "quoted": lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
    "added": lambda text: "".join(f"+{line}\n" for line in text.splitlines()),
    "cat -n": lambda text: "".join(f"{number:>6}\t{line}\n" for number, line in enumerate(text.splitlines(), 9)),
    "grep": lambda text: "".join(f"conf/a.env:{number}:{line}\n" for number, line in enumerate(text.splitlines(), 9)),
}


@pytest.mark.parametrize("lines", LINES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_password_is_gone_from_what_says_that_it_is_one(holder, lines):
    chance = random.Random(holder + lines)
    for _ in range(DRAWS):
        secret = password(chance)
        gone(secret, LINES[lines](holder.format(secret)))


@pytest.mark.parametrize("holder", [one for one in HOLDERS if "://" in one and "@" in one])
def test_a_password_in_an_address_may_hold_an_at_sign_and_a_slash(holder):
    for secret in ("p@ss/w0rd", "a/b@c/d9", "x@y@z1", "12/ab@cd", "hunter2/"):
        if not holder.startswith("https"):
            gone(secret, holder.format(secret))


@pytest.mark.parametrize("lines", LINES)
@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
@pytest.mark.parametrize("end", [True, False])
def test_a_private_key_is_gone_behind_whatever_its_lines_begin_with(kind, lines, end):
    chance = random.Random(kind + lines)
    body = ["".join(chance.choices(ALNUM + "+/", k=64)) for _ in range(25)]
    text = "\n".join([f"-----BEGIN {kind}-----", *body, "abc=", *([f"-----END {kind}-----"] if end else [])])
    for left in seen(f"first\n{LINES[lines](text)}"):
        assert not [line for line in body if line in left], left
        assert "first" in left


def test_long_values_are_gone_whole():
    secret = "".join(random.Random(1).choices(ALNUM, k=5000))
    for holder in ("export A_TOKEN={}", 'a_token = "{}"', "Authorization: Bearer {}", "password: {}"):
        for left in seen(holder.format(secret)):
            assert secret[-100:] not in left
            assert secret[2000:2100] not in left


def test_the_keys_of_a_request_are_learned_from_every_place_that_has_one():
    secret = "learn-ed9"
    encoded = "bWU6bGVhcm4tZWQ5"  # me:learn-ed9
    for headers, query in (
        ({"Authorization": f"Bearer {secret}"}, ""),
        ({"authorization": f"token   {secret}"}, ""),
        ({"Authorization": secret}, ""),
        ({"Authorization": f"Basic {encoded}"}, ""),
        ({"Proxy-Authorization": f"Basic {encoded}"}, ""),
        ({"X-Api-Key": secret}, ""),
        ({"api-key": secret}, ""),
        ({"x-goog-api-key": secret}, ""),
        ({"Ocp-Apim-Subscription-Key": secret}, ""),
        ({"X-Auth-Token": secret}, ""),
        ({"Cookie": f'a=b; sid="{secret}"; c'}, ""),
        ({}, f"key={secret}&x=1"),
        ({}, f"api_key={secret}"),
        ({}, f"access_token={secret.replace('-', '%2D')}"),
    ):
        redactor = Redactor(())
        redactor.learn(*keys_of(CIMultiDict(headers), query))
        assert secret not in redactor.text(f"so {secret}, then"), headers
        if encoded in str(headers):
            assert encoded not in redactor.text(f"so {encoded}, then")
    plain = keys_of(CIMultiDict({"Content-Type": "application/json", "Accept": "x", "User-Agent": "y"}), "model=a")
    assert plain == ()


def test_what_was_learned_is_gone_in_json_in_an_address_and_in_base64():
    redactor = Redactor(())
    redactor.learn('the"secret/7 words')
    for form in ('the"secret/7 words', 'the\\"secret/7 words', "the%22secret%2F7%20words", "dGhlInNlY3JldC83IHdvcmRz"):
        assert form not in redactor.text(f"x {form} y")


def test_arguments_of_commands_and_pairs_of_names_and_values_are_read_as_such():
    redactor, secret = Redactor(SECRETS), "b7Gx!29qLm"
    for value in (
        ["curl", "-u", f"me:{secret}", "https://h"],
        ["x", "--password", secret],
        {"name": "DB_PASSWORD", "value": secret},
        {"env": [{"key": "api_token", "value": secret}]},
        {"headers": {"Authorization": f"Token {secret}"}},
    ):
        assert secret not in json.dumps(redactor.value(value))
    assert redactor.value(["docker", "run", "-u", "1000:1000"]) == ["docker", "run", "-u", "1000:1000"]


ADVERSARIAL = (
    "token=", "token=a1", "password: ", "a=", "://a:", "://a:b@", "<password", "<password ", "curl ", "curl -u ",
    "-----BEGIN PRIVATE KEY-----",
    "-----", "eyJ-", "sk-", "key name value ", "name: token value: ", "login a password ", "cookie: ",
    "authorization ", "--token ",
    "a.b.", "\\\"token\\\": \\\"", "\\", "'", "a1B", "aB3-", "?key=", "M" * 24 + ".", "0", "@a.", " ", "\n",
)  # fmt: skip


@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_redaction_takes_time_in_proportion_to_the_text_whatever_is_in_it(piece):
    def took(size):
        text, best = piece * (size // len(piece)), []
        for _ in range(2):
            start = time.process_time()
            Redactor(SECRETS).text(text)
            best.append(time.process_time() - start)
        return min(best)

    small, large = took(4_000), took(32_000)
    assert large < 24 * small + 0.05  # 8 if linear, 64 if it is the square


def test_ordinary_code_is_left_alone():
    """The bundled tasks and swarm's own source: one find in 100,000 characters at most, e-mail addresses left out."""
    redactor, size = Redactor([rule for rule in SECRETS if rule.name != "email"]), 0
    here = Path(__file__).parents[2]
    for path in sorted(
        [*(here / "swarm" / "tasks" / "library").rglob("*.py"), *(here / "swarm" / "engine").glob("*.py")]
    ):
        text = path.read_text(encoding="utf-8")
        size += len(text)
        redactor.text(text)
    assert size > 200_000
    assert redactor.found.total() <= size / 100_000, redactor.found
