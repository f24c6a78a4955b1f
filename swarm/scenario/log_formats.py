"""The formats of recordings that are not swarm's own traces."""

from typing import Literal

LogFormat = Literal[
    "events",
    "messages",
    "mooncake",
    "claude-code",
    "codex",
    "opencode",
    "openhands",
    "swe-agent",
    "weka",
    "aiperf",
    "mlperf",
    "otel",
    "sharegpt",
]
