"""The results as a page of Markdown with its plots."""

import math
import os
import platform
import statistics
from collections.abc import Sequence
from html import escape
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from swarm.report.plot import COLOURS, Axis, plot

Run = dict[str, Any]
RESULTS = "<!-- results -->", "<!-- end of results -->"
QUIET_SHARE = 0.05
WIDTH, LEFT, RIGHT, ROW, HEAD = 900, 330, 60, 19, 44
DECADES = (-1, 6)  # of microseconds
CLIENTS = {
    "direct": COLOURS[0],
    "litellm": COLOURS[1],
    "swarm run, direct": COLOURS[0],
    "swarm run, litellm": COLOURS[1],
    "litellm-sdk": COLOURS[2],
    "bare loop": COLOURS[5],
    "vllm bench serve": COLOURS[4],
    "GuideLLM": COLOURS[3],
    "AIPerf": COLOURS[6],
}


def is_quiet(run: Run) -> bool:
    """Whether neither other processes nor the server's own lateness had a part in it."""
    alone = run["realtime"] or run["others_share"] < QUIET_SHARE
    return bool(alone and run["server_slip_p99_us"] < run["slip_limit_us"])


def medians(runs: Sequence[Run]) -> list[Run]:
    """One result for each load and client, in the order in which they were first measured."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["case"], run["route"]), []).append(run)
    return [_median(group) for group in groups.values()]


def _median(runs: list[Run]) -> Run:
    """The runs that count, as one: medians of numbers, of the rest the first."""
    quiet = list(filter(is_quiet, runs))
    counted = quiet or [min(runs, key=lambda run: (run["server_slip_p99_us"], run["others_share"]))]
    merged: Run = {"rounds": len(counted), "quiet": bool(quiet)}
    for key, first in counted[0].items():
        values = [run[key] for run in counted]
        if isinstance(first, dict):
            names = [name for name in first if all(name in value for value in values)]
            merged[key] = {name: statistics.median(value[name] for value in values) for name in names}
        elif isinstance(first, int | float) and not isinstance(first, bool):
            merged[key] = statistics.median(values)
        else:
            merged[key] = first
    return merged


def line(run: Run) -> str:
    itl, ttft = run["itl_error_us"], run["ttft_error_us"]
    return (
        f"{run['case']:38} {run['route']:18} ITL error p50 {_us(itl.get('p50'))} p99 {_us(itl.get('p99'))} us, "
        f"TTFT p99 {_us(ttft.get('p99'))} us, {run['cpu_us_per_chunk']:.0f} us CPU a chunk, failed {run['failed']}, "
        f"others {run['others_share']:.0%}, server slip {run['server_slip_p99_us']:.0f} us"
        f"{'' if is_quiet(run) else ' (busy)'}"
    )


def write(page: Path, results: list[Run]) -> None:
    """Puts tables and plots into the page, between its two marks; the plots lie beside it."""
    own = [run for run in results if "load_after_s" not in run]
    whole = [run for run in results if "load_after_s" in run]
    parts = [f"Measured on: {machine()}."]
    if own:
        (page.parent / "fidelity-errors.svg").write_text(bars(own), encoding="utf-8")
        (page.parent / "fidelity-load.svg").write_text(ladder(own), encoding="utf-8")
        parts += [
            "### The client by itself",
            "One process on one core. `litellm` and `direct` are swarm's routes, `litellm-sdk` is plain LiteLLM. "
            "`bare loop` is the limit: Python that only receives, and parses when all is over.",
            own_table(own),
            "![ITL errors of each load and route](fidelity-errors.svg)",
            "How far it goes: all streams get a token at each step of 5 ms, more and more streams.",
            "![ITL error against the number of streams](fidelity-load.svg)",
            highest(own),
        ]
    if whole:
        parts += ["### Whole load testers", PEERS, peers_table(whole), verdict(whole)]
    before, _, rest = page.read_text(encoding="utf-8").partition(RESULTS[0])
    after = rest.partition(RESULTS[1])[2]
    body = "\n\n".join(part for part in parts if part)
    page.write_text(f"{before}{RESULTS[0]}\n\n{body}\n\n{RESULTS[1]}{after}", encoding="utf-8")


PEERS = (
    "Each as its user starts it, all of its processes pinned to the one core; CPU is of all of them while requests "
    "ran, memory is their proportional set size. The gaps of GuideLLM are means of a request each, as it tells no "
    "others: a stall within a request disappears in them."
)


def own_table(results: list[Run]) -> str:
    head = (
        "| load | route | ITL error p50 / p99 / max, us | TTFT error p50 / p99, us | CPU us per chunk "
        "| own lag p99, us | coalesced | memory MB | rounds |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {run['case'] if first else ''} | {run['route']} | {_errors(run['itl_error_us'], 'p50', 'p99', 'max')} "
        f"| {_errors(run['ttft_error_us'], 'p50', 'p99')} | {run['cpu_us_per_chunk']:.0f} "
        f"| {_us(run['lag_us'].get('p99'))} | {run['coalesced'] / run['chunks']:.1%} | {run['rss_mb']:.0f} "
        f"| {_rounds(run)} |"
        for first, run in _by_case(results)
    )


def peers_table(results: list[Run]) -> str:
    head = (
        "| load | tester | ITL error p50 / p99 / max, us | TTFT error p50 / p99, us | CPU us per token "
        "| CPU, of the core | memory MB | processes | full load after, s | rounds |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(
        f"| {run['case'] if first else ''} | {run['route']} | {_errors(run['itl_error_us'], 'p50', 'p99', 'max')}"
        f"{' (means)' if run['itl_of_means'] else ''} | {_errors(run['ttft_error_us'], 'p50', 'p99')} "
        f"| {run['cpu_us_per_chunk']:.0f} | {run['cpu_share']:.0%} | {run['rss_mb']:.0f} | {run['processes']:.0f} "
        f"| {run['load_after_s']:.1f} | {_rounds(run)} |"
        for first, run in _by_case(results)
    )


def _by_case(results: list[Run]) -> list[tuple[bool, Run]]:
    """Sorted by load, and whether a row is its load's first."""
    order = sorted({run["case"] for run in results}, key=lambda case: (int(case.split(" x ")[0]), case))
    rows = sorted(results, key=lambda run: (order.index(run["case"]), list(CLIENTS).index(run["route"])))
    return [(not at, run) for _, group in groupby(rows, key=lambda run: run["case"]) for at, run in enumerate(group)]


def highest(results: list[Run]) -> str:
    """The highest load, in tokens per second, with a p99 error below 1 ms, of each route."""
    most: dict[str, Run] = {}
    for run in _steps(results):
        if run["route"] == "bare loop":
            continue
        best = most.get(run["route"])
        if run["itl_error_us"].get("p99", math.inf) < 1000 and (best is None or run["streams"] > best["streams"]):
            most[run["route"]] = run
    told = [
        f"{route} with {run['streams']:.0f} streams ({run['chunks_per_s']:,.0f} chunks/s)"
        for route, run in most.items()
    ]
    return f"The highest load measured whose p99 error is below 1 ms: {', '.join(told)}." if told else ""


def verdict(results: list[Run]) -> str:
    """How much cheaper than the cheapest peer."""
    told = []
    for case, group in groupby((run for _, run in _by_case(results)), key=lambda run: run["case"]):
        runs = list(group)
        peers = [run for run in runs if not run["route"].startswith("swarm")]
        for run in runs:
            if run["route"].startswith("swarm") and peers:
                best = min(peers, key=lambda peer: peer["cpu_us_per_chunk"])
                times = best["cpu_us_per_chunk"] / run["cpu_us_per_chunk"]
                told.append(f"- {case}: {run['route']} takes 1/{times:.1f} of the CPU per token of {best['route']}")
    return "\n".join(told)


def _rounds(run: Run) -> str:
    return f"{run['rounds']}{'' if run['quiet'] else ' (machine busy)'}" + (
        f", {run['failed']:.0f} failed" if run["failed"] else ""
    )


def _errors(spread: dict[str, float], *names: str) -> str:
    return " / ".join(_us(spread.get(name)) for name in names)


def _us(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def bars(results: list[Run]) -> str:
    """Per load and client a bar from the median ITL error to its p99, and a dot at the maximum, on a log scale."""
    rows = _by_case([run for run in results if run["itl_error_us"]])
    gaps = sum(first for first, _ in rows)
    height = HEAD + ROW * len(rows) + 10 * gaps + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>ITL errors</title><rect width="{WIDTH}" height="{height}" fill="white"/>'
        f'<text x="{LEFT}" y="16" font-size="13">Error of ITL: bar from the median to the 99th percentile, '
        f"dot at the maximum</text>"
    ]
    for power in range(DECADES[0], DECADES[1] + 1):
        x = _x(10.0**power)
        label = ("0.1 us", "1 us", "10 us", "0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s")[power - DECADES[0]]
        parts.append(f'<path d="M{x:.1f} {HEAD - 8}V{height - 22}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle" fill="#555">{label}</text>')
    y = HEAD - 10
    for first, run in rows:
        y += ROW + 10 * first
        itl, colour = run["itl_error_us"], CLIENTS[run["route"]]
        low, high, most = (_x(itl[name]) for name in ("p50", "p99", "max"))
        if first:
            parts.append(f'<text x="8" y="{y + 4}">{escape(run["case"])}</text>')
        parts.append(
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end" fill="{colour}">{escape(run["route"])}</text>'
            f'<rect x="{low:.1f}" y="{y - 5}" width="{max(high - low, 2):.1f}" height="10" rx="2" fill="{colour}"/>'
            f'<circle cx="{most:.1f}" cy="{y}" r="3" fill="{colour}"/>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _x(us: float) -> float:
    low, high = DECADES
    place = (math.log10(min(max(us, 10.0**low), 10.0**high)) - low) / (high - low)
    return LEFT + place * (WIDTH - LEFT - RIGHT)


def _steps(results: list[Run]) -> list[Run]:
    """Those of the ladder, lowest first: bursts at 200 tok/s, content alone."""
    return sorted(
        (run for run in results if run["bursts"] and run["rate"] == 200 and "shapes" not in run["case"]),
        key=lambda run: float(run["streams"]),
    )


def ladder(results: list[Run]) -> str:
    """The p99 ITL error against the number of streams, per route."""
    steps = [run for run in _steps(results) if math.isfinite(run["itl_error_us"].get("p99", math.inf))]
    series = {
        route: [(run["streams"], max(1.0, run["itl_error_us"]["p99"])) for run in steps if run["route"] == route]
        for route in dict.fromkeys(run["route"] for run in steps)
    }
    most, worst = (max(run["streams"] for run in steps), max(run["itl_error_us"]["p99"] for run in steps))
    return plot(
        "99th percentile of the ITL error against streams of 200 tok/s, one core",
        Axis("streams", 0, most * 1.05),
        Axis("us", 1, max(10_000, 2 * worst), log=True),
        series,
        lines=list(series),
        reference=[(0, 1000), (most * 1.05, 1000)],
    )


def machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("aiohttp", "litellm", "msgspec"))
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, {versions}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
