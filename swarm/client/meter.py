"""The client watching itself: how long received bytes waited for it, and how many chunks it took."""

from array import array
from typing import Literal

from swarm.client.base import Meter

SAMPLES = 2048
"""Lags kept between two looks: enough for a p99, and bounded whatever the rate."""


class LagMeter:
    """A sample of lags that halves itself when full (every 2nd, 4th, ... is kept from then on), and their maximum."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lags = array("q")
        self._every = 1
        self._skip = 0
        self._max = -1
        self._chunks = 0
        self._coalesced = 0

    def count(self, chunks: int, coalesced: int = 0) -> None:
        """Token-bearing chunks of unknown lag."""
        self._chunks += chunks
        self._coalesced += coalesced

    def saw(self, lag_ns: int, chunks: int, coalesced: int) -> None:
        """A read that held `chunks` token-bearing chunks was parsed `lag_ns` after its stamp."""
        self.count(chunks, coalesced)
        if lag_ns > self._max:
            self._max = lag_ns
        if self._skip:
            self._skip -= 1
            return
        self._skip = self._every - 1
        self._lags.append(lag_ns)
        if len(self._lags) == SAMPLES:
            self._lags = self._lags[::2]
            self._every *= 2

    def take(self, stamp_source: Literal["kernel", "user"]) -> Meter:
        """What was seen since the last call; the greatest lag is always in the sample."""
        lags = self._lags
        if self._max >= 0 and self._max not in lags:
            lags.append(self._max)
        meter = Meter(lags, self._chunks, self._coalesced, stamp_source)
        self._reset()
        return meter
