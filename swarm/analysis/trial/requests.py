"""Requests and tokens of a stage: what came, what failed and how it ended."""

from collections import Counter

from swarm.analysis.window import Window
from swarm.recording.observations import ended_for_tools, is_complete, lost_calls
from swarm.recording.records import Attempt, ErrorKind


class Requests:
    """Requests of one stage in one trial; each counts in the window in which it ends, a token where its chunk comes."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.complete = 0
        self.errors: Counter[ErrorKind] = Counter()
        self.messages: dict[str, str] = {}
        """The first message of each kind of error."""
        self.finish_reasons: Counter[str] = Counter()
        self.first_tokens: Counter[int] = Counter()
        """Replies whose tokens the server counted per chunk, by the tokens of the first."""
        self.doubts = 0
        """Replies with counts that cannot be, and were taken as not told; `doubt` names the first."""
        self.doubt = ""
        self.ended_for_tools = 0
        self.lost_calls = 0
        """Number of those without a tool call."""
        self.truncated = 0
        """Complete replies that ended at a limit and not where they were planned to."""
        self.prompt_tokens: float | None = None
        self.cached_tokens: float | None = None
        self.reusable_tokens = 0
        """Prompt tokens that a cache which forgets nothing would have had: those of the prompt before, where a prompt
        of the same agent and variant grew, or what the server had if that is more."""
        self._prompts: dict[tuple[int | None, str, str], int] = {}
        """Tokens of the last prompt of each conversation."""
        self._completion: float | None = None
        self.uncounted = 0
        """Requests with tokens that the server did not count: left out of all rates."""

    @property
    def completion_tokens(self) -> float | None:
        """None where none was counted: that a request had brought nothing yet is no count of those that had."""
        return None if self.uncounted and not self._completion else self._completion

    def add(self, attempt: Attempt, tokens: float | None) -> None:
        """`tokens`: its completion tokens that arrived in the window; None: the server did not count them."""
        if self._window.overlap(attempt.t_ns, attempt.end_ns):
            self._completion = plus(self._completion, tokens)
            self.uncounted += tokens is None
        reusable = self._reusable(attempt)
        if not self._window.holds(attempt.end_ns):
            return
        self.reusable_tokens += reusable
        if attempt.first_tokens is not None:
            self.first_tokens[attempt.first_tokens] += 1
        if attempt.doubts:
            self.doubts += 1
            self.doubt = self.doubt or "; ".join(f"{name} {said}" for name, said in attempt.doubts.items())
        self.prompt_tokens = plus(self.prompt_tokens, attempt.prompt_tokens)
        self.cached_tokens = plus(self.cached_tokens, attempt.cached_tokens)
        if attempt.error is not None:
            self.errors[attempt.error] += 1
            self.messages.setdefault(attempt.error, attempt.message or "")
        elif is_complete(attempt):
            self.complete += 1
            self.finish_reasons[attempt.finish_reason or "unknown"] += 1
            self.ended_for_tools += ended_for_tools(attempt)
            self.lost_calls += lost_calls(attempt)
            self.truncated += attempt.finish_reason == "length" and _short_of_plan(attempt)

    def _reusable(self, attempt: Attempt) -> int:
        if attempt.prompt_tokens is None:
            return 0
        talk = attempt.agent, attempt.task, attempt.variant
        before = self._prompts.get(talk, 0)
        self._prompts[talk] = attempt.prompt_tokens
        grown = before if attempt.prompt_tokens > before else 0
        return min(attempt.prompt_tokens, max(grown, attempt.cached_tokens or 0))


def _short_of_plan(attempt: Attempt) -> bool:
    planned, got = attempt.planned_tokens, attempt.completion_tokens
    return planned is None or (got is not None and got < planned)


def plus(total: float | None, more: float | None) -> float | None:
    """A sum of what is known; None of nothing."""
    return more if total is None else total if more is None else total + more
