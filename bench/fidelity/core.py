"""A core for a process of the bench, and priority over all else that runs on a shared machine."""

import os


def take(core: int | None, realtime: bool) -> None:
    """Pins this process to a core; `realtime` needs root, or the right to it (CAP_SYS_NICE)."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    if realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
