"""A tool's process may say anything on its pipes: the call gets a result, and nothing is ever raised."""

import json
import re
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.agents.tools import Toolbox, ToolError, ToolLimits, _matches

ANSWER = json.dumps({"found": [["pkg/code.py", 1, "def f():"]]})
FOUND = "pkg/code.py:1: def f():"
UNREADABLE = "the search gave no answer that can be read"
STOPPED = "the pattern takes too much time or memory"

PIPES = {
    "an error beside the answer": (f"os.write(2, b'warning' * 100); os.write(1, {ANSWER!r}.encode())", FOUND),
    "errors without end beside the answer": (
        f"os.write(1, {ANSWER!r}.encode()); [os.write(2, bytes(65536)) for _ in range(1000)]",
        FOUND,
    ),
    "nothing": ("pass", UNREADABLE),
    "nothing, and its pipes closed": ("os.close(1); os.close(2)", UNREADABLE),
    "its pipes closed behind the answer": (f"os.write(1, {ANSWER!r}.encode()); os.close(1); os.close(2)", FOUND),
    "half an answer": (f"os.write(1, {ANSWER!r}[:20].encode())", UNREADABLE),
    "half an answer, and death": (f"os.write(1, {ANSWER!r}[:20].encode()); os.kill(os.getpid(), 9)", STOPPED),
    "two answers": (f"os.write(1, {ANSWER * 2!r}.encode())", UNREADABLE),
    "more behind the answer": (f"os.write(1, {ANSWER!r}.encode() + b'bye')", UNREADABLE),
    "bytes that are no text": ("os.write(1, bytes(range(256)))", UNREADABLE),
    "nulls": ("os.write(1, bytes(5000))", UNREADABLE),
    "an answer of another shape": ("os.write(1, b'{\"found\": [[1, 2], 3, null]}')", UNREADABLE),
    "a number instead": ("os.write(1, b'12')", UNREADABLE),
    "brackets without end": ("os.write(1, b'[' * 300_000)", UNREADABLE),
    "a number without end": ("os.write(1, b'9' * 300_000)", UNREADABLE),
    "a flood": ("[os.write(1, b'flood' * 10000) for _ in range(10000)]", STOPPED),
    "a status of its own": (f"os.write(1, {ANSWER!r}.encode()); sys.exit(3)", STOPPED),
}


def saying(bench, code, **limits):
    matcher = (sys.executable, "-I", "-S", "-c", f"import os, sys, time\n{code}")
    return Toolbox(bench.toolbox._root, limits=ToolLimits(flood_bytes=400_000, **limits), matcher=matcher)


async def search(bench):
    return await bench.call("search", query="def", path=".", regex=True)


@pytest.mark.parametrize("said", PIPES)
async def test_a_search_whose_process_says_anything_has_a_result(bench, said):
    code, expected = PIPES[said]
    bench.toolbox = saying(bench, code)
    result = await search(bench)
    assert expected in result.text
    assert result.ok == (expected == FOUND)
    assert result.ok == (result.error is None)


async def test_a_search_whose_process_never_answers_ends_at_its_limit(bench):
    bench.toolbox = saying(bench, "os.close(1); os.close(2); time.sleep(60)", search_s=0.3)
    assert STOPPED in (await search(bench)).text


async def test_a_search_does_not_wait_for_a_child_that_keeps_its_pipes(bench):
    # Without the mark in its environment and in a session of its own, it cannot be found and killed.
    child = "os.fork() or (os.setsid(), os.execve(sys.executable, ['x', '-c', 'import time; time.sleep(4)'], {}))"
    bench.toolbox = saying(bench, f"{child}; os.write(1, {ANSWER!r}.encode())")
    started = time.monotonic()
    assert (await search(bench)).text == FOUND
    assert time.monotonic() - started < 3.5


@pytest.mark.parametrize("pattern", ["[[:alpha:]]+ f", "d[+--e]f", "d[e||x]f", "d[e&&x]f|f", "[[d]ef|def"])
async def test_patterns_of_which_python_warns_are_searched_for(bench, pattern):
    """Python says FutureWarning of each, on stderr; every agent ended with that once."""
    with pytest.warns(FutureWarning):
        re.compile(pattern)
    bench.put("pkg/code.py", "a f\ndef f(): alpha:]] f\n")
    result = await bench.call("search", query=pattern, path="pkg", regex=True)
    assert "arning" not in result.text
    assert result.error is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["found", "error", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(), JSON.map(json.dumps), JSON.map(lambda found: json.dumps({"found": found}))))
def test_any_answer_is_a_list_of_matches_or_an_error_of_the_tool(answer):
    try:
        found = _matches(answer)
    except ToolError:
        return
    assert all([type(part) for part in match] == [str, int, str] for match in found)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stdout=st.binary(max_size=200), stderr=st.binary(max_size=200), status=st.integers(0, 255))
async def test_no_bytes_that_a_process_writes_are_raised(bench, stdout, stderr, status):
    bench.toolbox = saying(bench, f"os.write(2, {stderr!r}); os.write(1, {stdout!r}); os._exit({status})")
    result = await search(bench)
    assert not result.ok
    assert "Error: " in result.text


NOISY = """
import os, sys, warnings

def test_it():
    os.write(2, bytes(range(256)))
    os.write(1, b'{"found": []}\\0\\xff' * 10)
    os.close(2)
    warnings.warn("said by the tests", stacklevel=1)
"""


async def test_a_test_run_that_says_anything_has_a_result(bench):
    bench.put("test_noise.py", NOISY)
    result = await bench.call("run_tests", path="test_noise.py", keyword=None)
    result.text.encode()
    assert "said by the tests" in result.text
