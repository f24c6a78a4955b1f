"""From records to families of series: what a run's `/metrics` says, live and played back."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from swarm.analysis.slowdown.contention import Template, retention
from swarm.exporter.info import RunInfo
from swarm.exporter.server import server_families
from swarm.exporter.stage import PHASES, MeasuredStage
from swarm.exporter.text import Family, gauges, labels
from swarm.recording.observations import is_complete
from swarm.recording.records import (
    Attempt,
    ClientSample,
    ErrorKind,
    Job,
    JobOutcome,
    Published,
    Record,
    ServerSample,
    Shard,
    Stage,
)
from swarm.recording.status import AgentStatus

STATES = ("starting", "prefill", "decode", "tool", "think", "back-off", "stopped", "crashed")
OUTCOMES = ("ok", "aborted", *get_args(ErrorKind))
LAG_QUANTILES = (0.5, 0.99, 1.0)

_HELP = {
    "swarm_output_tokens": "Completion tokens, as the server counts them; by when their chunk came.",
    "swarm_prompt_tokens": "Prompt tokens of requests that are over, as the server counts them.",
    "swarm_cached_prompt_tokens": "Prompt tokens that the server's prefix cache had.",
    "swarm_requests": "Requests that are over, by outcome; `aborted` ones we cut off ourselves.",
    "swarm_retries": "Requests that repeated a failed one.",
    "swarm_jobs": "Jobs that are over, by outcome; `censored` ones the window's end cut off.",
}


class Metrics:
    """A sink of records. Counters add up over the trials of a stage; what else is told is the current stage's, and that
    of the one before it until its own window begins, so that a last scrape finds the final values."""

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        self._waiting: deque[Published] = deque()
        self._counters: dict[str, dict[str, dict[str, float]]] = {name: {} for name in _HELP}
        """Name -> labels of the stage -> its other labels -> value."""
        self._stage: MeasuredStage | None = None
        self._before: MeasuredStage | None = None
        self._templates: dict[tuple[str, int, int], Mapping[str, Template]] = {}
        """Templates of each target, level and trial, for the contention ratio."""
        self._statuses: Sequence[AgentStatus] = ()
        self._clients: dict[str, ClientSample] = {}
        """The load generator's last look at itself, by the labels that tell its shards apart, if it has any."""
        self._shared = False
        self._servers: dict[str, ServerSample] = {}

    def watch(self, statuses: Sequence[AgentStatus]) -> None:
        """Whose states are shown from now on."""
        self._statuses = statuses

    def add(self, record: Published) -> None:
        self._waiting.append(record)

    def flush(self) -> Iterator[None]:
        """Works off what `add` put aside, in steps of less than 0.5 ms; several may do it at once."""
        while self._waiting:
            yield from self._take(self._waiting.popleft())

    def close(self) -> None:
        for _ in self.flush():
            pass

    def _take(self, record: Published) -> Iterator[None]:
        if isinstance(record, ServerSample):
            self._servers[record.target] = record
        elif isinstance(record, Stage):
            self._begin(record)
        elif isinstance(record, ClientSample):
            self._clients[f',shard="{record.shard}"' if self._shared else ""] = record
        elif isinstance(record, Shard):
            self._shared = True
        elif self._stage is not None and isinstance(record, Record):
            self._count(self._stage, record)
            yield from self._stage.add(record)
            yield

    def _begin(self, record: Stage) -> None:
        key = (record.target, record.agents, record.trial)
        if key in self._templates:
            return  # a soak goes on with it
        stage = MeasuredStage(record, self._labels(record.target, agents=record.agents), self._info.slos)
        self._before, self._stage, self._clients = self._stage, stage, {}
        self._templates[key] = stage.templates
        for name, counters in self._counters.items():
            for known in counters.values():
                for zero in [series for series, value in known.items() if not value]:
                    del known[zero]  # only the current stage's zeros are of use: an increase is seen from them
            for series in _all_series(name):
                counters.setdefault(stage.labels, {}).setdefault(series, 0)

    def _count(self, stage: MeasuredStage, record: Record) -> None:
        if isinstance(record, Attempt):
            phase = f'phase="{stage.phase(record.end_ns)}"'
            outcome = record.error or ("ok" if is_complete(record) else "aborted")
            self._add(stage, "swarm_requests", f'{phase},outcome="{outcome}"', 1)
            self._add(stage, "swarm_retries", phase, record.number > 1)
            self._add(stage, "swarm_prompt_tokens", phase, record.prompt_tokens or 0)
            self._add(stage, "swarm_cached_prompt_tokens", phase, record.cached_tokens or 0)
            for part, tokens in stage.split(record).items():
                self._add(stage, "swarm_output_tokens", f'phase="{part}"', tokens)
        elif isinstance(record, Job):
            series = f'phase="{stage.phase(record.end_ns)}",outcome="{record.outcome}"'
            self._add(stage, "swarm_jobs", series, 1)

    def _add(self, stage: MeasuredStage, name: str, series: str, amount: float) -> None:
        self._counters[name][stage.labels][series] += amount

    def _labels(self, target: str, **more: object) -> str:
        architecture = self._info.targets[target]["architecture"]
        return labels({"run": self._info.run, "target": target, "architecture": architecture, **more})

    def families(self, now_ns: int) -> Iterator[Family]:
        """All families at `now_ns` on the run's clock; each takes less than 0.5 ms."""
        yield from self._facts()
        yield from self._counter_families()
        yield from server_families({self._labels(name): sample.metrics for name, sample in self._servers.items()})
        stage = self._stage
        if stage is None:
            return
        yield from self._live(stage, now_ns)
        shown = self._shown(now_ns)
        yield from _measured(shown, now_ns)
        yield gauges(
            "swarm_contention_ratio",
            "1 - agents' output rate / the same of 1 agent, over the same job templates, so far.",
            [(one.labels, 1 - kept) for one in shown if (kept := self._retention(one)) is not None],
        )
        yield from _merged(shown)

    def _shown(self, now_ns: int) -> list[MeasuredStage]:
        """The stages whose measurements are told, never two of the same labels."""
        assert self._stage is not None
        before = self._before if self._stage.phase(now_ns) == "warmup" else None
        if before is None:
            return [self._stage]
        return [before] if before.labels == self._stage.labels else [before, self._stage]

    def _retention(self, stage: MeasuredStage) -> float | None:
        began = stage.began
        trials = [number for target, level, number in self._templates if (target, level) == (began.target, 1)]
        pairs = [
            (loaded, self._templates[began.target, 1, trial])
            for trial in trials
            if (loaded := self._templates.get((began.target, began.agents, trial))) is not None
        ]
        return retention(pairs)

    def _facts(self) -> Iterator[Family]:
        run = labels({"run": self._info.run, **self._info.facts})
        yield gauges("swarm_run_info", "The run, and what made it.", [(run, 1)])
        yield gauges(
            "swarm_target_info",
            "The models under test.",
            [
                (labels({"run": self._info.run, "target": name, **facts}), 1)
                for name, facts in self._info.targets.items()
            ],
        )

    def _counter_families(self) -> Iterator[Family]:
        for name, text in _HELP.items():
            samples = [
                (f"{name}_total{{{stage},{series}}}", value)
                for stage, known in self._counters[name].items()
                for series, value in known.items()
            ]
            yield Family(name, "counter", text, samples)

    def _live(self, stage: MeasuredStage, now_ns: int) -> Iterator[Family]:
        phase = stage.phase(now_ns)
        info = f'{stage.labels},trial="{stage.began.trial}",phase="{phase}"'
        yield gauges("swarm_stage_info", "The stage that runs, and its phase: warmup, window or end.", [(info, 1)])
        if self._statuses:
            states = Counter(map(_state, self._statuses))
            in_flight = states["prefill"] + states["decode"]
            active = len(self._statuses) - states["starting"] - states["stopped"] - states["crashed"]
            yield gauges(
                "swarm_agents",
                "Agents by what they are doing.",
                [(f'{stage.labels},state="{state}"', states[state]) for state in STATES],
            )
            yield gauges("swarm_agents_active", "Agents that work.", [(stage.labels, active)])
            yield gauges("swarm_requests_in_flight", "Requests sent and not over.", [(stage.labels, in_flight)])
        yield gauges(
            "swarm_agent_context_tokens",
            "Prompt and reply of an agent's last turn.",
            [(f'{stage.labels},agent="{agent}"', size) for agent, size in sorted(stage.context_tokens.items())],
        )
        if self._clients:
            yield from _client_families({stage.labels + shard: seen for shard, seen in self._clients.items()})


def _all_series(name: str) -> list[str]:
    more = {"swarm_requests": OUTCOMES, "swarm_jobs": get_args(JobOutcome)}.get(name)
    phases = [f'phase="{phase}"' for phase in PHASES]
    return [f'{phase},outcome="{outcome}"' for phase in phases for outcome in more] if more else phases


def _state(status: AgentStatus) -> str:
    return status.state if status.state != "model" else "decode" if status.stream else "prefill"


def _measured(shown: Sequence[MeasuredStage], now_ns: int) -> Iterator[Family]:
    yield gauges(
        "swarm_agent_output_tokens_per_second",
        "Output rate of an agent while it is served, tools and thinking left out; in this phase so far.",
        [
            (f'{stage.labels},agent="{agent}"', rate)
            for stage in shown
            for agent, rate in stage.agent_rates(now_ns).items()
        ],
    )
    yield gauges(
        "swarm_output_tokens_per_second",
        "Output tokens of all agents per second of the window so far.",
        [(stage.labels, rate) for stage in shown if (rate := stage.output_rate(now_ns)) is not None],
    )
    yield gauges(
        "swarm_jobs_per_hour",
        "Jobs finished per hour of the window so far.",
        [(stage.labels, rate) for stage in shown if (rate := stage.jobs_per_h(now_ns)) is not None],
    )
    yield gauges(
        "swarm_fairness_jain",
        "Jain's index over the agents' output rates in the window so far: 1 is equal, 1/N is one served alone.",
        [(stage.labels, index) for stage in shown if (index := stage.fairness()) is not None],
    )


def _merged(shown: Sequence[MeasuredStage]) -> Iterator[Family]:
    """The histograms of the stages, one family of each name."""
    for same in zip(*(stage.histogram_families() for stage in shown), strict=True):
        samples = [sample for family in same for sample in family.samples]
        yield Family(same[0].name, same[0].kind, same[0].help, samples)


def _client_families(samples: Mapping[str, ClientSample]) -> Iterator[Family]:
    """`samples`: by labels."""
    if lagging := {shard: sample.lag_ns for shard, sample in samples.items() if sample.lag_ns}:
        name = "swarm_client_lag_seconds"
        yield Family(
            name,
            "summary",
            "How late the load generator was in the last second: its event loop, and stamp to reading of chunks.",
            [
                (f'{name}{{{shard},quantile="{quantile:g}"}}', lags[round(quantile * (len(lags) - 1))] / 1e9)
                for shard, lags in lagging.items()
                for quantile in LAG_QUANTILES
            ],
        )
    yield gauges(
        "swarm_client_resident_memory_bytes",
        "Memory of the load generator.",
        [(shard, sample.rss_bytes) for shard, sample in samples.items() if sample.rss_bytes is not None],
    )
    yield gauges(
        "swarm_client_cpu_ratio",
        "CPU time of the load generator, as a share of one core, in the last second.",
        [(shard, sample.cpu_ns / (sample.end_ns - sample.t_ns)) for shard, sample in samples.items()],
    )
