"""One layer of a model, as its sizes need it: what mixes the tokens, and the feed-forward network."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mixer:
    """Attention, or a recurrence in its place. `matrices`: parameters by module, all of them read for every token."""

    matrices: Mapping[str, int]
    recurrent: bool = False
    q_heads: int = 0
    kv_heads: int = 0
    """Parts of a token's keys and values that GPUs can share out; one for latent attention, which all GPUs hold."""
    kv_per_head: int = 0
    """Numbers that one of them keeps of a token: a key and a value, or what both are computed from."""
    attention_width: int = 0
    """Query heads times the mean of a key's and a value's length: 4 FLOPs each for a query-key pair."""
    window: int = 0
    """Tokens that are attended to, and kept; 0: all."""
    selected: int = 0
    """Tokens that are attended to after an index has chosen them, while all are kept; 0: all."""
    index_bytes: int = 0
    """Bytes of that index for each token."""
    index_width: int = 0
    state_bytes: int = 0
    """State of one request: what a recurrence carries from token to token."""

    @property
    def params(self) -> int:
        return sum(self.matrices.values())


@dataclass(frozen=True)
class FeedForward:
    """`matrices` are read for every token: a dense network, or shared experts; an expert only where a token goes."""

    matrices: Mapping[str, int]
    router: int = 0
    """Parameters; 16-bit in all number formats."""
    experts: int = 0
    topk: int = 0
    expert: Mapping[str, int] = field(default_factory=dict)
    """One expert's matrices."""

    @property
    def params(self) -> int:
        return sum(self.matrices.values())

    @property
    def expert_params(self) -> int:
        return sum(self.expert.values())


@dataclass(frozen=True)
class Layer:
    mixer: Mixer | None
    feed_forward: FeedForward | None
