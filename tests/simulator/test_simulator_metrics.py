import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families
from virtual import drive, profile

from swarm.simulator.engine.scheduler import Engine, Request
from swarm.simulator.server.metrics import Histogram, Metrics, SlipMeter, exposition


def test_a_value_on_an_edge_belongs_to_the_bucket_that_ends_there():
    histogram = Histogram((1.0, 2.0))
    for value, times in ((1.0, 3), (1.5, 2), (9.0, 1)):
        histogram.add(value, times)
    assert list(histogram.samples()) == [
        ("_bucket", ',le="1.0"', 3),
        ("_bucket", ',le="2.0"', 5),
        ("_bucket", ',le="+Inf"', 6),
        ("_sum", "", 15.0),
        ("_count", "", 6),
    ]


@pytest.mark.parametrize("admission", ["full_prompt", "first_chunk"])
def test_every_token_but_a_requests_first_has_one_gap_also_when_requests_are_preempted(admission):
    engine = Engine(profile(kv_tokens=1600, max_num_batched_tokens=256, admission=admission))
    metrics = Metrics()
    requests = [Request(500 + 100 * at, 60) for at in range(6)]
    drive(engine, [(0.01 * at, request) for at, request in enumerate(requests)], on_step=metrics.observe)
    assert engine.preemptions > 0
    families = {f.name: f for f in text_string_to_metric_families(exposition(engine, metrics, "m"))}
    values = {s.name: s.value for f in families.values() for s in f.samples if not s.name.endswith("_bucket")}
    assert values["vllm:inter_token_latency_seconds_count"] == engine.generation_tokens - len(requests) == 6 * 59
    gaps = sum(request.decode_s for request in requests)
    assert values["vllm:inter_token_latency_seconds_sum"] == pytest.approx(gaps)
    assert values["vllm:request_decode_time_seconds_sum"] == pytest.approx(gaps)
    waits = sum(request.first_token_at - request.arrived_at for request in requests)
    assert values["vllm:time_to_first_token_seconds_sum"] == pytest.approx(waits)
    assert values["vllm:num_preemptions_total"] == engine.preemptions


def test_a_model_name_is_escaped_in_labels():
    text = exposition(Engine(profile()), Metrics(), 'a"b\\c\nd')
    names = {s.labels["model_name"] for f in text_string_to_metric_families(text) for s in f.samples if s.labels}
    assert names == {'a"b\\c\nd'}


def test_it_is_overloaded_while_one_step_in_a_hundred_is_later_than_the_bound(caplog):
    slip = SlipMeter()
    for _ in range(1024):
        slip.add(0.0001, 0.001)
    assert not slip.overloaded
    for _ in range(128):
        slip.add(0.02, 0.03)
    assert slip.overloaded
    assert "cannot keep up: steps start 20.0 ms late" in caplog.text
    for _ in range(1024):
        slip.add(0.0001, 0.001)
    assert not slip.overloaded
    summary = slip.summary()
    assert (summary["steps"], summary["max_s"]) == (2176, 0.02)
    assert summary["start_s"] == {"p50": 0.0001, "p90": 0.0001, "p99": 0.0001}
    assert summary["written_s"]["p99"] == 0.001


def test_the_warning_is_given_once_for_each_time_that_it_falls_behind(caplog):
    slip = SlipMeter()
    with caplog.at_level(logging.WARNING):
        for _ in range(512):
            slip.add(0.02, 0.03)
    assert caplog.text.count("cannot keep up") == 1
