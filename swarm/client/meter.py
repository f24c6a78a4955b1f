"""The client watching itself: how long received bytes waited for it, and how many chunks it took."""

from array import array
from collections.abc import Sequence
from typing import Literal

from swarm.client.base import Meter

SAMPLES = 2048
"""Numbers kept between two looks: enough for a p99, and bounded whatever the rate."""


class _Sample:
    """Numbers of which some are kept: full, it halves itself, and keeps every 2nd, 4th, ... from then on."""

    __slots__ = ("_every", "_kept", "_max", "_skip")

    def __init__(self) -> None:
        self._kept = array("q")
        self._every = 1
        self._skip = 0
        self._max = -1

    def extend(self, values: Sequence[int]) -> None:
        self._max = max(self._max, *values)
        self._kept.extend(values[self._skip :: self._every])
        self._skip = (self._skip - len(values)) % self._every
        while len(self._kept) >= SAMPLES:
            self._skip += len(self._kept) % 2 * self._every
            self._kept = self._kept[::2]
            self._every *= 2

    def values(self) -> "array[int]":
        """The kept values, the greatest of all in any case."""
        if self._max >= 0 and self._max not in self._kept:
            self._kept.append(self._max)
        return self._kept


class LagMeter:
    """How long received bytes waited for the client, and how many chunks came."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lags = _Sample()
        self._together = _Sample()
        self._chunks = 0
        self._coalesced = 0

    def count(self, chunks: int) -> None:
        """Token-bearing chunks of unknown lag."""
        self._chunks += chunks

    def saw(self, lags_ns: Sequence[int], chunks: int) -> None:
        """Reads that held `chunks` token-bearing chunks in all were made so long after their stamps; at least one."""
        self._chunks += chunks
        self._lags.extend(lags_ns)

    def shared(self, since_ns: Sequence[int]) -> None:
        """So many chunks had the stamp of one before; each came in the `since_ns` before it."""
        self._coalesced += len(since_ns)
        self._together.extend(since_ns)

    def take(self, stamp_source: Literal["kernel", "user"]) -> Meter:
        """Takes the measurements since the last call."""
        lags = self._lags.values() if stamp_source == "kernel" else array("q")
        meter = Meter(lags, self._chunks, self._coalesced, stamp_source, self._together.values())
        self._reset()
        return meter
