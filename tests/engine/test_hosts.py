import pytest

from swarm.engine.hosts import is_private, public_hosts
from swarm.scenario.schema import Scenario


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "10.1.2.3", "192.168.0.7", "172.16.0.1", "fd00::1"])
def test_this_machine_and_private_networks_are_loaded_without_asking(host):
    assert is_private(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "172.32.0.1"])
def test_any_other_address_is_public(host):
    assert not is_private(host)


def test_a_name_that_does_not_resolve_is_left_to_the_probe():
    assert is_private("no-such-host.invalid")


def test_public_hosts_of_a_scenario_are_named_once():
    targets = [
        {"name": f"t{number}", "architecture": "moe", "api_base": base}
        for number, base in enumerate(["https://8.8.8.8/v1", "https://8.8.8.8:444/v1", "http://127.0.0.1:8000/v1"])
    ]
    assert public_hosts(Scenario.model_validate({"targets": targets})) == ["8.8.8.8"]
