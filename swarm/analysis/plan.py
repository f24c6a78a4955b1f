"""The plan of a run: the few things of its scenario and environment that results depend on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from swarm.errors import UsageError
from swarm.scenario.architecture import Architecture, architecture_of
from swarm.scenario.pattern import levels
from swarm.scenario.thresholds import parse_slo, parse_threshold
from swarm.scenario.units import parse_duration, parse_share


@dataclass(frozen=True)
class ErrorBand:
    """How far predictions may be off with at most `streams` requests at once and `context` tokens each; None: any."""

    streams: Annotated[float, msgspec.Meta(ge=0)] | None
    context: Annotated[float, msgspec.Meta(ge=0)] | None
    tokens_per_s: Annotated[float, msgspec.Meta(ge=0)]
    ttft_s: Annotated[float, msgspec.Meta(ge=0)]
    points: Annotated[int, msgspec.Meta(ge=0)]
    advice: str | None = None


@dataclass(frozen=True)
class Target:
    name: str
    architecture: Architecture | None
    """None: neither the scenario nor the model's name tells."""
    model: str | None
    gpus: Annotated[int, msgspec.Meta(ge=1)]
    errors: tuple[ErrorBand, ...] = ()
    """Errors of its predictions, the narrowest bands first."""


@dataclass(frozen=True)
class Limits:
    """Beyond these a stage is invalid: seconds, and shares of 1."""

    max_lag_s: float
    max_cpu_share: float
    max_error_share: float
    max_lost_calls: float = 0.05
    real_time: bool = True
    """Whether the load generator could be late at all: not in a prediction."""


@dataclass(frozen=True)
class SoakPlan:
    """`levels`: agents at work in each window of `window_s` seconds."""

    pattern: str
    window_s: float
    duration_s: float
    levels: tuple[int, ...]


@dataclass(frozen=True)
class CapacityPlan:
    """The question of a search for capacity: its levels are those that it has tried."""

    slo: tuple[str, ...]
    most: Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True)
class Plan:
    name: str
    started_at: str | None
    predicted: bool
    driver: Literal["script", "model", "trace"]
    targets: tuple[Target, ...]
    levels: tuple[Annotated[int, msgspec.Meta(ge=1)], ...]
    trials: int
    limits: Limits
    thresholds: tuple[str, ...]
    soak: SoakPlan | None = None
    capacity: CapacityPlan | None = None
    workload: str | None = None
    """The agents' work in one line; None: an older run, which does not say it."""


def plan_from(scenario: Mapping[str, Any], environment: Mapping[str, Any]) -> Plan:
    """The plan in a resolved scenario (as `scenario.yaml` holds it) and the run's environment.

    Of the environment it reads `predicted`, and, where it has them, `workload`, `started_at` (ISO 8601),
    `targets.NAME.model`, the model that a target turned out to serve, and `targets.NAME.expected_errors` of a
    prediction. Raises UsageError when the scenario is not a resolved one.
    """
    try:
        facts = environment.get("targets") or {}
        models = {name: found.get("model") for name, found in facts.items()}
        errors = {name: _bands(found.get("expected_errors")) for name, found in facts.items()}
        plan = Plan(
            name=scenario["name"],
            started_at=_moment(environment.get("started_at")),
            predicted=environment["predicted"],
            driver=scenario["agents"].get("driver", "script"),
            targets=tuple(_target(target, models, errors) for target in scenario["targets"]),
            levels=tuple(sorted(scenario["agents"]["levels"])),
            trials=scenario["stage"]["trials"],
            limits=Limits(
                max_lag_s=parse_duration(scenario["client"]["max_lag"]),
                max_cpu_share=parse_share(scenario["client"]["max_cpu"]),
                max_error_share=parse_share(scenario["stage"]["max_error_share"]),
                max_lost_calls=parse_share(scenario["stage"].get("max_lost_calls", Limits.max_lost_calls)),
                real_time=not environment["predicted"],
            ),
            thresholds=_readable(scenario.get("thresholds", ())),
            soak=_soak(scenario) if scenario.get("soak") else None,
            capacity=_capacity(scenario["capacity"]) if scenario.get("capacity") else None,
            workload=environment.get("workload"),
        )
        return msgspec.convert(msgspec.to_builtins(plan), Plan)  # checks the type of every field
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UsageError(f"scenario.yaml is not the resolved scenario of a run: {problem}") from None


def _moment(text: str | None) -> str | None:
    if text is not None:
        datetime.fromisoformat(text)
    return text


def _readable(thresholds: Iterable[str]) -> tuple[str, ...]:
    return tuple(parse_threshold(text).expression for text in thresholds)


def _capacity(capacity: Mapping[str, Any]) -> CapacityPlan:
    for slo in capacity["slo"]:
        parse_slo(slo)
    return CapacityPlan(tuple(capacity["slo"]), capacity["most"])


def _soak(scenario: Mapping[str, Any]) -> SoakPlan:
    soak, duration_s = scenario["soak"], parse_duration(scenario["stage"]["duration"])
    window_s, period = parse_duration(soak["window"]), soak.get("period")
    period_s = None if period is None else parse_duration(period)
    peak = max(scenario["agents"]["levels"])
    planned = levels(soak["pattern"], peak, soak.get("base"), period_s, window_s, duration_s)
    return SoakPlan(soak["pattern"], window_s, duration_s, planned)


def _bands(told: Any) -> tuple[ErrorBand, ...]:
    return msgspec.convert(told or (), tuple[ErrorBand, ...])


def _target(
    target: Mapping[str, Any], models: Mapping[str, str | None], errors: Mapping[str, tuple[ErrorBand, ...]]
) -> Target:
    simulated = (target.get("simulate") or {}).get("profile")
    model = models.get(target["name"]) or target.get("model") or simulated
    kind = target.get("architecture") or architecture_of(model)
    return Target(target["name"], kind, model, target["gpus"], errors.get(target["name"], ()))
