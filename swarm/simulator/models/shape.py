"""A model's shape, from its config.json: the parameters, the KV cache and the attention of all its layers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.simulator.models.config import Config
from swarm.simulator.models.feed_forward import feed_forwards
from swarm.simulator.models.layers import FeedForward, Layer, Mixer
from swarm.simulator.models.mixers import mixers
from swarm.simulator.models.vision import vision_params


@dataclass(frozen=True)
class Shape:
    """Layers as counted from a config; norms and biases are left out."""

    model_type: str
    hidden: int
    vocab: int
    tied: bool
    max_context: int
    layers: tuple[Layer, ...]
    """A mixer, a feed-forward network, or both, each."""
    vision_params: int = 0
    """Parameters of the part that sees, which only takes memory."""

    @property
    def mixers(self) -> list[Mixer]:
        return [layer.mixer for layer in self.layers if layer.mixer]

    @property
    def attention(self) -> list[Mixer]:
        """The mixers that have a KV cache."""
        return [mixer for mixer in self.mixers if not mixer.recurrent]

    @property
    def sparse(self) -> list[FeedForward]:
        """The networks with experts. They are alike, or `shape` had refused them."""
        return [layer.feed_forward for layer in self.layers if layer.feed_forward and layer.feed_forward.experts]

    @property
    def experts(self) -> FeedForward | None:
        return self.sparse[0] if self.sparse else None

    @property
    def always_read_params(self) -> int:
        """All layers, without experts, router, embedding and lm_head."""
        networks = (layer.feed_forward.params for layer in self.layers if layer.feed_forward)
        return sum(mixer.params for mixer in self.mixers) + sum(networks)

    @property
    def router_params(self) -> int:
        return sum(network.router for network in self.sparse)

    @property
    def params(self) -> int:
        """All of them, as a model's name counts them."""
        experts = sum(network.experts * network.expert_params for network in self.sparse)
        language = self.always_read_params + self.router_params + experts + self.embedding_params
        return language + self.vision_params

    @property
    def embedding_params(self) -> int:
        return self.hidden * self.vocab * (1 if self.tied else 2)

    @property
    def active_params(self) -> int:
        """Those that a token's computation uses: with the lm_head, without the embedding, which is only looked up."""
        experts = sum(network.topk * network.expert_params for network in self.sparse)
        return self.always_read_params + self.router_params + experts + self.hidden * self.vocab

    @property
    def q_heads(self) -> int:
        """The most of any layer."""
        return max((mixer.q_heads for mixer in self.attention), default=1)

    @property
    def kv_heads(self) -> int:
        """The most of any layer: more GPUs than that hold the same keys and values several times."""
        return max((mixer.kv_heads for mixer in self.attention), default=1)

    @property
    def window(self) -> int:
        """Tokens that a query attends to at most, in the layers that have a window or an index; 0: none has."""
        return max((mixer.window or mixer.selected for mixer in self.attention), default=0)

    @property
    def state_bytes(self) -> int:
        """Recurrent state of one request."""
        return sum(mixer.state_bytes for mixer in self.mixers)


def shape(config: Mapping[str, Any]) -> Shape:
    """The shape that a `config.json` describes. ValueError naming the key that is missing or not modelled."""
    c = Config(config)
    hidden = c.size("hidden_size")
    found = mixers(c)
    layers = _layers(c, found)
    limits = {mixer.window or mixer.selected for mixer in found} - {0}
    if len(limits) > 1:
        raise ValueError(f"config.json: windows of different lengths ({sorted(limits)}) are not modelled")
    result = Shape(
        model_type=c.model_type,
        hidden=hidden,
        vocab=c.size("vocab_size"),
        tied=c.flag("tie_word_embeddings"),
        max_context=c.first(("max_position_embeddings", "model_max_length", "seq_length", "max_seq_len")),
        layers=layers,
        vision_params=vision_params(config, hidden),
    )
    c.skip("quantization_config", "compression_config")  # read in `weights`
    c.refuse_untaken()
    if not result.max_context:
        raise ValueError("config.json: max_position_embeddings must be above 0")
    kinds = Counter((network.experts, network.topk, network.expert_params) for network in result.sparse)
    if len(kinds) > 1:
        raise ValueError("config.json: layers with different experts are not modelled")
    return result


def _layers(c: Config, found: list[Mixer]) -> tuple[Layer, ...]:
    pattern, blocks = c.get("hybrid_override_pattern"), c.words("layers_block_type")
    alone = pattern or set(blocks) & {"moe", "mlp"}
    networks = feed_forwards(c, len(found))
    if not alone:
        return tuple(Layer(mixer, network) for mixer, network in zip(found, networks, strict=True))
    is_mixer = [mark not in ("E", "-", "moe", "mlp") for mark in pattern or blocks]
    waiting, coming = iter(found), iter(networks)
    return tuple(Layer(next(waiting), None) if mixer else Layer(None, next(coming)) for mixer in is_mixer)
