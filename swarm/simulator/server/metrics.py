"""The text of `/metrics`, in vLLM's names and with its bucket edges, and how punctual the simulator itself is.

The values are the engine's, on its own time line: what the contention model says, whatever the machine made of it. The
text is written by hand: a scrape by prometheus_client takes some 10 ms, which the streams would show as a stall.
"""

import json
import logging
import math
import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from swarm.simulator.engine.scheduler import Engine, Request, Step
from swarm.simulator.engine.time_breakdown import NOTHING

logger = logging.getLogger(__name__)

_LATENCY = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
_TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
_ITL = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_SLIP = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Histogram:
    """A Prometheus histogram to which one call adds many equal values: a step gives all its requests the same gap."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._edges, value)] += times
        self._sum += value * times

    def samples(self) -> Iterator[tuple[str, str, float]]:
        """Suffix, extra label and value of each line."""
        for edge, count in zip((*self._edges, math.inf), accumulate(self._counts), strict=True):
            yield "_bucket", f',le="{_number(edge)}"', count
        yield "_sum", "", self._sum
        yield "_count", "", sum(self._counts)


class SlipMeter:
    """How much later than planned a step's tokens were sent: when the first write began, when the last one ended."""

    BOUND_S = 0.005
    """The simulator is overloaded while the 99th percentile of the last steps is above this."""
    _WINDOW = 1024
    _CHECK_EVERY = 128

    def __init__(self) -> None:
        self.histogram = Histogram(_SLIP)
        self.steps = 0
        self.max_s = 0.0
        self.overloaded = False
        self.resyncs = 0
        self._started: array[float] = array("d")
        self._written: array[float] = array("d")

    def add(self, started_s: float, written_s: float) -> None:
        at = self.steps % self._WINDOW
        if at == len(self._started):
            self._started.append(started_s)
            self._written.append(written_s)
        else:
            self._started[at] = started_s
            self._written[at] = written_s
        self.histogram.add(started_s)
        self.steps += 1
        if started_s > self.max_s:
            self.max_s = started_s
        if self.steps % self._CHECK_EVERY == 0:
            self._judge()

    def resync(self, behind_s: float) -> None:
        """The time line was moved, because the process was too far behind it."""
        self.resyncs += 1
        self.overloaded = True
        logger.warning("the simulator was %.3f s behind its own time line, and now goes on from there", behind_s)

    def summary(self) -> dict[str, float | int | bool | dict[str, float]]:
        """Seconds; the percentiles are over the last steps, `max_s` is over all."""
        return {
            "steps": self.steps,
            "start_s": _percentiles(self._started),
            "written_s": _percentiles(self._written),
            "max_s": self.max_s,
            "bound_s": self.BOUND_S,
            "overloaded": self.overloaded,
            "resyncs": self.resyncs,
        }

    @property
    def p99_s(self) -> float:
        """99th percentile over the last steps, in seconds; 0 before the first."""
        return _percentiles(self._started).get("p99", 0.0)

    def _judge(self) -> None:
        p99 = self.p99_s
        if p99 > self.BOUND_S and not self.overloaded:
            logger.warning(
                "the simulator cannot keep up: steps start %.1f ms late (p99; bound %.0f ms): fewer streams, or a "
                "machine that is less busy",
                p99 * 1e3,
                self.BOUND_S * 1e3,
            )
        self.overloaded = p99 > self.BOUND_S


def _percentiles(values: "array[float]") -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 90, 99)}


class Metrics:
    """Everything that `/metrics` shows but what the engine counts itself."""

    def __init__(self) -> None:
        self.started_at = time.time()
        self.slip = SlipMeter()
        self.finished = {"stop": 0, "length": 0, "abort": 0, "error": 0}
        self.spent = NOTHING
        """Where the time of all finished requests went."""
        self.histograms = {
            "vllm:time_to_first_token_seconds": Histogram(_TTFT),
            "vllm:inter_token_latency_seconds": Histogram(_ITL),
            "vllm:request_time_per_output_token_seconds": Histogram(_ITL),
            "vllm:e2e_request_latency_seconds": Histogram(_LATENCY),
            "vllm:request_queue_time_seconds": Histogram(_LATENCY),
            "vllm:request_prefill_time_seconds": Histogram(_LATENCY),
            "vllm:request_decode_time_seconds": Histogram(_LATENCY),
            "vllm:request_inference_time_seconds": Histogram(_LATENCY),
            "vllm:iteration_tokens_total": Histogram(_STEP_TOKENS),
        }
        self._ttft, self._itl, self._tpot, self._e2e, self._queue, self._prefill, self._decode, self._inference = list(
            self.histograms.values()
        )[:8]
        self._iteration = self.histograms["vllm:iteration_tokens_total"]

    def observe(self, step: Step) -> None:
        """Counts the tokens and requests of a completed step."""
        going_on = len(step.tokens) - len(step.first) - len(step.stalls)
        if going_on:
            self._itl.add(step.end - step.start, going_on)
        for stall in step.stalls:
            self._itl.add(stall)
        for request in step.first:
            self._ttft.add(step.end - request.arrived_at)
        self._iteration.add(step.decodes + step.prefill_tokens)
        for request in step.finished:
            self._finish(request)

    def _finish(self, r: Request) -> None:
        # A tool call is the API's finish reason; the engine, and so its counter, only knows that the model stopped.
        self.finished["length" if r.finish_reason == "length" else "stop"] += 1
        queue, prefill, decode, end, spent = r.queue_s, r.prefill_s, r.decode_s, r.finished_at, r.spent
        assert spent is not None
        assert queue is not None
        assert prefill is not None
        assert decode is not None
        assert end is not None
        self.spent = self.spent.plus(spent)
        self._e2e.add(end - r.arrived_at)
        self._queue.add(queue)
        self._prefill.add(prefill)
        self._decode.add(decode)
        self._inference.add(prefill + decode)
        if r.output_tokens > 1:
            self._tpot.add(decode / (r.output_tokens - 1))


_HELP = {
    "vllm:time_to_first_token_seconds": "Time from arrival to the first token.",
    "vllm:inter_token_latency_seconds": "Time between two tokens of a request.",
    "vllm:request_time_per_output_token_seconds": "Mean time per output token of a request, the first left out.",
    "vllm:e2e_request_latency_seconds": "Time from arrival to the last token.",
    "vllm:request_queue_time_seconds": "Time in the waiting queue.",
    "vllm:request_prefill_time_seconds": "Time from being scheduled to the first token.",
    "vllm:request_decode_time_seconds": "Time from the first token to the last.",
    "vllm:request_inference_time_seconds": "Time from being scheduled to the last token.",
    "vllm:iteration_tokens_total": "Tokens computed by one engine step.",
}


def exposition(engine: Engine, metrics: Metrics, model_name: str) -> str:
    """The text of `/metrics`, in the Prometheus text format 0.0.4."""
    labels = f'engine="0",model_name="{_escaped(model_name)}"'
    lines: list[str] = []

    def simple(kind: str, name: str, text: str, value: float, extra: str = "") -> None:
        lines.append(f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name}{{{labels}{extra}}} {_number(value)}")

    def histogram(name: str, text: str, values: Histogram) -> None:
        lines.append(f"# HELP {name} {text}\n# TYPE {name} histogram")
        lines.extend(f"{name}{suffix}{{{labels}{le}}} {_number(value)}" for suffix, le, value in values.samples())

    simple("gauge", "vllm:num_requests_running", "Requests in the running batch.", engine.running)
    simple("gauge", "vllm:num_requests_waiting", "Requests waiting to be scheduled.", engine.waiting)
    simple("gauge", "vllm:kv_cache_usage_perc", "Share of the KV cache blocks in use, 0 to 1.", engine.kv.usage)
    simple("counter", "vllm:prefix_cache_queries_total", "Tokens looked up in the prefix cache.", engine.cache_queries)
    simple("counter", "vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.", engine.cache_hits)
    simple("counter", "vllm:num_preemptions_total", "Preemptions.", engine.preemptions)
    simple("counter", "vllm:prompt_tokens_total", "Prompt tokens of requests past prefill.", engine.prompt_tokens)
    simple("counter", "vllm:prompt_tokens_cached_total", "Prompt tokens that the cache served.", engine.cached_tokens)
    simple("counter", "vllm:generation_tokens_total", "Tokens generated.", engine.generation_tokens)
    lines.append("# HELP vllm:request_success_total Finished requests.\n# TYPE vllm:request_success_total counter")
    for reason, count in metrics.finished.items():
        lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {_number(count)}')
    for name, values in metrics.histograms.items():
        histogram(name, _HELP[name], values)
    p = engine.profile
    cache = (
        f',block_size="{p.block_size}",enable_prefix_caching="{p.enable_prefix_caching}",num_gpu_blocks="{p.kv_blocks}"'
    )
    simple("gauge", "vllm:cache_config_info", "The KV cache's configuration.", 1, cache)
    lines.append(
        "# HELP process_start_time_seconds Start time of the server.\n# TYPE process_start_time_seconds gauge\n"
        f"process_start_time_seconds {_number(metrics.started_at)}"
    )
    for part, seconds in metrics.spent._asdict().items():
        name = f"swarm_simulator_{part}_seconds_total"
        simple("counter", name, f"Seconds of finished requests: {part.replace('_', ' ')}.", seconds)
    slip = metrics.slip
    histogram(
        "swarm_simulator_step_slip_seconds", "How much later than planned a step's tokens went out.", slip.histogram
    )
    simple("gauge", "swarm_simulator_step_slip_p99_seconds", "Its 99th percentile, of the last steps.", slip.p99_s)
    simple("gauge", "swarm_simulator_overloaded", "1 while the simulator cannot keep its own time.", slip.overloaded)
    simple("counter", "swarm_simulator_resyncs_total", "Times that the time line had to be moved.", slip.resyncs)
    return "\n".join(lines) + "\n"


def resident_memory() -> str:
    """Metrics of the server's own memory by prometheus_client, as text; empty where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return ""
    return (
        "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
        "# TYPE process_resident_memory_bytes gauge\n"
        f"process_resident_memory_bytes {_number(pages * os.sysconf('SC_PAGE_SIZE'))}\n"
    )


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(float(value))


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
