"""Trajectories of SWE-agent (`.traj`) and mini-swe-agent (`.traj.json`), a document for each.

SWE-agent's `trajectory` has a step for each reply: `query`, which is the prompt as it was sent (since 1.1), `response`,
and how long the action took (`execution_time`); `history` has all messages. See
https://swe-agent.com/latest/usage/trajectories/. mini-swe-agent's `messages` are chat messages, whose `extra` has the
time and the `usage` of the server's response (docs/usage/output_files.md there). Neither agent streams.
"""

from collections.abc import Iterator
from typing import Any

from swarm.trace.importers.draft import NO_COUNTS, Draft, Session, Times, Usage
from swarm.trace.importers.values import Message, count_of, fields, items, scaled_ns, word
from swarm.trace.read_messages import plain_messages

STEPS = (
    "it says how long tools took, not when requests were sent: replies take no time in it",
    NO_COUNTS,
    "its replies were not streamed",
)
MINI = (
    "it says when messages were there: a request is taken to be sent when its last message was",
    "its replies were not streamed",
)
_ENDS = frozenset({"exit"})
"""Roles of messages that are for people alone."""


def is_trajectory(document: dict[str, Any]) -> bool:
    """SWE-agent's."""
    steps = items(document.get("trajectory"))
    return bool(steps) and "action" in fields(steps[0]) and "observation" in fields(steps[0])


def is_mini(document: dict[str, Any]) -> bool:
    """mini-swe-agent's."""
    return word(document.get("trajectory_format")).startswith("mini-swe-agent") or (
        isinstance(document.get("messages"), list) and "model_stats" in fields(document.get("info"))
    )


def add_trajectory(draft: Draft, name: str, document: dict[str, Any]) -> None:
    """A document of SWE-agent. Raises ValueError for messages that are none."""
    draft.notes += (note for note in STEPS if note not in draft.notes)
    session = draft.new_session(word(document.get("instance_id")) or name)
    steps = [fields(step) for step in items(document.get("trajectory"))]
    said = [message for message in items(document.get("history")) if not fields(message).get("is_demo")]
    replies = [message for message in said if fields(message).get("role") == "assistant"]
    history = plain_messages(said, draft.left_out)
    now = 0
    for number, step in enumerate(steps):
        if isinstance(step.get("query"), list):
            _ask(session, list(plain_messages(step["query"], draft.left_out)))
        elif said:
            for message in _until_reply(history):
                session.say(message)
        elif number:
            session.say({"role": "user", "content": word(steps[number - 1].get("observation"))})
        own = fields(replies[number]) if number < len(replies) else {}
        reply = next(
            plain_messages([own or {"role": "assistant", "content": word(step.get("response"))}], draft.left_out)
        )
        session.turn(reply, times=Times(now), streamed=False)
        now += scaled_ns(step.get("execution_time"), 1e9) or 0


def _until_reply(history: Iterator[Message]) -> Iterator[Message]:
    for message in history:
        if message["role"] == "assistant":
            return
        yield message


def _ask(session: Session, prompt: list[Message]) -> None:
    """Makes the history what was sent."""
    session.prompt.clear()
    for message in prompt:
        session.say(message)


def add_mini(draft: Draft, name: str, document: dict[str, Any]) -> None:
    """A document of mini-swe-agent. Raises ValueError for messages that are none."""
    draft.notes += (note for note in MINI if note not in draft.notes)
    session = draft.new_session(word(document.get("instance_id")) or name)
    said = [message for message in items(document.get("messages")) if word(fields(message).get("role")) not in _ENDS]
    model = fields(fields(fields(document.get("info")).get("config")).get("model")).get("model_name")
    last: int | None = None
    for raw, message in zip(said, plain_messages(said, draft.left_out), strict=True):
        extra = fields(fields(raw).get("extra"))
        at = scaled_ns(extra.get("timestamp"), 1e9)
        draft.dated = draft.dated or at is not None
        if message["role"] == "assistant" and session.prompt:
            response = fields(extra.get("response"))
            end = at if at is not None else scaled_ns(response.get("created"), 1e9)
            sent = last if last is not None else end
            session.turn(message, _usage(response), Times(sent, None, end), model=model, streamed=False)
            at = end
        else:
            session.say(message)
        last = at if at is not None else last


def _usage(response: dict[str, Any]) -> Usage:
    usage = fields(response.get("usage"))
    cached = fields(usage.get("prompt_tokens_details")).get("cached_tokens")
    return Usage(count_of(usage.get("prompt_tokens")), count_of(cached), count_of(usage.get("completion_tokens")))
