"""From a checked chat request to what will be answered, and to the work that it is for the engine."""

import msgspec

from swarm.simulator.engine.scheduler import Request
from swarm.simulator.profiles.profiles import Profile
from swarm.simulator.server import replies, tokens
from swarm.simulator.server.protocol import ChatRequest, output_limit


def plan(chat: ChatRequest, profile: Profile) -> tuple[replies.Reply, Request]:
    """The reply, and the request that takes the engine's time for it. ApiError where they do not fit the context."""
    choice = chat.tool_choice
    tools = msgspec.to_builtins(chat.tools or [])
    tool_choice = msgspec.to_builtins(choice) if choice is not None else "auto"
    prompt = tokens.render(chat.messages, tools)
    prompt_tokens = len(prompt) // tokens.TOKEN_BYTES
    limit = output_limit(chat, prompt_tokens, profile.max_context)
    reply = replies.answer(
        prompt,
        chat.messages,
        tools,
        tool_choice,
        limit=limit,
        min_tokens=chat.min_tokens,
        ignore_eos=chat.ignore_eos,
        stop=(chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ()),
        seed=chat.seed or 0,
    )
    hashes = tokens.block_hashes(prompt + reply.tokens(), profile.block_size)
    return reply, Request(prompt_tokens, len(reply.pieces), hashes, reply.finish)
