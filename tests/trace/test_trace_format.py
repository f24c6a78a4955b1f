"""The trace file: what is written is read back, broken-off files are readable, and nonsense has a line number."""

import msgspec
import pytest
from built import message, session, trace, traces
from hypothesis import HealthCheck, given, settings

from swarm.errors import UsageError
from swarm.recording.appender import RecordingError
from swarm.trace.format import Keys, TraceWriter, prompts, read_trace, text_bytes, write_trace

SMALL = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1"]]), session("two", [["s0", "u2"]]))


@given(traces())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_is_written_is_read_back(tmp_path, made):
    path = tmp_path / "a.jsonl"
    write_trace(path, made)
    assert read_trace(path) == made


@given(traces())
@settings(max_examples=50)
def test_prompts_are_whole_again_and_no_message_that_stayed_is_told_twice(made):
    for turns in made.sessions().values():
        before = ()
        for turn, prompt in zip(turns, prompts(turns), strict=True):
            assert len(prompt) == turn.kept + len(turn.added)
            assert prompt[: turn.kept] == before[: turn.kept]
            if turn.kept < min(len(before), len(prompt)):
                assert before[turn.kept].key != prompt[turn.kept].key
            before = prompt


def test_a_long_session_takes_space_in_proportion_to_what_was_said(tmp_path):
    names = ["s0", *(f"u{number}" for number in range(200))]
    write_trace(tmp_path / "a.jsonl", trace(session("long", [names[:end] for end in range(2, 200)])))
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    assert max(map(len, lines)) < 2 * min(map(len, lines[2:]))


def test_a_growing_file_is_readable_after_each_turn(tmp_path):
    path = tmp_path / "a.jsonl"
    writer = TraceWriter(path, SMALL.header)
    for number, turn in enumerate(SMALL.turns, 1):
        writer.add(turn)
        assert read_trace(path).turns == SMALL.turns[:number]
    writer.close()
    with pytest.raises(RecordingError, match="cannot be created"):
        TraceWriter(path, SMALL.header)


def test_a_torn_last_line_is_left_out_and_said(tmp_path):
    path = tmp_path / "a.jsonl"
    write_trace(path, SMALL)
    path.write_bytes(path.read_bytes()[:-20])
    broken = read_trace(path)
    assert broken.turns == SMALL.turns[:-1]
    assert "torn" in broken.header.notes[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"number": 3}, "turn 3 of session 'one' comes after turn 0"),
        ({"kept": 1}, "`kept` is 1"),
        ({"parent": {"session": "nobody", "turn": 1}}, "turn 1 of session 'nobody', is not in the lines before"),
        ({"prompt_tokens": -1}, "prompt_tokens"),
        ({"session": ""}, "session"),
        ({"session": "x" * 201}, "session"),
        ({"t_ns": 1 << 63}, "the line is damaged"),
    ],
)
def test_a_line_that_cannot_be_is_refused_with_its_number(tmp_path, changes, said):
    path = tmp_path / "a.jsonl"
    write_trace(path, SMALL)
    head, first, *rest = path.read_bytes().splitlines(keepends=True)
    wrong = msgspec.json.encode(msgspec.json.decode(first) | changes) + b"\n"
    path.write_bytes(b"".join([head, wrong, *rest]))
    with pytest.raises(UsageError, match=r"a\.jsonl:2: ") as refused:
        read_trace(path)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "first", [b"", b"{}\n", b"[" * 100_000 + b"\n", b'{"type":"trace","v":2,"source":"recorded"}\n']
)
def test_a_file_without_our_header_is_refused(tmp_path, first):
    (tmp_path / "a.jsonl").write_bytes(first)
    with pytest.raises(UsageError, match=r"header of a trace|newer format 2"):
        read_trace(tmp_path / "a.jsonl")


def test_keys_say_what_is_equal_within_a_trace_and_nothing_else():
    keys, others = Keys(), Keys()
    assert keys.of({"a": 1, "b": [2]}) == keys.of({"b": [2], "a": 1})
    assert keys.of({"a": 1}) != keys.of({"a": 2})
    assert keys.of({"a": 1}) != others.of({"a": 1})


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ({"content": "äb"}, 3),
        ({"content": [{"type": "text", "text": "abc"}, {"type": "image_url"}]}, 3),
        ({"content": None, "tool_calls": [{"function": {"name": "ls", "arguments": '{"a":1}'}}]}, 9),
        ({"content": 5, "tool_calls": "nonsense"}, 0),
    ],
)
def test_bytes_are_those_that_a_template_shows(given, counted):
    assert text_bytes(given) == counted


def test_a_message_of_the_helpers_has_its_role_in_its_name():
    assert [message(name).role for name in ("s1", "u1", "a1", "t1")] == ["system", "user", "assistant", "tool"]
