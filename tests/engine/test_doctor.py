"""The doctor, against a simulated server and with drives shortened."""

import io
import json
from functools import partial
from types import SimpleNamespace

import pytest

from swarm.analysis.trial.client import Use
from swarm.commands import doctor
from swarm.commands.doctor import Drive, Finding, Parts, findings_as_json, report_health
from swarm.errors import BackendError, UsageError
from swarm.scenario.schema import ClientSettings
from swarm.simulator.profiles import profiles
from swarm.simulator.server.server import start

SHORT = Parts(streams=(1, 2), drive=partial(doctor._drive, seconds=0.05, reply_tokens=10))


def drive(streams, timing_error_s=0.00005, cpu_share=0.2, cpu_s_per_token=50e-6, tokens_per_s=None, use=None):
    came = 100.0 * streams if tokens_per_s is None else tokens_per_s
    return Drive(streams, timing_error_s, 0.0005, cpu_share, cpu_s_per_token, came, "kernel", use)


def told(*drives):
    return [(finding.ok, finding.text) for finding in doctor._capacity(drives, ClientSettings())]


@pytest.mark.parametrize("path", ["/v1", ""])
async def test_it_tells_what_the_machine_can_drive_and_what_a_server_honours(path):
    server = await start(profiles.load("moe-30b-a3b-awq-1x3090"))
    out = io.StringIO()
    try:
        await report_health(server.url + path, "direct", out, SHORT)
    finally:
        await server.close()
    said = out.getvalue().splitlines()
    assert said[:4] == [
        f"Server {server.url}{path}",
        "  ok    serves moe-30b-a3b-awq-1x3090, context 32,768 tokens",
        "  ok    supports token counts, token counts with every chunk, pinned reply lengths, tools, tool choice, "
        "cached prompt tokens, /metrics",
        "",
    ]
    rows = [line for line in said if " ms " in line and " us" in line]
    assert [row.split()[1] for row in rows] == ["1", "2"]
    assert said[-1] in ("No problems found.", "1 problem to fix.")


async def first_findings(number, open_sandbox):
    """Without the headings."""
    found = []
    async for finding in doctor.diagnose(None, "direct", Parts(open_sandbox=open_sandbox)):
        found += [finding] if isinstance(finding, Finding) else []
        if len(found) == number:
            return found
    raise AssertionError(f"only {found}")


async def test_it_says_that_the_sandbox_works():
    found = (await first_findings(3, lambda: SimpleNamespace(notes=[])))[2]
    assert (found.ok, found.text) == (True, "the sandbox for code that a model writes works")


async def test_it_says_why_there_is_no_sandbox_and_that_is_no_failure():
    def refuse():
        raise UsageError("code cannot be isolated here: bwrap: No permissions to create new namespace")

    found = (await first_findings(3, refuse))[2]
    assert found.ok is None  # everything but `driver: model` works without
    assert found.text.startswith("no sandbox for code that a model writes (driver: model): ")
    assert "No permissions to create new namespace" in found.text


async def test_a_server_that_is_not_there_and_an_unknown_route_are_errors():
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        await report_health("http://127.0.0.1:9/v1", "direct", io.StringIO())
    with pytest.raises(UsageError, match="URL: expected an address such as http://"):
        await report_health("notaurl", "direct", io.StringIO())
    with pytest.raises(UsageError, match="--route carrier-pigeon"):
        await report_health(None, "carrier-pigeon", io.StringIO())


def test_the_capacity_is_what_the_cpu_limit_allows_at_the_cost_of_a_token():
    assert told(drive(8), drive(32), drive(128)) == [
        (
            True,
            "one process can accurately drive about 320 agents at 50 tok/s, 160 agents at 100 tok/s, 80 agents at "
            "200 tok/s: 80% of a core; 12,800 tok/s of 128 agents were read with a timing error of 0.05 ms and 20% of "
            "a core",
        )
    ]


def test_beyond_a_step_that_took_too_much_cpu_nothing_is_promised_and_the_numbers_are_those_of_the_step_before():
    assert told(drive(8), drive(32, timing_error_s=0.00007, cpu_share=0.5), drive(128, cpu_share=0.9)) == [
        (
            True,
            "one process can accurately drive about 64 agents at 50 tok/s, 32 agents at 100 tok/s, 16 agents at "
            "200 tok/s: 3,200 tok/s of 32 agents were read with a timing error of 0.07 ms and 50% of a core",
        )
    ]


def test_times_that_were_wrong_with_cpu_to_spare_are_something_to_put_right():
    promised, (ok, text) = told(drive(8), drive(32, timing_error_s=0.2))
    assert promised[1].startswith("one process can accurately drive about 16 agents at 50 tok/s")
    assert (ok, text) == (
        False,
        "32 agents are too many now (tried twice): timing error 200 ms, 20% of a core: something on "
        "this machine slows it down",
    )


def test_other_processes_are_named_as_the_cause_or_as_what_takes_room():
    busy = Use(own=0.2, others=1.25, cores=2)
    *_, (ok, text) = told(drive(8), drive(32, timing_error_s=0.02, use=busy))
    assert not ok
    assert text.endswith("20% of a core: other programs used 1.2 of 2 cores meanwhile; close them and run doctor again")
    assert told(drive(8), drive(128, use=busy))[1] == (
        None,
        "other programs used 1.2 of 2 cores meanwhile: without them more agents may be possible",
    )
    assert len(told(drive(8), drive(128, use=Use(own=0.2, others=0.4, cores=2)))) == 1


def test_a_machine_that_drives_nothing_honestly_fails():
    ((ok, text),) = told(drive(8, cpu_share=0.9))
    assert not ok
    assert text.startswith("8 agents are too many now (tried twice): ")


@pytest.mark.parametrize(("bad", "shown"), [({2}, "ok ok ok"), ({2, 3}, "ok note")])
async def test_a_step_that_failed_is_tried_once_more_and_no_larger_one_after_it_failed_again(bad, shown):
    tried = []

    async def drive_of(*_: object) -> Drive:
        tried.append(0.02 if len(tried) + 1 in bad else 0.00005)
        return drive(8, timing_error_s=tried[-1])

    out = io.StringIO()
    healthy = await report_health(None, "direct", out, Parts(streams=(1, 2, 3), drive=drive_of))
    rows = [line.split()[0] for line in out.getvalue().splitlines() if " us" in line]
    assert " ".join(rows) == shown
    assert len(tried) == (4 if len(bad) == 1 else 3)
    assert healthy == (len(bad) == 1)
    assert ("No problems found." in out.getvalue()) == healthy


def test_a_server_that_could_not_keep_up_is_said():
    """128 agents should have brought 12,800 tok/s."""
    assert told(drive(128, tokens_per_s=11_600))[1:] == []
    assert told(drive(128, tokens_per_s=11_400))[1:] == [
        (None, "the simulated server could not keep up, so more agents may be possible")
    ]


async def test_the_findings_are_there_as_json_too():
    async def drive_of(*_: object) -> Drive:
        return drive(8)

    out = io.StringIO()
    assert await findings_as_json(None, "direct", out, Parts(streams=(1,), drive=drive_of))
    found = json.loads(out.getvalue())["findings"]
    assert {one["ok"] for one in found} <= {True, None}
    assert any("chunks are stamped" in one["text"] for one in found)
