"""Observations of a record, such as its TTFT: the one place that makes them, for every sink."""

from collections.abc import Iterator

from swarm.recording.records import FINISHED, TOOL_ENDS, Attempt, Job, Published, Tool

Observation = tuple[str, int, int]
"""Metric, duration (ns), and when it ended (ns since the run's start): it counts in the window in which it ends."""


def observations(record: Published) -> Iterator[Observation]:
    """The durations that a record holds.

    TTFT and the gaps between chunks (ITL) count for cut-off and failed attempts too, since they were seen; E2E latency
    and TPOT only for complete ones. TTFAT is known, and counts, when its job has finished.
    """
    match record:
        case Attempt():
            yield from _of_attempt(record)
        case Tool():
            yield "tool", record.end_ns - record.t_ns, record.end_ns
        case Job(outcome=outcome) if outcome in FINISHED:
            yield "job", record.end_ns - record.t_ns, record.end_ns
            if record.answer_ns is not None:
                yield "ttfat", record.answer_ns - record.t_ns, record.end_ns


def _of_attempt(attempt: Attempt) -> Iterator[Observation]:
    if attempt.number == 1:  # a retry is late on purpose
        yield "start_delay", attempt.t_ns - attempt.intended_ns, attempt.t_ns
    if attempt.first_token_ns is not None:
        yield "ttft", attempt.first_token_ns - attempt.t_ns, attempt.first_token_ns
    if attempt.chunks:
        at = attempt.t_ns + attempt.chunks[0]
        for gap in attempt.chunks[1:]:
            at += gap
            yield "itl", gap, at
    if is_complete(attempt):
        yield "e2e", attempt.end_ns - attempt.t_ns, attempt.end_ns
        yield "effective_e2e", attempt.end_ns - attempt.intended_ns, attempt.end_ns
        tpot = tpot_ns(attempt)
        if tpot is not None and attempt.last_token_ns is not None:
            yield "tpot", round(tpot), attempt.last_token_ns


def is_complete(attempt: Attempt) -> bool:
    """Whether the whole reply came; a failed attempt and one that we cut off are not complete."""
    return attempt.error is None and not attempt.aborted


def ended_for_tools(attempt: Attempt) -> bool:
    """Whether the whole reply came, and its end says that tool calls are in it."""
    return is_complete(attempt) and attempt.finish_reason in TOOL_ENDS


def lost_calls(attempt: Attempt) -> bool:
    """Whether none was: the server has lost what the model called, be it in its parser or on the way."""
    return ended_for_tools(attempt) and not attempt.tool_calls


def tpot_ns(attempt: Attempt) -> float | None:
    """Time per output token: (last token - first token) / (completion tokens - those of the first chunk).

    The first chunk counts as one token where the server does not count per chunk. None where it says nothing: no token
    after the first chunk, tokens unknown, or all of them in one chunk.
    """
    first, last, tokens = attempt.first_token_ns, attempt.last_token_ns, attempt.completion_tokens
    if first is None or last is None or tokens is None or last == first:
        return None
    later = tokens - max(1, attempt.first_tokens or 1)
    return (last - first) / later if later > 0 else None
