"""The client watching itself: how long received bytes waited for it, and how many chunks it took."""

from array import array
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

    def add(self, value: int) -> None:
        if value > self._max:
            self._max = value
        if self._skip:
            self._skip -= 1
            return
        self._skip = self._every - 1
        self._kept.append(value)
        if len(self._kept) == SAMPLES:
            self._kept = self._kept[::2]
            self._every *= 2

    def values(self) -> "array[int]":
        """What was kept, the greatest of all in any case."""
        if self._max >= 0 and self._max not in self._kept:
            self._kept.append(self._max)
        return self._kept


class LagMeter:
    """How long received bytes waited for the client, and how many chunks came."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lags = _Sample()
        self._shared = _Sample()
        self._chunks = 0
        self._coalesced = 0

    def count(self, chunks: int) -> None:
        """Token-bearing chunks of unknown lag."""
        self._chunks += chunks

    def saw(self, lag_ns: int, chunks: int, coalesced: int = 0, since_ns: int = 0) -> None:
        """A read that held `chunks` token-bearing chunks was parsed `lag_ns` after its stamp.

        `coalesced` of them share it, and came at some time in the `since_ns` since the read before on their stream.
        """
        self._chunks += chunks
        self._lags.add(lag_ns)
        if coalesced:
            self._coalesced += coalesced
            for _ in range(coalesced):
                self._shared.add(since_ns)

    def take(self, stamp_source: Literal["kernel", "user"]) -> Meter:
        """What was seen since the last call."""
        lags = self._lags.values() if stamp_source == "kernel" else array("q")
        meter = Meter(lags, self._chunks, self._coalesced, stamp_source, self._shared.values())
        self._reset()
        return meter
