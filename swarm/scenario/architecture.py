"""Whether a model is a mixture of experts or dense, as far as its name tells."""

import re
from typing import Literal

Architecture = Literal["moe", "dense"]

_MOE = re.compile(
    r"""(?ix)
    (?<![a-z0-9.]) (
        a\d+(\.\d+)?b                                   # the active parameters: Qwen3-30B-A3B
        | \d+x\d+(\.\d+)?b                              # Mixtral-8x7B
        | \d+(\.\d+)?b-?\d+e                            # Llama-4-Scout-17B-16E
        | moe
    ) (?![a-z0-9])
    | mixtral | gpt-oss | deepseek-(v[23]|r1|coder-v2) | glm-4\.[5-9] | kimi-k2 | minimax-m
    """
)
_DISTILLED = re.compile(r"(?i)distill")
_SIZE = re.compile(r"(?i)(?<![a-z0-9.])\d+(\.\d+)?b(?![a-z0-9])")
_DENSE = re.compile(r"(?i)(?<![a-z0-9])dense(?![a-z0-9])")


def architecture_of(model: str | None, *, guess: bool = True) -> Architecture | None:
    """The architecture that the name of a model (or of a swarm profile) tells; None: it tells nothing.

    With `guess`, a name with one number of parameters ("Qwen2.5-Coder-32B") is a dense model's: those of mixtures of
    experts usually name the active parameters too, or belong to a known family.
    """
    name = (model or "").rpartition("/")[2]
    if _DISTILLED.search(name) or _DENSE.search(name):
        return "dense"
    if _MOE.search(name):
        return "moe"
    return "dense" if guess and _SIZE.search(name) else None
