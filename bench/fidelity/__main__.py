"""How true are the client's times, and what do they cost? `python -m bench.fidelity --write docs/fidelity.md`

In interleaved rounds, each route (and peer) drives a fresh truth server; client and server are pinned to a core each.
A run starts when the machine is idle, and counts when it stayed quiet: others took under 5 % of the machine, and the
server's p99 slip stayed under half a step. Where none did, the quietest is shown, marked. Numbers are medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fidelity.drive import busy_s
from bench.fidelity.report import machine, plot, table

CLIENT_CORE, SERVER_CORE = 0, 1
RESULTS = "<!-- results -->", "<!-- end of results -->"
QUIET_SHARE, QUIET_SLIP = 0.05, 0.5


@dataclass(frozen=True)
class Case:
    name: str
    streams: int
    rate: float
    tokens: int
    bursts: bool
    shape: str = "content"
    seconds: float = 5.0


MAIN = [
    Case("32 x 200 tok/s, staggered", 32, 200, 400, False),
    Case("32 x 200 tok/s, in bursts", 32, 200, 400, True),
]
MORE = [
    Case("32 x 200 tok/s, in bursts, all shapes", 32, 200, 400, True, "mixed"),
    Case("128 x 50 tok/s, in bursts", 128, 50, 200, True),
    Case("128 x 50 tok/s, short replies", 128, 50, 50, False),
    Case("1000 x 5 tok/s, staggered", 1000, 5, 25, False),
]
LADDER = [Case(f"{n} x 200 tok/s", n, 200, 400, True) for n in (48, 64, 96, 128, 160)]


@contextmanager
def truth(case: Case) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.fidelity.truth", f"--core={SERVER_CORE}", f"--rate={case.rate}"]
    command += [f"--shape={case.shape}", *(["--bursts"] if case.bursts else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip().removeprefix("listening on ")
        finally:
            server.terminate()


def wait_for_quiet(patience_s: float) -> None:
    """Returns when a second has passed in which the machine did next to nothing, or when patience ends."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        before = busy_s()
        time.sleep(1)
        if busy_s() - before < QUIET_SHARE * (os.cpu_count() or 1):
            return


def drive(case: Case, route: str, patience_s: float) -> dict[str, Any]:
    wait_for_quiet(patience_s)
    with truth(case) as url:
        command = [sys.executable, "-m", "bench.fidelity.drive", url, f"--route={route}", f"--core={CLIENT_CORE}"]
        command += [f"--streams={case.streams}", f"--tokens={case.tokens}", f"--seconds={case.seconds}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {"case": case.name, "slip_limit_us": QUIET_SLIP / case.rate * 1e6}


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs that count, as one: medians of numbers, of the rest the first."""
    quiet = [
        run for run in runs if run["others_share"] < QUIET_SHARE and run["server_slip_p99_us"] < run["slip_limit_us"]
    ]
    counted = quiet or [min(runs, key=lambda run: (run["server_slip_p99_us"], run["others_share"]))]
    merged: dict[str, Any] = {"rounds": len(counted), "quiet": bool(quiet)}
    for key, first in counted[0].items():
        values = [run[key] for run in counted]
        if isinstance(first, dict):
            merged[key] = {name: statistics.median(value[name] for value in values) for name in first}
        elif isinstance(first, int | float):
            merged[key] = statistics.median(values)
        else:
            merged[key] = first
    return merged


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--routes", default="direct,litellm,litellm-sdk")
    options.add_argument("--quick", action="store_true", help="only the two main cases, without the slow litellm-sdk")
    options.add_argument("--peer-vllm", metavar="PYTHON", help="the Python of an environment with vLLM")
    options.add_argument("--tokenizer", help="a tokenizer's folder, for the peer")
    options.add_argument(
        "--write", type=Path, metavar="FILE", help="puts the results into this page, and the plot beside it"
    )
    options.add_argument("--patience", type=float, default=60, metavar="S", help="how long to wait for a quiet machine")
    options.add_argument("--json", type=Path, metavar="FILE", help="all runs; read again when the file is there")
    chosen = options.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the client, one for the truth")
    runs: list[dict[str, Any]] = []
    if chosen.json and chosen.json.exists():
        runs = json.loads(chosen.json.read_text())
    for number in range(chosen.rounds):
        for run in one_round(chosen):
            runs.append(run)
            print(number + 1, line(run), flush=True)
            if chosen.json:
                chosen.json.write_text(json.dumps(runs))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["case"], run["route"]), []).append(run)
    results = [median(group) for group in groups.values()]
    print(*(line(result) for result in results), sep="\n")
    if chosen.write:
        page = chosen.write.read_text(encoding="utf-8")
        before, _, rest = page.partition(RESULTS[0])
        after = rest.partition(RESULTS[1])[2]
        chosen.write.with_suffix(".svg").write_text(plot(results), encoding="utf-8")
        image = f"![ITL errors]({chosen.write.with_suffix('.svg').name})"
        parts = [before + RESULTS[0], f"Measured on: {machine()}.", table(results), image, RESULTS[1] + after]
        chosen.write.write_text("\n\n".join(parts), encoding="utf-8")


def one_round(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    routes = chosen.routes.split(",")
    own = [route for route in routes if route != "litellm-sdk"]
    for case in MAIN:
        for route in own if chosen.quick else routes:
            yield drive(case, route, chosen.patience)
        if chosen.peer_vllm:
            from bench.fidelity.peers import vllm_bench

            with truth(case) as url:
                yield {"case": case.name, "slip_limit_us": QUIET_SLIP / case.rate * 1e6} | vllm_bench(
                    url, chosen.peer_vllm, chosen.tokenizer, case.streams, case.tokens, 3 * case.streams, CLIENT_CORE
                )
    if not chosen.quick:
        for case in (*MORE, *LADDER):
            for route in own:
                yield drive(case, route, chosen.patience)


def line(run: dict[str, Any]) -> str:
    itl, ttft = run["itl_error_us"], run["ttft_error_us"]
    return (
        f"{run['case']:40} {run['route']:16} ITL error p50 {itl['p50']:.1f} p99 {itl['p99']:.1f} "
        f"max {itl['max']:.0f} us, TTFT p99 {ttft['p99']:.0f} us, "
        f"{run['cpu_us_per_chunk']:.0f} us CPU a chunk, lag p99 "
        f"{run['lag_us'].get('p99', 0):.0f} us, failed {run['failed']}, others {run['others_share']:.0%}, "
        f"server slip {run['server_slip_p99_us']:.0f} us"
    )


if __name__ == "__main__":
    main()
