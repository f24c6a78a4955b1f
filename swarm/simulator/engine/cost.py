"""The contention model: how long one engine step takes, term by term. Pure functions; all times are seconds.

    step = roofline(weights, dense_flops) + roofline(experts, expert_flops)
           + attention + kv + overhead + allreduce + cpu
    eager mode (no CUDA graphs):  max(step + eager_gap, eager_launch)

With B decoding requests, weights is the non-expert weights and the lm_head read once; experts is the experts that B
tokens are routed to, each layer's union of them read once (`expected_experts`); kv is the read of all B contexts and,
in a hybrid model, of the B recurrent states, which are also written; the two FLOP terms also carry the prompt tokens of
the step (chunked prefill), whose query-key pairs are `attention`. An all-reduce has a latency, and a bandwidth that the
step's activations go through; cpu is the engine's own work for each request and step, where it does not overlap with
the GPU's. Reading and computing overlap, but not wholly: `roofline` is (a^p + b^p)^(1/p), the longer one for p = 0.
"""

from bisect import bisect_left
from typing import NamedTuple

from swarm.simulator.profiles.profiles import Profile


class Batch(NamedTuple):
    """The terms of one step, in seconds, that do not depend on contexts. Those that overlap are all given: `total` says
    what they come to."""

    weights: float
    dense_flops: float
    experts: float
    expert_flops: float
    overhead: float
    allreduce: float
    cpu: float
    eager_gap: float
    eager_launch: float
    total: float
    """Without `eager_launch`."""


class Terms(NamedTuple):
    """The terms of one step, in seconds; `batch` has those that do not depend on contexts."""

    batch: Batch
    attention: float
    kv: float

    @property
    def total(self) -> float:
        return max(self.batch.total + self.attention + self.kv, self.batch.eager_launch)


def roofline(reading: float, computing: float, power: float) -> float:
    """Seconds of two things that overlap: between the longer one (`power` 0, or large) and their sum (`power` 1)."""
    if not power or not reading or not computing:
        return max(reading, computing)
    longer, shorter = (reading, computing) if reading > computing else (computing, reading)
    return float(longer * (1 + (shorter / longer) ** power) ** (1 / power))


def expected_experts(experts: int, topk: int, tokens: float) -> float:
    """Distinct experts of one layer that `tokens` tokens are routed to, if each picks `topk` of them uniformly."""
    return float(experts * (1 - (1 - topk / experts) ** tokens)) if experts else 0.0


def padded(rows: int, capture_sizes: tuple[int, ...]) -> int:
    """The size of the captured CUDA graph that runs `rows` rows; beyond the largest one, rows run unpadded."""
    at = bisect_left(capture_sizes, rows)
    return capture_sizes[at] if at < len(capture_sizes) else rows


def prefill_attention(computed: int, tokens: int) -> int:
    """Query-key pairs of a prompt chunk of `tokens` behind `computed` tokens: each sees all before it, and itself."""
    return tokens * computed + tokens * (tokens + 1) // 2


def bounded_attention(computed: int, tokens: int, window: int) -> int:
    """The same where each sees at most the `window` tokens up to itself."""
    growing = max(0, min(tokens, window - computed))
    return prefill_attention(computed, growing) + (tokens - growing) * window


class CostModel:
    """The model of one profile, its constants multiplied out once."""

    def __init__(self, profile: Profile) -> None:
        p = profile
        bandwidth = p.tp * p.bandwidth_bytes_per_s
        flops = p.tp * p.fp16_flops
        expert_layers = p.expert_layers or p.layers
        expert_params = expert_layers * p.topk * p.expert_params
        self._capture_sizes = p.capture_sizes if p.cuda_graphs else ()
        self._weights_single = (p.nonexpert_bytes / p.eta_weights + p.lm_head_bytes / p.eta_lm_head_single) / bandwidth
        self._weights_batched = (
            p.nonexpert_bytes / p.eta_weights + p.lm_head_bytes / p.eta_lm_head_batched
        ) / bandwidth
        self._seconds_per_expert = expert_layers * p.expert_bytes / (p.eta_experts * bandwidth)
        bounded = p.window_kv_bytes_per_token + p.selected_kv_bytes_per_token
        self._kv_per_token = (p.kv_bytes_per_token - bounded) / (p.eta_kv * bandwidth)
        self._kv_per_bounded_token = bounded / (p.eta_kv * bandwidth)
        self._window = p.window
        self._state_per_request = 2 * p.state_bytes / (p.eta_kv * bandwidth)  # read and written
        # Two FLOPs for each weight and token; the lm_head's weights are 16 bit, its rows the sampled tokens.
        dense_rate = p.eta_flops_dense * flops
        self._dense_per_token = 2 * (p.active_linear_params - expert_params) / dense_rate
        self._lm_head_per_row = p.lm_head_bytes / dense_rate
        attention_rate = (p.eta_flops_attention or p.eta_flops_dense) * flops
        width = p.attention_width
        if not width and not p.bounded_attention_width:
            width = (p.attention_layers or p.layers) * p.q_heads * p.head_dim
        self._attention_per_pair = 4 * width / attention_rate
        self._attention_per_bounded_pair = 4 * p.bounded_attention_width / attention_rate
        self._expert_flops_per_token = 2 * expert_params / (p.eta_flops_experts * flops)
        self._overhead = p.layers * p.layer_overhead_us * 1e-6
        self._allreduce = 2 * p.layers * p.allreduce_us * 1e-6 if p.tp > 1 else 0.0
        # A ring sends each activation (2 bytes) 2 (tp - 1) / tp times, after attention and after the FFN.
        sent = 2 * p.layers * p.hidden_size * 2 * 2 * (p.tp - 1) / p.tp
        self._allreduce_per_token = sent / p.allreduce_bytes_per_s if p.allreduce_bytes_per_s else 0.0
        self._cpu_per_request = p.cpu_per_request_us * 1e-6
        self._routing_power, self._roofline_power = p.routing_power, p.roofline_power
        self._eager_gap = 0.0 if p.cuda_graphs else p.layers * p.eager_gap_us * 1e-6
        self._eager_launch = 0.0 if p.cuda_graphs else p.layers * p.eager_launch_us * 1e-6
        self._experts, self._topk = p.experts, p.topk
        self._read_experts: dict[int, float] = {}
        self._decoding: dict[int, Batch] = {}

    def terms(
        self,
        decodes: int,
        context: int,
        prefill_tokens: int = 0,
        prefill_pairs: int = 0,
        sampled: int | None = None,
        bounded: int | None = None,
        bounded_pairs: int | None = None,
    ) -> Terms:
        """One step of `decodes` requests whose contexts sum to `context` tokens, and of `prefill_tokens` prompt tokens.

        `prefill_pairs`: the sum of `prefill_attention` over the step's chunks. `sampled`: rows of the lm_head, by
        default the decoding requests; a chunk that ends its prompt adds one. `bounded` and `bounded_pairs` are the sums
        of contexts and pairs as far as the profile's `window` lets a layer see; by default those of equal contexts.
        """
        sampled = decodes if sampled is None else sampled
        # Steps that only decode are most of all steps, and alike but for their contexts.
        batch = self._decoding.get(decodes) if not prefill_tokens and sampled == decodes else None
        if batch is None:
            batch = self._batch(decodes, prefill_tokens, sampled)
            if not prefill_tokens and sampled == decodes:
                self._decoding[decodes] = batch
        attention = prefill_pairs * self._attention_per_pair
        kv = context * self._kv_per_token + decodes * self._state_per_request
        if self._window:
            bounded = min(context, decodes * self._window) if bounded is None else bounded
            pairs = min(prefill_pairs, prefill_tokens * self._window) if bounded_pairs is None else bounded_pairs
            attention += pairs * self._attention_per_bounded_pair
            kv += bounded * self._kv_per_bounded_token
        return Terms(
            batch,
            # A decoding token's attention is bound by its KV read, which is a term of its own.
            attention,
            kv,
        )

    def _batch(self, decodes: int, prefill_tokens: int, sampled: int) -> Batch:
        tokens = decodes + prefill_tokens
        rows = tokens if prefill_tokens else padded(decodes, self._capture_sizes)
        weights = self._weights_single if sampled <= 1 else self._weights_batched
        dense_flops = tokens * self._dense_per_token + sampled * self._lm_head_per_row
        experts, expert_flops = self._experts_seconds(rows), tokens * self._expert_flops_per_token
        allreduce = self._allreduce + tokens * self._allreduce_per_token
        cpu = decodes * self._cpu_per_request
        return Batch(
            weights,
            dense_flops,
            experts,
            expert_flops,
            self._overhead,
            allreduce,
            cpu,
            self._eager_gap,
            self._eager_launch,
            roofline(weights, dense_flops, self._roofline_power)
            + roofline(experts, expert_flops, self._roofline_power)
            + (self._overhead + allreduce + cpu + self._eager_gap),
        )

    def prefill_alone(self, cached: int, prompt: int, budget: int) -> float:
        """Seconds that an idle engine takes for a prompt's tokens from `cached` on, `budget` of them a step."""
        seconds = 0.0
        for at in range(cached, prompt, budget):
            tokens = min(budget, prompt - at)
            ends = at + tokens == prompt
            pairs, bounded = prefill_attention(at, tokens), bounded_attention(at, tokens, self._window)
            seconds += self.terms(0, 0, tokens, pairs, int(ends), bounded_pairs=bounded).total
        return seconds

    def _experts_seconds(self, rows: int) -> float:
        seconds = self._read_experts.get(rows)
        if seconds is None:
            unlike = rows**self._routing_power
            seconds = expected_experts(self._experts, self._topk, unlike) * self._seconds_per_expert
            self._read_experts[rows] = seconds
        return seconds
