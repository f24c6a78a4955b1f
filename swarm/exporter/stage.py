"""The stage on show: what it measured so far, by the same functions that make `results.json`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from swarm.analysis.slowdown.contention import Template
from swarm.analysis.trial.agents import Agent, jain, rates
from swarm.analysis.window import Window, completion_tokens, tokens_in
from swarm.catalogue import latencies
from swarm.exporter.buckets import Histogram, edges
from swarm.exporter.text import Family, HistogramText
from swarm.recording.observations import observations
from swarm.recording.records import FINISHED, Attempt, Job, Record, Stage, Tool, Turn

Phase = Literal["warmup", "window", "end"]
PHASES: tuple[Phase, ...] = ("warmup", "window", "end")


class MeasuredStage:
    """One trial of a stage. Latencies, rates and jobs are those of its window, as in the results.

    Only the agents' rates are shown in the warm-up too, of the warm-up alone.
    """

    def __init__(self, began: Stage, labels: str, slos: Mapping[str, Sequence[float]]) -> None:
        self.began = began
        self.labels = labels
        self.window = Window(began.window_start_ns, began.window_end_ns)
        self.templates: dict[str, Template] = {}
        self.context_tokens: dict[int, int] = {}
        """By agent: tokens of prompt and reply of its last turn."""
        self._agents: dict[Phase, dict[int, Agent]] = {"warmup": {}, "window": {}, "end": {}}
        self._tokens = 0.0
        self._finished = 0
        self._histograms: dict[str, Histogram] = {}
        self._texts: list[tuple[str, str, HistogramText]] = []
        """Name and help of each histogram, and its series."""
        for metric in latencies():
            if metric.buckets:
                histogram = Histogram(edges(metric.buckets, slos.get(metric.observation, ())))
                self._histograms[metric.observation] = histogram
                name = metric.buckets.name
                self._texts.append((name, metric.help, HistogramText(name, labels, histogram)))

    def phase(self, t_ns: int) -> Phase:
        """In which part of the stage `t_ns` lies: before its window, in it, or at its end, when it is cut off."""
        return "warmup" if t_ns < self.window.start_ns else "window" if t_ns < self.window.stop_ns else "end"

    def add(self, record: Record) -> Iterator[None]:
        """Takes a record, in steps of less than 0.5 ms."""
        if isinstance(record, Turn) and record.owner is not None and record.context_tokens is not None:
            self.context_tokens[record.owner] = record.context_tokens
        if isinstance(record, Job):
            self._finished += self.window.holds(record.end_ns) and record.outcome in FINISHED
        if isinstance(record, Attempt):
            self._serve(record)
        if isinstance(record, Attempt | Job | Tool):
            for number, (metric, value, end_ns) in enumerate(observations(record), 1):
                if metric in self._histograms and self.window.holds(end_ns):
                    self._histograms[metric].add(value)
                if number % 500 == 0:
                    yield

    def split(self, attempt: Attempt) -> dict[Phase, float]:
        """Its completion tokens by the phase in which their chunk arrived; empty where the server counted none."""
        total = completion_tokens(attempt)
        if not total:
            return {}
        if not attempt.first_token_ns:
            return {self.phase(attempt.end_ns): total}
        inside = tokens_in(attempt, self.window) or 0
        before = tokens_in(attempt, Window(0, self.window.start_ns)) or 0
        found: dict[Phase, float] = {"warmup": before, "window": inside, "end": total - before - inside}
        return {phase: tokens for phase, tokens in found.items() if tokens}

    def _serve(self, attempt: Attempt) -> None:
        if attempt.owner is None or completion_tokens(attempt) is None:
            return
        tokens = self.split(attempt)
        spans: dict[Phase, Window] = {"warmup": Window(0, self.window.start_ns), "window": self.window}
        for phase, span in spans.items():
            if served := span.overlap(attempt.t_ns, attempt.end_ns):
                self._agents[phase].setdefault(attempt.owner, Agent()).serve(tokens.get(phase, 0), served)
        self._tokens += tokens.get("window", 0)
        if served := self.window.overlap(attempt.t_ns, attempt.end_ns):
            name = f"{attempt.task}/{attempt.variant}"
            self.templates.setdefault(name, Template()).serve(tokens.get("window", 0), served)

    def agent_rates(self, now_ns: int) -> dict[int, float]:
        """Output tokens per second of serving, of each agent that was served in this phase."""
        agents = self._agents["warmup" if self.phase(now_ns) == "warmup" else "window"]
        return {number: rate for number, agent in sorted(agents.items()) if (rate := agent.rate) is not None}

    def fairness(self) -> float | None:
        return jain(rates(self._agents["window"]))

    def output_rate(self, now_ns: int) -> float | None:
        """Tokens of requests that are over, per second of the window so far; None before it begins."""
        return self._per_second(self._tokens, now_ns)

    def jobs_per_h(self, now_ns: int) -> float | None:
        return self._per_second(self._finished * 3600, now_ns)

    def _per_second(self, amount: float, now_ns: int) -> float | None:
        elapsed = self.window.overlap(self.window.start_ns, now_ns)
        return amount * 1e9 / elapsed if elapsed else None

    def histogram_families(self) -> Iterator[Family]:
        for name, meaning, text in self._texts:
            yield Family(name, "histogram", meaning, text.samples())
