"""What a job may add to its copy: its calls can be any number in a turn, and each may write 256 kB."""

import pytest

from swarm.agents.workspace import MAX_NEW_ENTRIES, MAX_WRITTEN_BYTES, WorkspaceError

PART = 1 << 20
PARTS = MAX_WRITTEN_BYTES // PART


def size(bench) -> int:
    return sum(path.stat().st_size for path in bench.root.rglob("*") if path.is_file())


async def test_a_job_adds_so_many_bytes_and_is_told_when_it_may_add_no_more(bench):
    before = size(bench)
    for number in range(PARTS):
        bench.workspace.write(f"big/{number}", bytes(PART))
    result = await bench.call("write_file", path="one-more", content="x" * 1000)
    assert not result.ok
    assert f"it would take this job to {MAX_WRITTEN_BYTES + 1000} bytes of the {MAX_WRITTEN_BYTES}" in result.text
    grown = await bench.call("edit_file", path="pkg/code.py", old_text="return 1", new_text="return 1" * 100)
    assert not grown.ok
    assert (bench.root / "pkg/code.py").read_text() == "def f():\n    return 1\n"
    assert size(bench) - before == MAX_WRITTEN_BYTES
    # What frees space, or takes none, still works, and so does what fits again.
    assert (await bench.call("edit_file", path="pkg/code.py", old_text="return 1", new_text="return 2")).ok
    bench.workspace.write("big/0", b"")
    assert (await bench.call("write_file", path="one-more", content="x" * 1000)).ok


async def test_writing_a_file_again_and_again_takes_no_more_than_the_file(bench):
    for _ in range(PARTS + 5):
        bench.workspace.write("same", bytes(PART))
    assert (await bench.call("write_file", path="same", content="x")).ok


async def test_a_job_makes_so_many_files_and_directories(bench):
    folders = MAX_NEW_ENTRIES // 20
    for number in range(folders):
        bench.workspace.write("/".join(map(str, range(number * 19, number * 19 + 19))) + "/x", b"")
    result = await bench.call("write_file", path="one-more", content="")
    assert not result.ok
    assert f"this job has made {MAX_NEW_ENTRIES} files and directories" in result.text
    with pytest.raises(WorkspaceError):
        bench.workspace.write("a/new/directory/x", b"")
    assert not (bench.root / "a").exists()
    assert (await bench.call("write_file", path="README.md", content="changed")).ok


async def test_every_job_has_a_quota_of_its_own(bench, tmp_path):
    bench.workspace.write("x", bytes(MAX_WRITTEN_BYTES))
    async with bench.toolbox.open(tmp_path / "source") as other:
        assert other.write("x", bytes(PART))
