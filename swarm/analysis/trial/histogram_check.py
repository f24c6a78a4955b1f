"""How many values the interval log of a stage must hold, counted from its events: what is gone must not go unseen."""

from collections import Counter

import msgspec

from swarm.analysis.window import Window
from swarm.recording.histograms import HIGHEST_NS
from swarm.recording.observations import observations
from swarm.recording.records import AnyRecord, Attempt


class Recorded:
    """Histograms recorded in one stage in one trial."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.counts: Counter[str] = Counter()
        """Metric -> values that end in the window, and that a histogram can hold."""

    def add(self, record: AnyRecord) -> None:
        if isinstance(record, Attempt) and record.chunks and self._holds_all(record):
            # Nearly always, and far faster than gap by gap.
            self.counts["itl"] += len(record.chunks) - 1
            record = msgspec.structs.replace(record, chunks=None)
        for metric, value_ns, end_ns in observations(record):
            self.counts[metric] += value_ns <= HIGHEST_NS and self._window.holds(end_ns)

    def _holds_all(self, attempt: Attempt) -> bool:
        first, last = attempt.first_token_ns, attempt.last_token_ns
        if first is None or last is None or last - first > HIGHEST_NS:
            return False
        return self._window.holds(first) and self._window.holds(last)
