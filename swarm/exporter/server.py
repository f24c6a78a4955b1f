"""Prometheus names of a target's own metrics, and its GPU's; `client.target.metrics` has the short names."""

from collections.abc import Iterator, Mapping

from swarm.exporter.text import Family, Kind, Sample, gauges

_GAUGES = {
    "running": ("swarm_server_requests_running", "Requests in the server's batch."),
    "waiting": ("swarm_server_requests_waiting", "Requests in the server's queue."),
    "kv_usage": ("swarm_server_kv_cache_usage_ratio", "Share of the KV cache in use, 0 to 1, of the fullest engine."),
    "simulator_overloaded": ("swarm_simulator_overloaded", "1 while the simulated server cannot keep its own time."),
    "gpu_power_w": ("swarm_gpu_power_watts", "Power drawn by the target's GPUs."),
    "gpu_sm_clock_hz": ("swarm_gpu_sm_clock_hertz", "Clock of the slowest of the target's GPUs."),
    "gpu_memory_used_bytes": ("swarm_gpu_memory_used_bytes", "Memory in use on the target's GPUs."),
    "gpu_temperature_c": ("swarm_gpu_temperature_celsius", "Temperature of the hottest of the target's GPUs."),
    "gpu_busy": ("swarm_gpu_busy_ratio", "Share of time in which a kernel ran, mean of the target's GPUs."),
    "gpu_throttled": ("swarm_gpu_throttled", "1 while power or heat holds down the clock of one of the GPUs."),
}
_COUNTERS = {
    "prefix_queries": ("swarm_server_prefix_cache_queries", "Tokens looked up in the prefix cache."),
    "prefix_hits": ("swarm_server_prefix_cache_hits", "Tokens found in the prefix cache."),
    "preemptions": ("swarm_server_preemptions", "Requests that lost their KV cache to others."),
    "prompt_tokens": ("swarm_server_prompt_tokens", "Prompt tokens, as the server counts them."),
    "cached_prompt_tokens": ("swarm_server_cached_prompt_tokens", "Prompt tokens that the prefix cache served."),
    "generation_tokens": ("swarm_server_generation_tokens", "Tokens generated, as the server counts them."),
    "request_success": ("swarm_server_requests", "Requests that the server finished."),
    "gpu_energy_j": ("swarm_gpu_energy_joules", "Energy used by the target's GPUs."),
}
_SUMMARIES = {
    "queue_time": ("swarm_server_queue_time_seconds", "Time of requests in the server's queue."),
    "prefill": ("swarm_server_prefill_time_seconds", "Time of requests from being scheduled to their first token."),
    "decode": ("swarm_server_decode_time_seconds", "Time of requests from their first token to their last."),
}


def server_families(targets: Mapping[str, Mapping[str, float | None]]) -> Iterator[Family]:
    """From each target's last sample (labels, written out -> metrics by their short names)."""

    def values(short: str) -> list[tuple[str, float]]:
        return [(labels, value) for labels, found in targets.items() if (value := found.get(short)) is not None]

    for short, (name, text) in _GAUGES.items():
        if known := values(short):
            yield gauges(name, text, known)
    for short, (name, text) in _COUNTERS.items():
        if known := values(short):
            yield _family(name, "counter", text, [(f"{name}_total{{{labels}}}", value) for labels, value in known])
    for short, (name, text) in _SUMMARIES.items():
        parts = [
            (f"{name}_{part}{{{labels}}}", value)
            for part in ("sum", "count")
            for labels, value in values(f"{short}_{part}")
        ]
        if parts:
            yield _family(name, "summary", text, parts)


def _family(name: str, kind: Kind, text: str, samples: list[Sample]) -> Family:
    return Family(name, kind, text, samples)
