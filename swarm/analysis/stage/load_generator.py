"""Whether the load generator, its machine and the simulated server kept up: the checks that do not blame the target."""

from collections.abc import Mapping

from swarm.analysis.plan import Limits
from swarm.analysis.trial.client import Process, Use, use_of
from swarm.analysis.trial.standstill import stood_still
from swarm.analysis.trial.trial import Trial
from swarm.text import counted, milliseconds, percent

BUSY_SHARE = 0.9
"""Share of the machine's CPUs: above it, a client that is late without using its own core was kept from running."""


def client_late(trial: Trial, limits: Limits) -> str | None:
    processes = sorted(trial.client.processes.items())
    return _of_processes(trial, {number: _slow(one, limits, _use(trial, number)) for number, one in processes})


def stood_still_for(trial: Trial, _: Limits) -> str | None:
    processes = sorted(trial.client.processes.items())
    return _of_processes(trial, {number: stood_still(one.frozen, trial.seconds) for number, one in processes})


def _of_processes(trial: Trial, found: Mapping[int, str | None]) -> str | None:
    """Every process by itself: one that was too slow is not made up for by the others."""
    slow = {number: why for number, why in found.items() if why}
    if not slow:
        return None
    first, why = next(iter(slow.items()))
    if first not in trial.shards:
        return why
    more = f" (and {counted(len(slow) - 1, 'other shard')} likewise)" if len(slow) > 1 else ""
    return f"{trial.shards[first].name}: {why}{more}"


def _use(trial: Trial, number: int) -> Use | None:
    """Who used the machine of a shard."""

    def host(shard: int) -> str | None:
        return trial.shards[shard].host if shard in trial.shards else None

    processes = trial.client.processes
    return use_of(processes[number], (one for shard, one in processes.items() if host(shard) == host(number)))


def _strangers(use: Use | None) -> str | None:
    """That other processes took the CPU, which they did if they used more than swarm; None: not, or it is not known."""
    if use is None or use.others <= use.own or (told := use.strangers()) is None:
        return None
    return f"{told} (swarm with its tools and simulated servers: {use.own:.2g})"


def _slow(process: Process, limits: Limits, use: Use | None) -> str | None:
    cpu, busy, timing = process.cpu_share, process.busy_share, process.timing
    if cpu is not None and cpu > limits.max_cpu_share:
        return (
            f"the load generator was too slow: it used {percent(cpu)} of a CPU core "
            f"(limit {percent(limits.max_cpu_share)}, client.max_cpu), so latencies include its own work; "
            "use fewer agents, a faster machine, or `route: direct`"
        )
    error, lag = timing.p99_s(), timing.lag_p99_s()
    if error is None or lag is None or error <= limits.max_lag_s:
        return None
    stamps = "" if timing.by_kernel else ", no kernel stamps"
    off = (
        f"times may be off by {milliseconds(error)} "
        f"(limit {milliseconds(limits.max_lag_s)}, client.max_lag; p99{stamps})"
    )
    if strangers := _strangers(use):
        return f"the machine was busy: {off}: {strangers}; close them, or run swarm on another machine"
    if busy is not None and busy > BUSY_SHARE:
        return (
            f"the machine was busy: {off}: the CPUs were {percent(busy)} in use, swarm used "
            f"{percent(cpu or 0)} of one core; stop other programs, or move the server to another machine"
        )
    return f"the load generator was too slow: {off}; use fewer agents, a faster machine, or `route: direct`"


def simulator_late(trial: Trial, limits: Limits) -> str | None:
    slip = trial.simulator_slip_s
    if slip is None or slip <= limits.max_lag_s:
        return None
    limit = milliseconds(limits.max_lag_s)
    late = f"its steps were up to {milliseconds(slip)} late (p99; limit {limit}, client.max_lag)"
    uses = (_strangers(_use(trial, number)) for number in sorted(trial.client.processes))
    strangers = next(filter(None, uses), None)
    blamed, remedy = (
        (f": {strangers}", "close them")
        if strangers
        else (", because this machine is too busy", "use fewer agents, stop other programs")
    )
    return (
        f"the simulated server could not keep up: {late}{blamed}; {remedy}, or use `swarm predict`, which does not "
        "run in real time"
    )
