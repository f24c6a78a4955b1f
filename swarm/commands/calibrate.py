"""`swarm calibrate`: fits a profile's efficiencies to a measured run, and says how well, and where it cannot.

What a client sees of an engine's steps is the times of tokens. Between two moments at which a request is sent, gets its
first token or ends, the same requests decode together: the mean gap there is the time of a step with that many requests
and that much context. A request that is alone from its send to its first token shows the time of its prefill.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from swarm.analysis.read import Notes, read_events, read_plan
from swarm.commands.observed_steps import Prefill, Stream, Stretch, observed, of_attempt, step, ttft
from swarm.errors import UsageError
from swarm.recording.records import Attempt
from swarm.recording.rundir import name_of
from swarm.simulator.engine.cost import CostModel
from swarm.simulator.profiles import profiles
from swarm.simulator.profiles.fitting import Bounds, Fitted, NoScipyError, fit
from swarm.simulator.profiles.profiles import Profile
from swarm.text import listed

LEAST_GAPS = 8
"""Gaps of a stretch: shorter ones say more of the network than of the engine."""
LEAST_OBSERVATIONS = 20
UNKNOWN = 0.25
"""A 95% interval wider than this to either side, relative to the value: the run does not tell the parameter."""
NEGLIGIBLE = {"api_overhead_s": 0.005}
"""Half widths that are good enough, whatever the value."""
DECODE = {"moe": ("layer_overhead_us", "eta_experts", "eta_kv"), "dense": ("eta_weights", "eta_kv")}
PREFILL = {"moe": ("eta_flops_experts", "api_overhead_s"), "dense": ("eta_flops_dense", "api_overhead_s")}
"""Parameters that are fitted. The others are constant in a run, so that it cannot be told from these."""
RANGES = {"layer_overhead_us": (0.5, 5000.0), "api_overhead_s": (1e-5, 5.0)}
SHARE = (0.01, 1.0)
REMEDIES = {
    "layer_overhead_us": "a stage of 1 agent",
    "eta_weights": "a stage of 1 agent",
    "eta_experts": "stages of more agents, such as agents.levels: [1, 2, 4, 8]",
    "eta_kv": "longer contexts (agents.context, agents.system_tokens) or more agents",
    "eta_flops_experts": "a longer stage of 1 agent, with more cold prompt tokens (agents.system_tokens)",
    "eta_flops_dense": "a longer stage of 1 agent, with more cold prompt tokens (agents.system_tokens)",
    "api_overhead_s": "a longer stage of 1 agent",
}


@dataclass(frozen=True)
class Calibration:
    """`held_out`: level -> mean relative error of its steps, predicted from the other levels; None: they do not do."""

    profile: Profile
    fitted: dict[str, Fitted]
    stretches: tuple[Stretch, ...]
    prefills: tuple[Prefill, ...]
    held_out: dict[int, float | None]

    def errors(self) -> dict[int, list[tuple[int, float]]]:
        """By level: requests in the step, and predicted / measured - 1."""
        cost = CostModel(self.profile)
        found = defaultdict(list)
        for stretch in self.stretches:
            found[stretch.level].append((stretch.decodes, step(cost, stretch) / stretch.seconds - 1))
        return dict(sorted(found.items()))


def calibrate(run: Path, profile_name: str | None, target: str | None) -> Calibration:
    """Fits a profile to what a run measured of one target.

    `profile_name`: what to start from; None: what the target simulated. UsageError when the run does not tell enough,
    with the stages to add, and without scipy.
    """
    base, name = _start(run, profile_name, target)
    stretches, prefills = observe(run, name)
    if len(stretches) < LEAST_OBSERVATIONS:
        raise UsageError(
            f"{run}: {len(stretches)} stretches of steady decoding of {name}, and {LEAST_OBSERVATIONS} are needed; "
            "run longer (stage.duration) with record.chunks: true, on a server that counts tokens per chunk"
        )
    try:
        fitted = _fit(base, stretches, prefills)
        _refuse_unknown(fitted, run)
        levels = sorted({stretch.level for stretch in stretches})
        held_out = {level: _held_out(base, stretches, prefills, level) for level in levels}
    except NoScipyError as error:
        raise UsageError(str(error)) from None
    profile = replace(
        _with(base, {key: one.value for key, one in fitted.items()}),
        name=f"{base.name}-calibrated",
        provenance=f"calibrated from {name_of(run)}, started {read_plan(run).started_at}",
        note="; ".join(f"{key} {one.value:.4g} [{one.low:.4g}, {one.high:.4g}]" for key, one in fitted.items())
        + f"; the rest from {base.name} ({base.provenance})",
    )
    return Calibration(profile, fitted, tuple(stretches), tuple(prefills), held_out)


def entry(profile: Profile) -> dict[str, Any]:
    """A profile as its JSON file has it."""
    return asdict(profile) | {"capture_sizes": list(profile.capture_sizes)}


def observe(run: Path, target: str) -> tuple[list[Stretch], list[Prefill]]:
    """All that the target's attempts show of single steps."""
    stages: dict[tuple[int, int], list[Stream]] = defaultdict(list)
    for record in read_events(run, Notes()):
        if isinstance(record, Attempt) and record.target == target and (stream := of_attempt(record)) is not None:
            stages[record.agents, record.trial].append(stream)
    stretches: list[Stretch] = []
    prefills: list[Prefill] = []
    for (level, _), streams in stages.items():
        found, alone = observed(level, streams)
        stretches += found
        prefills += alone
    return stretches, prefills


def _start(run: Path, profile_name: str | None, target: str | None) -> tuple[Profile, str]:
    names = [one.name for one in read_plan(run).targets]
    if target is None and len(names) > 1:
        raise UsageError(f"{run}: has the targets {listed(names)}; choose one with --target")
    name = target or names[0]
    if name not in names:
        raise UsageError(f"--target {name}: no such target; the run has {listed(names)}")
    known = next(one for one in read_plan(run).targets if one.name == name)
    try:
        return profiles.load(profile_name or known.model or ""), name
    except ValueError as error:
        raise UsageError(f"--profile: name the profile to start from (`swarm profiles` lists them): {error}") from None


def _fit(base: Profile, stretches: Sequence[Stretch], prefills: Sequence[Prefill]) -> dict[str, Fitted]:
    """First what decoding shows, then what prefill adds. Without enough prefills that part stays as it is."""
    found = fit(_bounds(base, DECODE[base.architecture]), lambda values: _decode_errors(_with(base, values), stretches))
    if len(prefills) < LEAST_OBSERVATIONS:
        return found
    base = _with(base, {key: one.value for key, one in found.items()})
    return found | fit(
        _bounds(base, PREFILL[base.architecture]), lambda values: _prefill_errors(_with(base, values), prefills)
    )


def _bounds(base: Profile, names: Sequence[str]) -> dict[str, Bounds]:
    ranges = {name: RANGES.get(name, SHARE) for name in names}
    return {
        name: Bounds(min(high * 0.9, max(low * 2, getattr(base, name))), low, high)
        for name, (low, high) in ranges.items()
    }


def _with(base: Profile, values: Mapping[str, float]) -> Profile:
    changes: dict[str, Any] = dict(values)
    if "eta_weights" in values:
        changes["eta_lm_head_single"] = values["eta_weights"]  # read in the same way, and constant as well
    return replace(base, **changes)


def _decode_errors(profile: Profile, stretches: Sequence[Stretch]) -> list[float]:
    cost = CostModel(profile)
    return [step(cost, stretch) / stretch.seconds - 1 for stretch in stretches]


def _prefill_errors(profile: Profile, prefills: Sequence[Prefill]) -> list[float]:
    cost = CostModel(profile)
    return [ttft(cost, profile, prefill) / prefill.seconds - 1 for prefill in prefills]


def _refuse_unknown(fitted: Mapping[str, Fitted], run: Path) -> None:
    beyond = [f"{name} ({one.value:.3g})" for name, one in fitted.items() if one.at_bound and name not in NEGLIGIBLE]
    if beyond:
        raise UsageError(
            f"{run}: the run wants {', '.join(beyond)} beyond what is possible: the profile's GPU or model is not the "
            "one that was measured; start from another --profile"
        )
    unknown = {name: one for name, one in fitted.items() if not _is_known(name, one)}
    if unknown:
        lines = [
            f"  {name}: {one.value:.3g} +- {one.half_width:.0%}; add {REMEDIES[name]}" for name, one in unknown.items()
        ]
        raise UsageError("\n".join([f"{run}: the run does not tell all parameters:", *lines]))


def _is_known(name: str, one: Fitted) -> bool:
    return one.half_width <= UNKNOWN or one.high - one.value <= NEGLIGIBLE.get(name, 0.0)


def _held_out(base: Profile, stretches: Sequence[Stretch], prefills: Sequence[Prefill], level: int) -> float | None:
    """The mean relative error of a level's steps, by what the other levels tell; None where they do not tell enough."""
    rest = [stretch for stretch in stretches if stretch.level != level]
    if len(rest) < LEAST_OBSERVATIONS:
        return None
    found = _fit(base, rest, [prefill for prefill in prefills if prefill.level != level])
    profile = _with(base, {key: one.value for key, one in found.items()})
    return fmean(map(abs, _decode_errors(profile, [stretch for stretch in stretches if stretch.level == level])))
