"""Jobs of a stage, counted by how they ended."""

from collections import Counter

from swarm.analysis.window import Window
from swarm.recording.records import FINISHED, Job, JobOutcome

ENOUGH_PER_AGENT = 4
"""Below this many finished jobs per agent, job times tell which jobs happened to finish, and not how fast."""


class Jobs:
    """Jobs of one stage in one trial. One unfinished at the window's end is censored, whatever became of it later."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.started = 0
        self.tokens = 0
        """Completion tokens of the finished ones, all of their turns."""
        self.outcomes: Counter[JobOutcome] = Counter()

    def add(self, job: Job) -> bool:
        """Whether the job ended in the window."""
        inside = self._window.holds(job.end_ns)
        self.started += self._window.holds(job.t_ns)
        if inside:
            self.outcomes[job.outcome] += 1
            self.tokens += job.completion_tokens if job.outcome in FINISHED else 0
        elif job.t_ns < self._window.stop_ns <= job.end_ns:
            self.outcomes["censored"] += 1
        return inside

    @property
    def finished(self) -> int:
        return sum(count for outcome, count in self.outcomes.items() if outcome in FINISHED)
