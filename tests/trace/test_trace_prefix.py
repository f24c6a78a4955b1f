"""Who broke the prefix: the first message that differs, how, and what it cost."""

import msgspec
import pytest
from built import SECOND, session, size, trace

from swarm.trace.format import Trace, TraceHeader, TraceMessage, TraceTools, TraceTurn
from swarm.trace.statistics import describe
from tests.small_runs import called
from tests.trace.test_imports import LOGS

replace = msgspec.structs.replace
LONG = ["s0", "u1", "a1", "t1", "a2", "t2"]


def found(made):
    return describe(made)["prefix"]


def sole(made):
    (only,) = found(made)["breaks"]
    return only


def grown(second, **changes):
    """A session of two prompts: LONG, and another."""
    return trace(session("one", [LONG, second], replies=["a3", "a4"], **changes))


def test_a_prompt_that_goes_on_with_the_one_before_breaks_nothing():
    assert found(grown([*LONG, "a3", "t3"]))["breaks"] == []


def test_a_changed_system_message_costs_all_that_came_after_it():
    told = sole(grown(["s1", *LONG[1:], "a3", "t3"]))
    assert (told["session"], told["turn"], told["kind"]) == ("one", 2, "system")
    assert (told["message"], told["role"]) == (1, "system")
    assert told["lost_tokens"] >= sum(map(size, LONG))


def test_a_rewritten_result_is_named_with_its_place():
    told = sole(grown([*LONG[:3], "t9", *LONG[4:], "a3"]))
    assert (told["kind"], told["message"], told["role"]) == ("result", 4, "tool")
    assert told["lost_tokens"] == pytest.approx(sum(map(size, LONG[3:])), abs=30)


def test_a_dropped_message_is_told_from_a_changed_one():
    told = sole(grown([*LONG[:2], *LONG[4:], "a3", "u8", "u9"]))
    assert (told["kind"], told["change"]) == ("message", "dropped")


def test_a_reply_that_came_back_otherwise_costs_the_reply():
    told = sole(grown([*LONG, "a9", "t3"]))
    assert (told["kind"], told["message"], told["lost_tokens"]) == ("reply", 7, size("a3"))


def test_a_history_that_a_summary_replaced_is_compaction_and_not_avoidable():
    made = grown(["s0", "u5"])
    assert sole(made)["kind"] == "compaction"
    assert (found(made)["avoidable_tokens"], found(made)["avoidable_share"]) == (0, 0)


def offered(made, *tools):
    """The trace, whose turns offer these tools."""
    turns = [replace(turn, tools=each) for turn, each in zip(made.turns, tools, strict=True)]
    return Trace(made.header, tuple(turns))


def schemas(*names, key=None, content=True):
    given = [{"type": "function", "function": {"name": name}} for name in names]
    return TraceTools(key=key or "-".join(names), count=len(given), bytes=100, content=given if content else None)


def test_the_order_of_tools_is_named():
    told = sole(offered(grown([*LONG, "a3", "t3"]), schemas("read", "bash"), schemas("bash", "read")))
    assert (told["kind"], told["message"], told["change"]) == ("tool_order", None, "bash is at another place")
    told = sole(offered(grown([*LONG, "a3", "t3"]), schemas("a", "b", content=False), schemas("b", "a", content=False)))
    assert (told["kind"], told["change"]) == ("tool_order", "the same 2 tools by number and length")


def test_tools_that_came_and_went_are_named():
    told = sole(offered(grown([*LONG, "a3", "t3"]), schemas("read", "bash"), schemas("read", "web")))
    assert (told["kind"], told["change"]) == ("tools", "new: web; gone: bash")


def spoken(text, other):
    """Two prompts whose system messages say this."""

    def prompt(said):
        system = TraceMessage(role="system", key=said, bytes=len(said), content={"role": "system", "content": said})
        return system, TraceMessage(role="user", key="u", bytes=4, content={"role": "user", "content": "Mend it."})

    turns = [
        TraceTurn(session="one", number=number, t_ns=number, added=prompt(said), prompt_tokens=900)
        for number, said in enumerate((text, other), 1)
    ]
    return Trace(TraceHeader(source="recorded", content=True), tuple(turns))


def test_with_contents_the_line_that_changed_is_shown():
    header = "You are an agent.\nx-billing: cch={};\nBe brief."
    told = sole(spoken(header.format("3fa9"), header.format("77c0")))
    assert told["change"] == "line 2: 'x-billing: cch=3fa9;' became 'x-billing: cch=77c0;'"


def test_without_contents_an_equal_length_hints_at_a_checksum():
    made = spoken("a" * 2000, "b" * 2000)
    turns = [replace(turn, added=tuple(replace(said, content=None) for said in turn.added)) for turn in made.turns]
    told = sole(Trace(made.header, tuple(turns)))
    assert told["change"].startswith("as long as before (2,000 bytes)")


def test_sessions_whose_system_prompts_are_nearly_the_same_share_nothing():
    one, other = spoken("a" * 5000, "b" * 5001).turns
    made = Trace(TraceHeader(source="recorded"), (one, replace(other, session="two", number=1)))
    assert (sole(made)["kind"], sole(made)["session"]) == ("sessions", "two")
    assert sole(made)["lost_tokens"] > 800


def test_what_the_server_had_no_more_was_evicted_by_whoever_sent_meanwhile():
    one = session("one", [LONG, [*LONG, "a3", "t3"]], replies=["a3", "a4"], pause_s=60)
    one[1] = replace(one[1], cached_tokens=0)
    other = session("other", [["s7", "u7"]], start_s=20)
    told = sole(trace(one, other))
    assert told["kind"] == "evicted"
    assert told["change"] == f"after 60 s, in which others sent {other[0].prompt_tokens:,} new tokens"
    assert told["lost_tokens"] > 200
    alone = sole(trace(one))
    assert alone["change"] == "after 60 s, in which nobody else sent anything"


def test_lost_tokens_cost_what_times_to_the_first_token_tell():
    prompts = [[f"s{number}", *(f"u{at}" for at in range(number + 1))] for number in range(10)]
    turns = session("one", prompts)
    paced = [replace(turn, first_token_ns=turn.t_ns + turn.prompt_tokens * SECOND // 1000) for turn in turns]
    made = found(trace(paced))
    for each in made["breaks"]:
        assert each["lost_s"] == pytest.approx(each["lost_tokens"] / 1000)
    assert all(each["lost_s"] is None for each in found(trace(turns))["breaks"])


def test_the_terminal_says_what_broke_prefixes_and_why_turns_failed():
    said = " ".join(called("trace", LOGS / "claude").stdout.split())
    assert "compaction: 1 turn" in said
    assert "Failed turns: 1 rate limited (HTTP 529)." in said
    assert "2 sessions (1 of sub-agents)" in said
