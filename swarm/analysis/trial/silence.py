"""Had the server fallen silent when the window ended? Such a server looks idle, not fast."""

from swarm.analysis.window import Window
from swarm.recording.records import Attempt


class Silence:
    """Silences of one stage in one trial."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.longest_wait_ns = 0
        """The longest TTFT or gap between chunks that was over before the window's end."""
        self.silent_ns = 0
        """How long the quietest request in flight at the window's end had been silent."""

    def add(self, attempt: Attempt) -> None:
        stop_ns = self._window.stop_ns
        if attempt.t_ns >= stop_ns:
            return
        heard, longest = _by_chunks(attempt, stop_ns) if attempt.chunks else _by_ends(attempt, stop_ns)
        self.longest_wait_ns = max(self.longest_wait_ns, longest)
        if attempt.end_ns >= stop_ns:
            self.silent_ns = max(self.silent_ns, stop_ns - heard)


def _by_chunks(attempt: Attempt, stop_ns: int) -> tuple[int, int]:
    """The last sign of life before `stop_ns`, and the longest wait between two of them."""
    chunks = attempt.chunks or [0]
    if attempt.end_ns < stop_ns:
        return attempt.end_ns, max(chunks)
    heard, longest = attempt.t_ns, 0
    for wait in chunks:
        if heard + wait >= stop_ns:
            break
        heard += wait
        longest = max(longest, wait)
    return heard, longest


def _by_ends(attempt: Attempt, stop_ns: int) -> tuple[int, int]:
    """The same where chunks were not recorded: by the first token, the last, and the mean gap between."""
    first, last = attempt.first_token_ns, attempt.last_token_ns
    if first is None or last is None or first >= stop_ns:
        return attempt.t_ns, 0
    mean_gap = (last - first) // max(1, (attempt.completion_tokens or 2) - 1)
    return min(last, stop_ns), max(first - attempt.t_ns, mean_gap)
