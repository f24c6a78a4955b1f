"""Is a prediction what a run in real time gives, and how fast is it?

    python -m bench.prediction agree [--seconds 300]    one stage in real time, and predicted: the differences
    python -m bench.prediction scale [--agents 1,8,100,1000]    virtual seconds per real second, memory per agent

With --session claude-code (or another preset) agents work through sessions, whose contexts are as long as real ones.

`agree` holds them to 2% in throughput and 5% in p50 and p95 of TTFT and ITL, and exits with 1 beyond it. It wants a
machine with nothing else to do, and five minutes: in one, the p95 of TTFT is that of a hundred requests.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from swarm.simulator.profiles import profiles

SWARM = [sys.executable, "-c", "from swarm.cli import main; main()"]
MOE = "moe-30b-a3b-awq-2x3090-nvlink"
KV_TOKENS = 10_000_000
LIMITS = {
    "output tok/s": (("throughput", "output_tokens_per_s"), 0.02),
    "TTFT p50": (("latency", "ttft_s", "p50"), 0.05),
    "TTFT p95": (("latency", "ttft_s", "p95"), 0.05),
    "ITL p50": (("latency", "itl_s", "p50"), 0.05),
    "ITL p95": (("latency", "itl_s", "p95"), 0.05),
}


def scenario(agents: int, seconds: float, profile: str, session: str | None, **target: Any) -> dict[str, Any]:
    """`session`: a preset; None: the bundled tasks."""
    work = {"script": "session", "session": session} if session else {}
    return {
        "name": "bench",
        "targets": [
            {
                "name": "it",
                "architecture": profiles.load(profile).architecture,
                "simulate": {"profile": profile} | target,
            }
        ],
        "route": "direct",
        "agents": {"levels": [agents]} | work,
        "stage": {"warmup": "10s", "duration": f"{seconds:g}s", "trials": 1},
    }


def agree(agents: int, seconds: float, profile: str, session: str | None) -> int:
    """Prints measured, predicted and their ratio."""
    stages = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yaml"
        file.write_text(yaml.safe_dump(scenario(agents, seconds, profile, session)))
        for command in ("run", "predict"):
            out = Path(folder) / command
            subprocess.run(
                [*SWARM, command, str(file), "-q", "--out", str(out)], check=False, stdout=subprocess.DEVNULL
            )
            results = json.loads((out / "results.json").read_text())
            print(f"{command}: {results['verdict']} {'; '.join(results['invalid_reasons'])}")
            stages.append(results["targets"][0]["stages"][0])
    failed = 0
    for label, (path, limit) in LIMITS.items():
        measured, predicted = (_at(stage, path) for stage in stages)
        off = measured / predicted - 1
        failed |= abs(off) > limit
        print(f"{label:14} measured {measured:10.4f}  predicted {predicted:10.4f}  {off:+7.2%}  (limit {limit:.0%})")
    return int(failed)


def _at(stage: Any, path: tuple[str, ...]) -> float:
    for key in path:
        stage = stage[key]
    return float(stage)


def scale(levels: list[int], seconds: float, session: str | None) -> None:
    """One stage of each level, each in a process of its own. KV cache and batch are those of a large machine, so that
    all agents are really served."""
    baseline = None
    print("agents  virtual s / real s  requests/s of CPU  output tokens/s of CPU  peak MiB  KiB per agent")
    for agents in levels:
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "bench.yaml", Path(folder) / "out"
            big = scenario(agents, seconds, MOE, session, kv_tokens=KV_TOKENS, max_num_seqs=1024, max_model_len=200_000)
            file.write_text(yaml.safe_dump(big))
            real_s, cpu_s, peak_kib = _measured([*SWARM, "predict", str(file), "-q", "--out", str(out)])
            stage = json.loads((out / "results.json").read_text())["targets"][0]["stages"][0]
        baseline = peak_kib if baseline is None else baseline
        tokens, requests = (stage["throughput"][name] * seconds for name in ("output_tokens_per_s", "requests_per_s"))
        per_agent = f"{(peak_kib - baseline) / (agents - levels[0]):.0f}" if agents > levels[0] else "-"
        print(
            f"{agents:6}  {(seconds + 10) / real_s:18.1f}  {requests / cpu_s:17.1f}  {tokens / cpu_s:22.0f}  "
            f"{peak_kib / 1024:8.0f}  {per_agent:>13}",
            flush=True,
        )


def _measured(command: list[str]) -> tuple[float, float, int]:
    """Real seconds, CPU seconds and peak memory (KiB) of a process."""
    timed = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
    )
    began = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", timed, *command], check=True, capture_output=True, text=True).stdout
    cpu, peak = re.findall(r"[\d.]+", said)
    return time.perf_counter() - began, float(cpu), int(float(peak))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("agree", "scale"))
    parser.add_argument("--agents", default=None, help="agree: one number (4); scale: several (1,8,100,1000)")
    parser.add_argument("--profile", default=MOE, help="of agree")
    parser.add_argument("--seconds", type=float, default=None, help="window; agree: 300, scale: 600")
    parser.add_argument("--session", default=None, help="a preset of session workloads; default: the bundled tasks")
    asked = parser.parse_args()
    if asked.what == "agree":
        return agree(int(asked.agents or 4), asked.seconds or 300, asked.profile, asked.session)
    levels = [int(level) for level in (asked.agents or "1,8,100,1000").split(",")]
    scale(levels, asked.seconds or 600, asked.session)
    return 0


if __name__ == "__main__":
    sys.exit(main())
