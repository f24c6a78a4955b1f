"""Names that kinds of servers have for what is beyond OpenAI's API: pages, metrics, and the refusal of a long prompt.

The forms of replies do not depend on the server: `swarm.client.reply` reads all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Server:
    """One kind of server; what is left out, it does not tell.

    A page is an address beside the API and the keys down to the value. Metrics map a server's name to ours; a counter's
    is without `_total`, a histogram's without `_sum` and `_count`.
    """

    name: str
    version_page: tuple[str, ...] = ()
    context_page: tuple[str, ...] = ()
    """Where a model's context length is, if not in the list of models."""
    prefix: str = ""
    """Prefix of the names of its metrics."""
    gauges: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, str] = field(default_factory=dict)
    histograms: Mapping[str, str] = field(default_factory=dict)
    overflow: tuple[str, ...] = ()
    """Words of an error that means a prompt too long for the context, in lower case."""


SERVERS = (
    Server(
        "vLLM",
        version_page=("/version", "version"),
        prefix="vllm:",
        gauges={
            "vllm:num_requests_running": "running",
            "vllm:num_requests_waiting": "waiting",
            "vllm:kv_cache_usage_perc": "kv_usage",
            "vllm:gpu_cache_usage_perc": "kv_usage",  # before 0.10
        },
        counters={
            "vllm:prefix_cache_queries": "prefix_queries",
            "vllm:prefix_cache_hits": "prefix_hits",
            "vllm:gpu_prefix_cache_queries": "prefix_queries",  # before 0.10
            "vllm:gpu_prefix_cache_hits": "prefix_hits",
            "vllm:num_preemptions": "preemptions",
            "vllm:prompt_tokens": "prompt_tokens",
            "vllm:generation_tokens": "generation_tokens",
            "vllm:prompt_tokens_cached": "cached_prompt_tokens",
            "vllm:request_success": "request_success",
        },
        histograms={
            "vllm:request_queue_time_seconds": "queue_time",
            "vllm:time_in_queue_requests": "queue_time",  # before 0.8
            "vllm:request_prefill_time_seconds": "prefill",
            "vllm:request_decode_time_seconds": "decode",
        },
        overflow=("longer than the maximum model length", "max_model_len"),
    ),
    Server("Ollama", version_page=("/api/version", "version")),
    # For SGLang and llama.cpp only the gauges: their token counters leave out abandoned requests or cached prompts, so
    # they cannot be checked against ours.
    Server(
        "llama.cpp",
        version_page=("/props", "build_info"),
        context_page=("/props", "default_generation_settings", "n_ctx"),
        prefix="llamacpp:",
        gauges={
            "llamacpp:requests_processing": "running",
            "llamacpp:requests_deferred": "waiting",
        },
        overflow=("exceed_context_size", "exceeds the available context size"),
    ),
    Server(
        "SGLang",
        version_page=("/get_server_info", "version"),
        prefix="sglang:",
        gauges={
            "sglang:num_running_reqs": "running",
            "sglang:num_queue_reqs": "waiting",
            "sglang:token_usage": "kv_usage",
        },
    ),
    Server("LM Studio"),
    Server(
        "simulated",
        prefix="swarm_simulator_",
        gauges={
            # Whether it cannot keep its own time.
            "swarm_simulator_overloaded": "simulator_overloaded",
            "swarm_simulator_step_slip_p99_seconds": "simulator_slip_p99",
        },
        counters={
            # Where the time of its finished requests really went.
            "swarm_simulator_queue_seconds": "true_queue",
            "swarm_simulator_prefill_alone_seconds": "true_prefill_alone",
            "swarm_simulator_prefill_interference_seconds": "true_prefill_interference",
            "swarm_simulator_preemption_seconds": "true_preemption",
            "swarm_simulator_decode_seconds": "true_decode",
        },
    ),
    Server(
        "any",
        prefix="process_",
        gauges={"process_start_time_seconds": "started_at", "process_resident_memory_bytes": "resident_bytes"},
        overflow=(
            "context_length_exceeded",
            "maximum context length",
            "context length",
            "context window",
            "must not exceed the maximum",
        ),
    ),
)
"""In the order in which pages are asked for, and in which the first metric of a name counts."""
