"""What Prometheus' own tool says of our configuration, our rules and our exporter's text."""

import subprocess
from pathlib import Path

from prometheus import binary

from swarm.exporter.info import RunInfo
from swarm.exporter.metrics import Metrics
from swarm.exporter.text import to_text
from swarm.recording.records import ClientSample, ServerSample, Stage
from swarm.recording.status import AgentStatus

ROOT = Path(__file__).parents[2]


def promtool(*arguments: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [binary("promtool"), *map(str, arguments)]
    return subprocess.run(command, cwd=Path(__file__).parent, input=text, capture_output=True, text=True)


def test_the_configuration_and_the_rules_are_valid():
    done = promtool("check", "config", ROOT / "docker/prometheus/prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 rules found" in promtool("check", "rules", ROOT / "docker/prometheus/rules.yml").stdout


def test_alerts_fire_when_they_should_and_not_before():
    done = promtool("test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_nothing_to_object_to_in_the_exporters_text():
    header = {"run": "r", "target": "moe", "agents": 1, "trial": 1}
    metrics = Metrics(RunInfo("r", {"scenario": "s"}, {"moe": {"architecture": "moe"}}))
    metrics.watch([AgentStatus(0)])
    metrics.add(Stage(**header, id="1", t_ns=0, window_start_ns=0, window_end_ns=9, salt="", seed=1))
    metrics.add(
        ClientSample(
            **header,
            id="2",
            t_ns=0,
            end_ns=9,
            cpu_ns=1,
            busy_share=None,
            lag_ns=[1],
            chunks=0,
            coalesced=0,
            stamp_source="user",
            rss_bytes=5,
        )
    )
    everything = dict.fromkeys(
        ("running", "waiting", "kv_usage", "prefix_hits", "preemptions", "queue_time_sum", "queue_time_count"), 1.0
    )
    everything |= dict.fromkeys(("gpu_power_w", "gpu_sm_clock_hz", "gpu_energy_j", "gpu_temperature_c"), 1.0)
    metrics.add(ServerSample(t_ns=1, target="moe", agents=1, trial=1, metrics=everything))
    metrics.close()
    text = "".join(to_text(family) for family in metrics.families(5) if family.samples)
    assert text.count("# TYPE") > 25
    done = promtool("check", "metrics", text=text)
    assert (done.returncode, done.stderr) == (0, "")
