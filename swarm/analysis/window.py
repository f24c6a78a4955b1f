"""The measured window of a stage, and how much of an attempt lies in it."""

from dataclasses import dataclass

from swarm.recording.records import Attempt


@dataclass(slots=True)
class Window:
    """`[start_ns, stop_ns)` on the run's time line, without its holes.

    `stop_ns` moves when the window closes before its latest end, as its numbers are sure enough.
    A hole is what lies between two parts of a soak that broke off and went on: nothing in it counts.
    """

    start_ns: int
    stop_ns: int
    holes: tuple[tuple[int, int], ...] = ()

    def holds(self, t_ns: int) -> bool:
        return self.start_ns <= t_ns < self.stop_ns and not any(begin <= t_ns < end for begin, end in self.holes)

    def overlap(self, start_ns: int, stop_ns: int) -> int:
        """Nanoseconds of `[start_ns, stop_ns)` in the window."""
        begin, end = max(start_ns, self.start_ns), min(stop_ns, self.stop_ns)
        inside = max(0, end - begin)
        return inside - sum(max(0, min(end, behind) - max(begin, first)) for first, behind in self.holes)


def completion_tokens(attempt: Attempt) -> int | None:
    """As the server counted them; 0 when none had come yet; None when the server did not say."""
    if attempt.completion_tokens is not None:
        return attempt.completion_tokens
    if attempt.chunk_tokens:
        return sum(attempt.chunk_tokens)
    return 0 if attempt.first_token_ns is None else None


def tokens_in(attempt: Attempt, window: Window) -> float | None:
    """Completion tokens whose chunk arrived in the window; None when the server did not count them.

    Exact where the server counted per chunk (tokens that it adds at the end of the stream belong to the last chunk),
    else spread evenly over the chunks, or over the time from first to last where chunks were not recorded.
    """
    total = completion_tokens(attempt)
    first, last = attempt.first_token_ns, attempt.last_token_ns
    if not total or first is None or last is None:
        return total
    if window.holds(first) and window.holds(last):
        return total
    if last < window.start_ns or first >= window.stop_ns or first == last:  # one moment, in a hole
        return 0
    if not attempt.chunks:
        return total * window.overlap(first, last) / (last - first)
    tokens: list[int] | list[float] = attempt.chunk_tokens or []
    if len(tokens) != len(attempt.chunks):
        tokens = [total / len(attempt.chunks)] * len(attempt.chunks)
    inside, at = 0.0, attempt.t_ns
    for gap, count in zip(attempt.chunks, tokens, strict=True):
        at += gap
        inside += count if window.holds(at) else 0
    return inside + (total - sum(tokens) if window.holds(last) else 0)
