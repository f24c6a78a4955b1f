"""The numbers of one stage (a target at one level), from one trial or from several."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec import structs

from swarm import results
from swarm.analysis.plan import Limits
from swarm.analysis.slowdown.attribution import attribution
from swarm.analysis.stage.degradation import degradation
from swarm.analysis.stage.intervals import intervals
from swarm.analysis.stage.notes import notes
from swarm.analysis.stage.shards import shards
from swarm.analysis.stage.totals import best_hit_rate, enough_jobs, tool_errors, total
from swarm.analysis.stage.validity import too_few_turns, trial_reasons
from swarm.analysis.stats.distribution import Distribution, mean
from swarm.analysis.trial.agents import idle_ns, jain, per_agent, rates, shares, spread, thinking, together
from swarm.analysis.trial.client import summary
from swarm.analysis.trial.requests import plus
from swarm.analysis.trial.trial import Trial
from swarm.analysis.trial.warmup import Warmup, warmup
from swarm.catalogue import latencies
from swarm.results import (
    Achieved,
    ErrorAdjusted,
    Finding,
    Jobs,
    Latency,
    LostCalls,
    Measured,
    StageResults,
    Throughput,
    Tokens,
    TrialResults,
)

OF_JOBS = ("job", "ttfat")
Entry = TypeVar("Entry", bound=Measured)
NOT_RUN = Finding(kind="invalid", code="not_run", text="not run: the run ended before this stage")


def stage(
    agents: int, trials: Sequence[Trial | None], alone: Sequence[Trial | None], gpus: int, limits: Limits
) -> StageResults:
    """One entry of `stages`. `trials`, `alone`: of this level and of one agent, by trial; None: not run."""
    base = _valid_base(alone, limits)
    why = [trial_reasons(trial, limits) if trial else [NOT_RUN] for trial in trials]
    details = [
        _as(TrialResults, _entry(agents, [trial], [partner], gpus, limits, reasons), trial=number)
        for number, (trial, partner, reasons) in enumerate(zip(trials, base, why, strict=True), 1)
    ]
    found = _of_stage(agents, trials, why)
    if any(trials) and any(alone) and not any(base):
        text = "contention and slowdown are left out because the 1-agent stage is invalid"
        found.append(Finding(kind="note", code="base_invalid", text=text))
    entry = _entry(agents, trials, base, gpus, limits, found)
    # The trials of a prediction differ in the order of their jobs alone: they tell nothing of how a real server varies.
    confidence = intervals(details if limits.real_time else [])
    whole = _as(StageResults, entry, ci95=confidence, trials_detail=list(map(_with_ci95, details, trials)))
    return structs.replace(whole, throughput=_known_to(whole.throughput, confidence["output_tokens_per_s"]))


def _with_ci95(detail: TrialResults, trial: Trial | None) -> TrialResults:
    """One trial's own interval, over batches of its window."""
    interval = trial.output.ci95() if trial and trial.seconds else None
    return structs.replace(detail, throughput=_known_to(detail.throughput, interval))


def _known_to(rates: Throughput, interval: list[float] | None) -> Throughput:
    return structs.replace(rates, output_tokens_per_s_ci95=interval)


def _as(kind: type[Entry], measured: Measured, **more: Any) -> Entry:
    """`measured` with the keys that a `kind` has besides."""
    fields: dict[str, Any] = {key: getattr(measured, key) for key in Measured.__struct_fields__}
    return kind(**fields, **more)


def _valid_base(alone: Sequence[Trial | None], limits: Limits) -> list[Trial | None]:
    """The trials of one agent that others may be compared with."""
    if too_few_turns([trial for trial in alone if trial], 1):
        return [None] * len(alone)
    return [trial if trial and not trial_reasons(trial, limits) else None for trial in alone]


def _of_stage(agents: int, trials: Sequence[Trial | None], why: Sequence[list[Finding]]) -> list[Finding]:
    """The findings of the trials, and whether the turns of all trials together suffice."""
    ran = [trial for trial in trials if trial]
    if not ran:
        return [NOT_RUN]
    of_trials = [
        one if len(trials) == 1 else structs.replace(one, trial=number)
        for number, findings in enumerate(why, 1)
        for one in findings
    ]
    few = too_few_turns(ran, agents)
    return [*of_trials, Finding(kind="invalid", code="too_few_turns", text=few)] if few else of_trials


def _entry(
    agents: int,
    trials: Sequence[Trial | None],
    alone: Sequence[Trial | None],
    gpus: int,
    limits: Limits,
    found: list[Finding],
) -> Measured:
    """Distributions and counts pooled, rates averaged over the trials; None where nothing was measured."""
    ran = [trial for trial in trials if trial]
    found = [*found, *(notes(agents, ran, limits) if ran else ())]
    timed = [trial for trial in ran if trial.seconds]
    pairs = [
        (trial, base)
        for trial, base in zip(trials, alone, strict=True)
        if trial and base and trial.seconds and base.seconds
    ]
    pooled = together([trial.agents for trial in timed])
    enough = enough_jobs(timed, agents)
    distributions = _distributions(timed)
    failed = sum(trial.requests.errors.total() for trial in timed)
    lost = degradation(agents, pairs, enough and enough_jobs([base for _, base in pairs], 1))
    tokens = _tokens(timed)
    return Measured(
        agents=agents,
        trials=len(trials),
        status="run" if ran else "skipped",
        valid=not any(one.kind == "invalid" for one in found),
        invalid_reasons=[one.sentence() for one in found if one.kind == "invalid"],
        notes=[one.text for one in found if one.kind == "note"],
        findings=found,
        window_s=mean(trial.seconds for trial in timed),
        achieved=_achieved(timed),
        throughput=_throughput(timed, gpus, enough),
        latency=_latency(distributions, enough),
        decode_tokens_per_s=distributions["tpot"].rates(),
        error_adjusted=ErrorAdjusted(e2e_s=distributions["e2e"].with_failures(failed)),
        agent_output_tokens_per_s=spread(rates(pooled)),
        per_agent=per_agent(pooled),
        fairness_jain=mean(jain(shares(trial.agents, trial.seconds)) for trial in timed),
        retention=lost.retention,
        contention=None if lost.retention is None else 1 - lost.retention,
        decode_retention=lost.decode_retention,
        slowdown=lost.slowdown,
        scaling_efficiency=lost.scaling_efficiency,
        ttft_inflation=lost.ttft_inflation,
        itl_inflation=lost.itl_inflation,
        tokens_per_job=_tokens_per_job(timed) if enough else None,
        warmup=_warmup(warmup([trial.output for trial in timed])),
        prefix_cache_hit_rate=_hit_rate(tokens),
        prefix_cache_best_hit_rate=best_hit_rate(timed),
        tokens=tokens,
        jobs=_jobs(timed),
        errors=total(trial.requests.errors for trial in timed),
        tool_errors=tool_errors(timed),
        lost_calls=_lost_calls(timed),
        finish_reasons=total(trial.requests.finish_reasons for trial in timed),
        attribution=attribution([(trial.causes, base.causes) for trial, base in pairs]),
        client=summary([trial.client for trial in timed]),
        shards=shards(ran),
    )


def _achieved(trials: Sequence[Trial]) -> Achieved:
    # A broken-off stage has no agent's end on record.
    alive = (
        max(0, trial.load.alive_ns - idle_ns(trial.agents, trial.seconds)) / 1e9 / trial.seconds
        if trial.ended
        else None
        for trial in trials
    )
    return Achieved(
        in_flight_mean=mean(trial.load.in_flight_ns / 1e9 / trial.seconds for trial in trials),
        in_flight_max=max((trial.load.most_in_flight() for trial in trials), default=None),
        agents_alive_mean=mean(alive),
        server_running_mean=mean(trial.server_running_mean for trial in trials),
        thinking_mean=mean(thinking(trial.agents) for trial in trials),
    )


def _tokens_per_job(trials: Sequence[Trial]) -> float | None:
    """Completion tokens of a finished job: beside its time, as a model may write more for the same job."""
    return sum(trial.jobs.tokens for trial in trials) / sum(trial.jobs.finished for trial in trials) or None


def _warmup(found: Warmup | None) -> results.Warmup:
    return results.Warmup(
        seconds=found.seconds if found else None,
        transient_s=found.transient_s if found else None,
        bias=found.bias if found else None,
    )


def _throughput(trials: Sequence[Trial], gpus: int, enough: bool) -> Throughput:
    jobs_per_h = mean(trial.jobs.finished * 3600 / trial.seconds for trial in trials) if enough else None
    return Throughput(
        output_tokens_per_s=mean(trial.output_rate for trial in trials),
        output_tokens_per_s_ci95=None,
        requests_per_s=mean(trial.requests.complete / trial.seconds for trial in trials),
        jobs_per_h=jobs_per_h,
        jobs_per_h_per_gpu=None if jobs_per_h is None else jobs_per_h / gpus,
    )


def _distributions(trials: Sequence[Trial]) -> dict[str, Distribution]:
    """Each latency, by the name of its observation, over all trials."""
    return {
        metric.observation: Distribution(
            sum((trial.distributions.get(metric.observation, Counter()) for trial in trials), Counter[int]())
        )
        for metric in latencies()
    }


def _latency(distributions: Mapping[str, Distribution], enough: bool) -> dict[str, Latency]:
    """`enough`: jobs finished to tell their times; else only their number is told."""
    found = {metric.key: distributions[metric.observation].stats() for metric in latencies()}
    if not enough:
        found |= {f"{metric}_s": Latency(count=distributions[metric].count) for metric in OF_JOBS}
    return found


def _tokens(trials: Sequence[Trial]) -> Tokens:
    prompt = cached = completion = None
    for trial in trials:
        prompt = plus(prompt, trial.requests.prompt_tokens)
        cached = plus(cached, trial.requests.cached_tokens)
        completion = plus(completion, trial.requests.completion_tokens)
    return Tokens(prompt=_whole(prompt), cached_prompt=_whole(cached), completion=_whole(completion))


def _whole(tokens: float | None) -> int | None:
    return None if tokens is None else round(tokens)


def _hit_rate(tokens: Tokens) -> float | None:
    """None where it is not known, or the counts cannot be."""
    cached, prompt = tokens.cached_prompt, tokens.prompt
    return cached / prompt if prompt and cached is not None and cached <= prompt else None


def _jobs(trials: Sequence[Trial]) -> Jobs:
    outcomes = total(trial.jobs.outcomes for trial in trials)
    return Jobs(
        started=sum(trial.jobs.started for trial in trials) if trials else None,
        finished=sum(trial.jobs.finished for trial in trials) if trials else None,
        censored=outcomes.get("censored", 0) if trials else None,
        outcomes=outcomes,
    )


def _lost_calls(trials: Sequence[Trial]) -> LostCalls:
    return LostCalls(
        replies=sum(trial.requests.ended_for_tools for trial in trials) if trials else None,
        lost=sum(trial.requests.lost_calls for trial in trials) if trials else None,
    )
