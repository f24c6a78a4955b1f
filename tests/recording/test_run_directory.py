"""The run directory: made once, never overwritten, its whole files whole."""

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from swarm.errors import ExitCode, UsageError
from swarm.recording import rundir

STARTED = datetime(2026, 1, 2, 4, 4, 5, tzinfo=timezone(timedelta(hours=1)))


def test_without_a_name_it_lies_under_runs_with_a_utc_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert rundir.create("four-agents", STARTED) == Path("runs/four-agents-20260102T030405Z")
    assert (tmp_path / "runs/four-agents-20260102T030405Z").is_dir()


def test_two_runs_in_the_same_second_get_two_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [rundir.create("a", STARTED).name for _ in range(3)]
    assert names == ["a-20260102T030405Z", "a-20260102T030405Z-2", "a-20260102T030405Z-3"]


def test_a_given_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    assert rundir.create("a", STARTED, tmp_path / "x" / "y") == tmp_path / "x" / "y"
    assert (tmp_path / "x" / "y").is_dir()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_exists_is_never_overwritten(tmp_path: Path, make: object) -> None:
    make(tmp_path / "there")  # type: ignore[operator]
    with pytest.raises(
        UsageError, match="there: exists already, and a run never overwrites; choose another --out"
    ) as error:
        rundir.create("a", datetime.now(UTC), tmp_path / "there")
    assert error.value.exit_code is ExitCode.USAGE


def test_a_place_that_cannot_be_written_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made: Not a directory; choose a writable place with --out"):
        rundir.create("a", STARTED, tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_place_is_found_before_the_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be made: Permission denied"):
        rundir.create("a", STARTED, tmp_path / "run")


def test_json_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    rundir.write_results(tmp_path, {"a": 1})
    rundir.write_results(tmp_path, {"a": None, "text": "é"})
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": None, "text": "é"}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_failed_write_keeps_the_old_text_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rundir.write_results(tmp_path, {"old": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"results\.json: cannot be written: No space left on device"):
        rundir.write_results(tmp_path, {"new": 1})
    assert json.loads((tmp_path / "results.json").read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_infinity_and_nan_never_reach_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        rundir.write_json(tmp_path / "x.json", {"a": float("inf")})
