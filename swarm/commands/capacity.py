"""`swarm capacity`: stages that are chosen one by one, from what those before have shown."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice, repeat
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import TextIO

from swarm.analysis.capacity.judge import ROUGH, jobs_needed, judge, observations_needed
from swarm.analysis.capacity.search import Bounds, border, next_level, stages_left
from swarm.analysis.plan import Limits
from swarm.analysis.stage.stage import stage
from swarm.analysis.stage.validity import TURNS_PER_AGENT
from swarm.analysis.trial.trial import Trial
from swarm.catalogue import metric_of
from swarm.commands.predict import predict_scenario, rehearse
from swarm.commands.run import run_scenario
from swarm.engine.objectives import of_client, refuse_unmeasurable, unmeasurable
from swarm.engine.runspec import Outcome
from swarm.engine.schedule import StagePlan, stage_plan
from swarm.errors import UsageError
from swarm.recording.histograms import bucket
from swarm.recording.observations import observations
from swarm.recording.recorder import Sink
from swarm.recording.records import Published, Record, ServerSample, Stage, StageEnd
from swarm.results import Probe, StageResults
from swarm.scaleout.sharing import ALONE, Sharing
from swarm.scenario.schema import Capacity, Scenario, Simulate, Target, Until
from swarm.scenario.thresholds import parse_slo
from swarm.scenario.units import format_duration
from swarm.text import counted


class Search(Sink):
    """A course of stages that depends on what they show, and the sink that sees it."""

    def __init__(
        self, scenario: Scenario, *, predicted: bool = False, coarse: float = 0.0, explain: bool = False
    ) -> None:
        """`coarse`: as of `Bounds`. `explain`: whether the stages that it keeps know why agents got slower."""
        assert scenario.capacity
        self._coarse, self._explain = coarse, explain
        self.scenario = scenario
        self._predicted = predicted
        self._plan = scenario.capacity
        self._slos = [parse_slo(text) for text in self._plan.slo]
        self._relative = [slo.key for slo in self._slos if metric_of(slo.key).relative]
        self._waiting: list[Published] = []
        self._trials: dict[str, dict[int, list[Trial]]] = {target.name: {} for target in scenario.targets}
        self.probes: dict[str, dict[int, Probe]] = {target.name: {} for target in scenario.targets}
        """Target -> level -> what `judge` makes of all its trials."""
        self.results: dict[str, dict[int, StageResults]] = {target.name: {} for target in scenario.targets}
        """Target -> level -> its numbers over all its trials."""
        self._now: str | None = None
        """The target of the stage that runs."""
        self._began_ns = 0
        self._took_s: list[float] = []

    def add(self, record: Published) -> None:
        self._waiting.append(record)

    def close(self) -> None: ...

    def stages(self, run: str, say: Callable[[str], None]) -> Iterator[StagePlan]:
        """Yields the next stage to run; asked again when it is over. `run` and the rest are as of `stage_plan`.

        Where an objective compares with one agent, that comes before every trial that has none to be compared with.
        """
        for target in self.scenario.targets:
            probes, bounds = self.probes[target.name], self._bounds(target)
            while level := next_level(probes, bounds):
                number, alone = _tried(probes, level) + 1, _tried(probes, 1) + 1
                if self._relative and alone <= number:
                    level, number = 1, alone
                self._now = target.name
                plan = stage_plan(self.scenario, run, target.name, level, number)
                yield replace(plan, until=self._until(level, number))
                self._take(target, level)
                if level in probes:
                    say(f"{_line(target.name, probes[level])}{self._outlook()}")

    def most_stages(self, target: Target) -> int:
        return stages_left({}, self._bounds(target))

    def stages_left(self) -> int:
        """The most stages that come after the one that runs now."""
        names = [target.name for target in self.scenario.targets]
        behind = self.scenario.targets[names.index(self._now) if self._now else 0 :]
        left = sum(stages_left(self.probes[target.name], self._bounds(target)) for target in behind)
        return max(0, left - 1)

    def _bounds(self, target: Target) -> Bounds:
        start = self._plan.start.get(target.name, 1)
        return Bounds(start, self._plan.most, self.scenario.stage.trials, bool(self._relative), self._coarse)

    def _until(self, level: int, trial: int) -> Until:
        """The window of a stage goes on until it can be judged: a first look takes less than one at the border."""
        own = self.scenario.stage.until or Until(turns=1)
        needed = ROUGH if trial == 1 else observations_needed(self._slos)
        turns = max(own.turns or 1, TURNS_PER_AGENT, ceil(needed / level))
        longest = max(own.max, self.scenario.stage.duration)
        return own.model_copy(update={"turns": turns, "jobs": own.jobs or jobs_needed(self._slos), "max": longest})

    def _outlook(self) -> str:
        """How long the rest may take, by the stages so far."""
        left = self.stages_left() + 1 if any(self._unfinished()) else 0
        if not left or not self._took_s:
            return ""
        minutes = left * fmean(self._took_s) / 60
        return f"; at most {counted(left, 'more stage')}, about {max(1, round(minutes))} min"

    def _unfinished(self) -> Iterator[bool]:
        for target in self.scenario.targets:
            yield next_level(self.probes[target.name], self._bounds(target)) is not None

    def _take(self, target: Target, level: int) -> None:
        """Works off the records of the stage that is over, with no agent to hold up."""
        records, self._waiting = self._waiting, []
        trials = self._trials[target.name].setdefault(level, [])
        for record in records:
            if isinstance(record, StageEnd):
                self._took_s.append((record.t_ns - self._began_ns) / 1e9)
            if isinstance(record, Stage):
                self._began_ns = record.t_ns
                trials.append(Trial(record, explain=self._explain))
            elif isinstance(record, ServerSample):
                if trials:
                    trials[-1].add_sample(record)
            elif trials:
                trials[-1].add(record)  # type: ignore[arg-type]
                _observe(trials[-1], record)
        if trials:
            alone = islice(chain(self._trials[target.name].get(1, ()), repeat(None)), len(trials))
            found = stage(level, trials, list(alone), target.gpus, _limits(self.scenario))
            self.results[target.name][level] = found
            self.probes[target.name][level] = judge(found, self._slos, predicted=self._predicted)


def _tried(probes: Mapping[int, Probe], level: int) -> int:
    return int(probes[level].trials) if level in probes else 0


def _observe(trial: Trial, record: Record) -> None:
    for metric, value, end_ns in observations(record):
        if trial.window.holds(end_ns):
            trial.distributions.setdefault(metric, Counter())[bucket(value)] += 1


def _limits(scenario: Scenario) -> Limits:
    client, stage = scenario.client, scenario.stage
    return Limits(client.max_lag, client.max_cpu, stage.max_error_share, stage.max_lost_calls)


def _line(target: str, probe: Probe) -> str:
    values = ", ".join(f"{value.slo}: {_shown(value.value)}" for value in probe.values)
    verdict = {"holds": "holds", "fails": "fails", "undecided": "not decided yet"}[probe.verdict]
    return f"{target}, {counted(probe.agents, 'agent')}, trial {probe.trials}: {verdict} ({values})"


def _shown(value: float | str | None) -> str:
    return value or "no value" if isinstance(value, str | None) else f"{value:.4g}"


def find_capacity(
    scenario: Scenario,
    out: Path | None,
    show: TextIO | None,
    *,
    virtual: bool = False,
    profiles: Mapping[str, str] | None = None,
    sharing: Sharing = ALONE,
    run: Callable[..., Outcome] = run_scenario,
) -> Outcome:
    """Searches the capacity of every target into a new run directory; `virtual`: on the contention model alone.

    Where a target has a profile (its own, or one in `profiles` by its name), the search begins where a search in
    virtual time has ended. Raises UsageError and BackendError as a run does, and UsageError for an SLO that nothing
    could be judged by.
    """
    assert scenario.capacity
    refuse_unmeasurable(scenario, unmeasurable(scenario, virtual=virtual))
    if virtual:
        return predict_scenario(scenario, out, show, course=Search(scenario, predicted=True))
    start = {**predicted(scenario, profiles or {}, show), **scenario.capacity.start}
    capacity = scenario.capacity.model_copy(update={"start": start})
    begun = scenario.model_copy(update={"capacity": capacity})
    return run(begun, out, show, course=Search(begun), sharing=sharing)


def predicted(scenario: Scenario, profiles: Mapping[str, str], show: TextIO | None) -> dict[str, int]:
    """Where to begin, by target: what one trial a level in virtual time would carry, 1 where that is none."""
    if unknown := profiles.keys() - {target.name for target in scenario.targets}:
        raise UsageError(f"--profile {min(unknown)}: no such target")
    assert scenario.capacity
    known = [model for target in scenario.targets if (model := _model_of(target, profiles))]
    slos = [text for text in scenario.capacity.slo if parse_slo(text).key not in of_client()]
    if not known or not slos or scenario.agents.driver == "model":
        return {}
    once = scenario.stage.model_copy(update={"trials": 1, "until": None})
    wanted = scenario.capacity.model_copy(update={"slo": slos})
    alone = scenario.model_copy(update={"targets": known, "stage": once, "capacity": wanted})
    search = Search(alone, predicted=True)
    rehearse(search.scenario, search)
    found = {name: max(1, border(probes).low) for name, probes in search.probes.items()}
    if show:
        told = ", ".join(f"{name} {agents}" for name, agents in found.items())
        print(f"predicted by the contention model: {told}; the search begins there", file=show, flush=True)
    return found


def _model_of(target: Target, profiles: Mapping[str, str]) -> Target | None:
    """The target as its profile simulates it, without faults."""
    if target.name in profiles:
        simulate = Simulate(profile=profiles[target.name])
        return Target(name=target.name, architecture=target.architecture, simulate=simulate, gpus=target.gpus)
    if target.simulate is None:
        return None
    return target.model_copy(update={"simulate": target.simulate.model_copy(update={"faults": []})})


def describe_search(scenario: Scenario) -> str:
    """Estimates a search before it begins: a line per target."""
    search = Search(scenario)
    assert scenario.capacity
    lines = [
        f"{scenario.name}: the most agents, up to {scenario.capacity.most}, with {', '.join(scenario.capacity.slo)}"
    ]
    settings = scenario.stage
    for target in scenario.targets:
        stages = search.most_stages(target)
        minutes = stages * (settings.warmup + settings.duration) / 60
        lines.append(
            f"  {target.name}: at most {counted(stages, 'stage')}; {minutes:.0f} min with windows of "
            f"{format_duration(settings.duration)}, which grow until agents have done {TURNS_PER_AGENT} turns each"
        )
    return "\n".join(lines)


def with_slos(scenario: Scenario, slos: list[str] | None, most: int | None) -> Scenario:
    """The scenario as it is searched: what the command line says, else its own `capacity`. Raises UsageError."""
    own = scenario.capacity
    try:
        capacity = Capacity(
            slo=slos or (own.slo if own else []), most=most or (own.most if own else 64), start=own.start if own else {}
        )
    except ValueError as error:
        raise UsageError(f"--slo: {_reason(error)}") from None
    return scenario.model_copy(update={"capacity": capacity})


def _reason(error: ValueError) -> str:
    errors: list[dict[str, str]] = getattr(error, "errors", list)()
    first = errors[0]["msg"].removeprefix("Value error, ") if errors else str(error)
    return first if errors and errors[0]["type"] == "value_error" else "give one or more, such as --slo 'ttft.p95 < 2s'"
