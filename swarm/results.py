"""The shape of `results.json`: what analysis builds, and what reports, gates and exporters read.

Keys ending in `_s` are seconds; what was not measured is null, never 0; +infinity is the string "inf". Keys are added
and never renamed. The JSON Schema is made from these classes and from the catalogue of metrics.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from swarm.recording.records import ErrorKind, JobOutcome
from swarm.text import counted

Amount = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Size = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
OrInfinite = float | Literal["inf"] | None
"""Infinity is the string "inf", as JSON has no number for it."""
Interval = Annotated[
    Annotated[list[float], Meta(min_length=2, max_length=2)] | None,
    Meta(description="A 95% confidence interval, low and high; null where it is not known, such as with one trial."),
]
Cause = Literal["decode", "prefill", "cache", "queue", "preemption", "tools", "client", "unknown"]
"""Where the time went that more agents take; docs/attribution.md defines each."""


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """A demand of the scenario on one number, and whether it was met."""

    expression: str
    target: str
    value: OrInfinite
    passed: bool
    reason: str | None
    """Why there is no value."""


class Achieved(msgspec.Struct, frozen=True, kw_only=True):
    """The load that a stage really had."""

    in_flight_mean: Size | None
    in_flight_max: Amount | None
    agents_alive_mean: Size | None
    server_running_mean: Size | None
    thinking_mean: Annotated[Size | None, Meta(description="Agents in a pause of the workload, on average.")] = None


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of all agents together."""

    output_tokens_per_s: Size | None
    output_tokens_per_s_ci95: Interval
    requests_per_s: Size | None
    jobs_per_h: Size | None
    jobs_per_h_per_gpu: Size | None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution in seconds, from the HdrHistograms (to 0.1%); null without observations, and for job times where
    too few jobs finished."""

    count: Annotated[Amount, Meta(description="Observations that ended in the window.")]
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class DecodeRates(msgspec.Struct, frozen=True, kw_only=True):
    """1 / TPOT, per reply."""

    p10: Size | None
    p50: Size | None
    p90: Size | None


class AgentRates(msgspec.Struct, frozen=True, kw_only=True):
    """Spread over the agents of completion tokens / serving time; tools and think time are left out."""

    p10: Size | None
    p50: Size | None
    p90: Size | None
    min: Size | None
    max: Size | None


class WithFailures(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, "inf" where so many requests failed."""

    p50: OrInfinite
    p95: OrInfinite
    p99: OrInfinite


class ErrorAdjusted(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies with every failed request as infinitely long."""

    e2e_s: WithFailures


class Inflation(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles at this level / alone; geometric mean over the trials."""

    p50: Size | None
    p95: Size | None


class AgentResults(msgspec.Struct, frozen=True, kw_only=True):
    """One agent over all trials."""

    agent: Amount
    output_tokens_per_s: Size | None
    ttft_s_p50: Size | None
    ttft_s_p95: Size | None
    turns: Amount
    jobs: Amount
    errors: Amount
    prefix_cache_hit_rate: Annotated[
        Share | None, Meta(description="Of its prompt tokens; null: the server does not tell cached tokens.")
    ] = None


class Warmup(msgspec.Struct, frozen=True, kw_only=True):
    """The planned warm-up, and where MSER-5 sees the start-up end."""

    seconds: Size | None
    transient_s: Annotated[
        Size | None, Meta(description="From the stage's start; null: no end of it in the first half of the stage.")
    ]
    bias: Annotated[
        float | None,
        Meta(description="Error of the window's output rate by a start-up that reaches into it: 0.1 is 10% too high."),
    ]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens in the window, as the server counts them."""

    prompt: Amount | None
    cached_prompt: Amount | None
    completion: Amount | None


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs by what became of them."""

    started: Amount | None
    finished: Amount | None
    censored: Annotated[Amount | None, Meta(description="Unfinished at the window's end.")]
    outcomes: dict[JobOutcome, Positive]


class LostCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Replies that ended for tool calls, and those of them that had none."""

    replies: Amount | None
    lost: Amount | None


class ClientResults(msgspec.Struct, frozen=True, kw_only=True):
    """The load generator's view of itself."""

    cpu_share: Annotated[Size | None, Meta(description="CPU time of the busiest process, as a share of one core.")]
    cpu_per_chunk_s: Annotated[
        Size | None, Meta(description="CPU time of all processes, divided by the token-bearing chunks.")
    ]
    lag_p99_s: Annotated[
        Size | None,
        Meta(description="How late received bytes were read (now - kernel stamp) and the event loop ran."),
    ]
    frozen_s: Annotated[
        Size | None,
        Meta(description="Longest time that one process stood still in the window; over several trials their sum."),
    ] = None
    timing_error_p99_s: Annotated[
        Size | None, Meta(description="Bound: 99% of the chunks' stamps are off by no more than this.")
    ]
    chunks_per_s: Size | None
    coalesced_chunks: Amount | None
    coalesced_share: Annotated[
        Share | None, Meta(description="Share of the token-bearing chunks that have the stamp of an earlier one.")
    ]
    stamp_source: Literal["kernel", "user"] | None


class ShardResults(msgspec.Struct, frozen=True, kw_only=True):
    """One of several processes that shared the agents."""

    shard: Amount
    name: Annotated[str, Meta(description="Its machine and process.")]
    agents: Amount
    lost: Annotated[str | None, Meta(description="Why it died before the stage had ended; null: it did not.")]
    clock_offset_s: Annotated[
        float, Meta(description="Its machine's monotonic clock less the coordinator's; corrected in all times.")
    ]
    clock_uncertainty_s: Annotated[Size, Meta(description="The offset is right to this; 0: one clock.")]
    cpu_share: Annotated[Size | None, Meta(description="CPU time of its process, as a share of one core.")]
    lag_p99_s: Size | None
    timing_error_p99_s: Size | None


def stage_name(target: str, agents: int) -> str:
    """A stage as `invalid_reasons` of the run names it."""
    return f"{target} with {counted(agents, 'agent')}"


Code = Literal[
    "agents_died",
    "agents_idle",
    "agents_kept_away",
    "base_invalid",
    "broke_off",
    "cache_missed",
    "chunks_read_late",
    "client_not_watched",
    "content_filter",
    "context_limit",
    "contexts_not_prefilled",
    "counters_not_checked",
    "interrupted",
    "latencies_lost",
    "load_generator_froze",
    "load_generator_late",
    "not_run",
    "reply_lengths_off",
    "requests_failed",
    "server_restarted",
    "server_silent",
    "shards_lost",
    "simulator_late",
    "token_counts_disagree",
    "token_counts_impossible",
    "too_few_jobs",
    "too_few_turns",
    "tool_calls_lost",
    "tool_calls_wrong",
    "tools_late",
    "tools_overran",
    "truncated",
    "ttft_upper_bound",
    "until_not_reached",
    "usage_missing",
    "warmup",
]
"""Kinds of findings: new ones may be added, none is renamed."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A reason why a stage is invalid, or a note on it: a code for programs and a sentence for people."""

    kind: Literal["invalid", "note"]
    code: Code
    text: str
    trial: Annotated[Positive | None, Meta(description="The trial that it holds for; null: the stage as a whole.")] = (
        None
    )

    def sentence(self) -> str:
        return self.text if self.trial is None else f"trial {self.trial}: {self.text}"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a stage, or of one trial of it; pooled over trials, rates averaged."""

    agents: Annotated[Positive, Meta(description="The stage's level: how many agents were to run at once.")]
    trials: Annotated[Positive, Meta(description="How many trials were planned.")]
    window_s: Annotated[Size | None, Meta(description="Length of the measured window; mean over trials.")]
    status: Literal["run", "skipped"]
    valid: bool
    invalid_reasons: Annotated[
        list[str],
        Meta(description="Why the numbers do not count: what happened, the number and its limit, what to do."),
    ]
    notes: Annotated[list[str], Meta(description="Remarks that do not make the stage invalid.")]
    findings: Annotated[
        list[Finding], Meta(description="The texts of `invalid_reasons` and `notes`, each with its code.")
    ] = []
    achieved: Achieved
    throughput: Throughput
    latency: dict[str, Latency]
    decode_tokens_per_s: DecodeRates
    error_adjusted: ErrorAdjusted
    agent_output_tokens_per_s: AgentRates
    per_agent: list[AgentResults]
    fairness_jain: Share | None
    retention: Size | None
    contention: Annotated[float, Meta(le=1)] | None
    decode_retention: Size | None
    slowdown: Size | None
    scaling_efficiency: Size | None
    ttft_inflation: Inflation
    itl_inflation: Inflation
    tokens_per_job: Size | None
    warmup: Warmup
    prefix_cache_hit_rate: Share | None = None
    prefix_cache_best_hit_rate: Share | None = None
    tokens: Tokens
    jobs: Jobs
    errors: dict[ErrorKind, Positive]
    tool_errors: Annotated[
        dict[str, Positive],
        Meta(description="Tool calls answered with an error, by kind, and replies whose tool call was lost."),
    ]
    lost_calls: LostCalls | None = None
    finish_reasons: dict[str, Positive]
    attribution: Annotated[
        dict[Cause, Share] | None, Meta(description="Shares of the growth of turn time against one agent.")
    ]
    client: ClientResults
    shards: Annotated[
        list[ShardResults],
        Meta(description="The processes that shared the agents; empty where one process had them all."),
    ]


class TrialResults(Measured, frozen=True, kw_only=True):
    """One trial of a stage, with the keys of a stage."""

    trial: Positive


class ExpectedError(msgspec.Struct, frozen=True, kw_only=True):
    """How far off a prediction may be: shares of the numbers. Four of five published points of its class were within
    them, by a model that was not fitted to their machines."""

    tokens_per_s: Annotated[Size, Meta(description="Error of what decoding decides: tok/s, ITL, TPOT.")]
    ttft_s: Annotated[Size, Meta(description="Error of the time to the first token.")]
    points: Annotated[
        Amount, Meta(description="Published points of the class; 0: the profile's own, found by measuring.")
    ]
    advice: Annotated[
        str | None, Meta(description="Where its class has too few points, and the errors are those of all, widened.")
    ] = None


class StageResults(Measured, frozen=True, kw_only=True):
    """A target at one level: distributions and counts pooled over its trials, rates averaged."""

    expected_error: Annotated[
        ExpectedError | None, Meta(description="Of a predicted stage; null of a measured one.")
    ] = None
    ci95: Annotated[
        dict[str, Interval],
        Meta(
            description="95% t intervals over the trials, by name; null with one trial, or where one lacks the number."
        ),
    ]
    trials_detail: list[TrialResults]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted number."""

    value: float
    ci95: Interval


class ScalingLaw(msgspec.Struct, frozen=True, kw_only=True):
    """The Universal Scalability Law fitted to the levels' output; below 6 levels, or of a bad fit, why not."""

    reason: str | None = None
    alone: Annotated[Estimate | None, Meta(description="Output tokens per second of one agent.")] = None
    contention: Annotated[Estimate | None, Meta(description="Share of the work that cannot be done side by side.")] = (
        None
    )
    coherency: Annotated[Estimate | None, Meta(description="Cost of each pair of agents.")] = None
    peak_agents: Annotated[
        Estimate | None,
        Meta(description="Where the output is largest; null where the curve need not bend down."),
    ] = None
    misfit: Annotated[Size | None, Meta(description="Root mean square of the relative errors.")] = None


class TargetResults(msgspec.Struct, frozen=True, kw_only=True):
    """One model under test."""

    name: Annotated[str, Meta(pattern="^[a-z0-9_-]+$")]
    architecture: Annotated[
        Literal["moe", "dense"] | None, Meta(description="As the scenario or the model's name says; null: unknown.")
    ]
    model: str | None
    gpus: Positive
    stages: Annotated[list[StageResults], Meta(min_length=1)]
    usl: ScalingLaw


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One number of two targets at one level."""

    agents: Positive
    metric: str
    baseline: str
    candidate: str
    baseline_value: float | None
    candidate_value: float | None
    ratio: Annotated[
        float | None,
        Meta(description="Candidate / baseline, geometric mean over paired trials; null unless both stages are valid."),
    ]
    ci95: Interval
    significant: Annotated[
        bool | None,
        Meta(description="Whether ci95 leaves out 1; null below 3 trials, and of predictions."),
    ]
    trials: Annotated[Amount, Meta(description="Pairs that the ratio is of.")]


class ComparedRow(Comparison, frozen=True, kw_only=True):
    """The same of two runs."""

    baseline_run: str
    candidate_run: str
    valid: Annotated[bool, Meta(description="Both stages are.")]
    predicted: Annotated[bool, Meta(description="Either run is.")]


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One of several runs that are compared."""

    name: str
    directory: str
    started_at: str | None
    verdict: str
    predicted: bool
    workload: str | None = None
    label: str | None = None
    """Given by whoever ran it."""


class ComparedSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting in which runs differ: a value per run, null where it has none."""

    group: str
    key: str
    values: list[Any]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs or more, the first one the baseline of all others: the output of `swarm compare --json`."""

    runs: list[ComparedRun]
    differences: list[ComparedSetting]
    comparison: list[ComparedRow]
    unpaired: Annotated[list[str], Meta(description="Parts that only one of them has.")]


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the curves of two targets cross, between two neighbouring levels."""

    metric: str
    baseline: str
    candidate: str
    between: Annotated[list[Positive], Meta(min_length=2, max_length=2)]
    agents: Annotated[float, Meta(description="Where the ratio would be 1, on logarithmic axes.")]
    significant: Annotated[
        bool | None, Meta(description="The ratio leaves out 1 at both levels; null where that is not known.")
    ]


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """One objective at one level."""

    slo: str
    value: OrInfinite
    ci95: Interval
    holds: bool
    sure: Annotated[
        bool | None, Meta(description="The interval lies on the value's side of the limit; null below 2 trials.")
    ]


Verdict = Literal["holds", "fails", "undecided"]


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One level of a search for capacity."""

    agents: Positive
    trials: Amount
    valid: bool
    invalid_reasons: list[str]
    holds: bool
    verdict: Annotated[
        Verdict, Meta(description="undecided: near the limit, trials that disagree, too little seen, or invalid.")
    ]
    sure: bool | None
    values: list[Objective]


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One level on the curve of throughput against TTFT."""

    agents: Positive
    output_tokens_per_s: Size | None
    ttft_s_p50: Size | None
    ttft_s_p95: Size | None
    holds: bool
    valid: bool


class TargetCapacity(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one target."""

    target: str
    agents: Annotated[Amount, Meta(description="The most that hold; 0: not even one.")]
    sure: bool | None
    next: Annotated[Positive | None, Meta(description="The fewest that do not hold; null: all that were tried do.")]
    next_sure: bool | None
    conclusive: Annotated[
        bool,
        Meta(description="The search came to its end, on valid stages with a value to judge by."),
    ]
    at_work: Annotated[
        Size | None, Meta(description="Of `agents`, those in no pause, on average; null: the work has no pauses.")
    ]
    sentence: str
    probes: list[Probe]
    curve: list[CurvePoint]
    agents_low: Annotated[
        Amount | None, Meta(description="The most if predicted numbers are as much worse as their errors; else null.")
    ] = None
    agents_high: Annotated[
        Amount | None,
        Meta(description="Likewise if they are as much better; at most the highest level that was tried."),
    ] = None


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """The most agents within the service level objectives, of `swarm capacity`."""

    slo: list[str]
    most: Positive
    targets: list[TargetCapacity]


class SoakPart(msgspec.Struct, frozen=True, kw_only=True):
    """The stretch of a soak that one process measured."""

    t_s: Annotated[float, Meta(description="Where its window begins, on the run's time line.")]
    measured_s: Size
    ended: Annotated[str, Meta(description="finished, killed, or what interrupted it.")]
    resumed: bool
    lost: Annotated[str | None, Meta(description="Records that can be missing from its files, and why.")]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one metric changed while the soak ran."""

    metric: str
    finding: Literal["trend", "step"] | None
    why_not: Annotated[str | None, Meta(description="Why there is no finding; null: nothing changed.")]
    worse: bool
    since_h: float | None
    change: Annotated[
        float | None, Meta(description="In `unit`: a share of the start, points of a share, or bytes an hour.")
    ]
    change_ci99: Annotated[list[float], Meta(min_length=2, max_length=2)] | None
    unit: Literal["share", "points", "per_window", "bytes_per_h"]
    text: str


class SoakWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One window of a soak."""

    number: Annotated[Amount, Meta(description="From the soak's start; one that was broken off is there again.")]
    t_s: float
    agents: Annotated[Amount, Meta(description="Planned.")]
    whole: bool
    output_tokens_per_s: Size | None
    requests: Annotated[Amount, Meta(description="Complete ones.")]
    errors: dict[ErrorKind, Positive]
    error_share: Share | None
    ttft_s_p50: Size | None
    ttft_s_p95: Size | None
    itl_s_p50: Size | None
    job_s_p50: Size | None
    lag_s_p99: Annotated[Size | None, Meta(description="Lag of the load generator.")]
    longest_wait_s: Annotated[Size, Meta(description="The longest TTFT or gap between chunks.")]
    kv_usage: Size | None
    preemptions: Size | None
    client_rss_bytes: Amount | None
    client_open_files: Amount | None
    server_rss_bytes: Size | None
    disturbed: Annotated[
        str | None, Meta(description="An event that its numbers are about instead of the load; null: none.")
    ]


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """Windows of `swarm soak`, the parts in which it ran, and what changed meanwhile."""

    pattern: str
    window_s: Size
    planned_s: Size
    measured_s: Annotated[Size, Meta(description="Over all parts.")]
    parts: list[SoakPart]
    undisturbed: Annotated[Amount, Meta(description="Windows that are about nothing but the load.")]
    drift: list[Drift]
    windows: list[SoakWindow]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a swarm run (results.json)."""

    schema_version: Literal[1]
    name: str
    started_at: Annotated[str | None, Meta(description="ISO 8601.")]
    verdict: Literal["valid", "invalid"]
    invalid_reasons: list[str]
    notes: Annotated[list[str], Meta(description="Records left out when the run's files were read, and why.")]
    lines_left_out: Annotated[
        Amount, Meta(description="Lines of the run's files that could not be read; `notes` says which and why.")
    ] = 0
    broken_off: Annotated[bool, Meta(description="Whether the run was killed or interrupted before all of it had run.")]
    predicted: Annotated[bool, Meta(description="Virtual time on the contention model, not a measurement.")]
    load: Annotated[
        str,
        Meta(description="Digest of all in the scenario that makes the load what it is, and not where the server is."),
    ]
    driver: Annotated[
        Literal["script", "model", "trace"],
        Meta(description="Who decided what the agents did; with `model`, levels are not compared on equal work."),
    ]
    workload: Annotated[
        str | None, Meta(description="Agents' work in one line: lengths, turns, tools, contexts; null: an older run.")
    ] = None
    targets: list[TargetResults]
    comparison: Annotated[list[Comparison], Meta(description="Targets side by side, by name.")]
    crossings: list[Crossing]
    capacity: Capacity | None
    thresholds: list[Threshold]
    soak: Soak | None


def plain(found: object) -> Any:
    """A part of the results as JSON has it."""
    return msgspec.to_builtins(found)


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one machine, as `swarm plan` predicts it for so many agents."""

    profile: str
    model: str | None = None
    gpu: str | None = None
    gpus: Amount | None = None
    fits: Annotated[bool, Meta(description="Whether the model fits on the machine at all.")]
    holds: Annotated[bool, Meta(description="Whether the agents that were asked for meet the objectives.")] = False
    carries: Annotated[Amount | None, Meta(description="The most agents that meet them, to within a quarter.")] = None
    carries_more: Annotated[bool, Meta(description="Whether that is the most that was tried.")] = False
    carries_low: Annotated[
        Amount | None, Meta(description="The most if the numbers are as much worse as the prediction's errors.")
    ] = None
    carries_high: Annotated[
        Amount | None,
        Meta(description="Likewise if they are as much better; at most the highest level that was tried."),
    ] = None
    expected_error: Annotated[ExpectedError | None, Meta(description="Of the numbers with the agents asked for.")] = (
        None
    )
    next: Annotated[Positive | None, Meta(description="The fewest that were tried and do not meet them.")] = None
    output_tokens_per_s: Annotated[Size | None, Meta(description="Of the median agent, with the agents asked for.")] = (
        None
    )
    ttft_s_p95: Size | None = None
    job_s: Annotated[Size | None, Meta(description="Turns of an average job x the time from turn to turn.")] = None
    jobs_per_h: Size | None = None
    price_per_h: Size | None = None
    price_per_job: Size | None = None
    runs_out: Annotated[str | None, Meta(description="The thing that is exhausted first when agents join.")] = None
    why: Annotated[str | None, Meta(description="Why there are no numbers; null: there are.")] = None


def read_results(document: object) -> Results:
    """The results in a decoded `results.json`. Raises ValueError, which says what is not theirs and where."""
    try:
        return msgspec.convert(document, Results)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
