"""Fits the constants of the contention model to published points, and says how well it does where it saw none.

    python -m bench.fit_model            fits, leaves out one group at a time, prints the tables (some minutes)
    python -m bench.fit_model --write    also writes efficiencies.json, accuracy.json and the tables of the docs

The points are those of tests/simulator/data/serving (README.md there names the sources), and the decode rates of the
288 tasks. A group is one model on one kind of GPU: leaving it out says what the model is worth for a machine of which
nothing was measured. Each constant is drawn to what was expected of it (PRIORS: value and spread, in logarithms, from
data sheets and from an earlier fit to twice as many kinds of machines), so that one that few points tell of stays
there; groups count by the root of their points.
"""

import argparse
import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.optimize import least_squares

from swarm.simulator.engine.cost import CostModel
from swarm.simulator.engine.scheduler import Engine, Request
from swarm.simulator.profiles import data_files, profiles
from swarm.simulator.profiles.accuracy import CONTEXTS, STREAMS, WITHIN, band
from swarm.simulator.profiles.derive import derive
from swarm.simulator.profiles.efficiencies import Machine, efficiencies
from swarm.simulator.profiles.profiles import Profile

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "simulator" / "data"
NOISE = 0.08
"""Noise of a point's logarithm, beside which a constant's spread counts."""
PRIORS: dict[str, tuple[float, float]] = {
    "eta_weights": (0.878, 0.1),
    "format_weights.fp8": (1.0, 0.15),
    "eta_experts": (0.796, 0.15),
    "eta_kv.geforce": (0.65, 0.1),
    "eta_kv.workstation": (0.75, 0.15),
    "eta_kv.datacenter": (0.84, 0.1),
    "eta_lm_head_batched": (0.599, 0.2),
    "eta_flops_dense.geforce": (0.93, 0.1),
    "eta_flops_dense.geforce.blackwell": (0.93, 0.15),
    "eta_flops_dense": (0.65, 0.1),
    "format_flops.fp8": (1.34, 0.1),
    "experts_flops": (0.89, 0.2),
    "eta_flops_attention.geforce": (0.66, 0.2),
    "eta_flops_attention.workstation": (0.5, 0.3),
    "eta_flops_attention": (0.40, 0.2),
    "layer_overhead_us.moe": (64.1, 0.15),
    "layer_overhead_us.dense": (40.1, 0.15),
    "recurrent_overhead_us": (10, 0.7),
    "allreduce_us.nvlink": (14.3, 0.2),
    "allreduce_us.nvlink.datacenter": (14.3, 0.3),
    "allreduce_us.pcie": (17.1, 0.2),
    "link_share.nvlink": (0.78, 0.1),
    "link_share.p2p": (0.93, 0.15),
    "link_share.host": (0.14, 0.1),
    "cpu_per_request_us": (41, 0.2),
    "cpu_per_request_gpu_us": (5.6, 0.3),
    "roofline_power": (3, 0.2),
    "routing_power": (0.88, 0.05),
    "power_exponent": (0.69, 0.5),
    "api_overhead_s": (0.009, 0.2),
}
SHIPPED = {
    "eta_weights": 0.878,
    "eta_lm_head_single": 0.878,
    "eta_lm_head_batched": 0.599,
    "eta_experts": 0.796,
    "eta_kv": 0.595,
    "eta_flops_dense": 0.95,
    "eta_flops_experts": 0.55,
    "eta_flops_attention": 0.0,
    "roofline_power": 0.0,
    "routing_power": 1.0,
    "allreduce_bytes_per_s": 0.0,
    "cpu_per_request_us": 0.0,
    "api_overhead_s": 0.05,
    "api_request_s": 0.0,
    "api_token_s": 0.0,
}
"""The constants before, and the terms that were not there."""
BEGIN, END = "<!-- python -m bench.fit_model --write -->", "<!-- end -->"


@dataclass(frozen=True)
class Point:
    kind: str
    """`decode`: `seconds` a token of each of `streams` at `tokens` of context; `prefill`: to the first token of a
    prompt of `tokens` that is alone."""
    source: str
    model: str
    gpu: str
    link: str
    tp: int
    quant: str
    engine: str
    power_limit_w: float
    streams: int
    tokens: int
    budget: int
    seconds: float
    profile: str = ""
    """Where the sizes are those of a packaged profile: its name."""

    @property
    def group(self) -> str:
        return f"{self.model} on {self.gpu}"


def points() -> list[Point]:
    with (DATA / "serving" / "points.csv").open(newline="") as lines:
        found = [
            Point(
                row["kind"],
                row["source"],
                row["model"],
                row["gpu"],
                row["link"],
                int(row["tp"]),
                row["quant"],
                row["engine"],
                float(row["power_limit_w"] or 0),
                int(row["streams"]),
                int(row["tokens"]),
                int(row["step_budget"] or 2048),
                float(row["ms"]) / 1000,
            )
            for row in csv.DictReader(lines)
        ]
    with (DATA / "decode-rates.csv").open(newline="") as lines:
        found += [_of_task_runs(row) for row in csv.DictReader(lines)]
    return [point for point in found if not _shares_prefix(point)]


def _of_task_runs(row: Mapping[str, str]) -> Point:
    link = row["gpus"].partition("-")[2]
    name = f"{row['model']}-{row['gpus']}" + ("-eager" if row["mode"] == "eager" else "")
    seconds = 1 / float(row["decode_tok_per_s_per_request"])
    streams, context = int(row["in_flight"]), int(row["context_tokens"])
    tp = int(row["tensor_parallel"])
    source = "sch0tten/local-llm-eval"
    model = profiles.load(name).model
    return Point("decode", source, model, "rtx3090", link, tp, "awq", "0.17", 0, streams, context, 2048, seconds, name)


def _shares_prefix(point: Point) -> bool:
    """The streams of rtx6kpro's long contexts share one prefix, which the engine reads once for all of them."""
    return "rtx6kpro" in point.source and point.kind == "decode" and point.streams > 1 and point.tokens > 2000


@cache
def _configs() -> dict[str, dict]:
    return json.loads((DATA / "serving" / "model-configs.json").read_text("utf-8"))


def profile_of(point: Point, values: Mapping[str, float] | None) -> Profile:
    """As `swarm profiles add` makes it. Memory is left out of account: what ran there did fit."""
    base = _sizes(point)
    if values is None and not point.profile:
        return base
    machine = Machine(
        gpu=point.gpu,
        tp=point.tp,
        link=point.link or None,
        engine=point.engine,
        power_limit_w=point.power_limit_w,
    )
    recurrent = 1 - base.attention_layers / base.layers if base.attention_layers else 0.0
    reached = efficiencies(machine, quant=point.quant, moe=bool(base.experts), recurrent=recurrent, values=values)
    # The launches of eager mode are fitted per configuration, and no part of what is asked here.
    kept = ("eager_gap_us", "eager_launch_us", "max_num_batched_tokens", "max_num_seqs")
    return replace(base, **{key: value for key, value in reached.items() if key not in kept})


@cache
def _sizes(point: Point) -> Profile:
    if point.profile:
        return profiles.load(point.profile)
    entry = derive(
        _configs()[point.model],
        model=point.model,
        gpu=point.gpu,
        quant=point.quant,
        tp=point.tp,
        link=point.link or None,
        engine=point.engine,
        power_limit_w=point.power_limit_w,
        memory_utilization=1,
    )
    return profiles.parse(entry, point.source)


def predicted(point: Point, values: Mapping[str, float] | None = None) -> float:
    return _seconds(point, profile_of(point, values))


def _seconds(point: Point, profile: Profile) -> float:
    cost = CostModel(profile)
    if point.kind == "decode":
        return cost.terms(point.streams, point.streams * point.tokens).total
    return profile.api_seconds(point.tokens) + cost.prefill_alone(0, point.tokens, point.budget)


def fitted(among: Sequence[Point]) -> dict[str, float]:
    """The constants that the points and the priors make most likely; outliers count less (soft L1)."""
    names = list(PRIORS)
    start = np.log([PRIORS[name][0] for name in names])
    spread = np.array([PRIORS[name][1] for name in names])
    counts = defaultdict(int)
    for point in among:
        counts[point.group, point.kind] += 1
    weights = np.array([counts[point.group, point.kind] ** -0.5 * 2 for point in among])
    measured = np.log([point.seconds for point in among])

    def residuals(x: np.ndarray) -> np.ndarray:
        values = dict(zip(names, np.exp(x).tolist(), strict=True))
        off = np.log([predicted(point, values) for point in among]) - measured
        return np.concatenate([weights * off / NOISE, (x - start) / spread])

    high = np.log([_most(name) for name in names])
    found = least_squares(
        residuals,
        np.minimum(start, high - 1e-6),
        bounds=(-np.inf, high),
        loss="soft_l1",
        diff_step=1e-3,
        xtol=1e-4,
        ftol=1e-4,
    )
    return dict(zip(names, np.exp(found.x).tolist(), strict=True))


def _most(name: str) -> float:
    """A share is at most 1; GPUs boost beyond the clock that a data sheet's FLOP rate is given at."""
    if name.startswith("eta_flops"):
        return 1.25
    return 1.0 if name.startswith(("eta_", "link_", "routing")) else math.inf


def shipped(point: Point) -> float:
    """As the model before these terms predicted it: one efficiency for all GPUs, as fitted on RTX 3090s."""
    profile = profile_of(point, None)
    overhead = 64.1 if profile.experts else 40.1
    allreduce = (17.1 if point.link == "pcie" else 14.3) if point.tp > 1 else 0.0
    return _seconds(point, replace(profile, **SHIPPED, layer_overhead_us=overhead, allreduce_us=allreduce))


@dataclass(frozen=True)
class Loop:
    """A published closed loop: `streams` clients that send equal requests, one after the other."""

    quant: str
    prompt: int
    output: int
    streams: int
    requests: int
    ttft_p95_s: float

    @property
    def group(self) -> str:
        return "Qwen3-8B on h100"


def loops() -> list[Loop]:
    with (DATA / "serving" / "h100-qwen3-8b-loops.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    keys = ("prompt_tokens", "output_tokens", "streams", "requests")
    return [Loop(row["quant"], *(int(row[key]) for key in keys), float(row["ttft_p95_ms"]) / 1000) for row in rows]


def profile_of_loop(loop: Loop, values: Mapping[str, float] | None) -> Profile:
    config = _configs()["Qwen3-8B"]
    return profiles.parse(derive(config, model="Qwen3-8B", gpu="h100", quant=loop.quant, values=values), "loop")


def ttft_p95(loop: Loop, profile: Profile) -> float:
    """Seconds, by the engine."""
    engine, left, now, waits = Engine(profile), loop.requests, 0.0, []
    for _ in range(min(loop.streams, left)):
        engine.submit(Request(loop.prompt, loop.output), now)
        left -= 1
    while (due := engine.next_event()) is not None:
        now = max(now, due)
        if engine.step is None:
            engine.begin(now)
            continue
        step = engine.complete()
        waits += [step.end - request.arrived_at for request in step.first]
        for _ in step.finished[:left]:
            engine.submit(Request(loop.prompt, loop.output), now)
            left -= 1
    return float(np.percentile(waits, 95))  # as load testers compute it


@dataclass(frozen=True)
class Error:
    """A prediction by constants fitted without the point's group."""

    kind: str
    group: str
    quant: str
    link: str
    streams: int
    context: int
    error: float
    before: float
    """The error of the model before."""


def left_out(among: Sequence[Point], known: Sequence[Loop]) -> list[Error]:
    """predicted / measured - 1 of each point and closed loop, by constants fitted without its group."""
    errors = []
    for group in sorted({point.group for point in among}):
        values = fitted([point for point in among if point.group != group])
        for p in among:
            if p.group == group:
                off, before = predicted(p, values) / p.seconds - 1, shipped(p) / p.seconds - 1
                errors.append(Error(p.kind, group, p.quant, p.link, p.streams, p.tokens, off, before))
        for loop in known:
            if loop.group == group:
                profile = profile_of_loop(loop, values)
                off = ttft_p95(loop, profile) / loop.ttft_p95_s - 1
                before = ttft_p95(loop, _as_shipped(profile)) / loop.ttft_p95_s - 1
                errors.append(Error("ttft", group, loop.quant, "", loop.streams, loop.prompt, off, before))
    return errors


def _as_shipped(profile: Profile) -> Profile:
    limits = {"max_num_batched_tokens": 2048, "max_num_seqs": 256}
    return replace(profile, **SHIPPED, **limits, layer_overhead_us=40.1)


def accuracy(errors: Sequence[Error]) -> dict:
    """The document that `swarm.simulator.profiles.accuracy` reads: how far off four of five points were."""
    classes = defaultdict(list)
    for one in errors:
        streams = "" if one.kind == "prefill" else band(one.streams, STREAMS)
        context = "" if one.kind == "ttft" else band(one.context, CONTEXTS)
        classes[one.kind, one.link, one.quant, streams, context].append(one)
    entries = [
        {
            **dict(zip(("kind", "link", "quant", "streams", "context"), key, strict=True)),
            "points": len(found),
            "groups": len({one.group for one in found}),
            "error": _most_off(found),
        }
        for key, found in sorted(classes.items())
    ]
    pooled = {}
    for kind in ("decode", "prefill", "ttft"):
        found = [one for one in errors if one.kind == kind]
        pooled[kind] = {"points": len(found), "error": _most_off(found)}
    return {"pooled": pooled, "classes": entries}


def _most_off(errors: Sequence[Error]) -> float:
    """The error that four of five are below."""
    found = sorted(abs(one.error) for one in errors)
    return round(found[math.ceil(WITHIN * len(found)) - 1], 3)


def summary(errors: Sequence[float]) -> str:
    """Cells of a table: points, mean error, bias, share within 10%."""
    within = fmean(abs(error) <= 0.1 for error in errors)
    return f"{len(errors)} | {fmean(map(abs, errors)):.1%} | {fmean(errors):+.1%} | {within:.0%}"


def tables(errors: Sequence[Error], values: Mapping[str, float]) -> Iterator[str]:
    """The tables of docs/simulator.md."""
    yield "| | points | mean error | bias | within 10% | mean error before | bias before |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    groups = {
        "decode, all": lambda one: one.kind == "decode",
        "decode, 1-4 streams": lambda one: one.kind == "decode" and one.streams <= 4,
        "decode, 5-32 streams": lambda one: one.kind == "decode" and 4 < one.streams <= 32,
        "decode, more than 32 streams": lambda one: one.kind == "decode" and one.streams > 32,
        "decode, contexts of 4k and more": lambda one: one.kind == "decode" and one.context >= 4000,
        "prefill, all": lambda one: one.kind == "prefill",
        "TTFT p95 of closed loops": lambda one: one.kind == "ttft",
    }
    for title, belongs in groups.items():
        found = [one for one in errors if belongs(one)]
        old = [one.before for one in found]
        yield f"| {title} | {summary([o.error for o in found])} | {fmean(map(abs, old)):.1%} | {fmean(old):+.1%} |"
    yield ""
    yield "| left out | | points | mean error | bias | within 10% |"
    yield "|---|---|--:|--:|--:|--:|"
    for group, kind in sorted({(one.group, one.kind) for one in errors}):
        found = [one.error for one in errors if (one.group, one.kind) == (group, kind)]
        yield f"| {group} | {kind} | {summary(found)} |"
    yield ""
    yield "| constant | value | expected | its spread |"
    yield "|---|--:|--:|--:|"
    for name, value in values.items():
        expected, spread = PRIORS[name]
        yield f"| `{name}` | {value:.3g} | {expected:g} | {spread:.0%} |"


def write(values: Mapping[str, float], errors: Sequence[Error], text: str) -> None:
    folder = Path(data_files.__file__).parent
    constants = dict(data_files.constants())
    for name, value in values.items():
        expected, spread = PRIORS[name]
        why = f"fitted by bench.fit_model; expected {expected:g} to {spread:.0%}"
        constants[name] = {"value": float(f"{value:.3g}"), "evidence": why}
    about = json.loads((folder / "efficiencies.json").read_text("utf-8"))["about"]
    _write(folder / "efficiencies.json", {"about": about}, "constants", constants)
    found = accuracy(errors)
    about = (
        "How far predictions were off where they could be checked: `error` is what four of five points were within, "
        "by constants that were fitted without their group (a model on a kind of GPU). Written by bench.fit_model."
    )
    _write(folder / "accuracy.json", {"about": about, "pooled": found["pooled"]}, "classes", found["classes"])
    page = ROOT / "docs" / "simulator.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def _write(path: Path, head: dict, key: str, rows: dict | list) -> None:
    """JSON with one row a line."""
    start = json.dumps(head)[:-1]
    if isinstance(rows, dict):
        lines = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()]
        opening, closing = "{", "}"
    else:
        lines = [f"  {json.dumps(row)}" for row in rows]
        opening, closing = "[", "]"
    path.write_text(f"{start},\n {json.dumps(key)}: {opening}\n" + ",\n".join(lines) + f"\n {closing}}}\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    every = points()
    values = fitted(every)
    errors = left_out(every, loops())
    text = "\n".join(tables(errors, values))
    print(text)
    sample = [(point.kind, predicted(point, values) / point.seconds - 1) for point in every]
    for kind in ("decode", "prefill"):
        print(f"in sample, {kind}: {summary([error for of, error in sample if of == kind])}")
    if options.write:
        write(values, errors, text)


if __name__ == "__main__":
    main()
