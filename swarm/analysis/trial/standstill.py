"""When the load generator itself stood still: no agent went on, whatever the times of its requests look like.

Lag is told per probe, and 1% of the probes may be late: a process that is stopped for 10 s is late once.
"""

from collections.abc import Sequence

from swarm.text import counted

FROZEN_SHARE = 0.02
FROZEN_S = 0.5
"""Less than this is not worth an invalid stage, however short its window."""
SHOWN = 3


def allowed_s(window_s: float) -> float:
    """How long the load generator may stand still in a window of so many seconds."""
    return max(FROZEN_S, FROZEN_SHARE * window_s)


def stood_still(frozen: Sequence[tuple[int, int]], window_s: float) -> str | None:
    """Why a window does not count; `frozen`: since its start and how long, in nanoseconds. None: it does."""
    lost = sum(length for _, length in frozen) / 1e9
    if lost <= allowed_s(window_s):
        return None
    longest = sorted(sorted(frozen, key=lambda freeze: -freeze[1])[:SHOWN])
    when = ", ".join(f"{_shown(length / 1e9)} at {at / 1e9:.1f} s" for at, length in longest)
    others = len(frozen) - len(longest)
    more = f", and {counted(others, 'shorter stop')}" if others else ""
    return (
        f"the load generator stood still for {_shown(lost)} of the {_shown(window_s)} window "
        f"(limit {allowed_s(window_s):.2g} s): {when}{more}; keep the machine, its VM and the process from being "
        "suspended or stopped (sleep, Ctrl-Z, a debugger, no CPU or memory left), and run it again"
    )


def _shown(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"
