"""`swarm plan`: models on machines, predicted side by side for so many agents, in as many processes as there are cores.

A candidate is searched coarsely: one agent, the agents asked for, and a few levels more until one does not meet the
objectives. Nothing is written.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

import msgspec

from swarm.analysis.capacity.search import border
from swarm.analysis.expected_errors import agents_between, of_stage
from swarm.analysis.plan import ErrorBand
from swarm.commands.capacity import Search
from swarm.commands.predict import rehearse
from swarm.engine.objectives import refuse_unmeasurable, unmeasurable
from swarm.engine.workloads.tasks import mean_turn
from swarm.errors import SwarmError, UsageError
from swarm.results import Cause, ExpectedError, Planned, StageResults
from swarm.scenario.quick import context_for, workload_settings
from swarm.scenario.schema import Capacity, Scenario
from swarm.scenario.thresholds import parse_slo
from swarm.simulator.profiles import accuracy, profiles
from swarm.simulator.profiles.profiles import Profile

TOO_LARGE = "does not fit on"
"""Words of the error for a model whose weights are larger than the memory of its machine."""
COARSE = 0.25
"""The most agents are known to within this share."""
MOST_TIMES, MOST_CANDIDATES = 2, 200
"""The search ends at so many times the agents asked for."""
LOST_HITS = 0.03
"""So much less of the prompts found in the prefix cache than with one agent means that it overflows."""
WARMUP_S, WINDOW_S = 5.0, 10.0
"""Shorter than in a run: virtual time has no noise, and windows grow until there are ten turns per agent."""


@dataclass(frozen=True)
class Wanted:
    """The load that every candidate is to carry. `prices`: per hour and GPU, by the GPU's name."""

    agents: int
    slos: tuple[str, ...]
    workload: str | None = None
    prices: Mapping[str, float] | None = None


@dataclass(frozen=True)
class _Job:
    candidate: str
    wanted: Wanted


def combinations(models: Sequence[str], gpus: Sequence[str], quants: Sequence[str]) -> list[str]:
    """Names of profiles for each model on each machine (`2xrtx4090` is two GPUs) in each precision."""
    return [
        f"{model}@{gpu}{f':{quant}' if quant else ''}" for model, gpu, quant in product(models, gpus, quants or [""])
    ]


def plan(
    candidates: Sequence[str], wanted: Wanted, tell: Callable[[str], None], processes: int | None = None
) -> list[Planned]:
    """Every candidate (a profile's name or file), the best first. UsageError for a load that cannot be predicted."""
    if not 0 < len(candidates) <= MOST_CANDIDATES:
        raise UsageError(f"give 1 to {MOST_CANDIDATES} profiles, not {len(candidates)}")
    _check(wanted)
    jobs = [_Job(candidate, wanted) for candidate in dict.fromkeys(candidates)]
    workers = min(processes or os.cpu_count() or 1, len(jobs))
    rows = []
    for row in _worked_off(jobs, workers):
        rows.append(row)
        tell(f"{len(rows)}/{len(jobs)} {row.profile}")
    return sorted(rows, key=_rank)


def _worked_off(jobs: Sequence[_Job], workers: int) -> Iterator[Planned]:
    if workers == 1:
        yield from map(_predicted, jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(_predicted, jobs)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check(wanted: Wanted) -> None:
    """Raises UsageError for a workload or objectives that no candidate could be judged by."""
    refuse_unmeasurable(plain := _scenario(wanted, profiles.names()[0]), unmeasurable(plain, virtual=True))


def _scenario(wanted: Wanted, candidate: str, most_tokens: int | None = None) -> Scenario:
    chosen = workload_settings(wanted.workload) if wanted.workload else {}
    agents = {key.removeprefix("agents."): value for key, value in chosen.items() if key.startswith("agents.")}
    agents |= context_for(chosen, most_tokens if "agents.trace" in chosen else None)
    try:
        return Scenario.model_validate(
            {
                "name": "plan",
                "targets": [{"name": "candidate", "simulate": candidate}],
                "agents": agents | {"levels": [wanted.agents]},
                "stage": {"warmup": f"{WARMUP_S:g}s", "duration": f"{WINDOW_S:g}s", "trials": 1},
                "record": {"chunks": False},
            }
            | ({"tasks": chosen["tasks"]} if "tasks" in chosen else {})
        ).model_copy(
            update={
                "capacity": Capacity(
                    slo=list(wanted.slos), most=MOST_TIMES * wanted.agents, start={"candidate": wanted.agents}
                )
            }
        )
    except ValueError as error:
        raise UsageError(f"--workload {wanted.workload}: {error}") from None


def _predicted(job: _Job) -> Planned:
    """One row; a candidate that is unknown, or too large for its machine, is one with the reason."""
    try:
        profile = profiles.load(job.candidate)
        scenario = _scenario(job.wanted, job.candidate, profile.max_context)
        if scenario.agents.context > profile.max_context:
            return _unfit(
                job.candidate,
                f"the KV cache holds {profile.max_context:,} tokens, fewer than one context "
                f"({scenario.agents.context:,})",
                profile,
            )
        search = Search(scenario, predicted=True, coarse=COARSE, explain=True)
        rehearse(scenario, search)
    except (ValueError, SwarmError) as error:
        return _unfit(job.candidate, str(error))
    return _row(job, profile, scenario, search)


def _unfit(candidate: str, why: str, profile: Profile | None = None) -> Planned:
    row = Planned(profile=candidate, fits=False, why=why)
    if profile is None:  # it is unknown, or its weights alone are too large
        return msgspec.structs.replace(row, runs_out="GPU memory") if TOO_LARGE in why else row
    return msgspec.structs.replace(row, model=profile.model, gpu=profile.gpu, gpus=profile.tp, runs_out="GPU memory")


def _row(job: _Job, profile: Profile, scenario: Scenario, search: Search) -> Planned:
    wanted, probes, stages = job.wanted, search.probes["candidate"], search.results["candidate"]
    at, here = border(probes), stages.get(job.wanted.agents)
    job_s = _job_time(here, mean_turn(scenario).per_job) if here else None
    jobs_per_h = wanted.agents * 3600 / job_s if job_s else None
    slos = [parse_slo(text) for text in wanted.slos]
    errors = _errors(stages, profile)
    # It draws lines between levels, and the coarse search may stop a little below such a line.
    between = agents_between(probes, slos, errors)
    price = (wanted.prices or {}).get(profile.gpu)
    price_per_h = None if price is None else price * profile.tp
    return Planned(
        profile=job.candidate,
        model=profile.model,
        gpu=profile.gpu,
        gpus=profile.tp,
        fits=True,
        holds=wanted.agents in probes and probes[wanted.agents].holds,
        carries=at.low,
        carries_more=at.high is None,
        carries_low=between and min(between[0], at.low),
        carries_high=between and max(between[1], at.low),
        expected_error=errors.get(wanted.agents),
        next=at.high,
        output_tokens_per_s=here.agent_output_tokens_per_s.p50 if here else None,
        ttft_s_p95=here.latency["ttft_s"].p95 if here else None,
        job_s=job_s,
        jobs_per_h=jobs_per_h,
        price_per_h=price_per_h,
        price_per_job=price_per_h / jobs_per_h if price_per_h is not None and jobs_per_h else None,
        runs_out=_exhausted(stages[at.high], stages.get(1), profile) if at.high else None,
    )


def _errors(stages: Mapping[int, StageResults], profile: Profile) -> dict[int, ExpectedError]:
    """How far off the numbers of each level may be."""
    bands = msgspec.convert(accuracy.bands(profile), tuple[ErrorBand, ...])
    return {level: error for level, stage in stages.items() if (error := of_stage(stage, bands))}


def _job_time(stage: StageResults, turns: float) -> float | None:
    """Seconds of an average job: its turns x the time from one turn of an agent to its next, tools included."""
    done = sum(int(agent.turns) for agent in stage.per_agent)
    if not done or not stage.window_s or stage.achieved.agents_alive_mean is None:
        return None
    return turns * stage.achieved.agents_alive_mean * stage.window_s / done


_RESOURCES: dict[Cause, str] = {
    "decode": "memory bandwidth",
    "prefill": "compute for prompts",
    "cache": "KV cache",
    "preemption": "KV cache",
}


def _exhausted(stage: StageResults, alone: StageResults | None, profile: Profile) -> str | None:
    """The resource behind the slowdown at the first level that does not meet the objectives.

    Where prompts have to be computed again, as the cache no longer holds them, that is the KV cache, whatever agents
    wait for then; else the largest cause of the attribution decides.
    """
    if stage.agents == 1:
        return "too slow for one"
    hits, before = stage.prefix_cache_hit_rate, alone.prefix_cache_hit_rate if alone else None
    if hits is not None and before is not None and before - hits > LOST_HITS:
        return "KV cache"
    if not stage.attribution:
        return None
    shares = dict(stage.attribution)
    cause = max(shares, key=lambda one: shares[one])
    if cause == "queue":
        return "slots (max_num_seqs)" if stage.agents > profile.max_num_seqs else "KV cache"
    return _RESOURCES.get(cause)


def _rank(row: Planned) -> tuple[object, ...]:
    """Those that hold first, by price per job where it is known and then by jobs per hour; then by agents carried."""
    dear = row.price_per_job if row.price_per_job is not None else float("inf")
    return (
        not row.fits,
        not row.holds,
        dear if row.holds else 0.0,
        -(row.carries or 0) if not row.holds else 0,
        -(row.jobs_per_h or 0.0),
        row.profile,
    )
