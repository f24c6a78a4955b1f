"""How targets are reached: secrets from the environment, and simulated servers in processes of their own."""

import aiohttp
import pytest

from swarm.engine.backends import connection, simulated
from swarm.errors import BackendError, UsageError
from swarm.scenario.schema import Scenario, Simulate


def scenario(**target):
    served = {"name": "mine", "architecture": "moe", "api_base": "http://127.0.0.1:8000/v1"}
    return Scenario.model_validate({"targets": [served | target]})


def test_keys_and_headers_come_from_the_environment_and_are_not_shown():
    wanted = scenario(api_key_env="KEY", headers={"X-Team": "team ${TEAM}", "X-Cost": "$$5"})
    reach = connection(wanted, wanted.targets[0], environment={"KEY": "sesame", "TEAM": "blue"})
    assert reach.api_key == "sesame"
    assert reach.headers == {"X-Team": "team blue", "X-Cost": "$5"}
    assert "sesame" not in repr(reach)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"api_key_env": "KEY"}, "targets.mine.api_key_env: the environment variable KEY is not set; export KEY="),
        ({"headers": {"X": "${TEAM}"}}, "targets.mine.headers.X: the environment variable TEAM is not set"),
        ({"headers": {"X": "$"}}, "write $$ for a dollar sign"),
    ],
)
def test_a_missing_variable_is_named(target, said):
    wanted = scenario(**target)
    with pytest.raises(UsageError, match=said.replace("$", r"\$").split(";")[0]):
        connection(wanted, wanted.targets[0], environment={})


async def healthy(address):
    async with aiohttp.ClientSession() as session, session.get(f"{address}/health") as answer:
        return answer.status == 200


async def test_a_simulated_server_lives_as_long_as_its_context():
    async with simulated("moe", Simulate(profile="moe-30b-a3b-awq-1x3090", max_num_seqs=3)) as (address, _):
        assert address.startswith("http://127.0.0.1:")
        assert await healthy(address)
    with pytest.raises(aiohttp.ClientConnectorError):
        await healthy(address)


async def test_a_simulated_server_that_cannot_start_is_a_backend_error_with_its_reason():
    with pytest.raises(BackendError, match=r"moe: the simulated server did not start.*no-such-profile"):
        async with simulated("moe", Simulate(profile="no-such-profile")):
            pass
