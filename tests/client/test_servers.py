"""The table of servers: it says what docs/servers.md says, and every name of it is read."""

import re
from pathlib import Path

import pytest

from swarm.client.dialects import SERVERS
from swarm.client.failures import from_status
from swarm.client.target.metrics import pick

PAGE = (Path(__file__).parents[2] / "docs/servers.md").read_text()
DOCUMENTED = {
    re.sub(r" \(.*\)", "", name): (metrics, context, version)
    for name, _, _, _, metrics, context, version in re.findall(r"^\| " + r"(.+?) \| " * 6 + r"(.+?) \|$", PAGE, re.M)
    if name not in ("server", "---")
}
LISTED = {"vLLM", "SGLang"}
"""Tell a context length in the list of models."""


def test_the_servers_are_those_of_the_docs():
    assert set(DOCUMENTED) == {server.name for server in SERVERS} - {"simulated", "any"}


@pytest.mark.parametrize("server", [one for one in SERVERS if one.name in DOCUMENTED], ids=lambda one: one.name)
def test_a_server_tells_what_the_docs_say_of_it(server):
    metrics, context, version = DOCUMENTED[server.name]
    assert (metrics != "none") == bool(server.gauges)
    assert context.startswith("told") == (bool(server.context_page) or server.name in LISTED)
    assert (version == "told") == bool(server.version_page)


@pytest.mark.parametrize("server", [one for one in SERVERS if one.prefix], ids=lambda one: one.name)
def test_every_name_of_a_metric_is_read_and_begins_with_the_prefix_of_its_server(server):
    running = b"vllm:num_requests_running 3\n"  # without one of a server, what any process tells is none
    counters = {**server.counters, **{f"{name}_total": short for name, short in server.counters.items()}}
    sums = {f"{name}_sum": f"{short}_sum" for name, short in server.histograms.items()}
    for name, short in {**server.gauges, **counters, **sums}.items():
        assert name.startswith(server.prefix)
        assert pick(running * (short != "running") + f"{name} 7\n".encode())[short] == 7


@pytest.mark.parametrize("words", [words for server in SERVERS for words in server.overflow])
def test_every_refusal_of_a_long_prompt_is_known_whatever_its_case(words):
    assert words == words.lower()
    assert from_status(400, {}, f'{{"error": "x {words.upper()} y"}}'.encode(), "http://x").kind == "context_overflow"
