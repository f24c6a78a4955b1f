"""Every metric of a stage, described once.

Thresholds and SLOs, intervals, comparisons, gates, the history, drift, the table, the page, Prometheus and the JSON
Schema read this list. A new metric is computed in `swarm.analysis`, described here and defined in docs/metrics.md.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from swarm.text import percent, significant

Stat = str | None
"""A statistic such as "p95"; None where a metric is one number."""

ONE: tuple[Stat, ...] = (None,)
LATENCY_STATS = ("count", "mean", "p50", "p90", "p95", "p99", "max")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table.

    A narrow terminal drops the highest `rank` first, and never rank 0; an `extra` one is shown where it is asked for.
    """

    head: str
    unit: str = ""
    rank: int = 0
    extra: bool = False
    stat: Stat = None
    digits: int = 0

    @property
    def title(self) -> str:
        """Its header on one line."""
        return f"{self.head} {self.unit}".strip()


@dataclass(frozen=True, kw_only=True)
class Drift:
    """When a soak's change counts: `floor` is the smallest change worth reporting.

    It is a share of the start, percentage points, a number per window, or bytes per hour.
    """

    floor: float
    unit: Literal["share", "points", "per_window", "bytes"] = "share"
    follows_load: bool = True
    """Compared at equal numbers of agents only."""
    disturbed_too: bool = False
    """Disturbed windows say as much about it as others."""


@dataclass(frozen=True)
class Buckets:
    """A live Prometheus histogram: its upper bounds in seconds, and the range in which finer ones are put between."""

    name: str
    edges: tuple[float, ...]
    fine: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric; the fields that take statistics say which of `stats` are used there."""

    key: str
    """Its name in results.json and in thresholds."""
    block: str | None = None
    """The object of a stage in results.json that holds it; None: the stage itself."""
    label: str
    """Its short name."""
    title: str = ""
    """Its long name; the label where there is none."""
    help: str
    unit: str = ""
    """As people read it, after `scale`."""
    scale: float = 1.0
    digits: int = 2
    better: Literal["lower", "higher"] | None = None
    """None: neither is better by itself."""
    stats: tuple[Stat, ...] = ONE
    relative: bool = False
    """A ratio to one agent on the same target; intervals are of its logarithm."""
    most: float | None = None
    """The largest possible value."""

    interval: tuple[Stat, ...] = ()
    """With a 95% interval over the trials."""
    compared: tuple[Stat, ...] = ()
    """Set side by side, between targets and between runs."""
    crossing: tuple[Stat, ...] = ()
    """Checked for the concurrency at which two targets change places."""
    gated: tuple[Stat, ...] = ()
    """Judged against a baseline and against earlier nights."""
    kept: tuple[Stat, ...] = ()
    """Kept by the history besides the gated ones."""
    until: tuple[Stat, ...] = ()
    """Allowed as `stage.until.metric`."""
    drift: Mapping[Stat, Drift] = field(default_factory=dict)
    panels: tuple[Stat, ...] = ()
    """Drawn over the number of agents on the page."""
    log: bool = False
    """Panels have a logarithmic axis, as models differ by factors."""
    curve: bool = False
    """The page shows its whole distribution."""
    columns: tuple[Column, ...] = ()
    series: Mapping[Stat, str] = field(default_factory=dict)
    """Names as Prometheus series of the results; latencies share one, with the labels `metric` and `q`."""
    buckets: Buckets | None = None

    @property
    def observation(self) -> str:
        """A latency's name as an observation, and in the interval log."""
        return self.key.removesuffix("_s")


@dataclass(frozen=True)
class Number:
    """One number of a stage: a metric and a statistic of it."""

    metric: Metric
    stat: Stat

    @property
    def name(self) -> str:
        return f"{self.metric.key}.{self.stat}" if self.stat else self.metric.key

    @property
    def label(self) -> str:
        return f"{self.metric.label} {self.stat}" if self.stat else self.metric.label

    @property
    def title(self) -> str:
        title = self.metric.title or self.metric.label
        return f"{title}, {self.stat}" if self.stat else title

    @property
    def column(self) -> str:
        """Its key in the windows of a soak."""
        return f"{self.metric.key}_{self.stat}" if self.stat else self.metric.key

    def shown(self, value: float | str) -> str:
        """The value with its unit, as people read it: "0.184 s", "42%". Infinity is the string "inf"."""
        if self.stat == "count" or isinstance(value, str):
            return str(value)
        if self.metric.unit == "%":
            return percent(value)
        return f"{significant(value * self.metric.scale)} {self.metric.unit}".rstrip()

    @property
    def tail(self) -> bool:
        """Made of the few slowest values, which vary more from run to run."""
        return self.stat in ("p95", "p99", "max")


def metric_of(key: str) -> Metric:
    """The metric called `key`. Raises KeyError."""
    for metric in METRICS:
        if metric.key == key:
            return metric
    raise KeyError(key)


def numbers(use: Callable[[Metric], Iterable[Stat]]) -> list[Number]:
    """Numbers by their use, in the catalogue's order: `numbers(lambda metric: metric.gated)`."""
    return [Number(metric, stat) for metric in METRICS for stat in use(metric)]


def number_of(name: str) -> Number:
    """The number called `name`, such as "ttft_s.p95". Raises KeyError."""
    for number in numbers(lambda metric: metric.stats):
        if number.name == name:
            return number
    raise KeyError(name)


def latencies() -> list[Metric]:
    """The metrics that are durations of single events, recorded in HdrHistograms."""
    return [metric for metric in METRICS if metric.block == "latency"]


def gated() -> list[Number]:
    return numbers(lambda metric: metric.gated)


def kept() -> list[Number]:
    """The numbers that the history keeps: the gated ones first."""
    return [*gated(), *numbers(lambda metric: metric.kept)]


def better_is_lower(name: str) -> bool | None:
    """Whether less is better of the number called `name`; None where neither is."""
    better = number_of(name).metric.better
    return None if better is None else better == "lower"


# Source: vLLM 0.32, vllm/v1/metrics/buckets.py.
_VLLM_TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
_VLLM_TOKEN = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_VLLM_REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
_TOKEN_EDGES = (0.001, *_VLLM_TOKEN)
_QUANTILES = ("p50", "p90", "p95", "p99")
_LATENCY_SERIES: Mapping[Stat, str] = dict.fromkeys(_QUANTILES, "swarm_result_latency_seconds")
MIB = float(1 << 20)

METRICS: list[Metric] = [
    Metric(
        key="in_flight_mean",
        block="achieved",
        label="in flight",
        help="Mean number of requests in flight.",
        columns=(Column(head="in", unit="flight", rank=3, digits=2),),
        series={None: "swarm_result_in_flight"},
    ),
    Metric(key="in_flight_max", block="achieved", label="most in flight", help="Most requests in flight at once."),
    Metric(
        key="agents_alive_mean",
        block="achieved",
        label="agents alive",
        help="Mean number of agents that were at work.",
        better="higher",
    ),
    Metric(
        key="server_running_mean",
        block="achieved",
        label="running on the server",
        help="Mean number of running requests, as the server counts them.",
    ),
    Metric(
        key="agent_output_tokens_per_s",
        label="tok/s per agent",
        title="Output rate of one agent",
        help="Output rate of one agent while it has a request in flight.",
        unit="tok/s",
        digits=1,
        better="higher",
        stats=("p10", "p50", "p90", "min", "max"),
        interval=("p10", "p50"),
        compared=("p50",),
        crossing=("p50",),
        panels=("p50",),
        columns=(Column(head="tok/s", unit="per agent", stat="p50", digits=1),),
    ),
    Metric(
        key="retention",
        label="retention",
        title="Share of its speed alone that an agent keeps",
        help="Agents' output rate at this level / at 1 agent.",
        unit="%",
        scale=100,
        digits=0,
        better="higher",
        relative=True,
        interval=ONE,
        compared=ONE,
        panels=ONE,
        columns=(Column(head="vs 1", unit="agent"),),
        series={None: "swarm_result_retention_ratio"},
    ),
    Metric(
        key="output_tokens_per_s",
        block="throughput",
        label="output tok/s",
        title="Output of all agents",
        help="Output tokens per second.",
        unit="tok/s",
        digits=0,
        better="higher",
        interval=ONE,
        compared=ONE,
        crossing=ONE,
        gated=ONE,
        until=ONE,
        drift={None: Drift(floor=0.02)},
        panels=ONE,
        columns=(Column(head="tok/s", unit="total", extra=True),),
        series={None: "swarm_result_output_tokens_per_second"},
    ),
    Metric(
        key="requests_per_s",
        block="throughput",
        label="requests/s",
        help="Complete requests per second.",
        better="higher",
        interval=ONE,
        until=ONE,
        series={None: "swarm_result_requests_per_second"},
    ),
    Metric(
        key="decode_tokens_per_s",
        label="decode tok/s",
        title="Decode rate of one request",
        help="Output tokens per second of one request after its first token: 1 / TPOT.",
        unit="tok/s",
        digits=1,
        better="higher",
        stats=("p10", "p50", "p90"),
        interval=("p50",),
        compared=("p50",),
    ),
    Metric(
        key="ttft_s",
        block="latency",
        label="TTFT",
        title="Time to first token",
        help="From the send of a request to its first token.",
        unit="s",
        better="lower",
        stats=LATENCY_STATS,
        interval=("p50", "p95"),
        compared=("p50", "p95"),
        crossing=("p95",),
        gated=("p50", "p95"),
        until=("mean",),
        drift={"p50": Drift(floor=0.05)},
        panels=("p95",),
        log=True,
        curve=True,
        columns=(
            Column(head="TTFT", unit="p50 s", rank=4, stat="p50", digits=2),
            Column(head="TTFT", unit="p95 s", stat="p95", digits=2),
        ),
        series=_LATENCY_SERIES,
        buckets=Buckets("swarm_time_to_first_token_seconds", _VLLM_TTFT, (0.01, 40.0)),
    ),
    Metric(
        key="itl_s",
        block="latency",
        label="ITL",
        title="Inter-token latency",
        help="Gap between two token-bearing chunks of a stream.",
        unit="ms",
        scale=1000,
        digits=1,
        better="lower",
        stats=LATENCY_STATS,
        interval=("p50", "p95"),
        compared=("p95",),
        gated=("p50",),
        kept=("p99",),
        until=("mean",),
        drift={"p50": Drift(floor=0.02)},
        panels=("p99",),
        log=True,
        curve=True,
        columns=(
            Column(head="ITL", unit="p50 ms", stat="p50", digits=1, extra=True),
            Column(head="ITL", unit="p99 ms", rank=1, stat="p99", digits=1),
        ),
        series=_LATENCY_SERIES,
        buckets=Buckets("swarm_inter_token_latency_seconds", _TOKEN_EDGES, (0.001, 1.0)),
    ),
    Metric(
        key="tpot_s",
        block="latency",
        label="TPOT",
        title="Time per output token",
        help="(last token - first token) / (tokens - 1) of a complete request.",
        unit="ms",
        scale=1000,
        digits=1,
        better="lower",
        stats=LATENCY_STATS,
        interval=("p50",),
        until=("mean",),
        series=_LATENCY_SERIES,
        buckets=Buckets("swarm_time_per_output_token_seconds", _TOKEN_EDGES, (0.001, 1.0)),
    ),
    Metric(
        key="e2e_s",
        block="latency",
        label="E2E latency",
        title="End-to-end latency",
        help="From the send to the end of the stream, of complete requests.",
        unit="s",
        better="lower",
        stats=LATENCY_STATS,
        interval=("p50", "p95"),
        compared=("p50",),
        kept=("p95",),
        until=("mean",),
        curve=True,
        series=_LATENCY_SERIES,
        buckets=Buckets("swarm_request_duration_seconds", (0.02, *_VLLM_REQUEST), (0.02, 240.0)),
    ),
    Metric(
        key="effective_e2e_s",
        block="latency",
        label="effective E2E latency",
        help="From when a request was meant to be sent to the end of its stream.",
        unit="s",
        better="lower",
        stats=LATENCY_STATS,
    ),
    Metric(
        key="start_delay_s",
        block="latency",
        label="start delay",
        help="From when a turn's first request was meant to be sent to when it was.",
        unit="s",
        better="lower",
        stats=LATENCY_STATS,
    ),
    Metric(
        key="tool_s",
        block="latency",
        label="tool time",
        help="A tool call, from its start to its result.",
        unit="s",
        better="lower",
        stats=LATENCY_STATS,
        series=_LATENCY_SERIES,
        buckets=Buckets("swarm_tool_duration_seconds", (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0), (0.01, 60.0)),
    ),
    Metric(
        key="job_s",
        block="latency",
        label="job time",
        title="Job time",
        help="A finished job, from its first send to the end of its last step.",
        unit="s",
        digits=1,
        better="lower",
        stats=LATENCY_STATS,
        interval=("p50",),
        compared=("p50",),
        crossing=("p50",),
        gated=("p50",),
        until=("mean",),
        drift={"p50": Drift(floor=0.05)},
        panels=("p50",),
        log=True,
        columns=(Column(head="job", unit="p50 s", rank=2, stat="p50", digits=1),),
        series=_LATENCY_SERIES,
        buckets=Buckets("swarm_job_duration_seconds", (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 14400.0), (1.0, 3600.0)),
    ),
    Metric(
        key="ttfat_s",
        block="latency",
        label="time to first answer token",
        help="From the first send of a job to the first token of its answer.",
        unit="s",
        better="lower",
        stats=LATENCY_STATS,
    ),
    Metric(
        key="error_adjusted.e2e_s",
        block="error_adjusted",
        label="E2E latency with failures",
        help="E2E latency where a failed request counts as infinitely long.",
        unit="s",
        better="lower",
        stats=("p50", "p95", "p99"),
    ),
    Metric(
        key="tokens_per_job",
        label="tokens per job",
        help="Completion tokens of a finished job.",
        better="lower",
        interval=ONE,
        compared=ONE,
    ),
    Metric(
        key="jobs_per_h",
        block="throughput",
        label="jobs/h",
        help="Jobs finished per hour.",
        better="higher",
        interval=ONE,
        compared=ONE,
        kept=ONE,
        columns=(Column(head="jobs", unit="per h", extra=True),),
        series={None: "swarm_result_jobs_per_hour"},
    ),
    Metric(
        key="jobs_per_h_per_gpu",
        block="throughput",
        label="jobs/h per GPU",
        help="Jobs finished per hour, per GPU.",
        better="higher",
        compared=ONE,
    ),
    Metric(
        key="decode_retention",
        label="decode retention",
        help="Decode rate of requests at this level / at 1 agent.",
        better="higher",
        relative=True,
        interval=ONE,
    ),
    Metric(
        key="slowdown",
        label="slowdown",
        help="Job time at this level / alone, geometric mean over templates.",
        better="lower",
        relative=True,
        interval=ONE,
        compared=ONE,
        series={None: "swarm_result_slowdown_ratio"},
    ),
    Metric(
        key="scaling_efficiency",
        label="scaling efficiency",
        title="Scaling efficiency",
        help="Output of all N agents / N times that of one.",
        unit="%",
        scale=100,
        digits=0,
        better="higher",
        relative=True,
        interval=ONE,
        compared=ONE,
        panels=ONE,
    ),
    Metric(
        key="ttft_inflation",
        label="TTFT inflation",
        help="TTFT at this level / at 1 agent.",
        better="lower",
        stats=("p50", "p95"),
        relative=True,
        interval=("p50", "p95"),
    ),
    Metric(
        key="itl_inflation",
        label="ITL inflation",
        help="ITL at this level / at 1 agent.",
        better="lower",
        stats=("p50", "p95"),
        relative=True,
        interval=("p50", "p95"),
    ),
    Metric(
        key="errors",
        label="failed requests",
        help="Failed requests of any kind in the window.",
        better="lower",
        kept=ONE,
        columns=(Column(head="errors"),),
    ),
    Metric(
        key="contention",
        label="contention",
        help="1 - retention.",
        better="lower",
        relative=True,
        interval=ONE,
        kept=ONE,
        series={None: "swarm_result_contention_ratio"},
    ),
    Metric(
        key="fairness_jain",
        label="fairness (Jain)",
        title="Fairness between agents (Jain)",
        help="Jain's index over the agents' output rates.",
        better="higher",
        most=1.0,
        interval=ONE,
        kept=ONE,
        panels=ONE,
        columns=(Column(head="fairness", unit="(Jain)", digits=2, extra=True),),
        series={None: "swarm_result_fairness_jain"},
    ),
    Metric(
        key="prefix_cache_hit_rate",
        label="cached prompt",
        title="Prefix-cache hit rate",
        help="Prompt tokens that the server's prefix cache had / all prompt tokens.",
        unit="%",
        scale=100,
        digits=0,
        better="higher",
        most=1.0,
        columns=(Column(head="cached", unit="prompt", extra=True),),
    ),
    Metric(
        key="prefix_cache_best_hit_rate",
        label="best possible cached prompt",
        title="Best possible prefix-cache hit rate",
        help="Share of the prompt tokens that a cache which forgets nothing would have had, as far as lengths tell: a "
        "prompt that grew begins with the one before it.",
        unit="%",
        scale=100,
        digits=0,
        most=1.0,
    ),
    Metric(
        key="tokens",
        label="tokens",
        help="Tokens in the window, as the server counts them.",
        stats=("prompt", "cached_prompt", "completion"),
        series={
            "prompt": "swarm_result_prompt_tokens",
            "cached_prompt": "swarm_result_cached_prompt_tokens",
            "completion": "swarm_result_completion_tokens",
        },
    ),
    Metric(
        key="jobs",
        label="jobs",
        help="Jobs by their outcome in the window.",
        stats=("started", "finished", "censored"),
    ),
    Metric(
        key="cpu_share",
        block="client",
        label="CPU of the load generator",
        help="CPU time of the load generator, as a share of one core.",
        better="lower",
    ),
    Metric(
        key="lag_p99_s",
        block="client",
        label="lag of the load generator",
        help="Lateness of the load generator.",
        unit="ms",
        scale=1000,
        better="lower",
        series={None: "swarm_result_client_lag_p99_seconds"},
    ),
    Metric(
        key="timing_error_p99_s",
        block="client",
        label="timing error",
        help="Bound on the error of the measured times.",
        unit="ms",
        scale=1000,
        better="lower",
        columns=(Column(head="timing", unit="error ms", digits=2, extra=True),),
    ),
    Metric(
        key="chunks_per_s", block="client", label="chunks/s", help="Chunks that the load generator read per second."
    ),
    Metric(
        key="coalesced_chunks",
        block="client",
        label="coalesced chunks",
        help="Chunks that were read together with the one before.",
        better="lower",
    ),
    # Metrics of a soak's windows alone; a stage has none of them.
    Metric(
        key="error_share",
        label="share of failed requests",
        help="Failed requests / ended requests of a window.",
        better="lower",
        stats=(),
        drift={None: Drift(floor=0.01, unit="points", follows_load=False, disturbed_too=True)},
    ),
    Metric(
        key="kv_usage",
        label="KV cache usage",
        help="Mean share of the KV cache in use in a window.",
        better="lower",
        stats=(),
        drift={None: Drift(floor=0.05, unit="points")},
    ),
    Metric(
        key="preemptions",
        label="preemptions per window",
        help="Requests that the server preempted in a window.",
        better="lower",
        stats=(),
        drift={None: Drift(floor=1.0, unit="per_window")},
    ),
    Metric(
        key="client_rss_bytes",
        label="memory of swarm",
        help="Resident memory of the load generator.",
        better="lower",
        stats=(),
        drift={None: Drift(floor=MIB, unit="bytes", follows_load=False, disturbed_too=True)},
    ),
    Metric(
        key="server_rss_bytes",
        label="memory of the server",
        help="Resident memory of the server's process.",
        better="lower",
        stats=(),
        drift={None: Drift(floor=MIB, unit="bytes", follows_load=False, disturbed_too=True)},
    ),
]
