"""Sessions of coding agents as they are: the presets of `agents.session`, each number with where it comes from.

Sources, all public:

- TraceLab (github.com/uw-syfi/TraceLab, summary.json): 351,029 rounds of Claude Code and Codex. Growth after a tool
  result: median 652 tokens, mean 1,738, 90th percentile 4,123. Output: mean 520. 8.4 rounds a user message. Tools of a
  step: median 0.1 s, 90th percentile 10 s, mean 16.8 s. A person's gap: median 135 s. Prompts: mean 157k.
- AIPerf (github.com/ai-dynamo/aiperf), defaults of `synthesize agentic-code`: 32k shared prefix, 15k at a session's
  start, contexts to 167k.
- SWE-rebench with OpenHands and Qwen3-Coder-480B (aiperf issue 1019): 64 turns a session, about 27k tokens at the
  deepest turn.

A lognormal with TraceLab's median and 90th percentile of growth has a mean of 1,836, near the published one. Its output
is given by the mean alone; with a median of 250 the mean of 520 puts the 90th percentile at 1,180.
"""

from dataclasses import dataclass
from typing import Literal

from swarm.sessions.spread import Spread

Preset = Literal["coding", "coding-64k", "claude-code", "swe-agent", "session-short"]

MINUTE = 60.0


@dataclass(frozen=True)
class SubAgents:
    """How an orchestrator delegates."""

    share: float
    """Share of the jobs that delegate."""
    fan_out: int
    """Tasks that are sent at once."""
    background: float
    """Share of these jobs whose sub-agents run in the background: their results come later, as user messages."""
    system: int
    """Tokens that all sub-agents share: their system prompt and tools."""
    turns: Spread
    prompt: Spread
    result: Spread
    """Tokens that the orchestrator gets back from each."""


@dataclass(frozen=True)
class Shape:
    """One kind of session. Lengths are tokens, times seconds."""

    context: int
    """The longest prompt and reply together."""
    system: int
    """System prompt and tools, which all agents share."""
    prompt: Spread
    """The first user message: the environment, instructions and files that an agent puts before its work."""
    message: Spread
    """Every further user message."""
    growth: Spread
    """Tokens that a tool result adds."""
    reply: Spread
    turns: Spread
    """For each user message."""
    messages: Spread
    """User messages of a session."""
    tools: Spread
    """The wait for the tools after a reply."""
    pause: Spread
    """From an answer to the person's next message."""
    compaction: bool
    """Whether a full context is replaced by a summary; else the session ends."""
    side_calls: bool
    """Whether each user message comes with a short request for a title."""
    sub_agents: SubAgents


_SUB_AGENTS = SubAgents(
    share=0.0,
    fan_out=4,
    background=0.5,
    system=4_000,
    turns=Spread(5, 10, 20, 2),
    prompt=Spread(600, 1_500, 3_000, 100),
    result=Spread(500, 1_000, 2_000, 50),
)

PRESETS: dict[str, Shape] = {
    # A local model with a context of 32k. TraceLab's medians of replies, turns and tools; growth and tails are shorter
    # than its own, whose contexts are five times as long: between them and SWE-rebench's 330 tokens a turn.
    "coding": Shape(
        context=32_000,
        system=12_000,
        prompt=Spread(5_000, 10_000, 15_000, 3_000),
        message=Spread(120, 500, 2_000, 20),
        growth=Spread(450, 1_600, 4_000, 30),
        reply=Spread(250, 700, 2_000, 20),
        turns=Spread(6, 16, 40, 2),
        messages=Spread(4, 6, 8, 2),
        tools=Spread(0.1, 10, MINUTE),
        pause=Spread(135, 600, 0),
        compaction=True,
        side_calls=True,
        sub_agents=_SUB_AGENTS,
    ),
    # The same on twice the context, with TraceLab's own growth and output.
    "coding-64k": Shape(
        context=64_000,
        system=16_000,
        prompt=Spread(8_000, 16_000, 24_000, 3_000),
        message=Spread(120, 500, 2_000, 20),
        growth=Spread(652, 4_123, 10_000, 30),
        reply=Spread(250, 1_180, 4_000, 20),
        turns=Spread(6, 16, 60, 2),
        messages=Spread(4, 6, 8, 2),
        tools=Spread(0.1, 10, 2 * MINUTE),
        pause=Spread(135, 600, 0),
        compaction=True,
        side_calls=True,
        sub_agents=_SUB_AGENTS,
    ),
    # TraceLab's lengths and times with AIPerf's prefix, start and longest context; a fifth of the jobs delegate.
    "claude-code": Shape(
        context=167_000,
        system=32_000,
        prompt=Spread(15_000, 25_000, 40_000, 5_000),
        message=Spread(120, 500, 2_000, 20),
        growth=Spread(652, 4_123, 20_000, 30),
        reply=Spread(250, 1_180, 8_000, 20),
        turns=Spread(6, 18, 100, 2),
        messages=Spread(8, 14, 20, 3),
        tools=Spread(0.1, 10, 10 * MINUTE),
        pause=Spread(135, 600, 0),
        compaction=True,
        side_calls=True,
        sub_agents=SubAgents(
            share=0.2,
            fan_out=3,
            background=0.5,
            system=12_000,
            turns=Spread(8, 20, 40, 2),
            prompt=Spread(1_000, 3_000, 6_000, 100),
            result=Spread(800, 1_500, 3_000, 50),
        ),
    ),
    # SWE-rebench: one issue a session, 64 turns, 27k tokens at the deepest one; nobody looks on.
    "swe-agent": Shape(
        context=40_000,
        system=4_000,
        prompt=Spread(1_200, 2_500, 5_000, 300),
        message=Spread(120, 500, 2_000, 20),
        growth=Spread(120, 500, 2_500, 20),
        reply=Spread(110, 250, 1_000, 20),
        turns=Spread(64, 85, 100, 20),
        messages=Spread(1, 1, 1, 1),
        tools=Spread(0.2, 5, MINUTE),
        pause=Spread(0, 0, 0),
        compaction=False,
        side_calls=False,
        sub_agents=_SUB_AGENTS,
    ),
    # For demonstrations and tests: the same structure with short jobs, so that a minute sees many.
    "session-short": Shape(
        context=8_000,
        system=2_000,
        prompt=Spread(500, 800, 1_000, 200),
        message=Spread(60, 120, 200, 20),
        growth=Spread(120, 300, 600, 20),
        reply=Spread(110, 190, 300, 40),
        turns=Spread(3, 4, 4, 2),
        messages=Spread(6, 8, 8, 4),
        tools=Spread(0.1, 0.4, 1),
        pause=Spread(135, 600, 0),
        compaction=False,
        side_calls=False,
        sub_agents=_SUB_AGENTS,
    ),
}
