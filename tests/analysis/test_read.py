"""Run directories are read as they are found: torn, newer, foreign; only damage in their middle is an error."""

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from synthetic import Run

from swarm.analysis.plan import Limits, Plan, Target, plan_from
from swarm.analysis.read import Notes, read_events, read_histograms, read_plan, read_server
from swarm.analysis.results import analyse
from swarm.errors import UsageError
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
    notes: Notes = Counter()
    return sum(1 for _ in read_events(directory, notes)), notes


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = Run()
    run.healthy()
    directory = run.write(tmp_path / "run")
    assert list(read_events(directory, Counter())) == run.published


def test_server_samples_come_back_with_what_was_no_number_as_null(directory: Path) -> None:
    edit(directory / rundir.SERVER, lambda lines: lines.append(lines[-1].replace(b"2.0", b"null")))
    samples = list(read_server(directory, Counter()))
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


@pytest.mark.parametrize(
    "damage", [b"{\n", b"garbage\n", b"\n", b"\x00\xff\xfe\n", b"[1]\n", b'{"type":"attempt","v":1}\n', b'{"v":1}\n']
)
def test_damage_in_the_middle_is_an_error_with_its_line(directory: Path, damage: bytes) -> None:
    edit(directory / rundir.EVENTS, lambda lines: lines.insert(4, damage))
    with pytest.raises(UsageError, match=r"events\.jsonl:5: the line is damaged"):
        analyse(directory)


@pytest.mark.parametrize(
    "damage",
    [b"Tag=moe:1:1:ttft,1,1,1,HISTFAAA\n", b"Tag=moe:1,1\n", b"Tag=moe:x:1:ttft,0,1,1,AAAA\n", b"#[OutOfRange: x]\n"],
)
def test_a_damaged_line_of_the_interval_log_is_an_error_with_its_line(directory: Path, damage: bytes) -> None:
    edit(directory / rundir.HISTOGRAMS, lambda lines: lines.insert(5, damage))
    with pytest.raises(UsageError, match=r"histograms\.hlog:6: the line is damaged"):
        analyse(directory)


def test_a_torn_interval_log_is_read_up_to_its_end(directory: Path) -> None:
    def tear(lines: list[bytes]) -> None:
        lines[-1] = lines[-1][:60]

    edit(directory / rundir.HISTOGRAMS, tear)
    notes: Notes = Counter()
    assert read_histograms(directory, notes)
    assert notes == {"the last line of histograms.hlog is torn, as the run broke off; it is left out": 1}


def test_values_out_of_the_histograms_range_are_said(tmp_path: Path) -> None:
    run = Run()
    stage = run.stage()
    stage.tool(1.0, 0.5)
    results = analyse(run.write(tmp_path / "run"))
    assert results["notes"] == ["values of moe:1:1:tool outside 1 us .. 1 h are left out of its distribution"]


def test_foreign_lines_of_an_interval_log_are_passed_over(directory: Path) -> None:
    before = read_histograms(directory, Counter())
    edit(directory / rundir.HISTOGRAMS, lambda lines: lines.insert(4, b"# a comment\n"))
    assert read_histograms(directory, Counter()) == before


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
    with pytest.raises(UsageError, match="not readable as a run directory"):
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
    records = read_events(directory, Counter())
    assert [type(next(records)).__name__ for _ in range(2)] == ["Stage", Attempt.__name__]
