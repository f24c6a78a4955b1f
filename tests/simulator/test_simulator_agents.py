"""Coding agents in virtual time: what they lose when more of them share one model, and why."""

import heapq

import pytest

from swarm.simulator.engine.scheduler import Engine, Request
from swarm.simulator.profiles import profiles

SYSTEM, RESULT, REPLY, LONGEST, TOOL_S, WINDOW_S = 2000, 700, 250, 8000, 1.0, 300.0


class Agent:
    """A closed loop: a turn, a second of tool time, the tool's result appended; a new job when the context is full."""

    def __init__(self, name):
        self.name = name
        self.job = 0
        self.prompt = SYSTEM
        self.output_tokens = 0
        self.serving_s = 0.0

    def turn(self):
        blocks = (self.prompt + REPLY) // 16
        shared = [hash(("system", at)) for at in range(SYSTEM // 16)]
        own = [hash((self.name, self.job, at)) for at in range(len(shared), blocks)]
        return Request(self.prompt, REPLY, [*shared, *own], owner=self)

    def ended(self, request):
        self.output_tokens += request.generated
        self.serving_s += request.finished_at - request.arrived_at
        self.prompt += REPLY + RESULT
        if self.prompt + REPLY > LONGEST:
            self.job, self.prompt = self.job + 1, SYSTEM


def run(name, agents, **overrides):
    """Mean output rate of an agent while it is served (tok/s), and the engine, after five minutes."""
    engine = Engine(profiles.load(name, **overrides))
    fleet = [Agent(number) for number in range(agents)]
    ready = [(number * 0.7, number) for number in range(agents)]
    now = 0.0
    while now < WINDOW_S:
        due = engine.next_event()
        if ready and (due is None or ready[0][0] <= max(now, due)):
            now, number = heapq.heappop(ready)
            engine.submit(fleet[number].turn(), now)
            continue
        now = max(now, due)
        if engine.step is None:
            engine.begin(now)
            continue
        for request in engine.complete().finished:
            request.owner.ended(request)
            heapq.heappush(ready, (now + TOOL_S, request.owner.name))
    return sum(agent.output_tokens for agent in fleet) / sum(agent.serving_s for agent in fleet), engine


def hit_rate(engine):
    return engine.cache_hits / engine.cache_queries


@pytest.mark.parametrize(
    ("name", "retention"),
    [
        ("moe-30b-a3b-awq-1x3090", {2: (0.68, 0.80), 4: (0.45, 0.60), 8: (0.26, 0.36), 16: (0.06, 0.17)}),
        ("dense-32b-awq-1x3090", {2: (0.74, 0.88), 4: (0.26, 0.48), 8: (0.10, 0.22), 16: (0.04, 0.18)}),
    ],
)
def test_an_agent_keeps_less_of_its_speed_the_more_there_are(name, retention):
    alone, _ = run(name, 1)
    rates = {agents: run(name, agents)[0] / alone for agents in retention}
    assert list(rates.values()) == sorted(rates.values(), reverse=True)
    for agents, (low, high) in retention.items():
        assert low <= rates[agents] <= high, f"{agents} agents"


@pytest.mark.parametrize(("name", "agents"), [("moe-30b-a3b-awq-1x3090", 16), ("dense-32b-awq-1x3090", 4)])
def test_the_cliff_is_the_working_set_that_outgrows_the_cache(name, agents):
    rate, engine = run(name, agents)
    _, alone = run(name, 1)
    assert hit_rate(alone) > 0.85
    assert hit_rate(engine) < 0.65
    assert engine.preemptions > 0
    rate_with_room, engine_with_room = run(name, agents, kv_tokens=10 * engine.profile.kv_tokens)
    assert hit_rate(engine_with_room) > 0.85
    assert rate_with_room > 1.3 * rate
