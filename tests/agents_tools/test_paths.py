"""No path leads out of the workspace, whatever it is made of and whatever is put in its way."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.agents.workspace import WorkspaceError, split

OUTSIDE = [
    "../outside/secret.txt",
    "../../outside/secret.txt",
    "pkg/../../outside/secret.txt",
    "./pkg/./../../../outside/secret.txt",
    "..",
    "pkg/..",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "~/../outside/secret.txt",
    "..\\outside\\secret.txt",
    "pkg\\..\\..\\secret.txt",
    "\uff0e\uff0e/outside/secret.txt",  # full-width dots
    "\u2025/outside/secret.txt",  # two-dot leader
    "\uff0fetc\uff0fpasswd",  # full-width slashes
    "..\u200b/outside/secret.txt",  # zero-width space
    "\u202e../outside/secret.txt",  # right-to-left override
    "pkg/code.py\x00../../outside/secret.txt",
    "../outside/secret.txt\x00.py",
    "pkg/\n../../outside/secret.txt",
    "\ud800/outside",  # half a character
    "",
    "a/" * 40 + "x",
    "x" * 300,
    "/proc/self/environ",
    "/dev/zero",
    "file:///etc/passwd",
    "%2e%2e/outside/secret.txt",
    "....//outside/secret.txt",
]
TOOLS = {
    "list_files": {},
    "read_file": {},
    "search": {"query": "SECRET", "regex": False},
    "edit_file": {"old_text": "SECRET", "new_text": "changed"},
    "write_file": {"content": "changed\n"},
    "run_tests": {},
}
LINKS = ["link.txt", "linked/secret.txt", "linked/new.txt", "deep/linked/secret.txt", "absolute", "loop", "linked"]


def untouched(outside: Path) -> bool:
    return (outside / "secret.txt").read_text() == "SECRET\n" and os.listdir(outside) == ["secret.txt"]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_paths_that_lead_out_are_refused_by_every_tool(bench, path):
    for tool, more in TOOLS.items():
        if tool == "write_file" and path in {
            "file:///etc/passwd",
            "%2e%2e/outside/secret.txt",
            "....//outside/secret.txt",
        }:
            continue  # odd, but names like any other
        if tool == "run_tests" and path == "":
            continue  # the same as null: all tests
        result = await bench.call(tool, {"path": path, **more})
        assert not result.ok, (tool, result.text)
        assert "SECRET\n" not in result.text
        assert "root:" not in result.text
    assert untouched(bench.outside)


@pytest.mark.parametrize(
    "path", ["file:///etc/passwd", "%2e%2e/outside/secret.txt", "....//outside/secret.txt", "~/x", "C:/x"]
)
async def test_names_that_only_look_special_stay_inside(bench, path):
    assert (await bench.call("write_file", path=path, content="x\n")).ok
    assert untouched(bench.outside)
    inside = [file for file in bench.root.rglob("*") if file.is_file() and file.read_text() == "x\n"]
    assert len(inside) == 1


@pytest.mark.parametrize("path", LINKS)
async def test_links_are_not_followed(bench, path):
    (bench.root / "link.txt").symlink_to("../../../outside/secret.txt")
    (bench.root / "linked").symlink_to(bench.outside)
    (bench.root / "deep").mkdir()
    (bench.root / "deep" / "linked").symlink_to(bench.outside, target_is_directory=True)
    (bench.root / "absolute").symlink_to("/etc/passwd")
    (bench.root / "loop").symlink_to("loop")
    for tool, more in TOOLS.items():
        result = await bench.call(tool, {"path": path, **more})
        assert not result.ok, (tool, result.text)
        assert "SECRET\n" not in result.text
    assert untouched(bench.outside)


async def test_links_in_a_copied_repository_are_not_followed_either(bench, tmp_path):
    (tmp_path / "source" / "evil").symlink_to(bench.outside)
    async with bench.toolbox.open(tmp_path / "source") as workspace:
        bench.workspace = workspace
        assert (workspace.repository / "evil").is_symlink()
        assert not (await bench.call("read_file", path="evil/secret.txt")).ok
        assert "evil -> (link)" in (await bench.call("list_files", path=".")).text
        assert (await bench.call("search", query="SECRET", path=".")).text == "no match for 'SECRET' in ."


async def test_hard_links_are_not_opened(bench):
    os.link(bench.outside / "secret.txt", bench.root / "hard.txt")
    for tool in ("read_file", "edit_file", "write_file"):
        result = await bench.call(tool, {"path": "hard.txt", **TOOLS[tool]})
        assert not result.ok
        assert "hard link" in result.text
    assert untouched(bench.outside)
    assert "no match" in (await bench.call("search", query="SECRET", path=".", regex=False)).text


async def test_pipes_sockets_and_devices_are_not_opened_and_block_nothing(bench):
    os.mkfifo(bench.root / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    here = os.open(bench.root, os.O_RDONLY)
    try:
        listener.bind(f"/proc/self/fd/{here}/socket")
        for path in ("pipe", "socket"):
            for tool in ("read_file", "edit_file", "write_file", "run_tests"):
                assert not (await bench.call(tool, {"path": path, **TOOLS[tool]})).ok
        assert (await bench.call("search", query="x", path=".", regex=False)).ok
    finally:
        os.close(here)
        listener.close()


async def test_a_directory_swapped_for_a_link_between_check_and_use_is_not_followed(bench, monkeypatch):
    real = os.open

    def swap(path, flags, *args, **kwargs):
        if path == "pkg" and not (bench.root / "pkg").is_symlink():
            (bench.root / "pkg").rename(bench.root / "moved")
            (bench.root / "pkg").symlink_to(bench.outside)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap)
    for tool in ("read_file", "edit_file", "write_file"):
        result = await bench.call(tool, {"path": "pkg/secret.txt", **TOOLS[tool]})
        assert not result.ok
        assert "symbolic link" in result.text
    assert untouched(bench.outside)


async def test_a_directory_swapped_after_it_was_opened_keeps_the_work_inside(bench, monkeypatch):
    real = os.open

    def swap(path, flags, *args, **kwargs):
        if path == "code.py" and not (bench.root / "pkg").is_symlink():
            (bench.root / "pkg").rename(bench.root / "moved")
            (bench.root / "pkg").symlink_to(bench.outside)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap)
    result = await bench.call("read_file", path="pkg/code.py")
    assert result.ok
    assert "def f():" in result.text


async def test_a_file_swapped_for_a_link_just_before_it_is_written_is_replaced_not_followed(bench, monkeypatch):
    real = os.replace

    def swap(source, target, **kwargs):
        (bench.root / "pkg" / target).unlink()
        (bench.root / "pkg" / target).symlink_to(bench.outside / "secret.txt")
        real(source, target, **kwargs)

    monkeypatch.setattr(os, "replace", swap)
    assert (await bench.call("write_file", path="pkg/code.py", content="new\n")).ok
    assert untouched(bench.outside)
    assert not (bench.root / "pkg" / "code.py").is_symlink()
    assert (bench.root / "pkg" / "code.py").read_text() == "new\n"


@pytest.mark.parametrize("by", ["link", "directory"])
async def test_another_directory_in_place_of_the_repository_is_noticed(bench, by):
    bench.root.rename(bench.root.with_name("old"))
    if by == "link":
        bench.root.symlink_to(bench.outside)
    else:
        bench.outside.rename(bench.root)
    for tool in ("list_files", "read_file", "edit_file", "write_file", "run_tests"):
        result = await bench.call(tool, {"path": "secret.txt", **TOOLS[tool]})
        assert not result.ok, (tool, result.text)


async def test_names_that_are_not_unicode_are_shown_escaped(bench):
    (bench.root / os.fsdecode(b"odd-\xff.txt")).write_text("here\n")
    listed = (await bench.call("list_files", path=".")).text
    assert "odd-\\udcff.txt (5 bytes)" in listed
    assert listed.encode()
    (await bench.call("search", query="here", path=".", regex=True)).text.encode()


async def test_no_descriptor_stays_open_whatever_goes_wrong(bench):
    os.mkfifo(bench.root / "pipe")
    (bench.root / "link").symlink_to("README.md")
    (bench.root / "bytes").write_bytes(b"\xff")
    before = os.listdir("/proc/self/fd")
    for path in (
        "pipe",
        "link",
        "bytes",
        "pkg",
        "missing",
        "missing/x",
        "README.md/x",
        "README.md",
        "pkg/code.py",
        ".",
        "..",
    ):
        for tool in ("list_files", "read_file", "search", "edit_file", "write_file"):
            if (tool, path) != ("write_file", "missing/x"):
                await bench.call(tool, {"path": path, **TOOLS[tool]})
    assert os.listdir("/proc/self/fd") == before


@given(st.text(max_size=40) | st.text(alphabet="./\\~ab\u2025\uff0e\uff0f\x00", max_size=20))
def test_components_of_an_accepted_path_never_lead_up_or_to_the_root(path):
    try:
        parts = split(path)
    except WorkspaceError:
        return
    assert not path.startswith("/")
    for part in parts:
        assert part not in {"", ".", ".."}
        assert "/" not in part
        assert "\x00" not in part
        part.encode()
