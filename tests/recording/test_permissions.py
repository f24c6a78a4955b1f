"""Runs, traces and the history are their owner's alone, under any umask; what a person names follows the umask."""

import os
import stat
from datetime import UTC, datetime

import pytest

from swarm.engine.soak_segment import locked
from swarm.recording import history, rundir
from swarm.recording.appender import Appender
from swarm.trace.format import Trace, TraceHeader, TraceWriter, write_trace


@pytest.fixture(autouse=True)
def _loose():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_run_directory_and_all_files_in_it_are_closed(tmp_path):
    directory = rundir.create("x", datetime.now(UTC), tmp_path / "runs" / "x")
    appender = Appender(directory / rundir.EVENTS, part_bytes=1)
    for line in (b"one", b"two"):
        appender.add(line)
        list(appender.flush())
    appender.close()
    rundir.write_whole(directory / rundir.REPORT, "page", private=True)
    for name in (rundir.RESULTS, rundir.ENVIRONMENT, rundir.CHECKPOINT):
        rundir.write_json(directory / name, {})
    assert mode(directory) == 0o700
    files = sorted(directory.rglob("*"))
    assert len(files) >= 6
    assert {path.name: mode(path) for path in files} == {path.name: 0o600 for path in files}


def test_a_run_that_was_left_open_is_closed_when_it_is_gone_on_with(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir(mode=0o755)
    outside = tmp_path / "outside"
    outside.write_text("x")
    (directory / "events.jsonl").write_text("x")
    (directory / "link").symlink_to(outside)
    with locked(directory):
        assert mode(directory) == 0o700
        assert mode(directory / "events.jsonl") == 0o600
        assert mode(outside) == 0o666


def test_a_file_that_is_written_anew_is_closed_whatever_it_was(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("{}")
    rundir.write_json(path, {})
    assert mode(path) == 0o600


def test_traces_are_closed_recorded_or_made_of_others(tmp_path):
    header = TraceHeader(source="recorded", recorded_at=None, content=True)
    TraceWriter(tmp_path / "recorded.jsonl", header).close()
    write_trace(tmp_path / "cut.jsonl", Trace(header, []))
    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}


def test_the_history_is_closed_when_it_is_made(tmp_path):
    path = tmp_path / "history.sqlite"
    entry = history.Entry("1", "2026-01-01T00:00:00+00:00", "n", "run", "valid", False, "d", "s", "h", "v", ())
    history.add(path, entry)
    assert mode(path) == 0o600


def test_what_a_person_names_follows_the_umask(tmp_path):
    rundir.write_whole(tmp_path / "open.html", "page")
    os.umask(0o027)
    rundir.write_whole(tmp_path / "group.html", "page")
    assert (mode(tmp_path / "open.html"), mode(tmp_path / "group.html")) == (0o666, 0o640)
