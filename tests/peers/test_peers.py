"""Stock clients and other load testers against `swarm serve`: what they measure is what the server says of itself.

Counts are equal. Times are the client's own and the machine may be busy, so they are held to bounds: a client sees no
token before the engine has made it, and adds what HTTP and its own work take.
"""

import asyncio
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.peers import PEERS, Load, Told, run

pytestmark = pytest.mark.peers

PROFILE = "moe-30b-a3b-awq-2x3090-nvlink"
STREAMS, REQUESTS, TOKENS = 4, 24, 64


@pytest.fixture
def url():
    command = [sys.executable, "-c", "from swarm.cli import main; main()", "serve", "--port=0", f"--profile={PROFILE}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip().removeprefix("listening on ")
        finally:
            server.terminate()


def counted(url: str) -> dict[str, float]:
    """The samples of `/metrics` that are no buckets, summed over their labels."""
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        families = text_string_to_metric_families(reply.read().decode())
    sums: dict[str, float] = defaultdict(float)
    for family in families:
        for sample in family.samples:
            if "le" not in sample.labels:
                sums[sample.name.removeprefix("vllm:")] += sample.value
    return sums


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in after.items()}


def mean(samples: dict[str, float], name: str) -> float:
    return samples[f"{name}_sum"] / samples[f"{name}_count"]


def load(url: str) -> Load:
    return Load(url, PROFILE, STREAMS, REQUESTS, TOKENS)


def check(name: str, told: Told, samples: dict[str, float]) -> None:
    """Prints both sides, and holds the one to the other."""
    ttft, tpot, e2e = (
        mean(samples, f"{name}_seconds")
        for name in ("time_to_first_token", "request_time_per_output_token", "e2e_request_latency")
    )
    # Little's law: with `STREAMS` always in flight, this is what flows.
    rate = STREAMS * TOKENS / e2e
    print(
        f"\n{name:17} client: TTFT {told.ttft_s * 1e3:6.1f} ms, TPOT {told.tpot_s * 1e3:5.2f} ms, "
        f"E2E {told.e2e_s * 1e3:6.1f} ms, {told.output_tokens_per_s:5.1f} tok/s"
        f"\n{'':17} server: TTFT {ttft * 1e3:6.1f} ms, TPOT {tpot * 1e3:5.2f} ms, "
        f"E2E {e2e * 1e3:6.1f} ms, {rate:5.1f} tok/s"
    )
    assert told.requests == samples["request_success_total"] == REQUESTS
    assert told.prompt_tokens == samples["prompt_tokens_total"]
    assert told.output_tokens == samples["generation_tokens_total"] == REQUESTS * TOKENS
    assert ttft <= told.ttft_s <= ttft + 0.2
    assert told.tpot_s == pytest.approx(tpot, rel=0.1)
    assert e2e <= told.e2e_s <= e2e + 0.25
    assert 0.6 * rate <= told.output_tokens_per_s <= 1.02 * rate


@pytest.mark.parametrize("name", PEERS)
def test_a_load_tester_measures_what_the_server_says_of_itself(url, tmp_path: Path, name):
    before = counted(url)
    told = run(PEERS[name], load(url), tmp_path)
    check(name, told, growth(before, counted(url)))


def test_the_stock_openai_client_measures_what_the_server_says_of_itself(url):
    asyncio.run(_with_openai(replace(load(url), requests=STREAMS)))  # its first call imports for half a second
    before = counted(url)
    told = asyncio.run(_with_openai(load(url)))
    check("openai", told, growth(before, counted(url)))


async def _with_openai(load: Load) -> Told:
    """A minimal load tester: a few coroutines that ask one question after another."""
    times: list[list[float]] = []
    usages = []
    numbers = iter(range(load.requests))

    async def ask_on(client: openai.AsyncOpenAI) -> None:
        for number in numbers:
            asked = [time.perf_counter()]
            stream = await client.chat.completions.create(
                model=load.model,
                messages=[{"role": "user", "content": f"{number}. " + "What is it that you see? " * 80}],
                max_tokens=load.tokens,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"min_tokens": load.tokens, "ignore_eos": True},
            )
            async for chunk in stream:
                if chunk.usage:
                    usages.append(chunk.usage)
                elif chunk.choices[0].delta.content:
                    asked.append(time.perf_counter())
            times.append(asked)

    began = time.perf_counter()
    async with openai.AsyncOpenAI(base_url=f"{load.url}/v1", api_key="none", max_retries=0) as client:
        await asyncio.gather(*(ask_on(client) for _ in range(load.streams)))
    took = time.perf_counter() - began
    return Told(
        requests=len(usages),
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        output_tokens=sum(usage.completion_tokens for usage in usages),
        ttft_s=fmean(asked[1] - asked[0] for asked in times),
        tpot_s=fmean(after - before for asked in times for before, after in pairwise(asked[1:])),
        e2e_s=fmean(asked[-1] - asked[0] for asked in times),
        output_tokens_per_s=load.requests * load.tokens / took,
    )
