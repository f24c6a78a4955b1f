"""Do the token counts add up: with the script's plan, and with the server's own counters?"""

from swarm.analysis.window import Window, completion_tokens
from swarm.recording.observations import is_complete
from swarm.recording.records import Attempt

ABORT_TOKENS = 4
"""Tokens that a server may still generate for a request after our last chunk, until our abort takes effect."""


class Account:
    """The tokens that a server must have counted over a whole stage, from what is known of each request."""

    def __init__(self) -> None:
        self.least = 0
        self._unknown = 0
        self._largest = 0
        self._slack = 0
        self._aborted = 0
        self.withheld = 0
        """The most tokens that came with one chunk: a server that parses tool calls holds tokens back."""

    def add(self, tokens: int | None, at_most: int | None = None, *, aborted: bool = False) -> None:
        """One request: its count, or None with what bounds it; of an aborted one the server may have counted more."""
        if tokens is not None:
            self.least += tokens
            self._largest = max(self._largest, tokens)
        elif at_most is not None:
            self._slack += at_most
        else:
            self._unknown += 1
        self._aborted += aborted

    @property
    def most(self) -> int:
        """A request of which nothing is known counts as much as the largest that is."""
        beyond = self._aborted * max(ABORT_TOKENS, self.withheld)
        return self.least + self._slack + beyond + self._unknown * self._largest


class Accounts:
    """Tokens of one stage in one trial: lengths and usage of requests that ended in the window, totals of the stage."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.prompt = Account()
        self.completion = Account()
        self.complete = 0
        self.without_usage = 0
        self.planned_tokens = 0
        self.off_plan_tokens = 0

    def add(self, attempt: Attempt) -> None:
        broken = not is_complete(attempt)
        self.prompt.add(attempt.prompt_tokens)
        if broken and attempt.completion_tokens is None and attempt.first_token_ns is None:
            self.completion.add(0, aborted=True)
        else:
            self.completion.add(completion_tokens(attempt), attempt.planned_tokens, aborted=broken)
        self.completion.withheld = max(self.completion.withheld, *(attempt.chunk_tokens or (0,)))
        if not broken and self._window.holds(attempt.end_ns):
            self._add_complete(attempt)

    def _add_complete(self, attempt: Attempt) -> None:
        self.complete += 1
        got, planned = attempt.completion_tokens, attempt.planned_tokens
        self.without_usage += got is None or attempt.prompt_tokens is None
        if planned is not None and got is not None:
            self.planned_tokens += planned
            self.off_plan_tokens += abs(got - planned)
