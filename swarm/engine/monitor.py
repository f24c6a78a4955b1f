"""Samples the load generator itself and the server's own metrics, once a second, next to the load."""

import os
import resource
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from swarm.client.base import Client
from swarm.clock import Clock
from swarm.recording.records import ClientSample, Record

TICK_S = 0.02
"""How often the event loop's lateness is probed."""
FROZEN_NS = 50_000_000
"""A lateness from which on it is a time that was lost, with a beginning and an end, and not only a lag."""
LAG_QUANTILES = 101
"""A second's lags are kept as this many evenly spaced order statistics, the largest among them."""


async def watch_client(
    client: Client,
    clock: Clock,
    header: dict[str, Any],
    publish: Callable[[Record], None],
    next_id: Callable[[], str],
    period_s: float = 1.0,
    companions: Sequence[int] = (),
) -> None:
    """Publishes a `ClientSample` every second (or `period_s`), and at once when it stood still, until cancelled.

    `companions`: numbers of other processes of swarm's on this machine, whose CPU time is not that of strangers.
    """
    began, cpu, busy, beside = clock.now(), time.process_time_ns(), _machine_ticks(), _cpu_beside_ns(companions)
    lags: array[int] = array("q")
    while True:
        due, slept = clock.now() + round(TICK_S * 1e9), clock.slept()
        await clock.sleep_until(due)
        now, slept = clock.now(), clock.slept() - slept
        lags.append(now - due)
        frozen = max(now - due, slept) >= FROZEN_NS
        if now - began < period_s * 1e9 and not frozen:
            continue
        meter, cpu_now, busy_now = client.meter(), time.process_time_ns(), _machine_ticks()
        beside_now = _cpu_beside_ns(companions)
        lags.extend(meter.lags_ns)
        longest = max(lags)
        publish(
            ClientSample(
                **header,
                id=next_id(),
                t_ns=began,
                end_ns=now,
                cpu_ns=cpu_now - cpu,
                busy_share=_share(busy, busy_now),
                cores=os.cpu_count(),
                companions_ns=None if beside is None or beside_now is None else beside_now - beside,
                lag_ns=_spread(lags),
                chunks=meter.chunks,
                coalesced=meter.coalesced,
                stamp_source="kernel" if meter.stamp_source == "kernel" else "user",
                rss_bytes=resident_bytes(),
                open_files=_open_files(),
                # Nothing waits in a socket for longer than swarm was ever late, in that second.
                frozen=[(due, now, max(0, slept))] if frozen else [],
                shared_ns=_spread(array("q", (min(since, longest) for since in meter.shared_ns))),
            )
        )
        began, cpu, busy, beside, lags = now, cpu_now, busy_now, beside_now, array("q")


async def every_second(clock: Clock, act: Callable[[], Awaitable[object]]) -> None:
    """Acts on whole seconds until cancelled; a slow action skips beats rather than piling up."""
    due = clock.now()
    while True:
        await act()
        due = max(due + 1_000_000_000, clock.now())
        await clock.sleep_until(due)


def _spread(values: "array[int]") -> list[int]:
    """At most `LAG_QUANTILES` evenly spaced order statistics of `values`, ascending."""
    ordered = sorted(values)
    if len(ordered) <= LAG_QUANTILES:
        return ordered
    step = (len(ordered) - 1) / (LAG_QUANTILES - 1)
    return [ordered[round(index * step)] for index in range(LAG_QUANTILES)]


def resident_bytes() -> int | None:
    """Memory of this process; None where /proc does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def _cpu_beside_ns(companions: Sequence[int]) -> int | None:
    """CPU time of this process's children that have ended, and of its companions; None where /proc does not tell."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    try:
        for process in companions:
            # Behind the command's name, which may hold anything, the 12th and 13th fields are its CPU time.
            fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    except (OSError, ValueError, IndexError):
        return None
    return round((ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")) * 1e9)


def _machine_ticks() -> tuple[int, int] | None:
    """(busy, all) CPU ticks of the whole machine since boot; None where /proc does not tell."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def _share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] == before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])
