"""From a run directory to its results: everything in `results.json`, from the other files alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from swarm.analysis.capacity.answer import answer
from swarm.analysis.capacity.judge import judge
from swarm.analysis.compare_targets import compare, crossings
from swarm.analysis.expected_errors import agents_between, of_stage
from swarm.analysis.headline import digest
from swarm.analysis.plan import Plan, Target
from swarm.analysis.read import Notes, read_events, read_histograms, read_plan, read_server
from swarm.analysis.soak.soak import read_minutes, soak_block
from swarm.analysis.stage.stage import stage
from swarm.analysis.stats import usl
from swarm.analysis.thresholds import evaluate
from swarm.analysis.trial.trial import Trial
from swarm.analysis.window import Window
from swarm.recording import rundir
from swarm.recording.histograms import StageKey
from swarm.recording.records import SIGNALS, Stage
from swarm.results import Capacity, Results, TargetCapacity, TargetResults, stage_name
from swarm.scenario.thresholds import Slo, parse_slo

SCHEMA_VERSION: Final = 1
Trials = dict[StageKey, Trial]


def analyse(directory: Path) -> Results:
    """The results of a run, whole or broken off; the same for the same files.

    Raises UsageError when `directory` is not a run directory or a file in it is damaged.
    """
    notes = Notes()
    plan = read_plan(directory)
    minutes = read_minutes(directory, plan.soak) if plan.soak else None
    explain = not plan.soak and (1 in plan.levels or bool(plan.capacity))
    trials = read_trials(directory, notes, minutes.window if minutes else None, explain)
    targets = [_target(plan, target, trials) for target in plan.targets]
    comparison = compare(targets, predicted=plan.predicted)
    capacity = _capacity(plan, targets) if plan.capacity else None
    asked = _border(capacity) if capacity else None
    reasons = [
        f"{stage_name(target.name, stage.agents)}: {reason}"
        for target in targets
        for stage in target.stages
        if asked is None or (target.name, stage.agents) in asked
        for reason in stage.invalid_reasons
    ]
    return Results(
        schema_version=SCHEMA_VERSION,
        name=plan.name,
        started_at=plan.started_at,
        verdict="invalid" if reasons else "valid",
        invalid_reasons=reasons,
        notes=[f"{note} ({count})" if count > 1 else note for note, count in sorted(notes.items())],
        lines_left_out=notes.lines_left_out,
        broken_off=_broken_off(trials, targets),
        predicted=plan.predicted,
        load=digest(rundir.read_scenario(directory)),
        driver=plan.driver,
        workload=plan.workload,
        targets=targets,
        comparison=comparison,
        crossings=crossings(comparison),
        capacity=capacity,
        thresholds=evaluate(plan.thresholds, targets),
        soak=soak_block(minutes, plan.limits.max_lag_s) if minutes else None,
    )


def _broken_off(trials: Trials, targets: Sequence[TargetResults]) -> bool:
    """Whether the run was killed or interrupted; one that stopped by itself, as its budget was spent, was not."""
    ends = [trial.ended for trial in trials.values()]
    early = {end.interrupted for end in ends if end} - {None}
    tried = (detail.status for target in targets for stage in target.stages for detail in stage.trials_detail)
    return None in ends or not early.isdisjoint(SIGNALS) or ("skipped" in tried and not early)


def read_trials(directory: Path, notes: Notes, soaked: Window | None, explain: bool) -> Trials:
    """Reads each stage and trial from the events, the server's samples and the interval log.

    `soaked`: of a soak, the window of its one stage, over all the parts in which that ran. `explain`: as of Trial.
    """
    trials: Trials = {}
    for record in read_events(directory, notes):
        key = (record.target, record.agents, record.trial)
        if isinstance(record, Stage):
            if key not in trials:
                trials[key] = Trial(record, soaked, explain=explain)
            elif soaked:
                trials[key].go_on(record)
        elif key in trials:
            trials[key].add(record)
        else:
            notes["records of no stage are left out"] += 1
    for sample in read_server(directory, notes):
        key = (sample.target, sample.agents, sample.trial)
        if key in trials:
            trials[key].add_sample(sample)
    for key, distributions in read_histograms(directory, notes).items():
        if key in trials:
            trials[key].distributions = distributions
    return trials


def _target(plan: Plan, target: Target, trials: Trials) -> TargetResults:
    planned = dict.fromkeys(plan.levels, plan.trials)
    counts = _tried(target.name, trials) or {1: 1} if plan.capacity else planned

    def of_level(level: int, count: int) -> list[Trial | None]:
        return [trials.get((target.name, level, number)) for number in range(1, count + 1)]

    measured = [
        stage(level, of_level(level, count), of_level(1, count), target.gpus, plan.limits)
        for level, count in counts.items()
    ]
    stages = [msgspec.structs.replace(one, expected_error=of_stage(one, target.errors)) for one in measured]
    return TargetResults(
        name=target.name,
        architecture=target.architecture,
        model=target.model,
        gpus=target.gpus,
        stages=stages,
        usl=usl.fit({one.agents: one.throughput.output_tokens_per_s for one in stages if one.valid}),
    )


def _tried(target: str, trials: Trials) -> dict[int, int]:
    """By level of a target's search: how often it was tried."""
    return {level: number for name, level, number in sorted(trials) if name == target}


def _capacity(plan: Plan, targets: Sequence[TargetResults]) -> Capacity:
    assert plan.capacity
    slos = [parse_slo(text) for text in plan.capacity.slo]
    return Capacity(
        slo=list(plan.capacity.slo),
        most=plan.capacity.most,
        targets=[_answer(plan, plan.capacity.most, target, slos) for target in targets],
    )


def _answer(plan: Plan, most: int, target: TargetResults, slos: Sequence[Slo]) -> TargetCapacity:
    run = [one for one in target.stages if one.status == "run"]
    probes = {one.agents: judge(one, slos, predicted=plan.predicted) for one in run}
    found = answer(target.name, probes, most, predicted=plan.predicted, stages=target.stages)
    between = agents_between(probes, slos, {one.agents: one.expected_error for one in run if one.expected_error})
    if between is None:
        return found
    low, high = between
    told = f"{low} to {high}" if low < high else str(low)
    more = " or more" if high == max(probes) else ""
    return msgspec.structs.replace(
        found,
        agents_low=low,
        agents_high=high,
        sentence=f"{found.sentence} Within the prediction's error: {told}{more} agents.",
    )


def _border(capacity: Capacity) -> set[tuple[str, int | None]]:
    """The stages that the answers stand on: of a search, no others need be valid."""
    return {(found.target, level) for found in capacity.targets for level in (found.agents, found.next)}
