"""A secret that stands where it would be written down is refused, and the refusal does not show it."""

import pytest

from swarm.commands.doctor import report_health
from swarm.commands.record import upstream_base, upstream_key
from swarm.engine.backends import connection, secrets_of
from swarm.errors import UsageError
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import Scenario

SECRET = "hunter2-XyZ"
ADDRESSES = (
    f"http://user:{SECRET}@h/v1",
    f"http://{SECRET}@h/v1",
    f"http://:{SECRET}@h/v1",
    f"http://user:a@{SECRET}@h/v1",
    f"http://user:12/{SECRET}@h/v1",
    f"http://user:{SECRET}/x@h/v1",
    f"user:{SECRET}@h",
    f"ftp://user:{SECRET}@h",
    f"http://h/v1?api_key={SECRET}",
    f"http://h/v1?x=1&token={SECRET}",
    f"http://h/v1?X-Amz-Signature={SECRET}",
    f"http://h/v1#token={SECRET}",
    f"http://h:port{SECRET}/v1",
    f"http://h/v1\n{SECRET}",
)
IN_A_PATH = "http://h/sk-proj-abcdefghijklmnop1234/v1"
GOOD = ("http://127.0.0.1:8000/v1", "https://[::1]:8000", "http://gpu-7.corp.example/models/v1", "https://h/v1/")


def scenario(**target):
    return Scenario(targets=[{"name": "mine", "architecture": "moe", "api_base": "http://h/v1"} | target])


def refusal(tmp_path, target, settings=()):
    path = tmp_path / "mine.yaml"
    path.write_text(f"targets:\n  - {{name: mine, architecture: moe, api_base: 'http://h/v1', {target}}}\n")
    with pytest.raises(UsageError) as refused:
        load_scenario(path, list(settings))
    return str(refused.value)


@pytest.mark.parametrize("address", [*ADDRESSES, IN_A_PATH])
async def test_an_address_with_a_secret_is_refused_everywhere_and_not_shown(tmp_path, address):
    quoted = address.replace("\n", "\\n")
    said = [refusal(tmp_path, f'{key}: "{quoted}"') for key in ("metrics_url", "gpu_metrics_url")]
    said.append(refusal(tmp_path, "gpus: 1", [f"targets.mine.api_base={address!r}".replace("'", '"')]))
    for refused in (lambda: upstream_base(address), lambda: scenario(api_base=address)):
        with pytest.raises((UsageError, ValueError)) as error:
            refused()
        said.append(str(error.value).partition("[type=")[0])
    with pytest.raises(UsageError) as error:
        await report_health(address, "direct", None)
    said.append(str(error.value))
    assert not [text for text in said if SECRET in text or "sk-proj" in text]


def test_plain_addresses_are_taken_and_a_page_may_have_a_query():
    for address in GOOD:
        assert scenario(api_base=address).targets[0].api_base == address.rstrip("/")
    page = "http://p:9090/federate?match[]=vllm"
    assert scenario(metrics_url=page).targets[0].metrics_url == page


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f'api_key_env: "{SECRET}"', "the NAME of an environment variable"),
        ("api_key_env: hf_abcdefghijklmnopqrst", "the NAME of an environment variable"),
        (f'headers: {{Authorization: "Bearer {SECRET}"}}', "write ${VARIABLE}"),
        (f'headers: {{X-Api-Key: "{SECRET}"}}', "write ${VARIABLE}"),
        (f'metrics_headers: {{Cookie: "{SECRET}"}}', "write ${VARIABLE}"),
        ('headers: {X-Other: "Bearer sk-abcdefghijklmnop1234"}', "write ${VARIABLE}"),
        (f'headers: "Bearer {SECRET}"', "expected"),
        (f'headers: ["{SECRET}"]', "expected"),
        ('headers: {"a\\nb": x}', "no name of a header"),
    ],
)
def test_a_secret_that_is_written_out_is_refused_and_not_shown(tmp_path, target, said):
    message = refusal(tmp_path, target)
    assert said in message
    assert SECRET not in message
    assert "hf_abc" not in message
    assert "sk-abc" not in message


UNSENDABLE = ("\n", "\r", "\r\nX-Evil: 1", "\0", "\x1b[2J", "\x7f", "☃", "\udcff")


@pytest.mark.parametrize("end", UNSENDABLE)
@pytest.mark.parametrize(
    ("target", "key"),
    [
        ({"api_key_env": "KEY"}, "targets.mine.api_key_env"),
        ({"headers": {"X-Team": "team ${KEY}"}}, "targets.mine.headers.X-Team"),
        ({"metrics_headers": {"X-Team": "${KEY}"}}, "targets.mine.metrics_headers.X-Team"),
    ],
)
def test_a_key_that_no_header_can_carry_is_a_usage_error_with_the_name_of_its_variable(target, key, end):
    wanted = scenario(**target)
    with pytest.raises(UsageError, match=f"{key}: the environment variable KEY holds a line end") as refused:
        connection(wanted, wanted.targets[0], environment={"KEY": SECRET + end})
    with pytest.raises(UsageError, match="KEY holds a line end") as also_refused:
        upstream_key("KEY", {"KEY": SECRET + end})
    assert SECRET not in f"{refused.value}{also_refused.value}"
    assert connection(wanted, wanted.targets[0], environment={"KEY": SECRET})


def test_a_header_of_the_scenario_that_none_can_carry_is_one_too():
    wanted = scenario(headers={"X-Team": "a\nb"})
    with pytest.raises(UsageError, match=r"targets\.mine\.headers\.X-Team: the value holds a line end"):
        connection(wanted, wanted.targets[0], environment={})


def test_a_key_in_the_place_of_its_variables_name_is_not_shown_by_record():
    for given in (SECRET, "sk-abcdefghijklmnop1234", "ghp_abcdefghijklmnopqrstuvwxyz"):
        with pytest.raises(UsageError, match="the NAME of an environment variable") as refused:
            upstream_key(given, {given: "x"})
        assert given not in str(refused.value)


def test_headers_for_the_metrics_page_are_secrets_as_others_are():
    target = scenario(metrics_headers={"Authorization": "Bearer ${PAGE}"}).targets[0]
    assert secrets_of(target, {"PAGE": "p" * 20}) == ("Bearer " + "p" * 20, "p" * 20)


def test_headers_for_the_metrics_page_of_a_simulated_server_are_refused():
    with pytest.raises(ValueError, match="`metrics_headers` belong to `api_base`"):
        Scenario(targets=[{"name": "a", "architecture": "moe", "simulate": "x", "metrics_headers": {"X-Team": "a"}}])
