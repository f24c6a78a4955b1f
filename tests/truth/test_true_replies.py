"""Any reply, in any bytes, through the client's whole reader: what is found is what the server did."""

import asyncio
import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from truth import expected
from truth.generate import (
    IDLE_MS,
    MOST_TOKENS,
    MS,
    NOISE,
    TIMEOUT_MS,
    TRUTH,
    Counts,
    Done,
    End,
    Finish,
    Noise,
    Piece,
    Reply,
    Trouble,
    Voice,
    replies,
)
from truth.network import NetworkLoop, clock
from truth.to_bytes import arrivals, length

from swarm.client.base import ChatRequest, Connection, Observation
from swarm.client.direct import DirectClient
from swarm.client.litellm_route import LiteLLMClient

PLAIN = Reply(5, (Piece(10, "content", "ok", 1), Finish(20, "stop"), Counts(20), Done(20)), End(20, "clean"))
CONNECTION = Connection("http://127.0.0.1:80/v1", "m", timeout_s=TIMEOUT_MS / 1000, idle_timeout_s=IDLE_MS / 1000)


def asked(
    *answers: Any, route: type[DirectClient | LiteLLMClient] = DirectClient, most_bytes: int = 64 << 20
) -> list[tuple[int, int, Observation]]:
    """Sends a request for each answer, one after the other: when it was sent, when it was over, and what was seen."""
    left = list(answers)

    async def send() -> list[tuple[int, int, Observation]]:
        loop = asyncio.get_running_loop()
        loop.respond = lambda body, at: arrivals(left.pop(0))
        seen, time = [], clock()
        client = route(dataclasses.replace(CONNECTION, max_reply_bytes=most_bytes), time)
        try:
            for _ in answers:
                at, one = time.now(), Observation()
                await client.complete(ChatRequest([], [], MOST_TOKENS, pinned=False), one)
                seen.append((at, time.now(), one))
        finally:
            await client.close()
        return seen

    with asyncio.Runner(loop_factory=NetworkLoop) as runner:
        return runner.run(send())


def as_found(at: int, over: int, seen: Observation) -> expected.Found:
    """An observation in the words of the truth."""
    assert seen.send_ns == at
    assert seen.end_ns is not None
    return expected.Found(
        outcome=seen.failure.kind if seen.failure else "complete",
        end=seen.end_ns - at,
        over=over - at,
        stamps=[stamp - at for stamp in seen.stamps],
        tokens=list(seen.tokens),
        prompt=seen.prompt_tokens,
        cached=seen.cached_tokens,
        completion=seen.completion_tokens,
        finish=seen.finish_reason,
        content=seen.content,
        reasoning=seen.reasoning,
        calls=[(call.id, call.name, call.arguments) for call in seen.tool_calls],
        retry_after=seen.failure.retry_after_s if seen.failure else None,
    )


@TRUTH
@given(replies(), st.booleans(), st.booleans())
def test_what_is_seen_of_a_reply_is_what_the_server_did(reply: Reply, by_litellm: bool, just_fits: bool) -> None:
    most = max(length(reply), length(PLAIN)) if just_fits else 64 << 20
    first, then = asked(reply, PLAIN, route=LiteLLMClient if by_litellm else DirectClient, most_bytes=most)
    seen, true = as_found(*first), expected.found(reply)
    if true.outcome != "complete":  # what may be an error, and how long it is silent, is looked at once a second
        assert true.over <= seen.over <= true.over + 1000 * MS
        seen = dataclasses.replace(seen, over=true.over)
    true.known = 0
    assert seen == true
    assert first[2].coalesced == true.coalesced
    assert as_found(*then) == expected.found(PLAIN), "and the next reply is none the worse for it"


def test_an_error_after_which_the_server_says_nothing_more_ends_its_reply_when_it_came() -> None:
    tokens = tuple(Piece(10 * number, "content", "so", 1) for number in range(1, 41))
    for trouble in (Trouble(410, "error", 0), Trouble(410, "broken", 2), Finish(410, "abort")):
        at, over, seen = asked(Reply(5, (*tokens, trouble), End(410, "never")))[0]
        assert seen.failure
        assert seen.failure.kind == ("malformed" if trouble == Trouble(410, "broken", 2) else "in_band")
        if isinstance(trouble, Trouble):
            assert seen.end_ns - at == 410 * MS
            assert over - at <= 1410 * MS, "and its agent does not wait for client.idle_timeout"


def test_what_means_nothing_is_silence() -> None:
    for kind in NOISE:
        said = (Piece(10, "content", "so", 1), *(Noise(at, kind) for at in range(500, 6000, 500)), Finish(6000, "stop"))
        reply = Reply(5, (*said, Done(6000)), End(6000, "clean"))
        found = as_found(*asked(reply)[0])
        assert (found.outcome, found.end) == ("timeout", (10 + IDLE_MS) * MS), kind


def test_silence_begins_with_what_brought_something_also_where_more_is_read_with_it() -> None:
    tokens = tuple(Piece(10 * number, "content", "so", 1) for number in range(1, 41))
    for usage in ("end", "always"):
        for after, since in (*((Noise(600, kind), 400) for kind in NOISE), (Finish(600, "stop"), 600)):
            said = (*tokens, after, Noise(900, "comment"), Noise(1100, "empty"), Noise(1800, "comment"))
            found = as_found(*asked(Reply(5, said, End(1800, "never"), usage))[0])
            assert (found.outcome, found.end) == ("timeout", (since + IDLE_MS) * MS), (usage, after)


def test_an_end_is_known_at_once_also_where_more_is_read_with_it() -> None:
    for after in (Trouble(30, "error", 0), Piece(30, "content", "late", 1), Noise(30, "comment"), Done(30)):
        said = (Piece(10, "content", "so", 1), Finish(20, "stop"), Done(30), after)
        for voice in (Voice(), Voice(cuts="everywhere"), Voice(framing="chunked", frames=(1,))):
            found = as_found(*asked(Reply(5, said, End(30, "clean"), voice=voice))[0])
            assert (found.outcome, found.end, found.over) == ("complete", 30 * MS, 30 * MS), (after, voice)


def test_a_reply_longer_than_it_may_be_is_cut_off_within_a_second() -> None:
    said = tuple(Piece(10 * number, "content", "so on and on", 1) for number in range(1, 1000))
    for voice in (Voice(), Voice(framing="until close"), Voice(over_lines=True)):
        reply = Reply(5, said, End(9990, "never"), voice=voice)
        whole = length(reply)
        at, over, seen = asked(reply, most_bytes=whole // 2)[0]
        assert seen.failure
        assert (seen.failure.kind, seen.completion_tokens) == ("cut", None)
        assert f"was cut off after {whole // 2} bytes" in seen.failure.message
        assert 4_990 * MS <= over - at <= 6_000 * MS
        assert 499 <= len(seen.stamps) <= 600


def test_a_finish_reason_is_no_silence() -> None:
    said = (Piece(10, "content", "so", 1), Finish(1500, "stop"), Noise(2500, "comment"), Done(3000))
    assert as_found(*asked(Reply(5, said, End(3000, "clean")))[0]).outcome == "complete"


def test_a_reset_inside_a_body_that_lasts_as_long_as_its_connection_is_a_reset() -> None:
    reply = Reply(5, (Piece(10, "content", "so", 1),), End(20, "reset"), voice=Voice(framing="until close"))
    assert as_found(*asked(reply)[0]).outcome == "reset"
