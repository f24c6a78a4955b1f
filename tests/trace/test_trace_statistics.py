"""The numbers of a trace, held against a cache that really remembers every token."""

import msgspec
import pytest
from built import FIXED, SECOND, session, size, trace, traces
from hypothesis import given, settings

from swarm.trace.format import Parent, Trace, TraceHeader, TraceTurn, prompts
from swarm.trace.statistics import BLOCK_TOKENS, describe

replace = msgspec.structs.replace


class Trie:
    """Remembers sequences of tokens."""

    def __init__(self):
        self.root = {}

    def add(self, tokens):
        node = self.root
        for token in tokens:
            node = node.setdefault(token, {})

    def hit(self, tokens):
        node, length = self.root, 0
        while length < len(tokens) and tokens[length] in node:
            node, length = node[tokens[length]], length + 1
        return min(length, len(tokens) - 1)


def tokens(first, *names):
    """Every token of a text is its own; what a prompt has beside its messages belongs to the first."""
    return [(first, at) for at in range(FIXED + size(first))] + [
        (name, at) for name in names for at in range(size(name))
    ]


def counted(made):
    """The trace with the tokens of each message told."""
    turns = []
    for turn in made.turns:
        lengths = [size(message.key) + FIXED * (turn.kept + at == 0) for at, message in enumerate(turn.added)]
        added = tuple(replace(message, tokens=length) for message, length in zip(turn.added, lengths, strict=True))
        turns.append(replace(turn, added=added))
    return Trace(made.header, tuple(turns))


@given(traces())
@settings(max_examples=60)
def test_the_best_hit_rate_is_that_of_a_trie_of_all_tokens(made):
    whole, alone = Trie(), Trie()
    total, by_message, by_block, prompts_only = 0, 0, 0, 0
    told = [
        (turn, prompt) for turns in made.sessions().values() for turn, prompt in zip(turns, prompts(turns), strict=True)
    ]
    for turn, prompt in sorted(told, key=lambda each: each[0].t_ns):
        names = [message.key for message in prompt]
        sent = tokens(*names)
        total += len(sent)
        by_message += whole.hit(sent)
        by_block += whole.hit(sent) // BLOCK_TOKENS * BLOCK_TOKENS
        prompts_only += alone.hit(sent) // BLOCK_TOKENS * BLOCK_TOKENS
        whole.add(tokens(*names, turn.reply.key))
        alone.add(sent)
    found = describe(counted(made))["cache"]
    assert found["best_by_message"] == pytest.approx(by_message / total)
    assert found["best_by_block"] == pytest.approx(by_block / total)
    assert found["best_of_a_replay"] == pytest.approx(prompts_only / total)


def test_what_a_message_has_in_tokens_follows_from_the_growth_of_prompts():
    grown = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1"]]), session("two", [["s0", "u2"]], start_s=60))
    hits = describe(grown)["by_turn"]
    assert hits[1]["cache"]["best_by_message"] == pytest.approx(
        1 - size("a1") / (FIXED + size("s0") + size("u1") + size("a1"))
    )


def test_blocks_hit_as_far_as_their_ids_are_known():
    def turn(number, tokens, *blocks):
        return TraceTurn(session=f"s{number}", number=1, t_ns=number, prompt_tokens=tokens, blocks=blocks)

    header = TraceHeader(source="mooncake", block_tokens=512)
    found = describe(Trace(header, (turn(0, 1100, 0, 1, 2), turn(1, 1500, 0, 1, 3), turn(2, 1100, 0, 1, 2))))
    assert found["cache"]["best_by_message"] == pytest.approx((0 + 1024 + 1099) / 3700)
    assert found["cache"]["best_by_block"] == pytest.approx((0 + 1024 + 1088) / 3700)


def test_pauses_are_tools_where_calls_were_answered_and_thinking_else():
    asked = session("asks", [["s0", "u1"], ["s0", "u1", "a1", "u2"]], pause_s=30, calls=["bash"])
    worked = session("works", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], pause_s=5, calls=["bash", "bash"])
    found = describe(trace(asked, worked))
    assert (found["think_s"]["count"], found["think_s"]["total"]) == (1, 30)
    assert (found["tool_s"]["count"], found["tool_s"]["total"]) == (1, 5)
    assert found["calls"] == {"bash": 3}
    assert found["span_s"] == 32


def test_sub_agents_and_failures_are_counted():
    parent = session("parent", [["s0", "u1"]])
    child = session("child", [["s1", "u2"]], parent=Parent(session="parent", turn=1), start_s=2)
    failed = TraceTurn(session="failed", number=1, t_ns=0, end_ns=SECOND, error="timeout")
    found = describe(trace(parent, child, [failed]))
    assert (found["sessions"], found["sub_agents"], found["turns"], found["failed_turns"]) == (3, 1, 3, 1)


def test_what_is_not_known_is_none():
    found = describe(Trace(TraceHeader(source="messages"), (TraceTurn(session="a", number=1),)))
    assert (found["tool_s"], found["think_s"], found["span_s"], found["cache"]["recorded"]) == (None,) * 4
