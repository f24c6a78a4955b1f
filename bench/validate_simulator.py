"""The contention model against the published runs: writes the tables and plots of docs/simulator.md.

    python -m bench.validate_simulator           replay, cross-validation, plots (some 20 s; needs scipy)
    python -m bench.validate_simulator --fit     first fits profiles.json anew to all tasks, for new general constants

Replay: every published task goes through the engine in the pattern in which it was dispatched. Cross-validation: the
parameters are fitted anew on the runs of one and two at a time, and predict those with three and four in flight.
"""

import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean

from swarm.report.plot import Axis, plot
from swarm.simulator.engine.cost import CostModel, prefill_attention
from swarm.simulator.profiles import data_files, profiles
from swarm.simulator.profiles.efficiencies import Machine, efficiencies
from swarm.simulator.profiles.fitting import Bounds, fit
from swarm.simulator.profiles.profiles import Profile
from swarm.simulator.sizing import decode_rate

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "simulator"))
from published_runs import DATA, PROFILES, PROMPT_TOKENS, replay  # noqa: E402

DOCS = ROOT / "docs"
BEGIN, END = "<!-- python -m bench.validate_simulator -->", "<!-- end -->"
TRAINING = 2
"""Levels up to this one are fitted on, in the cross-validation."""
FITTED = (
    *("eta_weights", "eta_lm_head_single", "eta_lm_head_batched", "eta_experts", "eta_kv"),
    *("layer_overhead_us", "allreduce_us"),
)
GENERAL = (
    *("eta_flops_dense", "eta_flops_attention", "roofline_power", "routing_power"),
    *("allreduce_bytes_per_s", "cpu_per_request_us", "quant", "link", "p2p", "engine", "power_limit_w"),
)
DECODE_ERROR = 0.025
"""Decode error of the fitted profiles, up to four requests: no configuration's mean error is above it."""
# The overheads of the dense model stay: its one configuration cannot tell them from the reading of its weights.
PARAMETERS = {
    "eta_weights": Bounds(0.8, 0.2, 1),
    "eta_experts": Bounds(0.7, 0.2, 1),
    "eta_kv": Bounds(0.7, 0.1, 1),
    "eta_lm_head_batched": Bounds(0.7, 0.1, 1),
    "moe.layer_overhead_us": Bounds(50, 5, 300),
    "nvlink.allreduce_us": Bounds(15, 1, 100),
    "pcie.allreduce_us": Bounds(15, 1, 100),
}


@dataclass(frozen=True)
class Batch:
    """Tasks that were sent together."""

    file: str
    concurrency: int
    tokens: tuple[int, ...]
    measured_s: tuple[float, ...]


def batches(file: str) -> Iterator[Batch]:
    with (DATA / file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for (concurrency, _), run in groupby(rows, key=lambda row: (int(row["concurrency"]), row["run"])):
        prompts = list(run)
        for at in range(0, len(prompts), concurrency):
            batch = prompts[at : at + concurrency]
            yield Batch(
                file,
                concurrency,
                tuple(int(row["completion_tokens"]) for row in batch),
                tuple(float(row["wall_seconds"]) for row in batch),
            )


def walls(profile: Profile, tokens: tuple[int, ...]) -> list[float]:
    """The walls of a batch in closed form: one step with all prompts, then as many decode alike until the next ends.

    What the engine does step by step, where nothing is preempted: 1000 times as fast, as a fit needs it.
    """
    cost, count = CostModel(profile), len(tokens)
    prompts = count * PROMPT_TOKENS
    now = profile.api_overhead_s
    now += cost.terms(0, 0, prompts, count * prefill_attention(0, PROMPT_TOKENS), count).total
    ends, done = {}, 1
    for at, index in enumerate(sorted(range(count), key=lambda i: tokens[i])):
        alive, steps = count - at, tokens[index] - done
        mean_context = PROMPT_TOKENS + done + (steps - 1) / 2
        if steps > 0:
            now += steps * cost.terms(alive, round(alive * mean_context)).total
            done = tokens[index]
        ends[index] = now
    return [ends[index] for index in range(count)]


def adapted(profile: Profile, values: dict[str, float]) -> Profile:
    """The profile with the fitted parameters that concern it."""
    link = "nvlink" if "nvlink" in profile.name else "pcie"
    return replace(
        profile,
        eta_weights=values["eta_weights"],
        eta_lm_head_single=values["eta_weights"],
        eta_lm_head_batched=values["eta_lm_head_batched"],
        eta_experts=values["eta_experts"],
        eta_kv=values["eta_kv"],
        layer_overhead_us=values["moe.layer_overhead_us"] if profile.experts else profile.layer_overhead_us,
        allreduce_us=values[f"{link}.allreduce_us"] if profile.tp > 1 else 0.0,
    )


def cross_validate(every: list[Batch]) -> tuple[dict[str, float], dict[int, list[float]]]:
    """The parameters fitted on the training levels, and the relative errors of the tasks of each level of runs."""
    known = {file: profiles.load(name) for file, name in PROFILES.items()}

    def errors(batch: Batch, values: dict[str, float]) -> list[float]:
        predicted = walls(adapted(known[batch.file], values), batch.tokens)
        return [p / m - 1 for p, m in zip(predicted, batch.measured_s, strict=True)]

    training = [batch for batch in every if batch.concurrency <= TRAINING]
    found = fit(PARAMETERS, lambda values: [error for batch in training for error in errors(batch, values)])
    values = {name: fitted.value for name, fitted in found.items()}
    by_level = defaultdict(list)
    for batch in every:
        by_level[batch.concurrency] += errors(batch, values)
    return values, by_level


def fit_profiles() -> None:
    """Writes profiles.json: the general constants where the tasks tell nothing, and the others as all tasks want them.

    Eager mode keeps its launches, which were fitted per configuration.
    """
    path = Path(data_files.__file__).parent / "profiles.json"
    document = json.loads(path.read_text("utf-8"))
    entries = [entry | _general(entry) for entry in document["profiles"]]
    base = {entry["name"]: profiles.parse(entry, where=entry["name"]) for entry in entries}
    every = [batch for file in PROFILES for batch in batches(file)]

    def errors(values: dict[str, float]) -> list[float]:
        found = []
        for batch in every:
            predicted = walls(adapted(base[PROFILES[batch.file]], values), batch.tokens)
            found += [p / m - 1 for p, m in zip(predicted, batch.measured_s, strict=True)]
        return found

    values = {name: fitted.value for name, fitted in fit(PARAMETERS, errors).items()}
    for entry in entries:
        one = adapted(base[entry["name"]], values)
        entry |= {name: float(f"{getattr(one, name):.3g}") for name in FITTED}
    document["profiles"] = entries
    text = json.dumps(document, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([\d,\s]+?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", text)
    path.write_text(text + "\n", encoding="utf-8")


def _general(entry: dict) -> dict:
    link = "nvlink" if "nvlink" in entry["name"] else "pcie" if entry["tp"] > 1 else None
    machine = Machine(gpu=entry["gpu"], tp=entry["tp"], link=link, engine="0.17")
    reached = efficiencies(machine, quant="awq", moe=bool(entry["experts"]))
    return {name: reached[name] for name in GENERAL} | {"kv_cache_dtype": "auto", "decode_error": DECODE_ERROR}


def main() -> None:
    if "--fit" in sys.argv[1:]:
        fit_profiles()
        sys.exit("profiles.json written; run this again without --fit for the tables and plots")
    replayed = {file: replay(file) for file in PROFILES}
    every = [batch for file in PROFILES for batch in batches(file)]
    values, by_level = cross_validate(every)
    most = {level: max(len(batch.tokens) for batch in every if batch.concurrency == level) for level in by_level}
    text = "\n".join([*_replay_table(replayed), "", *_cross_table(values, by_level, most), "", *_published_table()])
    page = DOCS / "simulator.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    (DOCS / "simulator-replay.svg").write_text(_replay_plot(replayed), encoding="utf-8")
    (DOCS / "simulator-artefact.svg").write_text(_artefact_plot(replayed), encoding="utf-8")
    print(text)


def _replay_table(replayed) -> Iterator[str]:
    yield "| configuration | tasks | mean error | worst | bias |"
    yield "|---|---|---|---|---|"
    for name in sorted(set(PROFILES.values())):
        tasks = [task for file, tasks in replayed.items() if PROFILES[file] == name for task in tasks]
        bias = fmean(task.predicted_s / task.measured_s - 1 for task in tasks)
        mean, worst = fmean(task.error for task in tasks), max(task.error for task in tasks)
        yield f"| `{name}` | {len(tasks)} | {mean:.2%} | {worst:.1%} | {bias:+.2%} |"


def _cross_table(values: dict[str, float], by_level: dict[int, list[float]], most: dict[int, int]) -> Iterator[str]:
    yield "Fitted on the runs of one and two at a time: " + ", ".join(f"{k} {v:.3g}" for k, v in values.items()) + "."
    yield ""
    yield "| level of the run | most in flight | tasks | mean error | |"
    yield "|---|---|---|---|---|"
    for level, errors in sorted(by_level.items()):
        note = "fitted" if level <= TRAINING else "predicted"
        if level > most[level]:
            note += f"; no more in flight than at {most[level]}"
        yield f"| {level} | {most[level]} | {len(errors)} | {fmean(map(abs, errors)):.2%} | {note} |"


def _published_table() -> Iterator[str]:
    yield "| profile | published tok/s, one request | predicted | off | engine and source |"
    yield "|---|---|---|---|---|"
    for one in data_files.models()["published"]:
        predicted = decode_rate(profiles.load(one["profile"]), 1, 1000)
        off = predicted / one["tok_s"] - 1
        source = f"{one['engine']}; {one['source']}" + (f". Why: {one['reason']}" if "reason" in one else "")
        yield f"| `{one['profile']}` | {one['tok_s']:g} | {predicted:.1f} | {off:+.0%} | {source} |"


def _replay_plot(replayed) -> str:
    series = defaultdict(list)
    for file, tasks in replayed.items():
        series[PROFILES[file]] += [(task.measured_s, task.predicted_s) for task in tasks]
    return plot(
        "Wall time of 288 published tasks",
        Axis("measured, s", 4, 400, log=True),
        Axis("predicted, s", 4, 400, log=True),
        series,
        reference=[(4, 4), (400, 400)],
        legend_below=True,
    )


def _artefact_plot(replayed) -> str:
    """The plateau of the published runs, what the model makes of their dispatch, and of as many as they claim."""
    file = "swarm-coder4-tp1-c8.csv"
    tokens = [count for batch in batches(file) for count in batch.tokens]
    measured, dispatched = defaultdict(list), defaultdict(list)
    for task, count in zip(replayed[file], tokens, strict=True):
        measured[task.concurrency].append(count / task.measured_s)
        dispatched[task.concurrency].append(count / task.predicted_s)
    series = {
        "published, per task": [(level, fmean(rates)) for level, rates in sorted(measured.items())],
        "model, four prompts sent": [(level, fmean(rates)) for level, rates in sorted(dispatched.items())],
        "model, that many really in flight": [
            (level, decode_rate(profiles.load(PROFILES[file]), level, 1500)) for level in sorted(measured)
        ],
    }
    title = "The plateau above four is the load generator's"
    return plot(title, Axis("level of the run", 0.5, 8.5), Axis("tok/s of a task", 0, 180), series, lines=list(series))


if __name__ == "__main__":
    main()
