import time

import pytest
from scripted_server import HANG, answer, scripted

from swarm.client.base import Connection
from swarm.client.target.metrics import MetricsReader, metrics_url, pick

LABELS = '{engine="0",model_name="Qwen/Qwen3 {odd} name"}'
VLLM = f"""# HELP vllm:num_requests_running Requests in the running batch.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{LABELS} 3.0
vllm:num_requests_waiting{LABELS} 2.0
vllm:num_requests_waiting_by_reason{LABELS} 77.0
vllm:kv_cache_usage_perc{LABELS} 0.25
vllm:prefix_cache_queries_total{LABELS} 1000.0
vllm:prefix_cache_queries_created{LABELS} 1.76e+09
vllm:prefix_cache_hits_total{LABELS} 400.0
vllm:num_preemptions_total{LABELS} 1.0
vllm:prompt_tokens_total{LABELS} 5e+06
vllm:prompt_tokens_cached_total{LABELS} 300.0
vllm:generation_tokens_total{LABELS} 2048.0
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="m"}} 5.0
vllm:request_success_total{{engine="0",finished_reason="length",model_name="m"}} 7.0
vllm:request_queue_time_seconds_bucket{{engine="0",le="0.3",model_name="m"}} 9.0
vllm:request_queue_time_seconds_count{LABELS} 12.0
vllm:request_queue_time_seconds_sum{LABELS} 1.5
vllm:request_prefill_time_seconds_count{LABELS} 12.0
vllm:request_prefill_time_seconds_sum{LABELS} 2.5
vllm:request_decode_time_seconds_count{LABELS} 12.0
vllm:request_decode_time_seconds_sum{LABELS} 3.5
"""
PICKED = {
    "running": 3.0,
    "waiting": 2.0,
    "kv_usage": 0.25,
    "prefix_queries": 1000.0,
    "prefix_hits": 400.0,
    "preemptions": 1.0,
    "prompt_tokens": 5e6,
    "cached_prompt_tokens": 300.0,
    "generation_tokens": 2048.0,
    "request_success": 12.0,
    "queue_time_count": 12.0,
    "queue_time_sum": 1.5,
    "prefill_count": 12.0,
    "prefill_sum": 2.5,
    "decode_count": 12.0,
    "decode_sum": 3.5,
}


def test_every_wanted_sample_of_a_vllm_is_picked_and_nothing_else() -> None:
    assert pick(VLLM.encode()) == PICKED


def test_old_names_give_the_same_short_ones() -> None:
    old = b"vllm:gpu_cache_usage_perc 0.5\nvllm:gpu_prefix_cache_queries_total 10\nvllm:gpu_prefix_cache_hits 4 1760000"
    assert pick(old) == {"kv_usage": 0.5, "prefix_queries": 10.0, "prefix_hits": 4.0}


def test_a_quantity_shown_under_both_names_counts_once() -> None:
    both = b"vllm:gpu_prefix_cache_hits_total 40\nvllm:prefix_cache_hits_total 41\nvllm:prefix_cache_hits 42\n"
    assert pick(both)["prefix_hits"] in (41.0, 42.0)


def test_engines_are_added_up_and_the_fullest_cache_counts() -> None:
    page = b"".join(
        b'vllm:num_requests_running{engine="%d"} %d\nvllm:kv_cache_usage_perc{engine="%d"} 0.%d\n' % (n, n, n, n)
        for n in (1, 5, 2)
    )
    assert pick(page) == {"running": 8.0, "kv_usage": 0.5}


SGLANG = 'engine_type="unified",model_name="m",moe_ep_rank="0",pp_rank="0",tp_rank="%d"'


def page_of(labels: list[str], running: float = 1.0, usage: float = 0.02) -> bytes:
    return "".join(
        f"sglang:num_running_reqs{{{each}}} {running}\nsglang:token_usage{{{each}}} {usage}\n" for each in labels
    ).encode()


@pytest.mark.parametrize("kind", ["tp", "pp", "cp", "moe_ep", "attn_cp", "decode_context_parallel"])
@pytest.mark.parametrize("place", ['%s="%d",model_name="m"', 'model_name="m",%s="%d"', '%s="%d"'])
def test_ranks_that_work_on_the_same_requests_count_once(kind: str, place: str) -> None:
    page = page_of([place % (f"{kind}_rank", rank) for rank in range(8)])
    assert pick(page) == {"running": 1.0, "kv_usage": 0.02}


def test_of_a_rank_that_lags_behind_the_others_the_highest_counts() -> None:
    page = page_of([SGLANG % 0], running=0.0) + page_of([SGLANG % 1], running=3.0, usage=0.5)
    assert pick(page) == {"running": 3.0, "kv_usage": 0.5}


@pytest.mark.parametrize("kind", ["dp_rank", "attn_dp_rank", "data_parallel_rank", "engine", "engine_type"])
def test_engines_and_data_parallel_ranks_are_added_up_whatever_repeats_in_each(kind: str) -> None:
    page = page_of([f'tp_rank="{tp}",{kind}="{dp}",model_name="m"' for dp in range(2) for tp in range(4)], 3.0)
    assert pick(page) == {"running": 6.0, "kv_usage": 0.02}


def test_counters_and_histograms_are_added_up_over_engines_alone_too() -> None:
    each = "vllm:prompt_tokens_total{%s} 10\nvllm:request_queue_time_seconds_count{%s} 2\n"
    labels = [f'engine="{engine}",tp_rank="{tp}"' for engine in range(2) for tp in range(2)]
    page = "".join(each % (label, label) for label in labels).encode()
    assert pick(page) == {"prompt_tokens": 20.0, "queue_time_count": 4.0}


def test_of_several_models_in_one_server_the_targets_own_counts() -> None:
    page = page_of(['model_name="a"', 'model_name="b \\"x\\""'], 3.0) + b"process_start_time_seconds 7\n"
    assert pick(page, "a") == {"running": 3.0, "kv_usage": 0.02, "started_at": 7.0}
    assert pick(page, "a-lora")["running"] == 6.0  # it is none of them by name, and may be served by either
    assert pick(page)["running"] == 6.0


def test_a_simulated_server_says_whether_it_keeps_its_own_time() -> None:
    page = (
        b'swarm_simulator_overloaded{engine="0"} 1.0\nswarm_simulator_overloaded{engine="1"} 0.0\n'
        b'swarm_simulator_step_slip_p99_seconds{engine="0"} 0.0125\nswarm_simulator_resyncs_total{engine="0"} 3.0\n'
    )
    assert pick(page) == {"simulator_overloaded": 1.0, "simulator_slip_p99": 0.0125}


def test_values_that_are_no_numbers_are_left_out() -> None:
    page = b"vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\nvllm:kv_cache_usage_perc 1e999\n"
    assert pick(page + b"vllm:num_preemptions_total e\nvllm:prompt_tokens_total\n\xff\x00{}") == {}


def test_another_servers_metrics_hold_nothing() -> None:
    assert pick(b"llamacpp:prompt_tokens_total 5\npython_gc_objects 3\nprocess_start_time_seconds 1.7e9\n") == {}


def test_the_start_of_the_server_is_known_beside_its_metrics() -> None:
    page = b"process_start_time_seconds 1.7e9\nvllm:num_requests_running 1\nprocess_resident_memory_bytes 5e8\n"
    assert pick(page) == {"running": 1.0, "started_at": 1.7e9, "resident_bytes": 5e8}


def test_a_page_of_100_kilobytes_takes_well_under_a_millisecond() -> None:
    bucket = 'vllm:request_params_n_bucket{engine="0",le="%d.0",model_name="Qwen/Qwen2.5-Coder-32B-Instruct-AWQ"} 1.0\n'
    page = (VLLM + "".join(bucket % n for n in range(1000))).encode()
    assert len(page) > 90_000
    took = []
    for _ in range(20):
        began = time.perf_counter()
        assert pick(page) == PICKED
        took.append(time.perf_counter() - began)
    assert min(took) < 0.001


@pytest.mark.parametrize(
    ("base", "named", "url"),
    [
        ("http://h:8000/v1", None, "http://h:8000/metrics"),
        ("http://h:8000/v1/", None, "http://h:8000/metrics"),
        ("http://h/vllm/v1", None, "http://h/vllm/metrics"),
        ("http://h/api", None, "http://h/api/metrics"),
        ("http://h/v1", "http://other:9/m", "http://other:9/m"),
    ],
)
def test_metrics_are_looked_for_beside_the_api(base: str, named: str | None, url: str) -> None:
    assert metrics_url(Connection(base, "m", metrics_url=named)) == url


async def test_the_reader_reads_now_and_again_over_one_connection() -> None:
    async with (
        scripted(answer("200 OK", VLLM.encode(), content_type="text/plain")) as server,
        MetricsReader(Connection(server.url, "one of its loras", api_key="k")) as reader,
    ):
        assert [await reader.read(), await reader.read()] == [PICKED, PICKED]
    assert [(each.path, each.headers["authorization"]) for each in server.received] == [("/metrics", "Bearer k")] * 2
    assert server.received[0].peer == server.received[1].peer


async def test_the_reader_says_none_where_there_is_nothing() -> None:
    for script in (answer("404 Not Found", {}), answer("200 OK", b"other 1\n"), [HANG]):
        async with scripted(script) as server, MetricsReader(Connection(server.url, "m", timeout_s=0.05)) as reader:
            assert await reader.read() is None
    async with MetricsReader(Connection("http://127.0.0.1:1/v1", "m")) as reader:
        assert await reader.read() is None
