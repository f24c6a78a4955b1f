"""Current state of each agent: written by the agents, read by the live view; never analysed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "model", "tool", "think", "back-off", "stopped", "crashed"]


@dataclass(slots=True)
class AgentStatus:
    agent: int
    state: State = "starting"
    task: str = ""
    turn: int = 0
    tool: str = ""
    context_tokens: int = 0
    stream: Sequence[int] = ()
    """Stamps of the running completion's token-bearing chunks: empty while it waits for the first."""
    jobs: int = 0
    errors: int = 0
    output_tokens: int = 0
    serving_ns: int = 0
    """Nanoseconds of finished attempts, as `output_tokens`: their ratio is the agent output rate."""
