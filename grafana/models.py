"""*MoE vs dense*: the models side by side at each number of agents, from what is left of each stage."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.panels import Kind, Page, Panel, Row, to_dashboard

STAGE = 'run=~"$run",agents=~"$agents"'
BY = "architecture, agents"
SHOWN = "{{architecture}} × {{agents}}"


def _last(metric: str, more: str = "", by: str = BY) -> str:
    """The final value of each stage, averaged over runs and targets of an architecture."""
    return f"avg by ({by}) (last_over_time({metric}{{{STAGE}{more}}}[$__range]))"


def _quantile(metric: str) -> str:
    series = f"last_over_time(swarm_{metric}_seconds_bucket{{{STAGE}}}[$__range])"
    return f"histogram_quantile($quantile, sum by (le, {BY}) ({series}))"


def _moe_over_dense(metric: str) -> str:
    moe, dense = (_last(metric, f',architecture="{name}"', "agents") for name in ("moe", "dense"))
    return f"{moe} / {dense}"


def _bars(title: str, description: str, unit: str, expr: str, legend: str = SHOWN, kind: Kind = "bars") -> Panel:
    return Panel(title, description, unit, [(expr, legend)], kind=kind)


TOKENS = "swarm_output_tokens_per_second"
EACH = "swarm_agent_output_tokens_per_second"
CACHED = f'sum by ({BY}) (last_over_time(swarm_cached_prompt_tokens_total{{{STAGE},phase="window"}}[$__range]))'
PROMPT = f'sum by ({BY}) (last_over_time(swarm_prompt_tokens_total{{{STAGE},phase="window"}}[$__range]))'
FIRST = f'avg by (architecture) (last_over_time({TOKENS}{{run=~"$run",agents="1"}}[$__range]))'
LEVEL = f"avg by ({BY}) (max_over_time(swarm_agents_active{{{STAGE}}}[$__range]))"

THROUGHPUT = Row(
    "Throughput",
    [
        _bars("Output", "Tokens of all agents per second of the window.", "suffix: tok/s", _last(TOKENS)),
        _bars("Output of one agent", "While it is served: tools and thinking left out.", "suffix: tok/s", _last(EACH)),
        _bars(
            "Efficiency",
            "Output at N / (N × output at 1): 1 is perfect scaling.",
            "percentunit",
            f"{_last(TOKENS)} / on (architecture) group_left {FIRST} / on ({BY}) {LEVEL}",
        ),
        _bars("Jobs", "Finished an hour. A model that writes more for the same job wins tok/s and loses here.", "short",
              _last("swarm_jobs_per_hour")),
        _bars("Contention", "Share of its speed alone that an agent lost, over the same jobs.", "percentunit",
              _last("swarm_contention_ratio")),
        _bars("Fairness", "Jain's index over the agents' output rates.", "percentunit", _last("swarm_fairness_jain")),
    ],
)  # fmt: skip

RATIOS = Row(
    "MoE over dense",
    [
        _bars("Output, MoE / dense", "Above 1 the MoE wrote more.", "none", _moe_over_dense(TOKENS), "× {{agents}}"),
        _bars("One agent, MoE / dense", "Above 1 an agent had more of the MoE.", "none", _moe_over_dense(EACH),
              "× {{agents}}"),
        _bars("Jobs, MoE / dense", "Above 1 the MoE finished more jobs.", "none",
              _moe_over_dense("swarm_jobs_per_hour"), "× {{agents}}"),
    ],
)  # fmt: skip

LATENCY = Row(
    "Latency at the chosen quantile",
    [
        _bars("TTFT", "Send to first token.", "s", _quantile("time_to_first_token")),
        _bars("ITL", "Gaps between the chunks of a reply.", "s", _quantile("inter_token_latency")),
        _bars("Job", "First send to the end of the last step.", "s", _quantile("job_duration")),
    ],
)

CACHE = Row(
    "Cache, and why it degraded",
    [
        _bars("Cached prompt tokens", "Share of the prompts that the prefix cache had.", "percentunit",
              f"{CACHED} / {PROMPT}"),
        Panel(
            "KV cache in use",
            "Over the run.",
            "percentunit",
            [('max by (architecture) (swarm_server_kv_cache_usage_ratio{run=~"$run"})', "{{architecture}}")],
            limits=(0.85, 0.95),
            highest=1,
        ),
        _bars(
            "Attribution",
            "Causes of the growth of job time over one agent; of finished runs (`swarm report --openmetrics`).",
            "percentunit",
            f"avg by ({BY}, cause) (last_over_time(swarm_result_attribution_ratio{{{STAGE}}}[$__range]))",
            SHOWN + " {{cause}}",
        ),
    ],
)  # fmt: skip


def dashboard() -> Dashboard:
    return to_dashboard(
        Page(
            uid="swarm-models",
            title="MoE vs dense",
            description="Models side by side at each number of agents, over the runs in the time shown.",
            since="now-1h",
            refresh="30s",
            variables={
                "run": "label_values(swarm_run_info, run)",
                "agents": 'label_values(swarm_requests_total{run=~"$run"}, agents)',
            },
            choices={"quantile": ("0.95", "0.5", "0.9", "0.99")},
            rows=[THROUGHPUT, RATIOS, LATENCY, CACHE],
        )
    )
