"""Drives an engine in virtual time."""

from swarm.simulator.engine.scheduler import Engine
from swarm.simulator.profiles import profiles


def profile(**overrides):
    """The MoE profile, without the time between a request's arrival and the queue."""
    return profiles.load("moe-30b-a3b-awq-1x3090", **{"api_overhead_s": 0.0} | overrides)


def drive(engine: Engine, arrivals, on_step=lambda step: None, until=float("inf")):
    """Submits each request of `arrivals` (time, request) at its time; returns the completed steps."""
    arrivals = sorted(arrivals, key=lambda arrival: arrival[0])
    steps = []
    now = 0.0
    while True:
        due = engine.next_event()
        if arrivals and (due is None or arrivals[0][0] <= max(now, due)):
            now = max(now, arrivals[0][0])
            engine.submit(arrivals.pop(0)[1], now)
            continue
        if due is None or max(now, due) > until:
            return steps
        now = max(now, due)
        if engine.step is None:
            engine.begin(now)
        else:
            step = engine.complete()
            on_step(step)
            steps.append(step)
