"""The faults of a simulated target: read, refused and written back."""

import pytest
import yaml

from swarm.errors import ScenarioError
from swarm.scenario.load import dump_scenario, load_faults, load_scenario
from swarm.simulator.server import faults as simulator

SCENARIO = """
targets:
  - name: moe
    architecture: moe
    simulate:
      profile: moe-30b-a3b-awq-1x3090
      faults: {}
"""


@pytest.fixture
def load(tmp_path):
    def load(faults):
        path = tmp_path / "faulty.yaml"
        path.write_text(SCENARIO.replace("{}", faults))
        return load_scenario(path)

    return load


def test_units_are_those_of_a_scenario_and_the_simulator_gets_plain_numbers(load):
    (target,) = load(
        "[{kind: reset, rate: 2%, seed: 1}, {kind: stall, duration: 500ms, at: [3, 4], tokens: 2}]"
    ).targets
    reset, stall = (fault.plain() for fault in target.simulate.faults)
    assert reset == {"kind": "reset", "rate": 0.02, "seed": 1}
    assert stall == {"kind": "stall", "at": [3, 4], "seed": 0, "duration": 0.5, "tokens": 2}
    assert simulator.parse([reset, stall])[1] == simulator.Fault("stall", at=(3, 4), duration=0.5, tokens=2)
    assert "faults" not in target.simulate.overrides()


def test_a_resolved_scenario_has_the_same_faults(load, tmp_path):
    scenario = load("[{kind: crash, rate: 0.5%, count: 1, duration: 5s}, {kind: crlf}]")
    again = tmp_path / "again.yaml"
    again.write_text(dump_scenario(scenario))
    assert load_scenario(again) == scenario
    assert yaml.safe_load(again.read_text())["targets"][0]["simulate"]["faults"][0]["rate"] == "0.5%"


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ("[{kind: rset}]", "faults[0].kind: expected latency or rate-limit"),
        ("[{kind: rset}]", "not 'rset'; did you mean reset?"),
        ("[{rate: 5%}]", "faults[0].kind: missing"),
        ("[{kind: stall, rates: 5%}]", "faults[0].rates: unknown key; did you mean rate?"),
        ("[{kind: stall, rate: 500%}]", "faults[0].rate: expected a share such as 5% or 0.05"),
        ("[{kind: stall, duration: 3}]", "faults[0].duration: expected a duration such as 500ms"),
        ("[{kind: reset, duration: 3s}]", "faults[0]: duration: reset takes none; those that do are latency, "),
        ("[{kind: reset, rate: 1%, at: [4]}]", "faults[0]: rate: not together with `at`"),
        ("[{kind: reset, at: [0]}]", "faults[0].at[0]: expected greater than or equal to 1"),
        ("[crlf]", "faults[0]: expected a valid dictionary"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_its_place(load, faults, message):
    with pytest.raises(ScenarioError, match=r"faulty.yaml:7: targets\[0\].simulate") as refused:
        load(faults)
    assert message in str(refused.value)


def test_faults_without_a_scenario_are_given_as_yaml_or_as_a_file(tmp_path):
    path = tmp_path / "faults.yaml"
    path.write_text("- {kind: reset, rate: 2%}\n- kind: stall\n  duration: 3s\n")
    assert [fault.plain() for fault in load_faults(str(path))] == [
        {"kind": "reset", "rate": 0.02, "seed": 0},
        {"kind": "stall", "duration": 3.0, "seed": 0},
    ]
    assert load_faults("[{kind: reset, rate: 2%}]") == load_faults(str(path))[:1]
    assert load_faults("[]") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("[{kind: rest}]", "--faults:1: faults[0].kind: expected latency or .*did you mean reset?"),
        ("[{kind: stall, rate: 200%}]", "--faults:1: faults[0].rate: expected a share such as 5% or 0.05, not '200%'"),
        ("[{kind: stall, tokns: 3}]", "--faults:1: faults[0].tokns: unknown key; did you mean tokens?"),
        ("{kind: stall}", "--faults:1: faults: expected a valid list, not {'kind': 'stall'}"),
        ("[{kind: stall", "--faults:1: not readable as YAML"),
        ("no-such-file.yaml", "no-such-file.yaml: cannot be read: No such file or directory"),
    ],
)
def test_wrong_faults_without_a_scenario_are_explained_in_the_same_way(given, message):
    with pytest.raises(ScenarioError) as refused:
        load_faults(given)
    begin, _, end = message.partition(".*")
    assert str(refused.value).startswith(begin)
    assert str(refused.value).endswith(end) or not end


def test_the_line_of_a_mistake_in_a_file_of_faults_is_told(tmp_path):
    path = tmp_path / "faults.yaml"
    path.write_text("- {kind: reset, rate: 2%}\n- kind: stall\n  duration: 3\n")
    with pytest.raises(ScenarioError, match=r"faults.yaml:3: faults\[1\].duration: expected a duration"):
        load_faults(str(path))
