"""How true are the client's times, and what do they cost? `python -m bench.fidelity` runs, and writes docs/fidelity.md.

In interleaved rounds each client drives a fresh truth server; client and server are pinned to a core each. A run starts
when the machine is idle, and counts when it stayed quiet: others took under 5% of the machine, and the server's p99
slip stayed under half a step. On a machine that cannot be made quiet, `--realtime` lets the server and whatever client
is one process go before all else.

Every run is kept in build/fidelity.json, so that the bench goes on where it was stopped. It ends when each client has
as many quiet runs of each load as there are rounds, or when no time is left. Numbers are medians of the quiet runs;
where there is none, the quietest is shown, and marked.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fidelity.drive import BARE, busy_s
from bench.fidelity.peers import TESTERS, load_of, test
from bench.fidelity.report import is_quiet, line, medians, write

CLIENT_CORE, SERVER_CORE = 0, 1
ROOT = Path(__file__).parents[2]
QUIET_SLIP = 0.5
"""Largest slip on a quiet machine, as a share of a step."""
ATTEMPTS = 2
"""Per round, before a busy machine is taken as it is."""


@dataclass(frozen=True)
class Case:
    name: str
    streams: int
    rate: float
    tokens: int
    bursts: bool
    shape: str = "content"
    seconds: float = 5.0


STAGGERED = Case("32 x 200 tok/s, staggered", 32, 200, 400, False)
BURSTS = Case("32 x 200 tok/s, in bursts", 32, 200, 400, True)
MORE = (
    Case("32 x 200 tok/s, in bursts, all shapes", 32, 200, 400, True, "mixed"),
    Case("128 x 50 tok/s, in bursts", 128, 50, 200, True),
    Case("128 x 50 tok/s, short replies", 128, 50, 50, False),
    Case("1000 x 5 tok/s, staggered", 1000, 5, 25, False),
)
LADDER = tuple(Case(f"{n} x 200 tok/s, in bursts", n, 200, 400, True) for n in (8, 16, 64, 96, 128, 160))
LIGHT = Case("8 x 50 tok/s, staggered", 8, 50, 100, False)

OWN = ("direct", "litellm")
PARTS: dict[str, list[tuple[Case, str]]] = {
    "main": [(case, route) for case in (STAGGERED, BURSTS) for route in (*OWN, BARE)],
    "sdk": [(case, "litellm-sdk") for case in (LADDER[0], STAGGERED, BURSTS)],
    "more": [(case, route) for case in MORE for route in OWN],
    "ladder": [(case, route) for case in LADDER for route in OWN],
    "peers": [(case, name) for case in (LIGHT, BURSTS) for name in TESTERS],
}


@contextmanager
def truth(case: Case, realtime: bool) -> Iterator[tuple[str, int]]:
    """The address and the process of a server for one run."""
    command = [sys.executable, "-m", "bench.fidelity.truth", f"--core={SERVER_CORE}", f"--rate={case.rate}"]
    command += [f"--shape={case.shape}", *["--bursts"] * case.bursts, *["--realtime"] * realtime]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip().removeprefix("listening on "), server.pid
        finally:
            server.terminate()


def wait_for_quiet(patience_s: float) -> None:
    """Returns when a second has passed in which the machine did next to nothing, or when patience ends."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        before = busy_s()
        time.sleep(1)
        if busy_s() - before < 0.05 * (os.cpu_count() or 1):
            return


def measure(case: Case, client: str, patience_s: float, realtime: bool) -> dict[str, Any]:
    """One run of one client: a route of swarm's client by itself, or a whole load tester."""
    first = realtime and (client not in TESTERS or TESTERS[client].processes == "one")
    if not first:
        wait_for_quiet(patience_s)
    with truth(case, realtime) as (url, server):
        if client in TESTERS:
            result = test(client, load_of(url, case.streams, case.tokens), CLIENT_CORE, server, realtime)
        else:
            command = [sys.executable, "-m", "bench.fidelity.drive", url, f"--route={client}", f"--core={CLIENT_CORE}"]
            command += [f"--streams={case.streams}", f"--tokens={case.tokens}", f"--seconds={case.seconds}"]
            command += ["--realtime"] * realtime
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300, cwd=ROOT)
            result = json.loads(done.stdout)
    load = {
        "case": case.name,
        "rate": case.rate,
        "bursts": case.bursts,
        "slip_limit_us": QUIET_SLIP / case.rate * 1e6,
        "realtime": first,
    }
    return load | result


def next_of(wanted: list[tuple[Case, str]], runs: list[dict[str, Any]], rounds: int) -> tuple[Case, str] | None:
    """The case and tool that were measured least often and still are to be; None: nothing is left."""
    counts = {}
    for case, client in wanted:
        of_this = [run for run in runs if (run["case"], run["route"]) == (case.name, client)]
        quiet = sum(map(is_quiet, of_this))
        if quiet < rounds and len(of_this) < ATTEMPTS * rounds:
            counts[case, client] = len(of_this)
    return min(counts, key=lambda pair: counts[pair]) if counts else None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    options.add_argument("--minutes", type=float, default=60, help="start nothing after this time")
    options.add_argument("--realtime", action="store_true", help="server and client go before all else (needs root)")
    options.add_argument("--patience", type=float, default=60, metavar="S", help="how long to wait for a quiet machine")
    options.add_argument("--runs", type=Path, default=ROOT / "build" / "fidelity.json", help="where all runs are kept")
    options.add_argument("--afresh", action="store_true", help="forget the runs that are kept")
    options.add_argument("--write", type=Path, default=ROOT / "docs" / "fidelity.md", help="page; plots go beside it")
    chosen = options.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the client, one for the truth")
    wanted = [pair for part in chosen.parts.split(",") for pair in PARTS[part] if ready(pair[1])]
    kept = chosen.runs.exists() and not chosen.afresh
    runs: list[dict[str, Any]] = json.loads(chosen.runs.read_text()) if kept else []
    chosen.runs.parent.mkdir(parents=True, exist_ok=True)
    if chosen.realtime:
        os.setpriority(os.PRIO_PROCESS, 0, -20)  # or it would not see its testers at work
    until = time.monotonic() + 60 * chosen.minutes
    while (pair := next_of(wanted, runs, chosen.rounds)) and time.monotonic() < until:
        try:
            runs.append(measure(*pair, chosen.patience, chosen.realtime))
        except RuntimeError as error:
            print(f"{pair[0].name}: left out: {error}")
            wanted.remove(pair)
            continue
        chosen.runs.write_text(json.dumps(runs))
        print(line(runs[-1]), flush=True)
    write(chosen.write, medians(runs))


def ready(client: str) -> bool:
    if client in TESTERS and not TESTERS[client].ready():
        print(f"{client} is left out: `python tests/install.py {TESTERS[client].installed} vllm` installs it")
        return False
    return True


if __name__ == "__main__":
    main()
