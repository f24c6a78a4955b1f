"""The scenario: what a run file may say, with its defaults. The names are fixed by the contract of the file format."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from swarm.catalogue import numbers
from swarm.errors import UsageError
from swarm.scenario.architecture import Architecture
from swarm.scenario.credentials import plain_address, plain_headers, variable_name
from swarm.scenario.log_formats import LogFormat
from swarm.scenario.pattern import Pattern, levels
from swarm.scenario.session import Session, preset_of
from swarm.scenario.thresholds import parse_slo, parse_threshold
from swarm.scenario.units import Bytes, Duration, PositiveDuration, Share, Tokens
from swarm.sessions.presets import Shape
from swarm.simulator.server import faults as simulator
from swarm.text import listed

TaskKind = Literal["lru-cache", "merge-sort", "cron-tests", "flask-layers", "rate-limiter"]
Route = Literal["litellm", "direct", "litellm-sdk", "litellm-proxy"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
Count = Annotated[int, Field(ge=1)]

BY_NAME = dict.fromkeys(("model", "gpu", "quant", "tp"))
EXAMPLES = {"model": "qwen3-coder-30b-a3b", "gpu": "rtx4090", "quant": "awq"}
PROFILE_FIELDS = {"power_limit": "power_limit_w", "api_overhead": "api_overhead_s"}
"""Keys of `simulate:` that are called otherwise in a profile, for their unit."""
SHORT_FORMS = {"simulate": "profile", "trace": "path", "session": "preset"}
"""Sections that may be given as one value, and the key that it then stands for."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Fault(_Section):
    """Something that the simulated server does wrong on purpose; the kinds, and what they take, are the simulator's."""

    kind: simulator.FaultKind
    rate: Share | None = None
    at: list[Count] = []
    count: Count | None = None
    seed: int = 0
    duration: PositiveDuration | None = None
    tokens: Count | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        simulator.Fault(**self.plain() | {"at": tuple(self.at)})
        return self

    def plain(self) -> dict[str, Any]:
        """As the simulated server takes it: JSON, a share of 1, seconds."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in fields.items() if value not in (None, [])}


FaultList = Annotated[list[Fault], Field(max_length=simulator.MOST_FAULTS)]


class Faults(_Section):
    """The faults of a server that belongs to no scenario."""

    faults: FaultList


class Simulate(_Section):
    """A simulated vLLM: a profile, and what to change in it."""

    profile: str
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    max_model_len: Tokens | None = None
    kv_tokens: Tokens | None = None
    enable_prefix_caching: bool | None = None
    long_prefill_token_threshold: Count | None = None
    link: Literal["nvlink", "pcie"] | None = None
    p2p: bool | None = None
    engine: str | None = None
    power_limit: Annotated[float, Field(gt=0)] | None = None
    kv_cache_dtype: Literal["auto", "fp8"] | None = None
    api_overhead: Duration | None = None
    faults: FaultList = []

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """`model`, `gpu`, `quant` and `tp` in the place of a profile, as the name that stands for them."""
        if not isinstance(value, dict) or not value.keys() & BY_NAME:
            return value
        rest = {key: one for key, one in value.items() if key not in BY_NAME}
        if "profile" in rest:
            raise ValueError("give either `profile`, or `model` and `gpu`")
        model, gpu, quant, tp = (value.get(key) for key in BY_NAME)
        texts = {"model": model, "gpu": gpu} | ({} if quant is None else {"quant": quant})
        for key, one in texts.items():
            if not isinstance(one, str) or not one.strip():
                raise ValueError(f"`{key}` must be a name, such as {EXAMPLES[key]}")
        if tp is not None and (type(tp) is not int or not 1 <= tp <= 512):
            raise ValueError(f"`tp` must be a whole number of GPUs, 1 to 512, not {tp!r}")
        return rest | {"profile": f"{model}@{f'{tp}x' if tp else ''}{gpu}{f':{quant}' if quant else ''}"}

    @field_validator("engine", mode="before")
    @classmethod
    def _version(cls, value: Any) -> Any:
        if isinstance(value, int | float):
            raise ValueError(f"write the version in quotes, such as '0.17': {value} may have lost a zero")
        return value

    def overrides(self) -> dict[str, Any]:
        """As `swarm.simulator.profiles.profiles.load` takes them, and the simulator's command line."""
        own = {name: getattr(self, name) for name in type(self).model_fields if name not in ("profile", "faults")}
        named = {PROFILE_FIELDS.get(name, name): value for name, value in own.items()}
        return {name: value for name, value in named.items() if value is not None}


class Target(_Section):
    """A model under test: served by someone (`api_base`) or simulated (`simulate`)."""

    name: Name
    architecture: Architecture | None = None
    simulate: Simulate | None = None
    api_base: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    headers: dict[str, str] = {}
    metrics_url: str | None = None
    metrics_headers: dict[str, str] = {}
    gpus: Count = 1
    gpu_devices: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    gpu_metrics_url: str | None = None

    @field_validator("simulate", mode="before")
    @classmethod
    def _profile_alone(cls, value: Any) -> Any:
        return {SHORT_FORMS["simulate"]: value} if isinstance(value, str) else value

    @field_validator("api_base")
    @classmethod
    def _server(cls, value: str | None) -> str | None:
        return None if value is None else plain_address(value)

    @field_validator("metrics_url", "gpu_metrics_url")
    @classmethod
    def _page(cls, value: str | None) -> str | None:
        return None if value is None else plain_address(value, query=True)

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        return None if value is None else variable_name(value)

    @field_validator("headers", "metrics_headers")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        plain_headers(value)
        return value

    @model_validator(mode="after")
    def _one_backend(self) -> Self:
        if (self.simulate is None) == (self.api_base is None):
            raise ValueError("give exactly one of `simulate` (a profile) and `api_base` (a running server)")
        if self.simulate and (
            self.api_key_env or self.headers or self.metrics_url or self.metrics_headers or self.model
        ):
            raise ValueError(
                "`model`, `api_key_env`, `headers`, `metrics_url` and `metrics_headers` belong to `api_base`, not to "
                "`simulate`"
            )
        if self.simulate and (self.gpu_devices or self.gpu_metrics_url):
            raise ValueError("`gpu_devices` and `gpu_metrics_url` belong to `api_base`: a simulated server has no GPU")
        return self


class ClientSettings(_Section):
    timeout: PositiveDuration = 600.0
    idle_timeout: PositiveDuration = 60.0
    max_reply_bytes: Bytes = 64 << 20
    retries: Annotated[int, Field(ge=0, le=20)] = 0
    retry_after_max: Duration = 30.0
    give_up: PositiveDuration | None = 60.0
    max_lag: PositiveDuration = 0.005
    max_cpu: Share = 0.8
    ca_file: str | None = None


class TraceThink(_Section):
    """How recorded think times are replayed."""

    scale: Annotated[float, Field(ge=0, le=100, strict=False)] = 1.0
    max: Duration | None = None


TraceFormat = Literal["swarm", LogFormat]


class TraceSettings(_Section):
    """The recording that `driver: trace` replays: a file, a folder of logs, or the directory of a run."""

    path: str
    format: TraceFormat | None = None
    think: TraceThink = TraceThink()
    workspace: str | None = None


_DRIVER_KEYS = {
    ("script",): ("history", "script", "session", "reply_scale"),
    ("model",): ("max_reply_tokens", "keep_reasoning", "compaction", "tool_choice"),
    ("trace",): ("trace",),
    ("model", "trace"): ("isolation",),
    ("script", "model"): ("max_turns", "system_tokens"),
}


class Agents(_Section):
    levels: Annotated[list[Count], Field(min_length=1)] = [1, 4, 8]
    driver: Literal["script", "model", "trace"] = "script"
    history: Literal["script", "live"] = "script"
    script: Literal["full", "quick", "session"] = "full"
    session: Session | None = None
    reply_scale: Annotated[float, Field(gt=0, le=100, strict=False)] = 1.0
    think: Duration = 0.0
    max_turns: Count = 30
    context: Tokens = 8000
    system_tokens: Tokens = 3000
    seed: int = 7
    isolation: Literal["required", "allow-unsafe"] = "required"
    max_reply_tokens: Annotated[Tokens, Field(ge=1)] = 1024
    keep_reasoning: bool = False
    compaction: Literal["none", "drop-results"] = "none"
    tool_choice: Literal["auto", "required"] = "auto"
    trace: TraceSettings | None = None

    @field_validator("trace", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {SHORT_FORMS["trace"]: value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _as_its_preset(cls, given: Any) -> Any:
        """Sessions have the context and the shared prompt of their preset, unless the scenario says otherwise."""
        if not isinstance(given, dict) or given.get("script") != "session":
            return given
        shape = preset_of(given.get("session"))
        sizes = {"context": shape.context, "system_tokens": shape.system}
        return sizes | given | {"session": given.get("session") or {}}

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: list[int]) -> list[int]:
        if len(set(levels)) != len(levels):
            raise ValueError(f"expected different numbers of agents, not {levels}")
        return sorted(levels)

    @model_validator(mode="after")
    def _of_this_driver(self) -> Self:
        """A key that the chosen driver would ignore is refused, unless it says what it would by default."""
        for drivers, keys in _DRIVER_KEYS.items():
            changed = [key for key in keys if getattr(self, key) != type(self).model_fields[key].default]
            if changed and self.driver not in drivers:
                raise ValueError(f"`{changed[0]}` belongs to `driver: {' or '.join(drivers)}`; leave it out here")
        if self.session and self.script != "session":
            raise ValueError("`session` belongs to `script: session`; add that, or leave it out")
        for key in ("history", "reply_scale", "max_turns") if self.session else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"`{key}` belongs to the scripts of tasks; `session` says how sessions are")
        if self.driver == "trace" and self.trace is None:
            raise ValueError("`driver: trace` needs the file to replay: `trace: FILE`")
        return self

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.driver != "trace" and self.context <= self.system_tokens:
            raise ValueError(
                f"`context` ({self.context} tokens) leaves no room after `system_tokens` ({self.system_tokens})"
            )
        return self

    @property
    def shape(self) -> Shape | None:
        """The sessions that agents work through; None: they do something else."""
        return self.session.shape(self.context, self.system_tokens) if self.session else None


class Sampling(_Section):
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] = 0.7
    seed: int | None = None
    extra_body: dict[str, Any] = {}


class TaskFolder(_Section):
    path: str


def _list_or_folder(value: Any) -> str:
    return "tasks" if isinstance(value, list) else "folder"


Tasks = Annotated[
    Annotated[list[TaskKind], Tag("tasks")] | Annotated[TaskFolder, Tag("folder")], Discriminator(_list_or_folder)
]


def _converging(name: str) -> str:
    known = [f"'{number.name}'" for number in numbers(lambda metric: metric.until)]
    if f"'{name}'" not in known:
        raise PydanticKnownError("literal_error", {"expected": " or ".join(known)})
    return name


class Until(_Section):
    """A window that runs until all that is asked for has happened, or for `max`.

    `metric` is known to within `ci` of itself (95%, by batch means), `turns` turns and `jobs` jobs per agent are done.
    """

    metric: Annotated[str, AfterValidator(_converging)] | None = None
    ci: Annotated[Share, Field(gt=0)] = 0.05
    turns: Count | None = None
    jobs: Count | None = None
    max: PositiveDuration = 600.0

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.metric is None and self.turns is None and self.jobs is None:
            raise ValueError("`until` needs at least one of `metric`, `turns` and `jobs`: when may the window end?")
        if self.metric is None and self.ci != type(self).model_fields["ci"].default:
            raise ValueError("`ci` belongs to `metric`; name a metric, or leave `ci` out")
        return self


class StageSettings(_Section):
    warmup: Duration = 10.0
    duration: PositiveDuration = 60.0
    until: Until | None = None
    trials: Annotated[int, Field(ge=1, le=100)] = 3
    max_error_share: Share = 0.0
    max_lost_calls: Share = 0.05

    @property
    def longest(self) -> float:
        """Seconds that a window may take."""
        return self.until.max if self.until else self.duration

    @model_validator(mode="after")
    def _room_to_go_on(self) -> Self:
        if self.until and self.until.max < self.duration:
            raise ValueError(
                f"`until.max` ({self.until.max:g} s) is shorter than `duration` ({self.duration:g} s), the least window"
            )
        return self


class Soak(_Section):
    """How `swarm soak` loads a target for hours; `swarm run` leaves it aside."""

    pattern: Pattern = "steady"
    window: PositiveDuration = 60.0
    checkpoint: PositiveDuration = 300.0
    base: Count | None = None
    period: PositiveDuration | None = None

    @model_validator(mode="after")
    def _of_this_pattern(self) -> Self:
        """A key that the chosen pattern would ignore is refused."""
        for key, patterns in (("base", ("ramp", "day", "spikes")), ("period", ("day", "spikes"))):
            if getattr(self, key) is not None and self.pattern not in patterns:
                raise ValueError(f"`{key}` belongs to the patterns {', '.join(patterns)}; leave it out here")
        return self

    def levels(self, peak: int, duration_s: float) -> tuple[int, ...]:
        """Agents at work in each window of a soak of `duration_s` seconds."""
        return levels(self.pattern, peak, self.base, self.period, self.window, duration_s)


class Capacity(_Section):
    """Settings of the search of `swarm capacity`; `swarm run` leaves them aside."""

    slo: Annotated[list[str], Field(min_length=1)]
    most: Count = 64
    start: dict[Name, Count] = {}

    @field_validator("slo")
    @classmethod
    def _readable(cls, slos: list[str]) -> list[str]:
        for slo in slos:
            parse_slo(slo)
        return slos


class Budget(_Section):
    tokens: Tokens | None = None
    requests: Count | None = None


class Prometheus(_Section):
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    host: str = "127.0.0.1"
    linger: Duration = 0.0


class Recording(_Section):
    chunks: bool = True
    content: bool = False


class Scenario(_Section):
    """One run file, resolved: every key has its value."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "scenario"
    label: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    note: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    targets: Annotated[list[Target], Field(min_length=1)]
    route: Route = "litellm"
    litellm_provider: str = "hosted_vllm"
    client: ClientSettings = ClientSettings()
    agents: Agents = Agents()
    sampling: Sampling = Sampling()
    tasks: Tasks = list(get_args(TaskKind))
    stage: StageSettings = StageSettings()
    soak: Soak | None = None
    capacity: Capacity | None = None
    budget: Budget = Budget()
    thresholds: list[str] = []
    prometheus: Prometheus = Prometheus()
    record: Recording = Recording()

    @field_validator("targets")
    @classmethod
    def _unique_names(cls, targets: list[Target]) -> list[Target]:
        names = [target.name for target in targets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two targets are called {twice.pop()!r}; names tell them apart in the results")
        return targets

    @field_validator("tasks")
    @classmethod
    def _some_tasks(cls, tasks: list[TaskKind] | TaskFolder) -> list[TaskKind] | TaskFolder:
        if tasks == []:
            raise ValueError(f"expected at least one of {', '.join(get_args(TaskKind))}")
        return tasks

    @model_validator(mode="after")
    def _one_kind_of_work(self) -> Self:
        if self.tasks == type(self).model_fields["tasks"].default:
            return self
        if self.agents.driver == "trace":
            raise ValueError("`tasks` are for other drivers: those of `driver: trace` are the trace's sessions")
        if self.agents.session and not self.agents.session.real_tools:
            raise ValueError(
                "`tasks` are for other scripts: sessions wait for their tools, unless `agents.session.real_tools` says "
                "which share of the calls is carried out"
            )
        return self

    @field_validator("thresholds")
    @classmethod
    def _readable(cls, thresholds: list[str]) -> list[str]:
        for threshold in thresholds:
            parse_threshold(threshold)
        return thresholds

    def only(self, names: list[str] | None) -> Self:
        """The scenario with only the targets of these names and their thresholds, None: all.

        Raises UsageError for one that is not there.
        """
        known = [target.name for target in self.targets]
        if missing := [name for name in names or [] if name not in known]:
            raise UsageError(f"--target {missing[0]}: no such target; the scenario has {listed(known)}")
        chosen = names or known
        kept = [text for text in self.thresholds if parse_threshold(text).target in ("*", *chosen)]
        targets = [target for target in self.targets if target.name in chosen]
        return self.model_copy(update={"targets": targets, "thresholds": kept})
