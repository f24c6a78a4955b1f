"""The few numbers that matter from a vLLM's `/metrics`, under short names that stay when vLLM renames its own.

Counters carry no `_total`; histograms give `<name>_sum` (seconds) and `<name>_count`. Sums over all engines and
data-parallel ranks, but for `kv_usage`, which is the fullest engine's (0..1), `started_at` (seconds since 1970, the
last one's), and what a simulated server says of its own punctuality. Ranks of any other kind (tensor, pipeline, context
or expert parallel) work on the same requests: of what they repeat, the highest counts once. Where a page tells of
several models and the target's is one of them, the others are left out. Their names: `swarm.client.dialects`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

import aiohttp
from yarl import URL

from swarm.client.base import Connection
from swarm.client.dialects import SERVERS
from swarm.client.wire import plain_session

MAX_PAGE_BYTES = 8 << 20

_Sample = tuple[bytes, bytes, float]
"""Name, labels in their braces, value."""

_HIGHEST = {"kv_usage", "started_at", "simulator_overloaded", "simulator_slip_p99"}
_NAMES: dict[bytes, str] = {
    name.encode(): short
    for server in SERVERS
    for name, short in (
        *server.gauges.items(),
        *server.counters.items(),
        *((f"{name}_total", short) for name, short in server.counters.items()),
        *(
            (f"{name}_{part}", f"{short}_{part}")
            for name, short in server.histograms.items()
            for part in ("sum", "count")
        ),
    )
}


def _samples(prefix: bytes) -> re.Pattern[bytes]:
    """A sample of this prefix. A label may hold spaces and braces, so the value is what follows the last brace."""
    names = sorted((re.escape(name) for name in _NAMES if name.startswith(prefix)), reverse=True)
    return re.compile(rb"\n(" + b"|".join(names) + rb")(\{[^\n]*\})? ([0-9.eE+-]+)")


# Over the raw page, because most of its lines are buckets that nobody asks for, and by prefix, because a literal one is
# what the search can skip to: 100 KB take a quarter of a millisecond.
_SAMPLES = {prefix: _samples(prefix) for server in SERVERS if (prefix := server.prefix.encode())}
_REPEATING_RANK = re.compile(rb'(?<![a-z_])(?!(?:[a-z]+_)?(?:dp|data_parallel)_rank=)[a-z_]*rank="(?:[^"\\]|\\.)*",?')
_MODEL = re.compile(rb'[{,]model_name="((?:[^"\\]|\\.)*)"')
LARGEST = 1e15
"""No count, size or time of a server is larger; sums of it over ranks stay far from infinity."""
_ANYONES = {"started_at", "resident_bytes"}
"""Metrics that any Python server may show."""


def pick(page: bytes, model: str | None = None) -> dict[str, float]:
    """The wanted samples of a page in Prometheus' text format; empty when none of vLLM's. `model`: the target's."""
    page = b"\n" + page
    shown = (samples for prefix, samples in _SAMPLES.items() if prefix in page)
    samples = [
        (name, labels, value)
        for wanted in shown
        for name, labels, text in wanted.findall(page)
        if (value := _number(text)) is not None
    ]
    values: dict[tuple[bytes, bytes], float] = {}
    for name, labels, value in _of_model(samples, model):
        place = name, _REPEATING_RANK.sub(b"", labels) if b"rank=" in labels else labels
        values[place] = max(value, values.get(place, value))
    totals: dict[bytes, float] = {}
    for (name, _), value in values.items():
        before = totals.get(name, 0.0)
        totals[name] = max(before, value) if _NAMES[name] in _HIGHEST else before + value
    found: dict[str, float] = {}
    for name, short in _NAMES.items():
        if name in totals:
            found.setdefault(short, totals[name])  # a vLLM in transition shows a quantity under both its names
    return {} if found.keys() <= _ANYONES else found


def _of_model(samples: Sequence[_Sample], model: str | None) -> Sequence[_Sample]:
    """Without those of other models. A LoRA or a second name has no samples of its own: then all are the target's."""
    if model is None:
        return samples
    named = [(sample, _MODEL.search(sample[1])) for sample in samples]
    if not any(found and found[1] == model.encode() for _, found in named):
        return samples
    return [sample for sample, found in named if not found or found[1] == model.encode()]


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def metrics_url(connection: Connection) -> str:
    """The target's own, or the one beside its API: vLLM serves `/metrics` beside `/v1`."""
    if connection.metrics_url:
        return connection.metrics_url
    return connection.api_base.rstrip("/").removesuffix("/v1") + "/metrics"


def _reach(connection: Connection) -> Connection:
    """How to reach the page: the target's key and headers are for its origin (scheme, host, port) and no other."""
    if URL(metrics_url(connection)).origin() == URL(connection.api_base).origin():
        return replace(connection, headers=connection.headers | connection.metrics_headers)
    return replace(connection, api_key=None, headers=connection.metrics_headers)


class MetricsReader:
    """Reads a target's `/metrics`; an async context manager."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._url = metrics_url(connection)

    async def __aenter__(self) -> "MetricsReader":
        self._session = plain_session(_reach(self._connection))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def read(self) -> dict[str, float] | None:
        """The samples of now; None when there is no answer in time, or none of vLLM's."""
        page = await self._page()
        return None if page is None else pick(page, self._connection.model) or None

    async def pool_tokens(self) -> int | None:
        """Tokens of the KV cache, as vLLM tells them in `vllm:cache_config_info`; None: it does not."""
        page = await self._page()
        return None if page is None else pool_tokens(page)

    async def _page(self) -> bytes | None:
        try:
            async with self._session.get(self._url) as response:
                if response.status != 200:
                    return None
                page = await response.content.read(MAX_PAGE_BYTES)
                while not response.content.at_eof() and len(page) < MAX_PAGE_BYTES:
                    page += await response.content.read(MAX_PAGE_BYTES)
                return page
        except (aiohttp.ClientError, OSError):
            return None


def pool_tokens(page: bytes) -> int | None:
    """Blocks times their size, of the first engine on the page of vLLM's metrics."""
    line = re.search(rb"^vllm:cache_config_info\{([^\n]{0,4000})\}", page, re.MULTILINE)
    if line is None:
        return None
    numbers = [
        re.search(rb"(?:^|,)" + name + rb'="(\d{1,12})"', line[1]) for name in (b"num_gpu_blocks", b"block_size")
    ]
    return None if None in numbers else math.prod(int(found[1]) for found in numbers if found)
