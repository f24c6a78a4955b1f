"""Paths that lead out of the workspace: by every file tool, which runs outside the sandbox, and by code inside it."""

import ctypes
import json
import os
import threading

import pytest

from swarm.agents.driver import Call
from swarm.agents.tools import Toolbox

LINKS = {
    "link": "{outside}/secret.txt",
    "near": "../../../outside/secret.txt",
    "folder": "{outside}",
    "near-folder": "../../../outside",
    "root": "/",
    "self": "/proc/self/root",
    "here": "/proc/self/cwd",
    "chain": "near-folder/../outside",
    "first": "second",
    "second": "folder",
    "pkg/up": "..",
    "pkg/up-up": "../../../..",
    "source": "/source/../..",
    "ssh.py": "/etc/passwd",
    "\u2025": "{outside}",  # a name that looks like two dots
    "PKG": "{outside}",  # beside `pkg`, where case counts
}
"""Made in the workspace, as by a repository that was prepared."""

ESCAPES = {
    # Up
    "parents": "../../../outside/secret.txt",
    "parents from a folder": "pkg/../../../../outside/secret.txt",
    "parents behind dots": "./././../../../outside/secret.txt",
    "parents behind slashes": "pkg//..//..//..//..//outside/secret.txt",
    "more parents than there are": "../" * 30 + "{outside}/secret.txt",
    "parents of what is not there": "no/../../../../outside/secret.txt",
    "parents of a file": "pkg/code.py/../../../../../outside/secret.txt",
    "one level up": "../tmp/../../../outside/secret.txt",
    # Absolute
    "absolute": "{outside}/secret.txt",
    "two slashes": "/{outside}/secret.txt",
    "absolute behind a dot": ".{outside}/secret.txt",
    "the password file": "/etc/passwd",
    "through the process": "/proc/self/root{outside}/secret.txt",
    "through the working directory": "/proc/self/cwd/../../../outside/secret.txt",
    "through the first process": "/proc/1/root{outside}/secret.txt",
    "through the load generator": "/proc/{pid}/root{outside}/secret.txt",
    "through the source": "/source/../{outside}/secret.txt",
    "as an address": "file://{outside}/secret.txt",
    "a user's home": "~/../..{outside}/secret.txt",
    # Links
    "a link": "link",
    "a link that is relative": "near",
    "a file in a linked folder": "folder/secret.txt",
    "a file in a linked folder, relative": "near-folder/secret.txt",
    "through a linked root": "root{outside}/secret.txt",
    "through a link to the process": "self{outside}/secret.txt",
    "through a link to the working directory": "here/../../../outside/secret.txt",
    "a chain of links": "chain/secret.txt",
    "a link to a link": "first/secret.txt",
    "a link to the folder above": "pkg/up/near",
    "a link far up": "pkg/up-up/outside/secret.txt",
    "a link beside the source": "source{outside}/secret.txt",
    "a link that looks like a module": "ssh.py",
    "up behind a link": "folder/../outside/secret.txt",
    # Case
    "a folder in other case": "PKG/secret.txt",
    "the password file in other case": "/ETC/PASSWD",
    "parents in a folder in other case": "Pkg/../../../../OUTSIDE/secret.txt",
    # Unicode
    "full-width dots": "\uff0e\uff0e/\uff0e\uff0e/\uff0e\uff0e/outside/secret.txt",
    "a two-dot leader": "\u2025/secret.txt",
    "full-width slashes": "..\uff0f..\uff0f..\uff0foutside\uff0fsecret.txt",
    "a division slash": "..\u2215..\u2215..\u2215outside\u2215secret.txt",
    "a space without width": "..\u200b/..\u200b/..\u200b/outside/secret.txt",
    "a mark that turns the text round": "\u202e../../../outside/secret.txt",
    "overlong bytes": "\udcc0\udcae\udcc0\udcae/\udcc0\udcae\udcc0\udcae/outside/secret.txt",
    # What cuts a path short for those who are careless
    "a null": "pkg/code.py\0/../../../../outside/secret.txt",
    "a null behind": "../../../outside/secret.txt\0.py",
    "a line end": "pkg/\n../../../../outside/secret.txt",
    "backslashes": "..\\..\\..\\outside\\secret.txt",
    "escaped for an address": "%2e%2e/%2e%2e/%2e%2e/outside/secret.txt",
    "escaped twice": "..%252f..%252f..%252foutside%252fsecret.txt",
    # Hard links
    "a hard link": "hard.txt",
    "a hard link in a folder": "pkg/hard.py",
}
TOOLS = {
    "list_files": {},
    "read_file": {"start_line": None, "end_line": None},
    "search": {"query": "SECRET", "regex": False},
    "edit_file": {"old_text": "SECRET", "new_text": "changed"},
    "write_file": {"content": "changed\n"},
    "run_tests": {"keyword": None},
}
TRY_ALL = """
def look(path):
    with open(path, errors="replace") as file:
        return file.read()

def change(path):
    with open(path, "r+") as file:
        file.write("changed")

def put(path):
    os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

def hard(path):
    os.link(path, "/workspace/got")
    os.unlink("/workspace/got")

got = {}
for name, path in FACTS["paths"].items():
    for way in (look, change, put, hard, os.listdir, os.unlink):
        try:
            got.setdefault(name, {})[way.__name__] = str(way(path))[:80]
        except (OSError, ValueError):
            pass
print(json.dumps(got))
"""


@pytest.fixture
def prepared(cell):
    """The paths, with links and hard links in their places."""
    for name, target in LINKS.items():
        os.symlink(target.format(**cell.facts), cell.workspace.repository / name)
    for name in ("hard.txt", "pkg/hard.py"):
        os.link(cell.outside / "secret.txt", cell.workspace.repository / name)
    return {name: path.format(**cell.facts) for name, path in ESCAPES.items()}


@pytest.mark.parametrize("tool", TOOLS)
async def test_no_path_leads_a_tool_out_of_the_workspace(cell, prepared, tool):
    toolbox = Toolbox(cell.root, launcher=cell.sandbox)
    for name, path in prepared.items():
        result = await toolbox.execute(Call("", tool, {"path": path, **TOOLS[tool]}), cell.workspace)
        assert "SECRET\n" not in result.text, name
        assert "root:" not in result.text, name
        assert cell.untouched(), name
        if result.ok:  # then it is a name like any other, and lies inside
            assert (cell.workspace.repository / path).resolve().is_relative_to(cell.workspace.repository), name


async def test_no_path_leads_code_in_the_sandbox_out_of_it(cell, prepared):
    cell.facts["paths"] = prepared
    finished = await cell.run(TRY_ALL)
    got = json.loads(finished.output)
    told = {
        (name, way): what
        for name, ways in got.items()
        for way, what in ways.items()
        if "SECRET" in what or "root:" in what
    }
    assert told == {}
    assert cell.untouched()
    # Names and links are in its own copy; there it may do as it likes, but no path led to a file that was there before.
    assert not {"look", "change"} & {way for ways in got.values() for way in ways}


async def test_folders_swapped_for_links_all_the_time_never_let_a_tool_out(cell):
    repository, stop, libc = cell.workspace.repository, threading.Event(), ctypes.CDLL(None)
    os.symlink(cell.outside, repository / "link")

    def swap():
        exchange, names = 2, [os.fsencode(repository / name) for name in ("pkg", "link")]
        while not stop.is_set():
            assert libc.renameat2(-100, names[0], -100, names[1], exchange) == 0

    toolbox = Toolbox(cell.root)
    swapping = threading.Thread(target=swap)
    swapping.start()
    said = []
    try:
        for _ in range(100):
            for tool in ("list_files", "read_file", "edit_file", "write_file"):
                path = "pkg" if tool == "list_files" else "pkg/secret.txt"
                said.append(await toolbox.execute(Call("", tool, {"path": path, **TOOLS[tool]}), cell.workspace))
    finally:
        stop.set()
        swapping.join()
    assert not [result.text for result in said if "SECRET" in result.text or "(7 bytes)" in result.text]
    assert cell.untouched()
    assert any("symbolic link" in result.text for result in said)  # it did meet the link


async def test_links_are_copied_into_the_sandbox_as_links_and_lead_nowhere(cell, prepared):
    finished = await cell.run("print(os.readlink('link'), os.path.exists('link'), os.path.exists('hard.txt'))")
    assert finished.output == f"{cell.outside}/secret.txt False False\n"


async def test_what_is_neither_file_nor_folder_nor_link_does_not_keep_the_tests_from_running(cell):
    os.mkfifo(cell.workspace.repository / "pipe")
    result = await cell.test("import os\n\ndef test_it():\n    assert not os.path.exists('pipe')\n")
    assert result.ok, result.text
