"""The numbers of one stage (a target at one level), from one trial or from several."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from swarm import results
from swarm.analysis.plan import Limits
from swarm.analysis.slowdown.attribution import attribution
from swarm.analysis.stage.degradation import degradation
from swarm.analysis.stage.intervals import intervals
from swarm.analysis.stage.shards import shards
from swarm.analysis.stage.validity import counters_skipped, too_few_turns, trial_reasons
from swarm.analysis.stats.distribution import Distribution, mean
from swarm.analysis.trial.agents import idle_ns, jain, per_agent, rates, shares, spread, together
from swarm.analysis.trial.client import processes, summary, timing_of
from swarm.analysis.trial.jobs import ENOUGH_PER_AGENT
from swarm.analysis.trial.requests import plus
from swarm.analysis.trial.trial import Trial
from swarm.analysis.trial.warmup import Warmup, warmup
from swarm.catalogue import latencies
from swarm.recording.records import WindowEnd
from swarm.results import (
    Achieved,
    ErrorAdjusted,
    Jobs,
    Latency,
    LostCalls,
    Measured,
    StageResults,
    Throughput,
    Tokens,
    TrialResults,
)
from swarm.text import counted

OF_JOBS = ("job", "ttfat")
FIRST_TOKENS = 8
"""More tokens than this in a first chunk came before it: speculative decoding makes fewer in one step."""
Entry = TypeVar("Entry", bound=Measured)
Kind = TypeVar("Kind", bound=str)
NOT_RUN = "not run: the run ended before this stage began"


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
    entry = _entry(agents, trials, base, gpus, limits, _reasons(agents, trials, why))
    if any(trials) and any(alone) and not any(base):
        entry.notes.append("contention and slowdown are left out, as the stage of one agent is invalid")
    # The trials of a prediction differ in the order of their jobs alone: they tell nothing of how a real server varies.
    confidence = intervals(details if limits.real_time else [])
    whole = _as(StageResults, entry, ci95=confidence, trials_detail=list(map(_with_ci95, details, trials)))
    return replace(whole, throughput=_known_to(whole.throughput, confidence["output_tokens_per_s"]))


def _with_ci95(detail: TrialResults, trial: Trial | None) -> TrialResults:
    """One trial's own interval, over batches of its window."""
    interval = trial.output.ci95() if trial and trial.seconds else None
    return replace(detail, throughput=_known_to(detail.throughput, interval))


def _known_to(rates: Throughput, interval: list[float] | None) -> Throughput:
    return replace(rates, output_tokens_per_s_ci95=interval)


def _as(kind: type[Entry], measured: Measured, **more: Any) -> Entry:
    """`measured` with the keys that a `kind` has besides."""
    fields: dict[str, Any] = {key: getattr(measured, key) for key in Measured.__struct_fields__}
    return kind(**fields, **more)


def _valid_base(alone: Sequence[Trial | None], limits: Limits) -> list[Trial | None]:
    """The trials of one agent that others may be compared with."""
    if too_few_turns([trial for trial in alone if trial], 1):
        return [None] * len(alone)
    return [trial if trial and not trial_reasons(trial, limits) else None for trial in alone]


def _reasons(agents: int, trials: Sequence[Trial | None], why: Sequence[list[str]]) -> list[str]:
    """Those of the trials, and whether the turns of all trials together suffice."""
    ran = [trial for trial in trials if trial]
    if not ran:
        return [NOT_RUN]
    if len(trials) == 1:
        reasons = list(why[0])
    else:
        reasons = [f"trial {number}: {reason}" for number, all_of_it in enumerate(why, 1) for reason in all_of_it]
    few = too_few_turns(ran, agents)
    return [*reasons, few] if few else reasons


def _entry(
    agents: int,
    trials: Sequence[Trial | None],
    alone: Sequence[Trial | None],
    gpus: int,
    limits: Limits,
    reasons: list[str],
) -> Measured:
    """Distributions and counts pooled, rates averaged over the trials; None where nothing was measured."""
    ran = [trial for trial in trials if trial]
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
        valid=not reasons,
        invalid_reasons=reasons,
        notes=_notes(agents, ran, limits) if ran else [],
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
        tokens=tokens,
        jobs=_jobs(timed),
        errors=_sum(trial.requests.errors for trial in timed),
        tool_errors=_tool_errors(timed),
        lost_calls=_lost_calls(timed),
        finish_reasons=_sum(trial.requests.finish_reasons for trial in timed),
        attribution=attribution([(trial.causes, base.causes) for trial, base in pairs]),
        client=summary([trial.client for trial in timed]),
        shards=shards(ran),
    )


def enough_jobs(trials: Sequence[Trial], agents: int) -> bool:
    return sum(trial.jobs.finished for trial in trials) >= ENOUGH_PER_AGENT * agents


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
    outcomes = _sum(trial.jobs.outcomes for trial in trials)
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


def _tool_errors(trials: Sequence[Trial]) -> dict[str, int]:
    lost = Counter(lost=sum(trial.requests.lost_calls for trial in trials))
    return _sum([*(trial.tool_errors for trial in trials), +lost])


def _sum(counters: Iterable[Counter[Kind]]) -> dict[Kind, int]:
    return dict(sorted(sum(counters, Counter[Kind]()).items()))


def _notes(agents: int, trials: Sequence[Trial], limits: Limits) -> list[str]:
    """Remarks for the reader that do not make the stage invalid."""
    notes = []
    jobs, needed = sum(trial.jobs.finished for trial in trials), ENOUGH_PER_AGENT * agents
    if not enough_jobs(trials, agents):
        notes.append(
            f"too few jobs: {jobs} finished in the window, and {needed} are needed ({ENOUGH_PER_AGENT} an agent); "
            "job times, jobs/h, TTFAT and slowdown are left out; raise stage.duration"
        )
    outcomes = _sum(trial.jobs.outcomes for trial in trials)
    if cut := outcomes.get("context_limit", 0):
        notes.append(
            f"cut off by the context: {cut} of {jobs} finished jobs ({cut / jobs * 100:.2g} %) ended as context_limit "
            "before their work was done, and count in job times and jobs/h; raise agents.context"
        )
    if overruns := sum(trial.overruns for trial in trials):
        notes.append(f"{counted(overruns, 'tool call')} took longer than planned: that is tool time")
    mistakes = _tool_errors(trials)
    if lost := mistakes.get("lost"):
        ended = sum(trial.requests.ended_for_tools for trial in trials)
        notes.append(f"lost tool calls: {lost} of {ended} replies that ended for tool calls held none")
    if mistaken := mistakes.get("unknown", 0) + mistakes.get("malformed", 0):
        notes.append(
            f"the model made {counted(mistaken, 'tool call')} that no tool takes, {mistakes.get('unknown', 0)} of them "
            f"of unknown tools, {mistakes.get('malformed', 0)} with malformed arguments: answered with an error each"
        )
    if truncated := sum(trial.requests.truncated for trial in trials):
        notes.append(f"truncated: {truncated} of the replies ended at a limit, and not where they were planned to")
    notes += _notes_on_replies(trials)
    if uncounted := sum(trial.requests.uncounted for trial in trials):
        notes.append(f"{counted(uncounted, 'request')} left out of all rates, as the server did not count the tokens")
    notes += {note: None for trial in trials if (note := counters_skipped(trial))}
    notes += [note for trial in trials if trial.closed for note in _too_early(trial.closed)]
    # A soak whose pattern lets agents rest never settles, and is not meant to.
    constant = all(trial.began.planned_alive in (None, agents) for trial in trials)
    settled = warmup([trial.output for trial in trials]) if constant else None
    if settled and (complaint := settled.complaint()):
        notes.append(complaint)
    if limits.real_time:
        notes += _notes_on_client(trials, limits)
    return notes


def _notes_on_replies(trials: Sequence[Trial]) -> list[str]:
    """Replies that came whole, and yet not as they should."""
    notes = []
    firsts = sum((trial.requests.first_tokens for trial in trials), Counter[int]())
    if late := Counter({tokens: count for tokens, count in firsts.items() if tokens > FIRST_TOKENS}):
        notes.append(
            f"TTFT is an upper bound: in {late.total() / firsts.total():.0%} of the replies the first chunk "
            f"with text already counted more than {FIRST_TOKENS} tokens (up to {max(late)}), so the server had "
            "generated some before, and held them back or sent them in a form that swarm does not know; TPOT leaves "
            "them out"
        )
    if doubts := sum(trial.requests.doubts for trial in trials):
        said = next(trial.requests.doubt for trial in trials if trial.requests.doubt)
        notes.append(
            f"token counts that cannot be came with {counted(doubts, 'request')}, and are taken as unknown; the first: "
            f"{said}"
        )
    reasons = _sum(trial.requests.finish_reasons for trial in trials)
    if filtered := reasons.get("content_filter", 0):
        notes.append(
            f"filtered: {filtered} of the replies were ended by the server's content filter, and count all the same"
        )
    return notes


def _too_early(closed: WindowEnd) -> Iterator[str]:
    """What a window that ran to its longest had still not seen enough of."""
    if closed.metric and closed.asked is not None and (closed.reached is None or closed.reached > closed.asked):
        known = "not known at all" if closed.reached is None else f"known to {closed.reached * 100:.2g} %"
        yield (
            f"stage.until: {closed.metric} was {known} when the time was up, and {closed.asked * 100:.2g} % were asked "
            "for; raise stage.until.max"
        )
    for name, asked, done in (("turns", closed.turns_asked, closed.turns), ("jobs", closed.jobs_asked, closed.jobs)):
        if asked is not None and (done or 0) < asked:
            yield (
                f"stage.until: {done or 0} {name} were done when the time was up, and {asked} were asked for; raise "
                "stage.until.max"
            )


def _notes_on_client(trials: Sequence[Trial], limits: Limits) -> list[str]:
    watched = processes(trial.client for trial in trials)
    if not watched:
        return ["the client did not watch itself in the window, so that check is missing"]
    timing = timing_of(watched)
    lag, error = timing.lag_p99_s(), timing.p99_s()
    if lag is None or error is None or lag <= limits.max_lag_s or error > limits.max_lag_s:
        return []
    return [
        f"swarm read chunks up to {lag * 1000:.3g} ms late (p99), and agents went on as much later; the times are "
        f"right to {error * 1000:.2g} ms all the same, as the kernel stamps the chunks"
    ]
