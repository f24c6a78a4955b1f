"""Runs side by side: one target in several runs, or targets that could not be up together and ran one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import convert
from msgspec.structs import asdict

from swarm.analysis.compare.config_diff import ABSENT, Difference, differences, read_settings
from swarm.analysis.compare_targets import side_by_side
from swarm.analysis.results import analyse
from swarm.errors import UsageError
from swarm.recording import redaction, rundir
from swarm.results import Compared, ComparedRow, ComparedRun, ComparedSetting, Results, StageResults, TargetResults


@dataclass(frozen=True)
class Side:
    """A target of a run; `label` tells it from all others that are compared."""

    run: str
    label: str
    target: TargetResults
    predicted: bool

    def stages(self) -> dict[int, StageResults]:
        return {stage.agents: stage for stage in self.target.stages}


def compare_runs(directories: Sequence[Path]) -> Compared:
    """Two runs or more, the first one the baseline of all others.

    Raises UsageError for runs that have nothing in common to compare.
    """
    if len({directory.resolve() for directory in directories}) < len(directories) or len(directories) < 2:
        raise UsageError("compare: expected two different run directories or more")
    results = [analyse(directory) for directory in directories]
    names = _names(directories)
    pairs, joined = _pairs(names, results)
    comparison = [row for baseline, candidate in pairs for row in _rows(baseline, candidate)]
    if not comparison:
        raise UsageError("compare: the runs have no number of agents in common; run the same levels (--agents 1,4,8)")
    found = differences([read_settings(directory) for directory in directories], joined=joined)
    return Compared(
        runs=[
            ComparedRun(
                name=name,
                directory=str(directory),
                started_at=result.started_at,
                verdict=result.verdict,
                predicted=result.predicted,
                workload=result.workload,
                label=_label(directory),
            )
            for name, directory, result in zip(names, directories, results, strict=True)
        ],
        differences=[_plain(one) for one in found],
        comparison=comparison,
        unpaired=list(_unpaired(names, results, pairs)),
    )


def _label(directory: Path) -> str | None:
    """The label that the run was given; it is shown as text, whatever the file holds."""
    found = rundir.read_scenario(directory).get("label")
    return redaction.shown(found) if isinstance(found, str) else None


def _names(directories: Sequence[Path]) -> list[str]:
    """The directories' own names; whole paths where two are the same."""
    names = [rundir.name_of(directory) for directory in directories]
    return names if len(set(names)) == len(names) else [str(directory) for directory in directories]


def _pairs(names: Sequence[str], results: Sequence[Results]) -> tuple[list[tuple[Side, Side]], bool]:
    """Baseline and candidate of each comparison, and whether the runs are joined.

    Targets of the same name belong together. Runs of one target each, all with different names, are what one machine
    could not serve together: they are joined, a dense model the baseline of MoE models, else the first run's.
    """
    sides = [
        [Side(name, f"{target.name} ({name})", target, result.predicted) for target in result.targets]
        for name, result in zip(names, results, strict=True)
    ]
    single = [of_run[0] for of_run in sides if len(of_run) == 1]
    joined = len(single) == len(sides) == len({side.target.name for side in single})
    if joined:
        alone = [replace(side, label=side.target.name) for side in single]
        dense = next((side for side in alone if side.target.architecture == "dense"), alone[0])
        moe = any(side.target.architecture == "moe" for side in alone)
        baseline = dense if moe else alone[0]
        return [(baseline, other) for other in alone if other is not baseline], True
    pairs = [
        (baseline, candidate)
        for baseline in sides[0]
        for of_run in sides[1:]
        for candidate in of_run
        if candidate.target.name == baseline.target.name
    ]
    if not pairs:
        raise UsageError(
            "compare: the runs have no target in common; targets are paired by name, and only runs of one target each "
            "are joined whatever it is called"
        )
    return pairs, False


def _rows(baseline: Side, candidate: Side) -> Iterator[ComparedRow]:
    below, above = baseline.stages(), candidate.stages()
    predicted = baseline.predicted or candidate.predicted
    for level in sorted(below.keys() & above.keys()):
        sides = {
            "baseline_run": baseline.run,
            "candidate_run": candidate.run,
            "valid": below[level].valid and above[level].valid,
            "predicted": predicted,
        }
        for row in side_by_side(baseline.label, candidate.label, below[level], above[level], predicted=predicted):
            yield convert(asdict(row) | sides, ComparedRow)


def _plain(one: Difference) -> ComparedSetting:
    values = [None if value is ABSENT else value for value in one.values]
    return ComparedSetting(group=one.group, key=one.key, values=values)


def _unpaired(names: Sequence[str], results: Sequence[Results], pairs: Sequence[tuple[Side, Side]]) -> Iterator[str]:
    """Targets and stages that cannot be compared, as no other run has them."""
    compared = {(side.run, side.target.name) for pair in pairs for side in pair}
    for name, result in zip(names, results, strict=True):
        for target in result.targets:
            if (name, target.name) not in compared:
                yield f"{target.name} is only in {name}"
    for baseline, candidate in pairs:
        for side, other in ((baseline, candidate), (candidate, baseline)):
            for level in sorted(side.stages().keys() - other.stages().keys()):
                yield f"{side.label} with {level} agents: {other.label} was not run with as many"
