"""What each tool does, and what it answers when it cannot."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.agents.tools import Toolbox, ToolLimits, normalise


def limit(bench, **limits):
    bench.toolbox = Toolbox(bench.toolbox._root, limits=ToolLimits(**limits))


async def test_list_files_shows_sizes_sorted_without_caches_and_hidden_directories(bench):
    bench.put("b.txt", "12345")
    bench.put("pkg/__pycache__/code.pyc", "x")
    bench.put(".git/config", "x")
    bench.put(".hidden", "1")
    (bench.root / "link").symlink_to("b.txt")
    result = await bench.call("list_files", path=".")
    assert result.ok
    assert result.text.splitlines() == [
        ".hidden (1 bytes)",
        "README.md (24 bytes)",
        "b.txt (5 bytes)",
        "link -> (link)",
        "pkg/code.py (22 bytes)",
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pkg", "pkg/code.py (22 bytes)"),
        ("./pkg//", "pkg/code.py (22 bytes)"),
        ("pkg/code.py", "pkg/code.py (22 bytes)"),
    ],
)
async def test_list_files_below_a_directory_or_of_one_file(bench, path, expected):
    assert (await bench.call("list_files", path=path)).text == expected


async def test_list_files_of_an_empty_directory(bench):
    (bench.root / "empty").mkdir()
    assert (await bench.call("list_files", path="empty")).text == "(no files)"


async def test_list_files_is_cut_and_says_so(bench):
    limit(bench, list_entries=3)
    for number in range(5):
        bench.put(f"many/{number}", "")
    lines = (await bench.call("list_files", path="many")).text.splitlines()
    assert lines == [
        "many/0 (0 bytes)",
        "many/1 (0 bytes)",
        "many/2 (0 bytes)",
        "[cut: more than 3 files; list a directory of it]",
    ]


async def test_read_file_numbers_its_lines(bench):
    result = await bench.call("read_file", path="pkg/code.py")
    assert result.ok
    assert result.text == "pkg/code.py, lines 1-2 of 2\n1\tdef f():\n2\t    return 1"
    assert result.work_ns > 0


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (2, 3, "n.txt, lines 2-3 of 5\n2\tb\n3\tc"),
        (4, None, "n.txt, lines 4-5 of 5\n4\td\n5\te"),
        (None, 1, "n.txt, lines 1-1 of 5\n1\ta"),
        (5, 900, "n.txt, lines 5-5 of 5\n5\te"),
        (6, None, "Error: n.txt: start_line 6 is beyond the last line, 5"),
        (3, 2, "Error: n.txt: end_line 2 is before start_line 3"),
    ],
)
async def test_read_file_takes_a_range_of_lines(bench, start, end, expected):
    bench.put("n.txt", "a\nb\nc\nd\ne\n")
    result = await bench.call("read_file", path="n.txt", start_line=start, end_line=end)
    assert result.text == expected
    assert result.ok is not expected.startswith("Error")


async def test_read_file_is_cut_at_the_limit_and_says_so(bench):
    limit(bench, output_bytes=1000)
    bench.put("long.txt", "ä" * 5000)
    text = (await bench.call("read_file", path="long.txt")).text
    kept, note = text.rsplit("\n", 1)
    assert 998 <= len(kept.encode()) <= 1000
    assert note == "[cut: 1000 of 10027 bytes shown; ask for a part of it]"


async def test_files_that_cannot_be_read_as_text(bench):
    limit(bench, read_bytes=100)
    (bench.root / "bytes").write_bytes(b"\xff\xfe\x00")
    bench.put("nul", "a\0b")
    bench.put("huge", "x" * 101)
    bench.put("empty", "")
    said = {
        path: (await bench.call("read_file", path=path)) for path in ("bytes", "nul", "huge", "pkg", "none", "empty")
    }
    assert {path: result.text for path, result in said.items()} == {
        "bytes": "Error: bytes: is not UTF-8 text",
        "nul": "Error: nul: is a binary file",
        "huge": "Error: huge: 101 bytes, more than the 100 that can be opened",
        "pkg": "Error: pkg: is a directory, not a file",
        "none": "Error: none: no such file or directory; list_files shows what there is",
        "empty": "empty is empty",
    }
    assert [path for path, result in said.items() if result.ok] == ["empty"]
    assert said["huge"].error == "huge: 101 bytes, more than the 100 that can be opened"


async def test_search_finds_literal_text_with_path_and_line(bench):
    bench.put("a.py", "x = f(1)\ny = 2\n    z = f(3)\n")
    result = await bench.call("search", query="f(", path=".", regex=False)
    assert result.text.splitlines() == ["a.py:1: x = f(1)", "a.py:3: z = f(3)", "pkg/code.py:1: def f():"]


async def test_search_with_a_pattern_below_a_path(bench):
    bench.put("a.py", "def one():\n    return 1\n")
    bench.put("pkg/b.py", "def two():\n")
    assert (await bench.call("search", query=r"def \w+\(", path="pkg", regex=True)).text.splitlines() == [
        "pkg/b.py:1: def two():",
        "pkg/code.py:1: def f():",
    ]
    assert (await bench.call("search", query=r"def \w+\(", path=".", regex=False)).text.startswith("no match for")


async def test_search_passes_over_what_is_not_text(bench):
    (bench.root / "bytes").write_bytes(b"f()\xff")
    limit(bench, read_bytes=50)
    bench.put("large.txt", "f()" * 100)
    assert (await bench.call("search", query="f(", path=".", regex=False)).text == "pkg/code.py:1: def f():"


@pytest.mark.parametrize("regex", [False, True])
async def test_search_results_are_cut_and_say_so(bench, regex):
    limit(bench, search_matches=2)
    bench.put("many.txt", "hit\n" * 9)
    lines = (await bench.call("search", query="hit", path=".", regex=regex)).text.splitlines()
    assert lines[:2] == ["many.txt:1: hit", "many.txt:2: hit"]
    assert lines[2].startswith("[cut: more than 2 matches")


async def test_search_says_when_it_did_not_look_at_all_files(bench):
    limit(bench, search_files=1)
    bench.put("a", "hit")
    bench.put("b", "hit")
    result = await bench.call("search", query="hit", path=".", regex=False)
    assert result.text.splitlines()[-1] == "[cut: only the first 1 files were searched]"
    limit(bench, search_bytes=30)  # README.md has 24, a and b have 3 each, and what follows is too much
    result = await bench.call("search", query="hit", path=".", regex=False)
    assert result.text.splitlines()[-1] == "[cut: only the first 3 files were searched]"


@pytest.mark.parametrize("query", ["(", "a**", "[z-a]", "(?P<x>a)(?P<x>b)"])
async def test_search_refuses_what_is_no_pattern(bench, query):
    result = await bench.call("search", query=query, path=".", regex=True)
    assert not result.ok
    assert result.text.startswith("Error: query: not a regular expression: ")


@pytest.mark.parametrize("query", ["(a|aa)+$", "(?:" * 40 + "a" + "){2}" * 40 + "b"])
async def test_patterns_that_would_take_for_ever_are_ended(bench, query):
    limit(bench, search_s=0.5)
    bench.put("a.txt", "a" * 5000 + "!")
    started = time.monotonic()
    result = await bench.call("search", query=query, path="a.txt", regex=True)
    assert time.monotonic() - started < 20
    assert result.ok is False or result.text.startswith("no match")
    if query.startswith("(a|"):
        assert "takes too much time or memory" in result.text


async def test_edit_file_replaces_a_unique_text(bench):
    result = await bench.call("edit_file", path="pkg/code.py", old_text="return 1\n", new_text="x = 2\n    return x\n")
    assert result.ok
    assert result.text == "pkg/code.py: replaced 1 lines by 2 at line 2"
    assert (bench.root / "pkg/code.py").read_text() == "def f():\n    x = 2\n    return x\n"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("nothing", "x", "found 0 times, expected once; read the file again"),
        ("a", "x", "found 3 times, expected once; add a line of context"),
        ("b", "b", "are the same"),
    ],
)
async def test_edit_file_changes_nothing_unless_the_text_is_unique(bench, old, new, reason):
    bench.put("t.txt", "a b a\na\n")
    result = await bench.call("edit_file", path="t.txt", old_text=old, new_text=new)
    assert not result.ok
    assert reason in result.text
    assert (bench.root / "t.txt").read_text() == "a b a\na\n"


async def test_edit_file_keeps_permissions_and_line_ends(bench):
    file = bench.put("run.sh", "one\r\ntwo\r\n")
    file.chmod(0o755)
    assert (await bench.call("edit_file", path="run.sh", old_text="two", new_text="three")).ok
    assert file.read_bytes() == b"one\r\nthree\r\n"
    assert file.stat().st_mode & 0o777 == 0o755


async def test_edit_file_needs_a_file(bench):
    for path in ("missing.py", "pkg", "no/such/dir.py"):
        assert not (await bench.call("edit_file", path=path, old_text="a", new_text="b")).ok
    assert not (bench.root / "no").exists()


async def test_write_file_makes_directories_and_says_whether_the_file_is_new(bench):
    first = await bench.call("write_file", path="new/deep/x.py", content="a\nb\n")
    assert first.text == "new/deep/x.py: created, 2 lines, 4 bytes"
    second = await bench.call("write_file", path="new/deep/x.py", content="ä\n")
    assert second.text == "new/deep/x.py: replaced, 1 lines, 3 bytes"
    assert (bench.root / "new/deep/x.py").read_text() == "ä\n"
    assert os.listdir(bench.root / "new/deep") == ["x.py"]


async def test_write_file_refuses_too_much_and_leaves_the_file_as_it_was(bench):
    limit(bench, write_bytes=10)
    assert (await bench.call("write_file", path="pkg/code.py", content="x" * 10)).ok
    result = await bench.call("write_file", path="pkg/code.py", content="ä" * 6)
    assert result.text == "Error: pkg/code.py: 12 bytes, more than the 10 that can be written"
    assert (bench.root / "pkg/code.py").read_text() == "x" * 10


async def test_read_only_files_and_directories_are_left_alone_even_by_root(bench):
    (bench.root / "README.md").chmod(0o444)
    (bench.root / "pkg").chmod(0o555)
    said = [
        await bench.call("write_file", path="README.md", content="x"),
        await bench.call("edit_file", path="README.md", old_text="A", new_text="B"),
        await bench.call("write_file", path="pkg/new.py", content="x"),
        await bench.call("write_file", path="pkg/sub/new.py", content="x"),
    ]
    (bench.root / "pkg").chmod(0o755)
    assert [result.ok for result in said] == [False] * 4
    assert all("read-only" in result.text for result in said)
    assert (bench.root / "README.md").read_text() == "# A repository\nSee pkg.\n"
    assert os.listdir(bench.root / "pkg") == ["code.py"]


@pytest.mark.parametrize("path", [".", "pkg", "README.md/x.txt"])
async def test_write_file_needs_a_place_for_a_file(bench, path):
    assert not (await bench.call("write_file", path=path, content="x")).ok
    assert (bench.root / "README.md").is_file()
    assert (bench.root / "pkg").is_dir()


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("delete_file", {}, "there is no tool 'delete_file'; the tools are list_files, read_file"),
        ("read_file", "{", "the arguments do not fit its schema"),
        ("read_file", "[1]", "the arguments do not fit its schema"),
        ("read_file", "", "path: Field required"),
        ("read_file", {}, "path: Field required"),
        ("read_file", {"path": 3}, "path: Input should be a valid string"),
        ("read_file", {"path": "a", "start_line": "1"}, "start_line: Input should be a valid integer"),
        ("read_file", {"path": "a", "start_line": 0}, "start_line: Input should be greater than or equal to 1"),
        ("read_file", {"path": "a", "lines": 1}, "lines: Extra inputs are not permitted"),
        ("search", {"query": "x", "path": ".", "regex": "yes"}, "regex: Input should be a valid boolean"),
        ("search", {"query": "x" * 301, "path": "."}, "query: String should have at most 300 characters"),
        ("edit_file", {"path": "a", "old_text": "", "new_text": "x"}, "old_text: String should have at least 1"),
        ("write_file", '{"path": "a", "content": "\\ud800"}', "the arguments do not fit its schema"),
    ],
)
async def test_calls_that_make_no_sense_are_answered_and_not_raised(bench, name, arguments, reason):
    result = await bench.call(name, arguments)
    assert not result.ok
    assert reason in result.text
    assert result.text == f"Error: {result.error}"


async def test_arguments_may_come_as_the_text_that_the_model_wrote(bench):
    result = await bench.call("read_file", json.dumps({"path": "README.md", "start_line": 2, "end_line": None}))
    assert result.text == "README.md, lines 2-2 of 2\n2\tSee pkg."


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
WORDS = st.sampled_from(["pkg", "pkg/code.py", "README.md", ".", "new", "pkg/new/x", "f", "return 1"]) | st.text(
    max_size=20
)
KEYS = ("path", "query", "old_text", "new_text", "content", "start_line", "end_line")
ARGUMENTS = st.dictionaries(st.sampled_from(KEYS), WORDS | st.integers(-2, 9) | st.none(), max_size=7)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_call_raises_or_leaves_the_workspace(bench, data):
    name = data.draw(st.sampled_from(["list_files", "read_file", "search", "edit_file", "write_file"]))
    arguments = data.draw(ARGUMENTS | st.text(max_size=40) | ANYTHING.map(lambda value: json.dumps(value)))
    result = await bench.call(name, arguments)
    assert result.ok is (result.error is None)
    assert len(result.text.encode()) <= ToolLimits().output_bytes + 100
    assert (bench.outside / "secret.txt").read_text() == "SECRET\n"
    assert sorted(os.listdir(bench.root.parent)) == ["repo", "tmp"]


def test_normalised_output_names_no_time_no_address_and_no_place(bench):
    given = (
        f"{bench.root}/tests/test_a.py:3: in test\n"
        f"cwd {bench.root} tmp {bench.workspace.scratch}/pytest-of-root/pytest-12/test_x0\n"
        f"{sys.prefix}/lib/python3.11/json/decoder.py:10\n"
        "E   <object object at 0x7f9fcc5a67a0> <a.B object at 0x7f...> [<object obje...7f9fcc5a67a0>] 0xff 0xDEADBEEF\n"
        "1 failed, 2 passed in 0.03s\n"
        "===== 3 passed in 61.20s (0:01:01) =====\n"
        "waited in 3s, all in 5 steps\n"
    )
    assert normalise(given, bench.workspace) == (
        "tests/test_a.py:3: in test\n"
        "cwd . tmp /tmp/pytest/test_x0\n"
        "/usr/lib/python3.11/json/decoder.py:10\n"
        "E   <object object at 0x...> <a.B object at 0x...> [<object obje...>] 0xff 0xDEADBEEF\n"
        "1 failed, 2 passed\n"
        "===== 3 passed =====\n"
        "waited in 3s, all in 5 steps\n"
    )


def test_match_needs_nothing_but_the_standard_library():
    source = Path(sys.modules["swarm.agents.sandbox.match"].__file__ or "").read_text()
    assert "swarm" not in source.replace("swarm.agents.sandbox.match", "")
