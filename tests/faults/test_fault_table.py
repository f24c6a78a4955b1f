"""docs/faults.md against real runs: for each fault its kind, its words, the verdict and the exit code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import PROFILE, REPLY_TOKENS, called, records, results, swarm, write_project

from swarm.simulator.server.faults import MEANING

pytestmark = pytest.mark.realtime

PAGE = (Path(__file__).parents[2] / "docs/faults.md").read_text()
FIELDS = ("kind", "does", "counted", "seen", "stage", "exit")
TABLE = {
    row[0]: dict(zip(FIELDS, row, strict=True))
    for row in re.findall(r"^\| `(.+?)` " + r"\| (.+?) " * 5 + r"\|$", PAGE, re.M)
}
ONE_BY_ONE = [
    {"kind": "rate-limit"},
    {"kind": "server-error"},
    {"kind": "loading"},
    {"kind": "reset"},
    {"kind": "reset", "tokens": 5},
    {"kind": "truncate"},
    {"kind": "malformed-sse"},
    {"kind": "malformed-json"},
    {"kind": "in-band-error"},
    {"kind": "no-finish", "tokens": None},
]
HARMLESS = [
    {"kind": "crlf"},
    {"kind": "multi-token", "tokens": REPLY_TOKENS},
    {"kind": "tool-calls"},
    {"kind": "reasoning"},
    {"kind": "latency", "duration": "300ms"},
    {"kind": "stall", "duration": "1s"},
    {"kind": "drip", "duration": "50ms"},
]
SPACING = 4
"""Requests from one fault to the next: a whole job lies between, which has three, so that the agent need not wait."""


def one_after_another(faults):
    return [
        {name: value for name, value in fault.items() if value is not None} | {"at": [SPACING * number]}
        for number, fault in enumerate(faults, 1)
    ]


def target(name, faults):
    return {"name": name, "architecture": "moe", "simulate": {"profile": PROFILE, "faults": faults}}


def words(kind):
    """What a row says that a user reads; empty where it says in its own words what a number shows."""
    return TABLE[kind]["seen"].strip('"') if TABLE[kind]["seen"].startswith('"') else ""


def test_the_page_has_every_fault_and_says_of_each_what_the_simulator_says():
    assert {kind: row["does"] for kind, row in TABLE.items()} == MEANING
    assert {(row["stage"], row["exit"]) for row in TABLE.values()} == {("valid", "0"), ("invalid", "3")}


@pytest.fixture(scope="module", params=["direct", "litellm"])
def broken(request, tmp_path_factory):
    """One agent that meets each failure once, one after another; the run stops when all have been met."""
    faults = one_after_another(ONE_BY_ONE)
    project = write_project(
        tmp_path_factory.mktemp(request.param),
        targets=[target("moe", faults)],
        route=request.param,
        agents={"levels": [1], "system_tokens": 1500, "context": "4k"},
        stage={"warmup": "0s", "duration": "90s", "trials": 1},
        budget={"requests": SPACING * len(ONE_BY_ONE) + 4},
    )
    return swarm("run", "small.yaml", "--out", "broken", cwd=project), project / "broken"


def test_every_failure_is_counted_as_the_page_says_in_the_words_that_it_shows(broken):
    done, directory = broken
    attempts = records(directory, "attempt")
    for number, fault in enumerate(ONE_BY_ONE, 1):
        attempt, row = attempts[SPACING * number - 1], TABLE[fault["kind"]]
        assert attempt.get("error") == row["counted"], (fault, attempt)
        assert words(fault["kind"]) in attempt["message"]
        assert row["stage"] == "invalid"
    failed = [attempt for attempt in attempts if attempt.get("error")]
    assert len(failed) == len(ONE_BY_ONE)
    assert done.returncode == 3, done.stderr
    assert f"requests failed: {len(failed)} of" in re.sub(r"\s+", " ", done.stdout)


def test_what_was_measured_before_a_failure_is_kept(broken):
    _, directory = broken
    attempts = records(directory, "attempt")
    arrived = [len(attempts[SPACING * number - 1].get("chunks") or []) for number in range(1, len(ONE_BY_ONE) + 1)]
    assert arrived == [0, 0, 0, 0, 5, 3, 3, 3, 3, REPLY_TOKENS]
    cut = attempts[SPACING * 5 - 1]
    assert (cut["completion_tokens"], cut["first_token_ns"] is None) == (5, False)
    (stage,) = results(directory)["targets"][0]["stages"]
    seen = [attempt for attempt in attempts if attempt.get("first_token_ns") is not None]
    complete = [attempt for attempt in attempts if not attempt.get("error") and not attempt.get("aborted")]
    assert stage["latency"]["ttft_s"]["count"] == len(seen)
    assert stage["latency"]["itl_s"]["count"] == sum(len(attempt["chunks"]) - 1 for attempt in seen)
    assert stage["latency"]["e2e_s"]["count"] == len(complete)
    assert sum(stage["errors"].values()) == len(ONE_BY_ONE)
    assert stage["finish_reasons"] == {"length": len(complete)}
    assert stage["jobs"]["outcomes"]["error"] == len(ONE_BY_ONE)


@pytest.fixture(scope="module", params=["direct", "litellm"])
def odd(request, tmp_path_factory):
    """One agent that meets everything unusual that is no failure, in a window of its own."""
    project = write_project(
        tmp_path_factory.mktemp(request.param),
        targets=[target("moe", one_after_another(HARMLESS))],
        route=request.param,
        agents={"levels": [1], "system_tokens": 1500, "context": "4k"},
        stage={"warmup": "0s", "duration": "6s", "trials": 1},
    )
    return swarm("run", "small.yaml", "--out", "odd", cwd=project), project / "odd"


def test_what_is_only_unusual_is_read_and_the_run_is_valid(odd):
    done, directory = odd
    attempts = records(directory, "attempt")
    for number, fault in enumerate(HARMLESS, 1):
        attempt, row = attempts[SPACING * number - 1], TABLE[fault["kind"]]
        assert (row["counted"], row["stage"]) == ("success", "valid")
        assert (attempt.get("error"), attempt["completion_tokens"]) == (None, REPLY_TOKENS), fault
    assert done.returncode == 0, done.stdout + done.stderr


def test_unusual_streams_have_the_ttft_and_the_gaps_that_they_had(odd):
    _, directory = odd
    attempts = records(directory, "attempt")
    met = {fault["kind"]: attempts[SPACING * number - 1] for number, fault in enumerate(HARMLESS, 1)}
    in_ms = {kind: [gap / 1e6 for gap in attempt["chunks"]] for kind, attempt in met.items()}
    assert {kind: len(chunks) for kind, chunks in in_ms.items()} == {
        kind: 1 if kind == "multi-token" else REPLY_TOKENS for kind in in_ms
    }
    assert met["multi-token"]["first_token_ns"] == met["multi-token"]["end_ns"]  # and not when the role came
    assert met["tool-calls"]["tool_calls"] == 1
    assert in_ms["latency"][0] > 300
    assert 950 < max(in_ms["stall"][1:]) < 1500
    assert all(gap > 40 for gap in in_ms["drip"][1:])
    itl = results(directory)["targets"][0]["stages"][0]["latency"]["itl_s"]
    assert 0.95 < itl["max"] < 1.5


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """Two agents against servers that are broken for good, and one that crashes and comes back."""
    faults = {
        "silent": [{"kind": "no-usage"}],
        "liar": [{"kind": "lying-usage"}],
        "hung": [{"kind": "hang", "rate": "50%", "seed": 2}],
        "mortal": [{"kind": "crash", "at": [8], "duration": "500ms"}],
        "dead": [{"kind": "server-error"}],
    }
    project = write_project(
        tmp_path_factory.mktemp("lasting"),
        targets=[target(name, listed) for name, listed in faults.items()],
        agents={"levels": [2], "system_tokens": 1500, "context": "4k"},
        stage={"warmup": "200ms", "duration": "3500ms", "trials": 1},
    )
    done = swarm("run", "small.yaml", "--out", "lasting", cwd=project)
    return done, project / "lasting"


def stage_of(lasting, name):
    (found,) = (entry["stages"][0] for entry in results(lasting[1])["targets"] if entry["name"] == name)
    return found


def test_servers_that_are_broken_for_good_are_exit_3_each_with_its_reason(lasting):
    done, _ = lasting
    assert done.returncode == 3, done.stderr
    for name, kind in (("silent", "no-usage"), ("liar", "lying-usage"), ("hung", "hang"), ("mortal", "crash")):
        stage = stage_of(lasting, name)
        assert not stage["valid"]
        assert words(kind) in " ".join(stage["invalid_reasons"]), name
        assert TABLE[kind]["stage"] == "invalid"


def test_replies_without_usage_and_with_wrong_usage_are_no_errors_but_no_numbers_either(lasting):
    for name in ("silent", "liar"):
        assert stage_of(lasting, name)["errors"] == {}
    silent = stage_of(lasting, "silent")
    assert silent["throughput"]["output_tokens_per_s"] is None
    assert [agent["output_tokens_per_s"] for agent in silent["per_agent"]] == [None, None]


def test_a_server_that_leaves_half_of_the_requests_hanging_is_never_valid(lasting):
    stage = stage_of(lasting, "hung")
    assert (stage["valid"], stage["errors"]) == (False, {})
    attempts = [each for each in records(lasting[1], "attempt") if each["target"] == "hung"]
    assert [each.get("aborted") for each in attempts[-2:]] == [True, True]


def test_a_crash_is_survived_and_said_and_what_came_before_and_after_is_there(lasting):
    attempts = [each for each in records(lasting[1], "attempt") if each["target"] == "mortal"]
    kinds = [each.get("error") for each in attempts]
    first = next(index for index, kind in enumerate(kinds) if kind)
    assert first >= 6
    last = max(index for index, kind in enumerate(kinds) if kind)
    assert set(kinds[first : last + 1]) - {None} <= set(TABLE["crash"]["counted"].split(", "))
    back = [each for each in attempts[last + 1 :] if each.get("cached_tokens") is not None]
    assert back
    assert back[0]["cached_tokens"] < 100  # the cache died with the server
    assert stage_of(lasting, "mortal")["latency"]["ttft_s"]["count"] > 8


def test_a_hundred_percent_of_failed_requests_is_never_a_success(lasting):
    stage = stage_of(lasting, "dead")
    failed = stage["errors"]["server_error"]
    assert failed > 2
    assert stage["latency"]["e2e_s"]["count"] == 0
    assert any(f"requests failed: {failed} of {failed} (100%" in reason for reason in stage["invalid_reasons"])


@pytest.mark.parametrize("kind", ["server-error", "no-finish"])
def test_a_server_that_fails_from_the_beginning_is_exit_5_before_any_load(tmp_path, kind):
    command = [sys.executable, "-m", "swarm.simulator", f"--profile={PROFILE}", f'--faults=[{{"kind": "{kind}"}}]']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            base = server.stdout.readline().removeprefix("listening on ").strip() + "/v1"
            project = write_project(tmp_path)
            mine = json.dumps([{"name": "mine", "architecture": "moe", "api_base": base}])
            done = called("run", "small.yaml", "--set", f"targets={mine}", "--out", "never", cwd=project)
        finally:
            server.terminate()
    assert done.returncode == 5
    assert words(kind) in done.stderr
    assert not (project / "never").exists()
