"""Run directories are read as they are found, torn, damaged or newer: what cannot be read is left out, and said."""

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from as_json import analyse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from synthetic import Run
from typer.testing import CliRunner

from swarm.analysis.plan import Limits, Plan, Target, plan_from
from swarm.analysis.read import Notes, read_events, read_histograms, read_plan, read_server
from swarm.cli import app
from swarm.errors import UsageError
from swarm.exporter.replay import openmetrics
from swarm.recording import rundir
from swarm.recording.records import Attempt, ServerSample


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    run = Run()
    stage = run.healthy()
    stage.server(1.0, running=1.0)
    stage.server(2.0, running=2.0)
    return run.write(tmp_path / "run")


def edit(path: Path, change: Any) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def read(directory: Path) -> tuple[int, Notes]:
    notes = Notes()
    return sum(1 for _ in read_events(directory, notes)), notes


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = Run()
    run.healthy()
    directory = run.write(tmp_path / "run")
    assert list(read_events(directory, Notes())) == run.published


def test_server_samples_come_back_with_what_was_no_number_as_null(directory: Path) -> None:
    edit(directory / rundir.SERVER, lambda lines: lines.append(lines[-1].replace(b"2.0", b"null")))
    samples = list(read_server(directory, Notes()))
    assert [sample.metrics for sample in samples] == [{"running": 1.0}, {"running": 2.0}, {"running": None}]
    assert isinstance(samples[0], ServerSample)
    assert analyse(directory)["targets"][0]["stages"][0]["achieved"]["server_running_mean"] == 1.5


def test_a_torn_last_line_is_left_out_and_said(directory: Path) -> None:
    whole, _ = read(directory)
    edit(directory / rundir.EVENTS, lambda lines: lines.append(lines[-1][:20]))
    assert read(directory) == (
        whole,
        {"the last line of events.jsonl is torn, as the run broke off; it is left out": 1},
    )


def test_a_last_line_that_only_lacks_its_end_is_read(directory: Path) -> None:
    whole, _ = read(directory)
    edit(directory / rundir.EVENTS, lambda lines: lines.append(lines.pop().rstrip(b"\n")))
    assert read(directory) == (whole, {})


def test_unknown_types_and_newer_versions_are_left_out_and_counted(directory: Path) -> None:
    whole, _ = read(directory)
    strange = [b'{"v":1,"type":"weather","t_ns":1}\n', b'{"v":1,"type":"weather"}\n', b'{"v":9,"type":"attempt"}\n']
    edit(directory / rundir.EVENTS, lambda lines: lines.__setitem__(slice(3, 3), strange))
    assert read(directory) == (
        whole,
        {
            "lines of events.jsonl of the unknown type 'weather' are left out": 2,
            "lines of events.jsonl in the newer format 9 are left out; upgrade swarm to read them": 1,
        },
    )
    assert analyse(directory)["notes"] == [
        "lines of events.jsonl in the newer format 9 are left out; upgrade swarm to read them",
        "lines of events.jsonl of the unknown type 'weather' are left out (2)",
    ]


def test_a_newer_record_that_can_be_read_is_read_and_said(directory: Path) -> None:
    whole, _ = read(directory)

    def newer(lines: list[bytes]) -> None:
        lines[2] = json.dumps(json.loads(lines[2]) | {"v": 2, "novelty": [1]}).encode() + b"\n"

    edit(directory / rundir.EVENTS, newer)
    assert read(directory) == (whole, {"lines of events.jsonl in the newer format 2 are read as format 1": 1})


HUGE = b"9" * 30
DAMAGE = [
    *(b"{\n", b"garbage\n", b"\n", b"\x00" * 600 + b"\n", b"\x00\xff\xfe\n", b"[1]\n", b'"\xc3\x28"\n'),
    *(b'{"v":1}\n', b"3\n", b"null\n", b"[" * 100_000 + b"\n"),
]


@pytest.mark.parametrize("name", [rundir.EVENTS, rundir.SERVER])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_costs_that_line_and_is_counted_and_told(directory: Path, name: str, damage: bytes) -> None:
    before = analyse(directory)
    edit(directory / name, lambda lines: lines.__setitem__(slice(1, 1), [damage, damage]))
    after = analyse(directory)
    assert before["lines_left_out"] == 0
    assert after.pop("lines_left_out") == 2
    assert after.pop("notes") == [f"damaged lines of {name} are left out, the first of them {name}:2 (2)"]
    assert after == {key: value for key, value in before.items() if key not in ("notes", "lines_left_out")}


@pytest.mark.parametrize("key", ["t_ns", "agents", "trial", "shard", "end_ns", "chunks", "prompt_tokens", "cpu_ns"])
@pytest.mark.parametrize("number", [HUGE, b"-" + HUGE, b"1" + b"0" * 5000, b"1e400"])
def test_a_huge_number_costs_its_line(directory: Path, key: str, number: bytes) -> None:
    def spoil(lines: list[bytes]) -> None:
        at = next(at for at, line in enumerate(lines) if f'"{key}":'.encode() in line and b'"type":"stage"' not in line)
        lines[at] = re.sub(rb'("%s":)(\[?)-?[0-9]+' % key.encode(), rb"\1\2REPLACED", lines[at])
        lines[at] = lines[at].replace(b"REPLACED", number)

    edit(directory / rundir.EVENTS, spoil)
    assert analyse(directory)["lines_left_out"] == 1


@pytest.mark.parametrize("name", [rundir.EVENTS, rundir.SERVER])
def test_lines_of_a_target_that_the_run_has_not_break_no_series(directory: Path, name: str) -> None:
    edit(directory / name, lambda lines: lines.append(lines[0].replace(b'"moe"', b'"moo"')))
    text = "".join(openmetrics(directory))
    assert 'target="moe"' in text
    assert "moo" not in text


def test_a_run_with_damaged_lines_is_reported_with_a_note_everywhere(directory: Path) -> None:
    edit(directory / rundir.EVENTS, lambda lines: lines.insert(4, b"garbage\n"))
    said = "damaged lines of events.jsonl are left out, the first of them events.jsonl:5"
    told = CliRunner().invoke(app, ["report", str(directory)])
    assert told.exit_code in (0, 3)
    assert f"note: {said}" in " ".join(told.stdout.split())
    assert said in (directory / rundir.REPORT).read_text()
    assert said in CliRunner().invoke(app, ["report", str(directory), "--markdown"]).stdout


@pytest.mark.parametrize(
    "damage",
    [
        *(b"Tag=moe:1:1:ttft,1,1,1,HISTFAAA\n", b"Tag=moe:1,1\n", b"Tag=moe:x:1:ttft,0,1,1,AAAA\n"),
        *(b"#[OutOfRange: x]\n", b"\x00\x00\n", b"\xff\n", b"garbage\n", b"Tag=moe:" + HUGE * 200 + b":1:x,1,1,1,A\n"),
    ],
)
def test_a_damaged_line_of_the_interval_log_costs_that_line(directory: Path, damage: bytes) -> None:
    before = analyse(directory)["targets"]
    edit(directory / rundir.HISTOGRAMS, lambda lines: lines.insert(5, damage))
    after = analyse(directory)
    said = "damaged lines of histograms.hlog are left out, the first of them histograms.hlog:6"
    assert (after["targets"], after["notes"], after["lines_left_out"]) == (before, [said], 1)


def test_a_torn_interval_log_is_read_up_to_its_end(directory: Path) -> None:
    def tear(lines: list[bytes]) -> None:
        lines[-1] = lines[-1][:60]

    edit(directory / rundir.HISTOGRAMS, tear)
    notes = Notes()
    assert read_histograms(directory, notes)
    assert notes == {"the last line of histograms.hlog is torn, as the run broke off; it is left out": 1}


def test_values_out_of_the_histograms_range_are_said(tmp_path: Path) -> None:
    run = Run()
    stage = run.stage()
    stage.tool(1.0, 0.5)
    results = analyse(run.write(tmp_path / "run"))
    assert results["notes"] == ["values of moe:1:1:tool outside 1 us .. 1 h are left out of its distribution"]


def test_foreign_lines_of_an_interval_log_are_passed_over(directory: Path) -> None:
    before = read_histograms(directory, Notes())
    edit(directory / rundir.HISTOGRAMS, lambda lines: lines.insert(4, b"# a comment\n"))
    assert read_histograms(directory, Notes()) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (rundir.SCENARIO, "is .* a run directory?"),
        (rundir.EVENTS, "the run directory is not whole without it"),
        (rundir.HISTOGRAMS, "the run directory is not whole without it"),
    ],
)
def test_a_directory_without_its_files_is_no_run_directory_or_not_a_whole_one(
    directory: Path, name: str, said: str
) -> None:
    (directory / name).unlink()
    with pytest.raises(UsageError, match=f"{name}: cannot be read: No such file or directory; {said}"):
        analyse(directory)


@pytest.mark.parametrize("text", [None, "{}", '{"predicted": 0}'])
def test_a_run_that_does_not_say_whether_it_was_measured_or_predicted_is_refused(
    directory: Path, text: str | None
) -> None:
    path = directory / rundir.ENVIRONMENT
    path.unlink() if text is None else path.write_text(text)
    said = "cannot be read: No such file" if text is None else "does not say whether the run was measured or predicted"
    with pytest.raises(UsageError, match=f"environment.json: {said}"):
        analyse(directory)


def test_a_run_without_server_metrics_is_read(directory: Path) -> None:
    (directory / rundir.SERVER).unlink()
    results = analyse(directory)
    assert results["targets"][0]["stages"][0]["achieved"]["server_running_mean"] is None


@pytest.mark.parametrize("text", ["- 1", "{", "name: x", "targets: 3\nname: x", "\x00"])
def test_a_scenario_that_is_not_resolved_is_an_error(directory: Path, text: str) -> None:
    (directory / rundir.SCENARIO).write_text(text)
    with pytest.raises(UsageError, match="scenario"):
        read_plan(directory)


def test_a_damaged_environment_is_an_error(directory: Path) -> None:
    (directory / rundir.ENVIRONMENT).write_text("{")
    with pytest.raises(UsageError, match=r"environment\.json: is damaged: Expecting property name"):
        read_plan(directory)


def test_the_plan_is_what_the_scenario_and_the_environment_say() -> None:
    run = Run(
        targets={"moe": "moe", "dense": "dense"},
        levels=[4, 1],
        trials=3,
        thresholds=["*.agents=1.errors<1"],
        max_error_share="5%",
    )
    served = {"targets": {"dense": {"model": "Qwen3-32B"}}, "started_at": "2026-01-02", "predicted": True}
    assert plan_from(run.scenario(), served) == Plan(
        name="synthetic",
        started_at="2026-01-02",
        predicted=True,
        driver="script",
        targets=(Target("moe", "moe", "moe-30b", 1), Target("dense", "dense", "Qwen3-32B", 1)),
        levels=(1, 4),
        trials=3,
        limits=Limits(max_lag_s=0.005, max_cpu_share=0.8, max_error_share=0.05, real_time=False),
        thresholds=("*.agents=1.errors<1",),
    )


def test_records_of_no_stage_are_said(directory: Path) -> None:
    edit(directory / rundir.EVENTS, lambda lines: lines.pop(0))
    results = analyse(directory)
    assert results["targets"][0]["stages"][0]["status"] == "skipped"
    (note,) = results["notes"]
    assert note.startswith("records of no stage are left out (")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(lost=1_000_000, tail=b"")
@given(lost=st.integers(2, 100_000), tail=st.binary(max_size=20).filter(lambda tail: not set(tail) & set(b"\n}")))
def test_a_run_broken_off_anywhere_still_has_results(directory: Path, lost: int, tail: bytes) -> None:
    """Whatever was cut off, and whatever the disk left of the last line."""
    events = directory / rundir.EVENTS
    whole = events.read_bytes()
    try:
        events.write_bytes(whole[: max(0, len(whole) - lost)] + tail)
        (stage,) = analyse(directory)["targets"][0]["stages"]
    finally:
        events.write_bytes(whole)
    assert not stage["valid"]
    assert any("broke off" in reason or "not run" in reason for reason in stage["invalid_reasons"])


def test_memory_does_not_grow_with_the_number_of_requests(tmp_path: Path) -> None:
    """Reading 4 times as many requests takes some bytes a request more, and not the kilobyte that each of them is."""

    def peak(requests: int) -> int:
        run = Run()
        stage = run.stage(window_s=requests / 10)
        for number in range(requests):
            stage.attempt(number / 10, waits=[0.01] * 50, tokens=50)
        stage.end()
        directory = run.write(tmp_path / str(requests))
        del run, stage
        tracemalloc.start()
        analyse(directory)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(10)  # what is imported or cached at the first use
    assert peak(2000) - peak(500) < 1500 * 60


def test_reading_is_lazy(directory: Path) -> None:
    edit(directory / rundir.EVENTS, lambda lines: lines.insert(4, b"damage\n"))
    records = read_events(directory, Notes())
    assert [type(next(records)).__name__ for _ in range(2)] == ["Stage", Attempt.__name__]
