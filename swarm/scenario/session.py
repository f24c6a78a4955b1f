"""`agents.session`: a preset of what coding agents do, and what a scenario changes in it."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from swarm.scenario.units import Duration, Share, Tokens, format_duration
from swarm.sessions.presets import PRESETS, Preset, Shape, SubAgents
from swarm.sessions.spread import Spread

DEFAULT: Preset = "coding"
MOST_FAN_OUT = 64


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Spread(_Section):
    @model_validator(mode="after")
    def _ordered(self) -> Self:
        median, p90 = self._of("median"), self._of("p90")
        if p90 < median:
            raise ValueError(f"`p90` ({p90:g}) is below `median` ({median:g})")
        if self._of("min") > self._of("max"):
            raise ValueError(f"`min` ({self._of('min'):g}) is above `max` ({self._of('max'):g})")
        return self

    def _of(self, name: str) -> float:
        return float(getattr(self, name))

    def spread(self) -> Spread:
        return Spread(*(self._of(name) for name in ("median", "p90", "max", "min")))


class TokenSpread(_Spread):
    """Lengths: lognormal by median and 90th percentile, cut to `min..max`."""

    median: Tokens
    p90: Tokens
    max: Tokens
    min: Tokens = 1


class CountSpread(_Spread):
    """Numbers of turns or of messages."""

    median: Annotated[float, Field(ge=1, le=10_000, strict=False)]
    p90: Annotated[float, Field(ge=1, le=10_000, strict=False)]
    max: Annotated[float, Field(ge=1, le=10_000, strict=False)]
    min: Annotated[float, Field(ge=1, le=10_000, strict=False)] = 1


class TimeSpread(_Spread):
    """Waits; a `max` of 0 leaves them out."""

    median: Duration
    p90: Duration
    max: Duration
    min: Duration = 0.0


class SubAgentSettings(_Section):
    """How an orchestrator delegates."""

    share: Share
    fan_out: Annotated[int, Field(ge=1, le=MOST_FAN_OUT)]
    background: Share
    system: Tokens
    turns: CountSpread
    prompt: TokenSpread
    result: TokenSpread

    def made(self) -> SubAgents:
        return SubAgents(
            share=self.share,
            fan_out=self.fan_out,
            background=self.background,
            system=self.system,
            turns=self.turns.spread(),
            prompt=self.prompt.spread(),
            result=self.result.spread(),
        )


class Session(_Section):
    """A session workload, resolved: what a scenario leaves out is the preset's."""

    preset: Preset = DEFAULT
    prompt: TokenSpread
    message: TokenSpread
    growth: TokenSpread
    reply: TokenSpread
    turns: CountSpread
    messages: CountSpread
    tools: TimeSpread
    pause: TimeSpread
    compaction: bool
    side_calls: bool
    real_tools: Share = 0.0
    sub_agents: SubAgentSettings

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, dict):
            return given
        shape = PRESETS.get(given.get("preset", DEFAULT), PRESETS[DEFAULT])  # another name is refused as such
        return _merged(_written(shape), given)

    def shape(self, context: int, system_tokens: int) -> Shape:
        return Shape(
            context=context,
            system=system_tokens,
            prompt=self.prompt.spread(),
            message=self.message.spread(),
            growth=self.growth.spread(),
            reply=self.reply.spread(),
            turns=self.turns.spread(),
            messages=self.messages.spread(),
            tools=self.tools.spread(),
            pause=self.pause.spread(),
            compaction=self.compaction,
            side_calls=self.side_calls,
            sub_agents=self.sub_agents.made(),
        )


def preset_of(given: Any) -> Shape:
    """The preset that a scenario's `agents.session` names, as it is written there; the default where it names none."""
    name = given.get("preset", DEFAULT) if isinstance(given, dict) else given
    return PRESETS.get(name, PRESETS[DEFAULT]) if isinstance(name, str) else PRESETS[DEFAULT]


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _written(shape: Shape) -> dict[str, Any]:
    """A preset as a scenario would write it."""
    sub = shape.sub_agents
    return {
        **{name: _numbers(getattr(shape, name)) for name in ("prompt", "message", "growth", "reply")},
        **{name: _numbers(getattr(shape, name)) for name in ("turns", "messages")},
        **{name: _times(getattr(shape, name)) for name in ("tools", "pause")},
        "compaction": shape.compaction,
        "side_calls": shape.side_calls,
        "sub_agents": {
            "share": sub.share,
            "fan_out": sub.fan_out,
            "background": sub.background,
            "system": sub.system,
            **{name: _numbers(getattr(sub, name)) for name in ("turns", "prompt", "result")},
        },
    }


def _numbers(spread: Spread) -> dict[str, Any]:
    least = max(1, round(spread.min))
    return {"median": spread.median, "p90": spread.p90, "max": spread.max, "min": least}


def _times(spread: Spread) -> dict[str, str]:
    return {name: format_duration(getattr(spread, name)) for name in ("median", "p90", "max", "min")}
