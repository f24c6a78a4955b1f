"""Other load testers against the same truth. Each needs its own environment; none is installed by swarm.

`vllm bench serve` (of a vLLM environment: `--peer-vllm PYTHON --tokenizer DIR`) takes the arrival of the first chunk,
the empty role delta, for the first token, and counts the finishing chunk as one; so does the truth it is compared with.
"""

import json
import os
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.fidelity.drive import HERTZ, fetch_log, spread


def vllm_bench(
    url: str, python: str, tokenizer: str, streams: int, tokens: int, requests: int, core: int
) -> dict[str, Any]:
    """`requests` replies of `tokens` tokens, `streams` at a time."""
    fetch_log(url)
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder, "vllm-0.0.dist-info")  # the CPU build's package goes by another name
        metadata.mkdir()
        metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.0\n")
        command = [
            python, "-c", "from vllm.entrypoints.cli.main import main; main()", "bench", "serve",
            "--backend", "openai-chat", "--base-url", url, "--endpoint", "/v1/chat/completions",
            "--model", "truth", "--tokenizer", tokenizer, "--dataset-name", "random", "--random-input-len", "500",
            "--random-output-len", str(tokens), "--num-prompts", str(requests), "--max-concurrency", str(streams),
            "--save-result", "--save-detailed", "--result-dir", folder, "--result-filename", "result.json",
            "--disable-tqdm",
        ]  # fmt: skip
        environment = os.environ | {
            "PYTHONPATH": folder, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"
        }  # fmt: skip
        with open(Path(folder, "output"), "wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
            samples = _watch(process)
        if process.returncode:
            raise RuntimeError(Path(folder, "output").read_text()[-2000:])
        result = json.loads(Path(folder, "result.json").read_text())
    return _compare(result, fetch_log(url), samples, streams)


def _watch(process: "subprocess.Popen[bytes]") -> list[tuple[int, float, float]]:
    """(time, CPU seconds so far, resident MB), ten times a second until the process ends."""
    samples = []
    while process.poll() is None:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        samples.append((time.perf_counter_ns(), (int(fields[11]) + int(fields[12])) / HERTZ, int(fields[21]) / 256))
        time.sleep(0.1)
    return samples


def _compare(
    result: dict[str, Any], log: dict[str, Any], samples: list[tuple[int, float, float]], streams: int
) -> dict[str, Any]:
    itl: list[float] = []
    ttft: list[float] = []
    chunks = 0
    for text, first, gaps in zip(result["generated_texts"], result["ttfts"], result["itls"], strict=True):
        true = log["requests"].get(text.split(" ", 1)[0])
        if true is None:
            continue
        sends = true["sends"]
        chunks += len(sends)
        ttft.append(abs(first * 1e6 - (sends[0] - true["received_ns"]) / 1e3))
        expected = [0.0, *((after - before) / 1e3 for before, after in pairwise(sends)), 0.0]
        if len(gaps) == len(expected):
            itl += [abs(gap * 1e6 - due) for gap, due in zip(gaps, expected, strict=True)]
    began = min(request["received_ns"] for request in log["requests"].values())
    ended = max(request["sends"][-1] for request in log["requests"].values())
    loaded = [sample for sample in samples if began <= sample[0] <= ended]
    cpu, took = loaded[-1][1] - loaded[0][1], (loaded[-1][0] - loaded[0][0]) / 1e9
    return {
        "route": "vllm bench serve",
        "streams": streams,
        "requests": len(ttft),
        "failed": len(result["ttfts"]) - len(ttft),
        "failures": [],
        "chunks": chunks,
        "chunks_per_s": chunks / took,
        "itl_error_us": spread(itl),
        "ttft_error_us": spread(ttft),
        "cpu_us_per_chunk": cpu / (chunks * took / ((ended - began) / 1e9)) * 1e6,
        "cpu_share": cpu / took,
        "others_share": 0.0,
        "rss_mb": max(sample[2] for sample in samples),
        "lag_us": {},
        "coalesced": 0,
        "stamps": "user",
        "server_slip_p99_us": log["slip_p99_ns"] / 1e3,
    }
