"""Driver `script`: the task's plan decides which tool comes next, and how long each reply is.

The history holds the SCRIPT's text and tool calls, so prompts are byte-identical whatever the model wrote (its own
tokens are prefilled again in the next turn: a small, stated bias); `history: live` puts the model's text there.
"""

import json
import random
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from swarm.agents.driver import Call, Conversation, Job, SubAgent
from swarm.agents.prompt import opening
from swarm.client.base import ChatRequest, Observation
from swarm.scenario.units import BYTES_PER_TOKEN
from swarm.tasks import ScriptTurn, Task


@dataclass(frozen=True)
class ScriptDriver:
    """Picklable; `system` is the stage's system message, `context` the most tokens of prompt and reply together."""

    system: str
    tools: list[dict[str, Any]]
    context: int
    seed: int
    script: Literal["full", "quick"] = "full"
    history: Literal["script", "live"] = "script"
    reply_scale: float = 1.0
    pinned: bool = True
    """Ask for replies of exactly the script's length; else that is only the most they may have."""
    temperature: float = 0.7
    sampling_seed: int | None = None
    tool_choice: str | None = "auto"
    extra_body: dict[str, Any] | None = None

    def begin(self, job: Job, before: Conversation | None = None) -> "ScriptConversation":
        return ScriptConversation(self, job)

    def entering(self, job: Job) -> ChatRequest | None:
        return None

    def reply_tokens(self, job: Job, turn: int) -> int:
        """The same for a template's turn at every level, trial and target: levels are compared on equal work."""
        rng = random.Random(f"{self.seed}:{job.task.kind}/{job.task.variant}:{turn}")
        return max(1, round(self.turns(job)[turn].reply_tokens.sample(rng) * self.reply_scale))

    def turns(self, job: Job) -> tuple[ScriptTurn, ...]:
        return job.task.quick_turns if self.script == "quick" else job.task.turns


class ScriptConversation:
    answered = stuck = False
    think_ns: int | None = None
    awaits: tuple[str, ...] = ()
    beside: tuple[SubAgent, ...] = ()

    def __init__(self, driver: ScriptDriver, job: Job) -> None:
        self._driver = driver
        self._job = job
        self._turn = 0
        self._bytes_per_token = BYTES_PER_TOKEN
        self._messages: list[dict[str, Any]] = [
            {"role": "system", "content": driver.system},
            {"role": "user", "content": opening(job.task, job.ticket)},
        ]
        self._bytes = len(json.dumps(driver.tools)) + sum(len(json.dumps(message)) for message in self._messages)

    def request(self) -> ChatRequest | None:
        driver = self._driver
        max_tokens = driver.reply_tokens(self._job, self._turn)
        if self._bytes / self._bytes_per_token + max_tokens > driver.context:
            return None
        return ChatRequest(
            messages=list(self._messages),
            tools=driver.tools,
            max_tokens=max_tokens,
            pinned=driver.pinned,
            temperature=driver.temperature,
            seed=driver.sampling_seed,
            tool_choice=driver.tool_choice,
            extra_body=driver.extra_body or {},
        )

    def accept(self, reply: Observation) -> tuple[Call, ...]:
        if reply.prompt_tokens:
            self._bytes_per_token = self._bytes / reply.prompt_tokens
        turn = self._driver.turns(self._job)[self._turn]
        calls = tuple(
            Call(f"call_{self._turn}_{index}", call.tool, call.arguments, round(call.takes_s * 1e9))
            for index, call in enumerate(turn.calls)
        )
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.content if self._driver.history == "live" else turn.say,
        }
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in calls
            ]
        self._append(message)
        self._turn += 1
        self.answered = not calls
        return calls

    def add_result(self, call: Call, text: str) -> None:
        self._append({"role": "tool", "tool_call_id": call.id, "content": text})

    def _append(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        self._bytes += len(json.dumps(message))


def job_order(tasks: list[Task], seed: int | str, agent: int) -> list[Task]:
    """The order in which an agent works through the tasks, again and again: its own, and the same at every level.

    The seed's order deals the kinds out in turn, so that a short window sees a mixture; agent i enters it at place i:
    no two agents are on one task at a time, and few agents and many measure the same tasks in a short window.
    """
    kinds = sorted({task.kind for task in tasks})
    rng = random.Random(f"{seed}:jobs")
    rng.shuffle(kinds)
    hands = [[task for task in tasks if task.kind == kind] for kind in kinds]
    for hand in hands:
        rng.shuffle(hand)
    order = [task for deal in zip_longest(*hands) for task in deal if task is not None]
    start = agent % len(order)
    return order[start:] + order[:start]
