"""The results as a page of Markdown with its plot."""

import math
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

LEFT, WIDTH, ROW = 330, 900, 22
DECADES = (-1, 6)  # of microseconds
COLOURS = {"direct": "#1b7837", "litellm": "#2166ac", "litellm-sdk": "#b2182b"}


def table(results: list[dict[str, Any]]) -> str:
    head = (
        "| load | client | ITL error p50 / p99 / max, us | TTFT error p50 / p99, us | CPU us per chunk "
        "| own lag p99, us | memory MB | rounds |\n|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(map(_row, results))


def _row(run: dict[str, Any]) -> str:
    itl, ttft, lag = run["itl_error_us"], run["ttft_error_us"], run["lag_us"].get("p99")
    rounds = f"{run['rounds']}" if run["quiet"] else "1 (machine busy)"
    failed = f", {run['failed']:.0f} failed" if run["failed"] else ""
    return (
        f"| {run['case']} | {run['route']} | {_us(itl['p50'])} / {_us(itl['p99'])} / {_us(itl['max'])} "
        f"| {_us(ttft['p50'])} / {_us(ttft['p99'])} | {run['cpu_us_per_chunk']:.0f} "
        f"| {'not known' if lag is None else _us(lag)} | {run['rss_mb']:.0f} | {rounds}{failed} |"
    )


def _us(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def plot(results: list[dict[str, Any]]) -> str:
    """Per load and client a bar from the median ITL error to its p99, and a dot at the maximum, on a log scale."""
    height = ROW * len(results) + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for power in range(DECADES[0], DECADES[1] + 1):
        x = _x(10.0**power)
        label = {-1: "0.1 us", 0: "1 us", 3: "1 ms", 6: "1 s"}.get(power, "")
        parts.append(f'<path d="M{x:.1f} 24V{height - 20}" stroke="#ddd"/><text x="{x:.1f}" y="16" '
                     f'text-anchor="middle">{label}</text>')  # fmt: skip
    for number, run in enumerate(results):
        y, itl = 40 + ROW * number, run["itl_error_us"]
        colour = COLOURS.get(run["route"], "#777")
        low, high, most = (_x(itl[name]) for name in ("p50", "p99", "max"))
        parts.append(
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{run["case"]}: {run["route"]}</text>'
            f'<path d="M{low:.1f} {y}H{max(high, low + 2):.1f}" stroke="{colour}" stroke-width="8"/>'
            f'<circle cx="{most:.1f}" cy="{y}" r="3" fill="{colour}"/>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _x(us: float) -> float:
    low, high = DECADES
    place = (math.log10(min(max(us, 10.0**low), 10.0**high)) - low) / (high - low)
    return LEFT + place * (WIDTH - LEFT - 40)


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
