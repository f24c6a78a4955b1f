"""Lines that survive: whole, in order, and never lost while the process lives."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from synthetic import Run

from swarm.recording.appender import SLICE_BYTES, Appender, RecordFile, RecordingError
from swarm.recording.records import AnyRecord, Attempt, Record, ServerSample


def flush(file: Appender | RecordFile) -> int:
    return sum(1 for _ in file.flush())


def test_a_record_becomes_one_line_that_reads_back_as_the_same_record(tmp_path: Path) -> None:
    attempt = Run().stage().attempt(1.0, agent=3, message="line\nbreak 'é' \x00")
    file = RecordFile(tmp_path / "events.jsonl", Record)
    file.add(attempt)
    file.close()
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert len(lines) == 1
    assert msgspec.json.decode(lines[0], type=AnyRecord) == attempt


def test_the_line_has_the_fields_that_the_format_promises(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "events.jsonl", Record)
    file.add(Run().stage(agents=4, trial=2).attempt(1.0, agent=3))
    file.close()
    line = json.loads((tmp_path / "events.jsonl").read_text())
    promised = {"v": 1, "type": "attempt", "run": "r", "shard": 0, "target": "moe", "agents": 4, "trial": 2, "agent": 3}
    assert promised.items() <= line.items()
    assert {"id", "parent", "t_ns"} <= line.keys()
    assert line["chunks"] == [200_000_000, 100_000_000, 100_000_000, 100_000_000, 100_000_000]


def test_a_file_takes_only_the_kinds_that_it_is_for(tmp_path: Path) -> None:
    run = Run()
    stage = run.stage()
    stage.server(1.0, running=3)
    file = RecordFile(tmp_path / "server.jsonl", ServerSample)
    for record in run.published:
        file.add(record)
    file.close()
    (line,) = map(json.loads, (tmp_path / "server.jsonl").read_text().splitlines())
    assert line["metrics"] == {"running": 3}
    assert {"v", "t_ns", "target", "agents", "trial", "border"} <= line.keys()


def test_chunk_stamps_can_be_left_out_without_changing_the_record_for_others(tmp_path: Path) -> None:
    attempt = Run().stage().attempt(1.0)
    file = RecordFile(tmp_path / "events.jsonl", Record, chunks=False)
    file.add(attempt)
    file.close()
    kept = msgspec.json.decode((tmp_path / "events.jsonl").read_bytes(), type=AnyRecord)
    assert isinstance(kept, Attempt)
    assert (kept.chunks, kept.chunk_tokens, kept.completion_tokens) == (None, None, 10)
    assert attempt.chunks is not None


def test_a_lone_surrogate_in_a_servers_error_text_is_replaced_not_fatal(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "events.jsonl", Record)
    file.add(Run().stage().failed(1.0, 2.0, message="bad \ud800 text"))
    file.close()
    assert json.loads((tmp_path / "events.jsonl").read_text())["message"] == "bad ? text"


def test_nothing_is_written_before_the_flush_and_everything_after_it(tmp_path: Path) -> None:
    file = Appender(tmp_path / "lines")
    file.add(b"one")
    assert (tmp_path / "lines").read_bytes() == b""
    flush(file)
    assert (tmp_path / "lines").read_bytes() == b"one\n"
    file.close()


def test_a_large_flush_is_cut_into_small_writes(tmp_path: Path) -> None:
    file = Appender(tmp_path / "lines")
    for _ in range(300):
        file.add(b"x" * 1023)
    assert flush(file) == math.ceil(300 * 1024 / SLICE_BYTES) == 5
    assert (tmp_path / "lines").stat().st_size == 300 * 1024
    file.close()


def test_a_full_disk_is_an_error_and_what_could_not_be_written_comes_with_the_next_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes 5 bytes, then none, then all: no byte is lost, and none is written twice."""
    write, room = os.write, [5]

    def nearly_full(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, bytes(data)[: room.pop()])

    file = Appender(tmp_path / "events.jsonl")
    for line in (b"first", b"second"):
        file.add(line)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(RecordingError, match=r"events\.jsonl: cannot be written: No space left .* 8 bytes"):
            flush(file)
        assert (tmp_path / "events.jsonl").read_bytes() == b"first"
        file.add(b"third")
    file.close()
    assert (tmp_path / "events.jsonl").read_bytes() == b"first\nsecond\nthird\n"


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("precious")
    with pytest.raises(RecordingError, match=r"events\.jsonl: cannot be created: File exists"):
        Appender(tmp_path / "events.jsonl")
    assert (tmp_path / "events.jsonl").read_text() == "precious"


def test_a_killed_process_leaves_every_flushed_line_whole(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal, pathlib\n"
        "from swarm.recording.appender import Appender\n"
        "file = Appender(pathlib.Path(sys.argv[1]))\n"
        "for number in range(20000):\n"
        "    file.add(b'line %08d' % number)\n"
        "for _ in file.flush(): pass\n"
        "file.add(b'never flushed')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "lines")], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "lines").read_bytes() == b"".join(b"line %08d\n" % number for number in range(20000))
