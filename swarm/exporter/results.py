"""`results.json` as series, `swarm_result_*`: one value a run, for looking back over many nights."""

from collections.abc import Iterator

from swarm.analysis.lookup import lookup
from swarm.catalogue import METRICS, latencies
from swarm.exporter.text import Family, gauges, labels
from swarm.results import Results

_QUANTILES = {"p50": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99"}


def result_families(run: str, results: Results) -> Iterator[Family]:
    """The families of a run's results; what was not measured is left out, never 0."""
    common = {"run": run, "scenario": results.name}
    stages = [
        (
            labels({**common, "target": t.name, "architecture": t.architecture or "unknown", "agents": stage.agents}),
            stage,
        )
        for t in results.targets
        for stage in t.stages
        if stage.status == "run"
    ]
    yield gauges(
        "swarm_result_valid", "1 where the stage is valid.", [(key, int(stage.valid)) for key, stage in stages]
    )
    alone = [(metric, *one) for metric in METRICS if metric.block != "latency" for one in metric.series.items()]
    for metric, stat, name in alone:
        values = [(key, value) for key, stage in stages if (value := lookup(stage, metric.key, stat)) is not None]
        yield gauges(name, metric.help, values)
    yield gauges(
        "swarm_result_latency_seconds",
        "Percentiles of latencies, from the HdrHistograms.",
        [
            (f'{key},metric="{metric.observation}",q="{_QUANTILES[stat]}"', value)
            for key, stage in stages
            for metric in latencies()
            for stat in metric.series
            if stat and (value := lookup(stage, metric.key, stat)) is not None
        ],
    )
    yield gauges(
        "swarm_result_agent_output_tokens_per_second",
        "Output rate of one agent while it is served.",
        [
            (f'{key},agent="{agent.agent}"', agent.output_tokens_per_s)
            for key, stage in stages
            for agent in stage.per_agent
            if agent.output_tokens_per_s is not None
        ],
    )
    yield gauges(
        "swarm_result_attribution_ratio",
        "Share of the growth of job time that a cause accounts for.",
        [
            (f'{key},cause="{cause}"', share)
            for key, stage in stages
            for cause, share in (stage.attribution or {}).items()
            if isinstance(share, int | float)
        ],
    )
    yield gauges(
        "swarm_result_errors",
        "Failed requests in the window.",
        [(key, sum(stage.errors.values())) for key, stage in stages],
    )
    yield gauges(
        "swarm_result_threshold_passed",
        "1 where the scenario's threshold holds.",
        [
            (labels({**common, "threshold": threshold.expression}), int(threshold.passed))
            for threshold in results.thresholds
        ],
    )
