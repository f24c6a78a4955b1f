"""One stage in one trial, as its records come in: sums and counts only."""

from collections import Counter

from swarm.analysis.slowdown.attribution import Causes
from swarm.analysis.slowdown.contention import Template
from swarm.analysis.trial.agents import LONG_WAIT_NS, Agent
from swarm.analysis.trial.client import Client
from swarm.analysis.trial.histogram_check import Recorded
from swarm.analysis.trial.jobs import Jobs
from swarm.analysis.trial.load import Load
from swarm.analysis.trial.requests import Requests
from swarm.analysis.trial.silence import Silence
from swarm.analysis.trial.token_accounting import Accounts
from swarm.analysis.trial.warmup import Output
from swarm.analysis.window import Window, tokens_in
from swarm.recording.observations import is_complete
from swarm.recording.records import (
    AgentEnd,
    AnyRecord,
    Attempt,
    ClientSample,
    Job,
    ServerSample,
    Shard,
    ShardLost,
    Stage,
    StageEnd,
    Tool,
    Turn,
    WindowEnd,
)


class Trial:
    """Everything that happened in one stage in one trial."""

    def __init__(self, began: Stage, window: Window | None = None, *, explain: bool = True) -> None:
        """`window`: of a soak in several parts, what all of them measured; None: the stage's. `explain`: look
        for the causes of its times, gap by gap; pointless where no stage of one agent stands beside it."""
        self.began = began
        self.ended: StageEnd | None = None
        self.closed: WindowEnd | None = None
        """End of a window that was to run until a number was precise enough."""
        self.window = window or Window(began.window_start_ns, began.window_end_ns)
        self.load = Load(self.window)
        self.requests = Requests(self.window)
        self.accounts = Accounts(self.window)
        self.silence = Silence(self.window)
        self.jobs = Jobs(self.window)
        self.output = Output(began.t_ns, self.window)
        self.client = Client(self.window)
        self.causes = Causes(self.window, began.agents)
        self._explain = explain
        self.shards: dict[int, Shard] = {}
        """Those that shared the agents, by number; none where one process had them all."""
        self.lost: dict[int, ShardLost] = {}
        """Those of them that ended before the stage, and had agents."""
        self.agents: dict[int, Agent] = {}
        self.templates: dict[str, Template] = {}
        self.overruns = 0
        self.overrun_ns = 0
        self.turn_ns = 0
        """Time of the turns that ended well in the window, to which that of their tools belongs."""
        """Tool calls that took longer than planned, in the window."""
        self.tool_errors: Counter[str] = Counter()
        """Tool calls that were answered with an error, in the window: by the call's own mistake, or "failed"."""
        self.recorded = Recorded(self.window)
        self.distributions: dict[str, Counter[int]] = {}
        """From the interval log: metric -> bucket -> count."""
        self.simulator_slip_s: float | None = None
        """How late a simulated server was (p99 of its steps), at worst, while it said that it could not keep up."""
        self.restarts = 0
        """Times that the server's process was another one."""
        self._running = 0.0
        self._running_samples = 0
        self._started_at: float | None = None
        self._part = began
        self._alive_before_ns = 0
        self._last_ns = began.t_ns
        self._failed: dict[int | None, int] = {}
        """Agent -> when its last request failed; none of those that went on."""
        self._sent: dict[int | None, int] = {}
        """Agent -> when its last request was sent."""

    def add(self, record: AnyRecord) -> None:
        if isinstance(record, StageEnd):
            self.ended = record
            return
        if isinstance(record, WindowEnd):
            self.closed, self.window.stop_ns = record, record.t_ns
            return
        self._last_ns = max(self._last_ns, getattr(record, "end_ns", record.t_ns))
        if self._explain:
            self.causes.add(record)
        self.recorded.add(record)
        match record:
            case Attempt():
                self._add_attempt(record)
            case Turn() if self.window.holds(record.end_ns):
                self._agent(record).add_turn(record)
                self.turn_ns += (record.end_ns - record.t_ns) * (record.ok is True)
            case Job():
                if self.window.overlap(record.t_ns, record.end_ns):
                    self._agent(record).spend(record)
                if self.jobs.add(record):
                    self._agent(record).add_job(record)
                    self._template(record).add_job(record)
            case Tool() if self.window.holds(record.end_ns):
                self.overruns += record.overran
                self.overrun_ns += record.overrun_ns
                if not record.ok:
                    self.tool_errors[record.mistake or "failed"] += 1
            case AgentEnd():
                self._agent(record).present_ns += self.window.overlap(record.t_ns, record.end_ns)
                self._went_on(record, record.end_ns)
                self.load.add_agent_end(record)
            case ClientSample():
                self.client.add(record)
            case Shard():
                self.shards[record.shard] = record
            case ShardLost() if record.numbers:
                self.lost[record.shard] = record

    def go_on(self, part: Stage) -> None:
        """The next part of a soak begins. Agents that were killed with the last one could not say how long they lived:
        they lived as planned, unless one of them is known to have crashed."""
        if self.ended is None and not self.load.crashes:
            planned = self._part.planned_alive or self._part.agents
            measured = self.window.overlap(self._part.window_start_ns, self._last_ns)
            self.load.alive_ns = self._alive_before_ns + round(planned * measured)
        self.ended, self._part, self._alive_before_ns = None, part, self.load.alive_ns

    def add_sample(self, sample: ServerSample) -> None:
        self.causes.add_sample(sample)
        metrics = sample.metrics
        started_at = metrics.get("started_at")
        if sample.border == "before":
            self._started_at = None  # a soak goes on: swarm was not there to see what became of the server
        self.restarts += None not in (started_at, self._started_at) and started_at != self._started_at
        self._started_at = started_at or self._started_at
        if not self.window.holds(sample.t_ns):
            return
        if (running := metrics.get("running")) is not None:
            self._running += running
            self._running_samples += 1
        if metrics.get("simulator_overloaded"):
            self.simulator_slip_s = max(self.simulator_slip_s or 0.0, metrics.get("simulator_slip_p99") or 0.0)

    def _went_on(self, record: Attempt | AgentEnd, t_ns: int) -> None:
        since = self._failed.pop(record.agent, t_ns)
        if t_ns - since >= LONG_WAIT_NS:
            self._agent(record).waited_ns += self.window.overlap(since, t_ns)

    def _add_attempt(self, attempt: Attempt) -> None:
        self._went_on(attempt, attempt.t_ns)
        latest = self._sent[attempt.agent] = max(attempt.t_ns, self._sent.get(attempt.agent, 0))
        if attempt.error is not None and attempt.agent == attempt.owner and attempt.t_ns == latest:
            self._failed[attempt.agent] = attempt.end_ns
        tokens = tokens_in(attempt, self.window)
        for part in (self.load.add_attempt, self.accounts.add, self.silence.add, self.output.add):
            part(attempt)
        self.requests.add(attempt, tokens)
        agent, template = self._agent(attempt), self._template(attempt)
        if tokens is None:
            agent.uncounted += 1
        else:
            served = self.window.overlap(attempt.t_ns, attempt.end_ns)
            agent.serve(tokens, served)
            template.serve(tokens, served)
        ended = self.window.holds(attempt.end_ns)
        started = attempt.first_token_ns is not None and self.window.holds(attempt.first_token_ns)
        agent.add_attempt(attempt, ended, started)
        if ended and is_complete(attempt):
            template.add_complete(attempt)

    def _agent(self, record: AnyRecord) -> Agent:
        return Agent() if record.owner is None else self.agents.setdefault(record.owner, Agent())

    def _template(self, record: Attempt | Job) -> Template:
        return self.templates.setdefault(f"{record.task}/{record.variant}", Template())

    @property
    def seconds(self) -> float:
        """The measured part of the window: all of it, or as far as a broken-off or interrupted stage came."""
        whole = self.ended is not None and self.ended.interrupted is None
        until = self.window.stop_ns if whole else self._last_ns
        return self.window.overlap(self.window.start_ns, until) / 1e9

    @property
    def output_rate(self) -> float | None:
        """Completion tokens per second of the window; None where the server counted none."""
        tokens = self.requests.completion_tokens
        if tokens is None:
            return None if self.requests.uncounted else 0.0
        return tokens / self.seconds

    @property
    def finished_turns(self) -> int:
        return sum(agent.turns for agent in self.agents.values())

    @property
    def server_running_mean(self) -> float | None:
        return self._running / self._running_samples if self._running_samples else None
