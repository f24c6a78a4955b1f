"""Parts of traces, several in one, and traces that tell less."""

import msgspec
import pytest
from built import SECOND, session, trace, traces
from hypothesis import given, settings

from swarm.errors import UsageError
from swarm.trace.edit import anonymise, cut, merge
from swarm.trace.format import Parent, TraceMessage, TraceTools, prompts, read_trace, write_trace
from swarm.trace.statistics import describe

FAMILY = trace(
    session("parent", [["s0", "u1"], ["s0", "u1", "a1", "t1"], ["s0", "u1", "a1", "t1", "u2"]], calls=["task"]),
    session("child", [["s1", "u2"], ["s1", "u2", "a2"]], parent=Parent(session="parent", turn=1), start_s=2, pause_s=0),
    session("other", [["s0", "u3"]], start_s=60),
)


def whole(made):
    """Session -> its prompts, by the keys of their messages."""
    return {
        name: [[message.key for message in prompt] for prompt in prompts(turns)]
        for name, turns in made.sessions().items()
    }


@given(traces())
@settings(max_examples=50)
def test_what_was_cut_apart_by_sessions_is_merged_to_the_same(made):
    pieces = [cut(made, sessions=[name]) for name in made.sessions()]
    merged = merge(pieces)
    assert whole(merged) == whole(made)
    assert sorted(merged.turns, key=repr) == sorted(made.turns, key=repr)


@given(traces())
@settings(max_examples=50)
def test_every_turn_that_is_left_has_its_whole_prompt(made):
    most = max(turn.number for turn in made.turns)
    later = cut(made, turns=(most, most))
    expected = {name: found[most - 1 :] for name, found in whole(made).items() if len(found) >= most}
    assert whole(later) == expected


@given(traces())
@settings(max_examples=30)
def test_an_anonymous_trace_has_the_same_numbers(made):
    before, after = describe(made), describe(anonymise(made))
    for key in ("turns_per_session", "prompt_tokens", "reply_tokens", "new_tokens", "tool_s", "think_s", "cache"):
        assert after[key] == before[key]


def test_sub_agents_come_with_the_turn_that_started_them():
    assert list(whole(cut(FAMILY, sessions=["par*"]))) == ["parent", "child"]
    alone = cut(FAMILY, sessions=["child"])
    assert [turn.parent for turn in alone.turns] == [None, None]
    later = cut(FAMILY, sessions=["parent"], turns=(1, 2))
    assert later.sessions()["child"][0].parent == Parent(session="parent", turn=1)


def test_a_trace_is_cut_by_time():
    found = cut(FAMILY, seconds=(3, 60))
    assert {turn.t_ns // SECOND for turn in found.turns} == {3, 6}
    assert whole(found) == {"child": [["s1", "u2", "a2"]], "parent": whole(FAMILY)["parent"][1:]}


@pytest.mark.parametrize("made", [cut(FAMILY, turns=(2, 3)), merge([FAMILY, FAMILY]), anonymise(FAMILY)])
def test_what_was_edited_is_a_trace_again(tmp_path, made):
    write_trace(tmp_path / "a.jsonl", made)
    assert read_trace(tmp_path / "a.jsonl") == made


def test_sessions_of_one_name_stay_apart_and_keep_their_sub_agents():
    merged = merge([FAMILY, FAMILY])
    assert list(merged.sessions()) == ["parent", "child", "other", "parent#2", "child#2", "other#2"]
    assert merged.sessions()["child#2"][0].parent == Parent(session="parent#2", turn=1)


def test_blocks_of_two_traces_are_never_taken_for_the_same():
    turn = msgspec.structs.replace(FAMILY.turns[0], blocks=(0, 1))
    header = msgspec.structs.replace(FAMILY.header, block_tokens=512)
    one = msgspec.structs.replace
    made = type(FAMILY)(header, (turn,))
    assert [turn.blocks for turn in merge([made, made, made]).turns] == [(0, 1), (2, 3), (4, 5)]
    with pytest.raises(UsageError, match="blocks of 16 and 512 tokens"):
        merge([made, type(FAMILY)(one(header, block_tokens=16), (turn,))])


def test_nothing_that_was_said_is_in_an_anonymous_trace():
    secret = {"role": "user", "content": "SECRET"}
    message = TraceMessage(role="user", key="SECRET-key", bytes=6, content=secret)
    tools = TraceTools(key="SECRET-tools", count=1, bytes=9, content=[{"function": {"name": "SECRET"}}])
    turn = FAMILY.turns[0]
    call = msgspec.structs.replace(turn.reply.calls[0], name="SECRET", arguments="SECRET", id="SECRET")
    reply = msgspec.structs.replace(turn.reply, key="SECRET", content=secret, calls=(call,))
    told = msgspec.structs.replace(
        turn, session="SECRET", model="SECRET", added=(message,), tools=tools, reply=reply, t_ns=7 * SECOND
    )
    header = msgspec.structs.replace(FAMILY.header, recorded_at="2026-01-01", content=True)
    bare = anonymise(type(FAMILY)(header, (told,)))
    assert b"SECRET" not in msgspec.json.encode([bare.header, *bare.turns])
    assert (bare.header.recorded_at, bare.header.content, bare.turns[0].t_ns) == (None, False, 0)
    assert (bare.turns[0].added[0].bytes, bare.turns[0].reply.calls[0].name) == (6, "tool-1")


@pytest.mark.parametrize(
    ("how", "said"),
    [({"sessions": ["nobody"]}, "no turn is left"), ({"turns": (9, 9)}, "no turn is left")],
)
def test_a_cut_that_leaves_nothing_is_refused(how, said):
    with pytest.raises(UsageError, match=said):
        cut(FAMILY, **how)


def test_a_trace_without_times_is_not_cut_by_time():
    bare = type(FAMILY)(FAMILY.header, (msgspec.structs.replace(FAMILY.turns[0], t_ns=None),))
    with pytest.raises(UsageError, match="has no times"):
        cut(bare, seconds=(0, 9))
