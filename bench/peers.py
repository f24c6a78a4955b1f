"""Other load testers and their command lines, and what each says of its run. `python tests/install.py` installs them.

Each sends `requests` prompts of some 500 tokens, `streams` at a time, for replies of exactly `tokens` tokens. They
count prompts with a tokenizer of their own, so token counts are taken from where they repeat the server's `usage`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from install import python_of  # noqa: E402

TOKENIZER = ROOT / ".vllm" / "models" / "moe"
"""Tokenizer of the tests' own model: `tests/vllm/models.py` makes it, for nothing can be fetched from a hub."""
QUIET = os.environ | {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Load:
    url: str
    """The server's root, without `/v1`."""
    model: str
    streams: int
    requests: int
    tokens: int


@dataclass(frozen=True)
class Told:
    """Report of a load tester: counts, and means in seconds."""

    requests: int
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float
    e2e_s: float
    output_tokens_per_s: float


@dataclass(frozen=True)
class Peer:
    """`command` takes the load and an empty folder for its results, `read` the folder; `environment`: what it needs."""

    name: str
    command: Callable[[Load, Path], list[str]]
    environment: Callable[[Path], dict[str, str]]
    read: Callable[[Path], Told]


def run(peer: Peer, load: Load, folder: Path, limit_s: float = 300) -> Told:
    """Raises RuntimeError with the end of its output where it fails."""
    done = subprocess.run(
        peer.command(load, folder),
        env=peer.environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit_s,
    )
    if done.returncode:
        raise RuntimeError(f"{peer.name} ended with {done.returncode}: {done.stdout[-3000:]}")
    return peer.read(folder)


def _vllm_command(load: Load, folder: Path) -> list[str]:
    return [
        str(python_of("vllm")), "-c", "from vllm.entrypoints.cli.main import main; main()", "bench", "serve",
        "--backend", "openai-chat", "--base-url", load.url, "--endpoint", "/v1/chat/completions",
        "--model", load.model, "--tokenizer", str(TOKENIZER), "--dataset-name", "random", "--random-input-len", "500",
        "--random-output-len", str(load.tokens), "--ignore-eos", "--num-prompts", str(load.requests),
        "--max-concurrency", str(load.streams), "--save-result", "--save-detailed", "--result-dir", str(folder),
        "--result-filename", "result.json", "--disable-tqdm",
    ]  # fmt: skip


def _vllm_environment(folder: Path) -> dict[str, str]:
    metadata = folder / "vllm-0.0.dist-info"  # the CPU build's package goes by another name than the one it asks for
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.0\n")
    return QUIET | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}


def _vllm_read(folder: Path) -> Told:
    told = json.loads((folder / "result.json").read_text())
    return Told(
        requests=told["completed"],
        prompt_tokens=told["total_input_tokens"],
        output_tokens=told["total_output_tokens"],
        ttft_s=told["mean_ttft_ms"] / 1e3,
        tpot_s=told["mean_tpot_ms"] / 1e3,
        e2e_s=sum(told["latencies"]) / len(told["latencies"]),
        output_tokens_per_s=told["output_throughput"],
    )


def _guidellm_command(load: Load, folder: Path) -> list[str]:
    return [
        str(python_of("guidellm").with_name("guidellm")), "run", "--disable-console",
        "--backend", f"kind=openai_http,target={load.url}", "--profile", f"kind=concurrent,streams={load.streams}",
        "--constraint", f"kind=max_requests,count={load.requests}",
        "--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}",
        "--data", f"kind=synthetic_text,prompt_tokens=500,output_tokens={load.tokens}",
        "--output", f"kind=json,path={folder / 'result.json'}",
    ]  # fmt: skip


def _guidellm_read(folder: Path) -> Told:
    (benchmark,) = json.loads((folder / "result.json").read_text())["benchmarks"]
    told: dict[str, Any] = benchmark["metrics"]

    def mean(name: str) -> float:
        return float(told[name]["successful"]["mean"])

    return Told(
        requests=told["request_totals"]["successful"],
        prompt_tokens=round(told["prompt_token_count"]["successful"]["total_sum"]),
        output_tokens=round(told["output_token_count"]["successful"]["total_sum"]),
        ttft_s=mean("time_to_first_token_ms") / 1e3,
        tpot_s=mean("inter_token_latency_ms") / 1e3,  # of a request: (last - first) / (tokens - 1)
        e2e_s=mean("request_latency"),
        output_tokens_per_s=mean("output_tokens_per_second"),
    )


def _aiperf_command(load: Load, folder: Path) -> list[str]:
    return [
        str(python_of("aiperf").with_name("aiperf")), "profile", "--model", load.model, "--tokenizer", str(TOKENIZER),
        "--endpoint-type", "chat", "--streaming", "--url", load.url, "--concurrency", str(load.streams),
        "--request-count", str(load.requests), "--synthetic-input-tokens-mean", "500",
        "--output-tokens-mean", str(load.tokens), "--output-tokens-stddev", "0",
        "--extra-inputs", f"min_tokens:{load.tokens}", "--extra-inputs", "ignore_eos:true", "--use-server-token-count",
        "--ui", "none", "--artifact-dir", str(folder / "results"),
    ]  # fmt: skip


def _aiperf_read(folder: Path) -> Told:
    told = json.loads((folder / "results" / "profile_export_aiperf.json").read_text())

    def mean(name: str) -> float:
        return float(told[name]["avg"])

    return Told(
        requests=round(mean("request_count")),
        prompt_tokens=round(mean("total_usage_prompt_tokens")),
        output_tokens=round(mean("total_usage_completion_tokens")),
        ttft_s=mean("time_to_first_token") / 1e3,
        tpot_s=mean("inter_token_latency") / 1e3,  # of a request: (last - first) / (tokens - 1)
        e2e_s=mean("request_latency") / 1e3,
        output_tokens_per_s=mean("output_token_throughput"),
    )


PEERS = {
    "vllm bench serve": Peer("vllm bench serve", _vllm_command, _vllm_environment, _vllm_read),
    "GuideLLM": Peer("GuideLLM", _guidellm_command, lambda folder: QUIET | {"HF_HUB_OFFLINE": "1"}, _guidellm_read),
    "AIPerf": Peer("AIPerf", _aiperf_command, lambda folder: dict(QUIET), _aiperf_read),
}
