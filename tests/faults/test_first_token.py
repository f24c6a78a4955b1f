"""TTFT against the engine's own truth, for streams whose first token others miss."""

import pytest

from swarm.client.base import ChatRequest, Connection, Observation
from swarm.client.direct import DirectClient
from swarm.clock import Clock
from swarm.simulator.profiles import profiles
from swarm.simulator.server import server as simulator
from swarm.simulator.server.faults import Fault, Schedule

TOOL = {"type": "function", "function": {"name": "list_files", "parameters": {"type": "object", "properties": {}}}}
TOKENS = 60
LATE_S = 0.1
"""What a busy machine may add."""


@pytest.mark.parametrize("kind", ["role first", "tool-calls", "reasoning", "multi-token"])
async def test_the_first_token_is_the_first_that_says_anything(kind) -> None:
    server = await simulator.start(profiles.load("moe-30b-a3b-awq-1x3090"))
    client = DirectClient(Connection(f"{server.url}/v1", server.model_name), Clock())
    if kind == "multi-token":
        server.faults = Schedule([Fault(kind, tokens=TOKENS // 2)])
    elif kind != "role first":
        server.faults = Schedule([Fault(kind)])
    seen = Observation()
    request = ChatRequest([{"role": "user", "content": "Fix it. " * 400}], [TOOL], max_tokens=TOKENS, pinned=True)
    await client.complete(request, seen)
    (truth,) = server.realtime.ended
    await client.close()
    await server.close()
    assert (seen.failure, seen.completion_tokens) == (None, TOKENS)
    first_token_s = truth["queue_s"] + truth["prefill_s"]
    each_s = truth["decode_s"] / (TOKENS - 1)
    if kind == "multi-token":
        first_token_s += (TOKENS // 2 - 1) * each_s  # the role comes with the first token, and the text only now
    assert TOKENS / 2 * each_s > LATE_S, "half of the reply must take longer than the tolerance"
    measured_s = (seen.stamps[0] - seen.send_ns) / 1e9
    assert first_token_s - 0.001 < measured_s < first_token_s + LATE_S
