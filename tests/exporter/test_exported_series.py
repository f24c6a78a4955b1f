"""What `/metrics` says while a run goes on: of records that have round numbers, read with Prometheus' own parser."""

import pytest
from as_json import analyse
from prometheus_client.parser import text_string_to_metric_families
from synthetic import Run

from swarm.exporter.info import RunInfo, run_info
from swarm.exporter.metrics import STATES, Metrics
from swarm.exporter.replay import openmetrics
from swarm.exporter.text import labels, to_text
from swarm.recording.records import Stage
from swarm.recording.status import AgentStatus

INFO = RunInfo("r", {}, {"moe": {"architecture": "moe"}, "dense": {"architecture": "dense"}})


def shown(metrics: Metrics, t_ns: int) -> dict[str, dict[tuple, float]]:
    """Name -> labels (but for the run) -> value, of all series; two of the same labels are refused."""
    text = "".join(to_text(family) for family in metrics.families(t_ns) if family.samples)
    found: dict[str, dict[tuple, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = tuple(sorted((k, v) for k, v in sample.labels.items() if k not in ("run", "architecture")))
            series = found.setdefault(sample.name, {})
            assert key not in series, f"{sample.name} {key} twice"
            series[key] = sample.value
    return found


def played(run: Run, info: RunInfo = INFO) -> Metrics:
    metrics = Metrics(info)
    for record in run.published:
        metrics.add(record)
    metrics.close()
    return metrics


def series(found: dict, name: str, **wanted: str) -> float:
    (value,) = [value for key, value in found[name].items() if wanted.items() <= dict(key).items()]
    return value


def test_what_ends_in_the_warm_up_in_the_window_and_after_it_is_told_apart():
    run = Run()
    stage = run.stage()
    stage.attempt(-1.5)  # 10 tokens, all in the warm-up
    stage.attempt(-0.35)  # its chunks come at -0.15, -0.05, 0.05, 0.15, 0.25 s: 4 tokens before the window
    stage.attempt(9.75, aborted=True)  # chunks at 9.95, 10.05 ...: 2 tokens in the window
    found = shown(played(run), stage.at(11))
    tokens = {phase: series(found, "swarm_output_tokens_total", phase=phase) for phase in ("warmup", "window", "end")}
    assert tokens == {"warmup": 14, "window": 8, "end": 8}
    assert series(found, "swarm_requests_total", phase="window", outcome="ok") == 1
    assert series(found, "swarm_requests_total", phase="end", outcome="aborted") == 1
    assert series(found, "swarm_prompt_tokens_total", phase="warmup") == 1000


def test_every_child_is_there_at_zero_before_anything_has_happened():
    run = Run()
    stage = run.stage(agents=4)
    found = shown(played(run), stage.at(0))
    assert series(found, "swarm_requests_total", phase="window", outcome="timeout") == 0
    assert series(found, "swarm_jobs_total", phase="end", outcome="censored") == 0
    assert series(found, "swarm_time_to_first_token_seconds_bucket", le="+Inf") == 0
    assert "swarm_output_tokens_per_second" not in found  # nothing was measured: not 0


def test_one_stages_histograms_are_shown_and_the_former_ones_until_the_next_window_begins():
    run = Run(levels=[1, 2])
    first = run.stage(agents=1)
    first.work()
    first.end()
    second = run.stage(agents=2)
    metrics = played(run)
    count = "swarm_time_to_first_token_seconds_count"
    assert shown(metrics, second.at(-1))[count] == {
        (("agents", "1"), ("target", "moe")): 10,
        (("agents", "2"), ("target", "moe")): 0,
    }
    assert list(shown(metrics, second.at(0))[count]) == [(("agents", "2"), ("target", "moe"))]


def test_counters_add_up_over_trials_and_histograms_begin_anew():
    run = Run(trials=2)
    run.healthy(trial=1)
    stage = run.stage(trial=2)
    metrics = played(run)
    before, after = shown(metrics, stage.at(-1)), shown(metrics, stage.at(0))
    assert series(before, "swarm_request_duration_seconds_count") == 10  # the first trial's, told once
    assert series(after, "swarm_request_duration_seconds_count") == 0
    assert series(after, "swarm_requests_total", phase="window", outcome="ok") == 10


def test_what_is_shown_at_the_end_is_what_the_results_say(tmp_path):
    run = Run(levels=[1, 2])
    run.healthy(agents=1)
    stage = run.stage(agents=2)
    stage.work(0)
    stage.work(1, slower=2.0, period=2.0)
    stage.end()
    results = analyse(run.write(tmp_path / "run"))["targets"][0]["stages"][1]
    found = shown(played(run), stage.at(12))
    assert series(found, "swarm_fairness_jain") == results["fairness_jain"]
    assert series(found, "swarm_contention_ratio") == pytest.approx(results["contention"])
    assert series(found, "swarm_output_tokens_per_second") == results["throughput"]["output_tokens_per_s"]
    for agent in results["per_agent"]:
        rate = series(found, "swarm_agent_output_tokens_per_second", agent=str(agent["agent"]))
        assert rate == agent["output_tokens_per_s"]
    assert (
        series(found, "swarm_jobs_total", agents="2", phase="window", outcome="answered") == results["jobs"]["finished"]
    )
    for name, key in (("time_to_first_token", "ttft_s"), ("inter_token_latency", "itl_s"), ("job_duration", "job_s")):
        assert series(found, f"swarm_{name}_seconds_count") == sum(
            t["latency"][key]["count"] for t in results["trials_detail"]
        )


def test_agents_are_counted_by_what_they_do():
    run = Run()
    stage = run.stage(agents=4)
    metrics = played(run)
    metrics.watch(
        [
            AgentStatus(0, "model"),
            AgentStatus(1, "model", stream=(5,)),
            AgentStatus(2, "tool"),
            AgentStatus(3, "crashed"),
        ]
    )
    found = shown(metrics, stage.at(1))
    states = {state: series(found, "swarm_agents", state=state) for state in STATES}
    assert {state for state, count in states.items() if count} == {"prefill", "decode", "tool", "crashed"}
    assert series(found, "swarm_requests_in_flight") == 2
    assert series(found, "swarm_agents_active") == 3
    assert series(found, "swarm_stage_info", phase="window", trial="1") == 1


def test_no_histogram_has_an_agent_label_and_no_created_series_is_told():
    run = Run()
    stage = run.healthy()
    found = shown(played(run), stage.at(5))
    assert not [name for name in found if name.endswith("_created")]
    for name, known in found.items():
        if name.endswith("_bucket"):
            assert not [key for key in known if "agent" in dict(key)]


def test_the_clients_lag_and_the_servers_metrics_are_told():
    run = Run()
    stage = run.stage()
    stage.watch(3, lag_ns=[*range(0, 1_000_000, 10_000), 7_000_000], rss_bytes=123)
    stage.server(3, running=2, kv_usage=0.5, generation_tokens=70, queue_time_sum=1.5, queue_time_count=3)
    found = shown(played(run), stage.at(4))
    assert series(found, "swarm_client_lag_seconds", quantile="1") == 0.007
    assert series(found, "swarm_client_lag_seconds", quantile="0.5") == 0.0005
    assert series(found, "swarm_client_resident_memory_bytes") == 123
    assert series(found, "swarm_server_kv_cache_usage_ratio") == 0.5
    assert series(found, "swarm_server_generation_tokens_total") == 70
    assert series(found, "swarm_server_queue_time_seconds_sum") == 1.5
    assert "swarm_server_requests_waiting" not in found  # the server did not say


def test_every_shard_tells_of_its_own_lag_and_work():
    run = Run()
    stage = run.stage(agents=2)
    for shard in (0, 1):
        stage.join(shard, f"shard {shard}", [shard])
        stage.watch(3, shard=shard, lag_ns=[1_000_000 * (shard + 1)], cpu_ns=100_000_000 * (shard + 1), rss_bytes=shard)
    found = shown(played(run), stage.at(4))
    for shard in (0, 1):
        assert series(found, "swarm_client_lag_seconds", shard=f"{shard}", quantile="1") == 0.001 * (shard + 1)
        assert series(found, "swarm_client_cpu_ratio", shard=f"{shard}") == 0.1 * (shard + 1)
        assert series(found, "swarm_client_resident_memory_bytes", shard=f"{shard}") == shard


def test_a_soak_that_goes_on_with_its_stage_goes_on_counting():
    run = Run()
    stage = run.healthy()
    metrics = played(run)
    metrics.add(next(record for record in run.published if isinstance(record, Stage)))
    metrics.close()
    assert series(shown(metrics, stage.at(5)), "swarm_request_duration_seconds_count") == 10


def test_a_large_record_is_worked_off_in_small_steps():
    run = Run()
    stage = run.stage()
    stage.attempt(0, waits=[0.001] * 5000, tokens=5000)
    metrics = Metrics(INFO)
    for record in run.published:
        metrics.add(record)
    assert len(list(metrics.flush())) >= 10
    assert series(shown(metrics, stage.at(6)), "swarm_inter_token_latency_seconds_count") == 4999


def test_labels_are_escaped():
    assert labels({"a": 'x"y\\z\n'}) == 'a="x\\"y\\\\z\\n"'


def test_thresholds_on_latencies_become_edges():
    scenario = Run(
        thresholds=["moe.agents=4.ttft_s.p95 < 1.7", "moe.agents=4.ttft_s.count > 3", "*.agents=1.errors <= 0"]
    )
    assert run_info("r", scenario.scenario(), {}).slos == {"ttft": (1.7,)}


def test_a_finished_run_is_written_with_times_and_ends_at_its_last_values(tmp_path):
    run = Run(levels=[1, 2])
    run.healthy(agents=1)
    run.healthy(agents=2)
    lines = "".join(openmetrics(run.write(tmp_path / "run"))).splitlines()
    assert lines[-1] == "# EOF"
    heads = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))  # each family once
    last = [
        line
        for line in lines
        if line.startswith('swarm_requests_total{run="run",target="moe"') and '"2",phase="window",outcome="ok"' in line
    ][-1]
    _, value, at = last.rsplit(" ", 2)
    assert int(value) == 20
    started = 1_767_323_045.0  # 2026-01-02T03:04:05Z
    ends = max(record.t_ns for record in run.published if type(record).__name__ == "StageEnd")
    assert float(at) == pytest.approx(started + ends / 1e9, abs=0.001)
    result = next(
        line for line in lines if line.startswith("swarm_result_output_tokens_per_second{") and 'agents="2"' in line
    )
    assert float(result.split()[-2]) == 20.0


def test_played_back_agents_are_in_the_states_that_the_records_say(tmp_path):
    run = Run()
    run.healthy()  # each second: 0.2 s to the first token, 0.4 s of decoding, 0.3 s of a tool
    text = "".join(openmetrics(run.write(tmp_path / "run")))
    at: dict[float, str] = {}
    for line in text.splitlines():
        if line.startswith("swarm_agents{") and line.split()[-2] == "1":
            at[float(line.split()[-1])] = line.split('state="')[1].split('"')[0]
    states = list(at.values())
    assert states[0] == "starting"
    assert states[-1] == "stopped"
    assert set(states[1:-1]) <= {"prefill", "decode", "tool", "think", "starting"}
    assert len(set(states)) >= 3
