"""How far two machines' monotonic clocks are apart."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Offset(NamedTuple):
    """One machine's monotonic clock less another's, in nanoseconds; right to half of the round trip."""

    ns: int = 0
    round_trip_ns: int = 0


async def measure(read_theirs: Callable[[], Awaitable[int]], exchanges: int) -> Offset:
    """Their clock less ours. As NTP does it (RFC 5905): the best of several exchanges, each taken to have read their
    clock halfway. Raises what `read_theirs` raises."""
    found = []
    for _ in range(exchanges):
        sent = time.perf_counter_ns()
        theirs = await read_theirs()
        received = time.perf_counter_ns()
        found.append(Offset(theirs - (sent + received) // 2, received - sent))
    return min(found, key=lambda offset: offset.round_trip_ns)
