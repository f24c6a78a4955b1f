"""Dashboards, rules and totals on a real Prometheus that scraped a real run of swarm and the servers under it."""

import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path

import dcgm
import pytest
import yaml
from boards import answers, dashboard, numbers, panels, resolve, variables_of
from prometheus import Prometheus, binary, running
from scene import RULES, scene, task
from small_runs import REPLY_TOKENS, records, results, swarm

pytestmark = pytest.mark.slow

DAY = 86400
TURNS = 8
"""Of each of two agents, before it waits on a tool until the window ends."""
TOKENS = 2 * TURNS * REPLY_TOKENS
NIGHTLY = ("swarm_result_", "swarm_run_info", "swarm_target_info", "swarm_client_resident_memory_bytes")
"""What the dashboard of nights asks for."""


@dataclass(frozen=True)
class Scraped:
    """Two runs that were scraped: `mixed` of two models; `exact`, of the MoE, which ended with nothing in flight."""

    prometheus: Prometheus
    folder: Path
    mixed: tuple[float, float]
    """When it began and ended, in seconds since 1970."""
    exact: tuple[float, float]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scraped")
    task(folder / "parking", "parking", turns=TURNS, last_takes="60s")
    with scene(folder, thresholds=["*.agents=2.ttft_s.p95 < 3.5"]) as live:
        mixed = live.run("mixed")
        parked = ["--duration", "5s", "--set", "stage.warmup=0s", "--set", "tasks.path=parking"]
        exact = live.run("exact", "--target", "moe", "--agents", "2", *parked)
        yield Scraped(live.prometheus, folder, mixed, exact)


def empty(found: dict[str, list[float]]) -> list[str]:
    return [name for name, values in found.items() if not values]


def test_every_panel_of_the_live_dashboard_shows_something(scraped):
    found = answers(dashboard("live"), scraped.prometheus, scraped.mixed, 1)
    assert empty(found) == []
    assert max(found["Power, {{target}}"]) == dcgm.POWER_W
    assert max(found["Clock, {{target}}"]) == 1695e6
    assert max(found["Held down, {{target}}"]) == 1
    for name, values in found.items():
        if any(word in name for word in ("TTFT, {{", "ITL, {{", "Request, {{", "Tool calls")):
            assert 0.001 < min(values) <= max(values) < 20, name  # seconds


def test_shares_are_shares(scraped):
    board = dashboard("live")
    found = answers(board, scraped.prometheus, scraped.mixed, 1)
    for panel in panels(board):
        noisy = panel["title"] in (
            "Contention",
            "CPU",
        )  # of a few requests less than none, of two threads more than one
        if panel["fieldConfig"]["defaults"]["unit"] == "percentunit" and not noisy:
            for target in panel["targets"]:
                values = found[f"{panel['title']}, {target['legendFormat']}"]
                assert 0 <= min(values) <= max(values) <= 1, panel["title"]


def test_every_panel_of_the_comparison_shows_something(scraped):
    found = answers(dashboard("models"), scraped.prometheus, scraped.mixed, 1)
    assert empty(found) == ["Attribution, {{architecture}} × {{agents}} {{cause}}"]  # known when a run is over
    assert min(found["Output, MoE / dense, × {{agents}}"]) > 1


def test_every_rule_can_be_evaluated_and_every_ratio_is_one(scraped):
    groups = yaml.safe_load(RULES.read_text())["groups"]
    late = scraped.mixed[1] - 1
    for rule in (rule for group in groups for rule in group["rules"]):
        series = scraped.prometheus.range(rule["expr"], *scraped.mixed, 1)
        if "record" in rule:
            assert numbers(series), rule["record"]
    states = {
        rule["name"]: rule["health"] for group in scraped.prometheus.get("rules")["groups"] for rule in group["rules"]
    }
    assert set(states.values()) == {"ok"}
    hit = scraped.prometheus.instant('swarm:cached_prompt_tokens:ratio{run="mixed"}', late)
    assert all(0.5 < float(one["value"][1]) < 1 for one in hit)


def test_prometheus_the_results_and_the_servers_own_counters_say_the_same(scraped):
    """Equal, not near: in this run nothing was under way when the window ended, so nothing was cut off."""
    prometheus, at = scraped.prometheus, scraped.exact[1]
    stage = results(scraped.folder / "exact")["targets"][0]["stages"][0]
    (ended,) = records(scraped.folder / "exact", "stage_end")
    samples = [json.loads(line) for line in (scraped.folder / "exact/server.jsonl").read_text().splitlines()]
    before = next(sample["metrics"] for sample in samples if sample["border"] == "before")

    def ours(name: str) -> float:
        return prometheus.value(f'sum(last_over_time(swarm_{name}{{run="exact"}}[1m]))', at)

    def theirs(name: str, known_as: str) -> float:
        return prometheus.value(f'vllm:{name}{{target="moe"}}', at) - before[known_as]

    tokens, counted = stage["tokens"], ended["counters"]
    assert ours("output_tokens_total") == tokens["completion"] == counted["completion_tokens"] == TOKENS
    assert theirs("generation_tokens_total", "generation_tokens") == TOKENS
    assert ours("prompt_tokens_total") == tokens["prompt"] == counted["prompt_tokens"]
    assert theirs("prompt_tokens_total", "prompt_tokens") == tokens["prompt"]
    assert ours("cached_prompt_tokens_total") == tokens["cached_prompt"] == counted["cached_prompt_tokens"]
    assert (
        ours("requests_total")
        == ours("request_duration_seconds_count")
        == stage["latency"]["e2e_s"]["count"]
        == 2 * TURNS
    )
    assert (
        prometheus.value('sum(vllm:request_success_total{target="moe"})', at) - before["request_success"] == 2 * TURNS
    )
    assert ours("time_to_first_token_seconds_count") == stage["latency"]["ttft_s"]["count"]
    assert ours("inter_token_latency_seconds_count") == stage["latency"]["itl_s"]["count"]
    assert ours("output_tokens_per_second") == stage["throughput"]["output_tokens_per_s"]
    assert ours("fairness_jain") == stage["fairness_jain"]
    for agent in stage["per_agent"]:
        rate = f'last_over_time(swarm_agent_output_tokens_per_second{{run="exact",agent="{agent["agent"]}"}}[1m])'
        assert prometheus.value(rate, at) == agent["output_tokens_per_s"]


def test_a_threshold_of_the_scenario_is_a_bucket_edge(scraped):
    share = 'sum(last_over_time(swarm_time_to_first_token_seconds_bucket{run="mixed",agents="2",le="3.5"}[1m]))'
    assert scraped.prometheus.value(share, scraped.mixed[1]) > 0


def night_of(text: str, number: int, days_ago: int, slower: float) -> str:
    """A run as it would have been on another night: its samples, so many days earlier, output rates times `slower`."""
    lines = []
    for line in text.splitlines():
        if not line.startswith(NIGHTLY):
            continue
        series, value, at = line.rsplit(" ", 2)
        if series.startswith("swarm_result_output_tokens_per_second"):
            value = repr(float(value) * slower)
        series = series.replace('run="mixed"', f'run="night-{number}"')
        lines.append(f"{series} {value} {float(at) - DAY * days_ago:.3f}\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def nights(scraped, tmp_path_factory):
    """A Prometheus that has never seen a live run: 20 nights, the last four with 30% less output."""
    folder = tmp_path_factory.mktemp("nights")
    done = swarm("report", "mixed", "--openmetrics", folder / "run.om", cwd=scraped.folder)
    assert done.returncode in (0, 3), done.stderr  # as the run: its load is short
    text = (folder / "run.om").read_text()
    assert text.endswith("# EOF\n")
    types = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("# TYPE"))
    whole = [night_of(text, n, 20 - n, (0.7 if n > 16 else 1) * (1 + 0.002 * (n % 3))) for n in range(1, 21)]
    (folder / "nights.om").write_text(types + "".join(whole) + "# EOF\n")
    command = [binary("promtool"), "tsdb", "create-blocks-from", "openmetrics"]
    for name in ("run.om", "nights.om"):
        subprocess.run([*command, name, folder / "data" / "."], cwd=folder, check=True, capture_output=True)
    config = folder / "prometheus.yml"
    config.write_text("global: {}\n")
    with running(config, folder / "data") as prometheus:
        yield prometheus, scraped.mixed[1]


def test_a_finished_run_shows_in_the_same_panels_and_its_attribution_too(scraped, nights):
    prometheus, end = nights
    found = answers(dashboard("models"), prometheus, scraped.mixed, 5)
    assert empty(found) == []
    live = scraped.prometheus.value(
        'max(last_over_time(swarm_output_tokens_total{run="mixed",target="dense",agents="2",phase="window"}[1m]))', end
    )
    played = prometheus.value(
        'max(last_over_time(swarm_output_tokens_total{run="mixed",target="dense",agents="2",phase="window"}[1m]))', end
    )
    assert live == played > 0


def test_every_panel_of_the_nights_shows_something_and_the_change_is_marked(nights):
    prometheus, end = nights
    board = dashboard("nights")
    last = math.ceil(end / DAY) * DAY  # Grafana asks at whole steps
    span = (last - 20 * DAY, last)
    assert empty(answers(board, prometheus, span, DAY)) == []
    (annotation,) = [found for found in board["annotations"]["list"] if found.get("expr")]
    marked = prometheus.range(resolve(annotation["expr"], variables_of(board, prometheus, 0)), *span, DAY)
    days = {round((at - last) / DAY) for series in marked for at, _ in series["values"]}
    assert days
    assert min(days) == -2  # the second of the slower nights: one alone may be chance
