"""*Live swarm*: what the agents, the load generator, the server and its GPU are doing now."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.panels import Page, Panel, Query, Row, to_dashboard

RUN = 'run=~"$run"'
STAGE = f'{RUN},target=~"$target",agents=~"$agents"'
TARGET = f'{RUN},target=~"$target"'
BY = "target, agents"
SHOWN = "{{target}} × {{agents}}"


def _quantiles(metric: str) -> list[Query]:
    return [
        (
            f"histogram_quantile({quantile}, sum by (le, {BY}) (swarm_{metric}_seconds_bucket{{{STAGE}}}))",
            f"{SHOWN} p{quantile * 100:g}",
        )
        for quantile in (0.5, 0.95, 0.99)
    ]


def _heat(metric: str) -> list[Query]:
    return [(f"sum by (le) (increase(swarm_{metric}_seconds_bucket{{{STAGE}}}[$__rate_interval]))", "{{le}}")]


def _share(metric: str, bound: str) -> str:
    good = f'sum by ({BY}) (swarm_{metric}_seconds_bucket{{{STAGE},le="{bound}"}})'
    return f"{good} / sum by ({BY}) (swarm_{metric}_seconds_count{{{STAGE}}})"


NOW = Row(
    "Now",
    [
        Panel(
            "Stage and phase",
            "Which stage runs: warm-up, measured window, or cut off at its end.",
            "short",
            [(f"max by ({BY}, trial, phase) (swarm_stage_info{{{STAGE}}})", SHOWN + " #{{trial}} {{phase}}")],
            kind="states",
            width=24,
        ),
        Panel(
            "Workload",
            "What the agents do: lengths of prompts and replies, turns, tools, contexts.",
            "short",
            [(f"max by (workload) (swarm_run_info{{{RUN}}})", "{{workload}}")],
            kind="states",
            width=24,
        ),
        Panel(
            "Agents at work",
            "Agents that are neither starting, stopped nor crashed.",
            "short",
            [(f"sum(swarm_agents_active{{{STAGE}}})", "agents")],
            kind="number",
            width=4,
        ),
        Panel(
            "Requests in flight",
            "Sent and not over. Fewer than agents: the others wait on tools.",
            "short",
            [(f"sum(swarm_requests_in_flight{{{STAGE}}})", "in flight")],
            kind="number",
            width=4,
        ),
        Panel(
            "Output",
            "Tokens of all agents per second of the window so far.",
            "suffix: tok/s",
            [(f"sum(swarm_output_tokens_per_second{{{STAGE}}})", "output")],
            kind="number",
            width=4,
        ),
        Panel(
            "Errors",
            "Share of requests that failed, in the time shown; those that swarm cut off are left out.",
            "percentunit",
            [
                (
                    f'sum(increase(swarm_requests_total{{{STAGE},outcome!~"ok|aborted"}}[$__range]))'
                    f' / sum(increase(swarm_requests_total{{{STAGE},outcome!="aborted"}}[$__range]))',
                    "failed",
                )
            ],
            kind="number",
            width=4,
            limits=(0.001, 0.01),
        ),
        Panel(
            "Fairness",
            "Jain's index over the agents' output rates: 1 is equal, 1/N is one agent served alone.",
            "percentunit",
            [(f"min(swarm_fairness_jain{{{STAGE}}})", "fairness")],
            kind="number",
            width=4,
            limits=(0.8, 0.95),
            good="high",
        ),
        Panel(
            "Contention",
            "Share of its speed alone that an agent has lost, over the same jobs; none before the 1-agent stage.",
            "percentunit",
            [(f"max(swarm_contention_ratio{{{STAGE}}})", "contention")],
            kind="number",
            width=4,
            limits=(0.5, 0.7),
        ),
    ],
)

THROUGHPUT = Row(
    "Agents and throughput",
    [
        Panel(
            "Agents by state",
            "Activity of every agent: waiting for a first token (prefill), reading its reply (decode), in a tool...",
            "short",
            [(f"sum by (state) (swarm_agents{{{STAGE}}})", "{{state}}")],
            kind="stack",
        ),
        Panel(
            "Output tokens",
            "By when a request ended: a long reply comes at once. vLLM's own count is smoother, and further down.",
            "suffix: tok/s",
            [(f"sum by ({BY}) (rate(swarm_output_tokens_total{{{STAGE}}}[$__rate_interval]))", SHOWN)],
        ),
        Panel(
            "Output of each agent",
            "Tokens per second while it is served, tools left out; in this phase so far.",
            "suffix: tok/s",
            [(f"swarm_agent_output_tokens_per_second{{{STAGE}}}", SHOWN + " agent {{agent}}")],
        ),
        Panel(
            "Context of each agent",
            "Prompt and reply of its last turn, in tokens.",
            "short",
            [(f"swarm_agent_context_tokens{{{STAGE}}}", SHOWN + " agent {{agent}}")],
        ),
        Panel(
            "Model or tools",
            "Share of the agents that wait on the model, and on tools.",
            "percentunit",
            [
                (
                    f'sum(swarm_agents{{{STAGE},state=~"prefill|decode"}}) / sum(swarm_agents_active{{{STAGE}}} > 0)',
                    "model",
                ),
                (f'sum(swarm_agents{{{STAGE},state="tool"}}) / sum(swarm_agents_active{{{STAGE}}} > 0)', "tools"),
            ],
            highest=1,
        ),
        Panel(
            "Jobs",
            "Finished per hour of the window so far.",
            "short",
            [(f"swarm_jobs_per_hour{{{STAGE}}}", SHOWN)],
        ),
    ],
)

LATENCY = Row(
    "Latency, as the agents see it: the window so far",
    [
        Panel("TTFT", "Send to first token.", "s", _quantiles("time_to_first_token")),
        Panel("ITL", "Gaps between the chunks of a reply.", "s", _quantiles("inter_token_latency")),
        Panel("Request", "Send to end of the stream.", "s", _quantiles("request_duration")),
        Panel("TTFT, heat map", "Requests by their TTFT.", "short", _heat("time_to_first_token"), kind="heat"),
        Panel("ITL, heat map", "Gaps by their length.", "short", _heat("inter_token_latency"), kind="heat"),
        Panel(
            "SLO share",
            "Requests whose first token, and gaps that, came in time. The limits are chosen above; those of the "
            "scenario's thresholds are bucket edges too.",
            "percentunit",
            [
                (_share("time_to_first_token", "$slo_ttft"), SHOWN + " TTFT"),
                (_share("inter_token_latency", "$slo_itl"), SHOWN + " ITL"),
            ],
            limits=(0.95, 0.99),
            good="high",
            highest=1,
        ),
        Panel(
            "At the chosen quantile",
            "TTFT, request and job at the quantile chosen above.",
            "s",
            [
                (
                    f"histogram_quantile($quantile, sum by (le, {BY}) (swarm_{metric}_seconds_bucket{{{STAGE}}}))",
                    f"{SHOWN} {name}",
                )
                for metric, name in (
                    ("time_to_first_token", "TTFT"),
                    ("request_duration", "request"),
                    ("job_duration", "job"),
                )
            ],
        ),
        Panel("Tool calls", "Start of a call to its result.", "s", _quantiles("tool_duration")),
        Panel(
            "Requests by outcome",
            "Per second. `aborted` is what swarm cut off at a stage's end.",
            "reqps",
            [(f"sum by (outcome) (rate(swarm_requests_total{{{STAGE}}}[$__rate_interval]))", "{{outcome}}")],
            kind="stack",
        ),
    ],
)

CLIENT = Row(
    "The load generator itself",
    [
        Panel(
            "Lag",
            "How late swarm was in the last second: beyond 5 ms (p99) its numbers are its own and not the server's.",
            "s",
            [(f"swarm_client_lag_seconds{{{STAGE}}}", SHOWN + " p{{quantile}}")],
            limits=(0.003, 0.005),
        ),
        Panel(
            "CPU",
            "CPU use as a share of one core.",
            "percentunit",
            [(f"swarm_client_cpu_ratio{{{STAGE}}}", SHOWN)],
            limits=(0.6, 0.8),
        ),
        Panel(
            "Memory",
            "Resident memory of swarm.",
            "bytes",
            [(f"swarm_client_resident_memory_bytes{{{STAGE}}}", SHOWN)],
        ),
    ],
)

SERVER = Row(
    "The server, as swarm reads it every second",
    [
        Panel(
            "Running and waiting",
            "Requests in the server's batch, and in its queue.",
            "short",
            [
                (f"swarm_server_requests_running{{{TARGET}}}", "{{target}} running"),
                (f"swarm_server_requests_waiting{{{TARGET}}}", "{{target}} waiting"),
            ],
        ),
        Panel(
            "KV cache",
            "Share in use. Near 1, requests are queued or preempted.",
            "percentunit",
            [(f"swarm_server_kv_cache_usage_ratio{{{TARGET}}}", "{{target}}")],
            limits=(0.85, 0.95),
            highest=1,
        ),
        Panel(
            "Prefix cache hits",
            "Share of looked-up prompt tokens that the cache had.",
            "percentunit",
            [
                (
                    f"rate(swarm_server_prefix_cache_hits_total{{{TARGET}}}[$__rate_interval])"
                    f" / (rate(swarm_server_prefix_cache_queries_total{{{TARGET}}}[$__rate_interval]) > 0)",
                    "{{target}}",
                )
            ],
            highest=1,
        ),
        Panel(
            "Preemptions",
            "Requests that lost their KV cache to others, in the time shown.",
            "short",
            [(f"increase(swarm_server_preemptions_total{{{TARGET}}}[$__range])", "{{target}}")],
            limits=(1, 10),
        ),
        Panel(
            "Where a request's time goes",
            "Mean time in the queue, in prefill and in decode, as the server counts it.",
            "s",
            [
                (
                    f"rate(swarm_server_{part}_time_seconds_sum{{{TARGET}}}[$__rate_interval])"
                    f" / (rate(swarm_server_{part}_time_seconds_count{{{TARGET}}}[$__rate_interval]) > 0)",
                    f"{{{{target}}}} {part}",
                )
                for part in ("queue", "prefill", "decode")
            ],
        ),
        Panel(
            "Tokens generated",
            "By the server's own counter.",
            "suffix: tok/s",
            [(f"rate(swarm_server_generation_tokens_total{{{TARGET}}}[$__rate_interval])", "{{target}}")],
        ),
    ],
)

VLLM = Row(
    "vLLM's own metrics, where Prometheus scrapes it",
    [
        Panel(
            "vLLM: running and waiting",
            "Requests of all its clients.",
            "short",
            [
                ("sum by (model_name) (vllm:num_requests_running)", "{{model_name}} running"),
                ("sum by (model_name) (vllm:num_requests_waiting)", "{{model_name}} waiting"),
            ],
        ),
        Panel(
            "vLLM: KV cache",
            "`kv_cache_usage_perc`, or `gpu_cache_usage_perc` before 0.10.",
            "percentunit",
            [("max by (model_name) (vllm:kv_cache_usage_perc or vllm:gpu_cache_usage_perc)", "{{model_name}}")],
            limits=(0.85, 0.95),
            highest=1,
        ),
        Panel(
            "vLLM: prefix cache hits",
            "By its new names, or those before 0.10.",
            "percentunit",
            [
                (
                    "sum by (model_name) (rate(vllm:prefix_cache_hits_total[$__rate_interval])"
                    " or rate(vllm:gpu_prefix_cache_hits_total[$__rate_interval]))"
                    " / (sum by (model_name) (rate(vllm:prefix_cache_queries_total[$__rate_interval])"
                    " or rate(vllm:gpu_prefix_cache_queries_total[$__rate_interval])) > 0)",
                    "{{model_name}}",
                )
            ],
            highest=1,
        ),
        Panel(
            "vLLM: TTFT p95",
            "From arrival at the server. What lies between this and the TTFT above is the way there, and swarm.",
            "s",
            [
                (
                    "histogram_quantile(0.95, sum by (le, model_name)"
                    " (rate(vllm:time_to_first_token_seconds_bucket[$__rate_interval])))",
                    "{{model_name}}",
                )
            ],
        ),
        Panel(
            "vLLM: preemptions",
            "In the time shown.",
            "short",
            [("sum by (model_name) (increase(vllm:num_preemptions_total[$__range]))", "{{model_name}}")],
            limits=(1, 10),
        ),
        Panel(
            "vLLM: generated tokens",
            "Tokens for all its clients.",
            "suffix: tok/s",
            [("sum by (model_name) (rate(vllm:generation_tokens_total[$__rate_interval]))", "{{model_name}}")],
        ),
    ],
)

GPU = Row(
    "GPU (targets with gpu_devices or gpu_metrics_url)",
    [
        Panel(
            "Power",
            "Sum of the target's GPUs.",
            "watt",
            [(f"swarm_gpu_power_watts{{{TARGET}}}", "{{target}}")],
        ),
        Panel(
            "Clock",
            "Clock of the slowest GPU. It falls when power or heat hold it down.",
            "hertz",
            [(f"swarm_gpu_sm_clock_hertz{{{TARGET}}}", "{{target}}")],
        ),
        Panel(
            "Temperature",
            "Temperature of the hottest GPU.",
            "celsius",
            [(f"swarm_gpu_temperature_celsius{{{TARGET}}}", "{{target}}")],
            limits=(75, 85),
        ),
        Panel(
            "Memory in use",
            "Sum of the target's GPUs.",
            "bytes",
            [(f"swarm_gpu_memory_used_bytes{{{TARGET}}}", "{{target}}")],
        ),
        Panel(
            "Held down",
            "1 while power or heat hold the clock down: then the run measures the cooling, too.",
            "short",
            [(f"swarm_gpu_throttled{{{TARGET}}}", "{{target}}")],
            limits=(0.5, 1),
            highest=1,
        ),
        Panel(
            "Tokens per joule",
            "Output tokens for the energy that the GPUs used, in the time shown.",
            "short",
            [
                (
                    f"sum by (target) (increase(swarm_server_generation_tokens_total{{{TARGET}}}[$__range]))"
                    f" / sum by (target) (increase(swarm_gpu_energy_joules_total{{{TARGET}}}[$__range]))",
                    "{{target}}",
                )
            ],
        ),
    ],
)


def dashboard() -> Dashboard:
    return to_dashboard(
        Page(
            uid="swarm-live",
            title="Live swarm",
            description="Current activity of the agents, the load generator, the server and its GPU.",
            since="now-15m",
            refresh="5s",
            variables={
                "run": "label_values(swarm_run_info, run)",
                "target": 'label_values(swarm_target_info{run=~"$run"}, target)',
                "agents": 'label_values(swarm_requests_total{run=~"$run"}, agents)',
            },
            choices={
                "quantile": ("0.95", "0.5", "0.9", "0.99"),
                "slo_ttft": ("2.5", "0.5", "1.0", "5.0", "10.0"),
                "slo_itl": ("0.1", "0.05", "0.2", "0.5"),
            },
            rows=[NOW, THROUGHPUT, LATENCY, CLIENT, SERVER, VLLM, GPU],
        )
    )
