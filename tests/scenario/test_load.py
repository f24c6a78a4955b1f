"""Scenario files: what they resolve to, and what a person is told who made a mistake."""

from dataclasses import replace
from pathlib import Path

import pytest

from swarm.errors import ExitCode, ScenarioError, UsageError
from swarm.scenario.example import write_example
from swarm.scenario.load import dump_scenario, load_scenario
from swarm.sessions.presets import PRESETS

SHIPPED = sorted(Path(__file__).parents[2].joinpath("scenarios").glob("*.yaml"))
TARGET = "targets:\n  - {name: moe, architecture: moe, simulate: moe-30b-a3b-awq-1x3090}\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


def refusal(path: Path, *settings: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_scenario(path, list(settings))
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_scenario_is_valid_and_its_resolved_form_reads_back_as_itself(path, write):
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert load_scenario(write(dump_scenario(scenario))) == scenario


def test_what_init_writes_is_a_valid_scenario_and_nothing_is_overwritten(tmp_path):
    path = tmp_path / "new.yaml"
    write_example(path)
    assert [target.name for target in load_scenario(path).targets] == ["moe"]
    with pytest.raises(UsageError, match="exists"):
        write_example(path)


def test_only_targets_have_no_default(write):
    scenario = load_scenario(write(TARGET))
    assert scenario.name == "mine"
    assert scenario.route == "litellm"
    assert scenario.agents.levels == [1, 4, 8]
    assert (scenario.agents.context, scenario.agents.system_tokens) == (8000, 3000)
    assert (scenario.stage.warmup, scenario.stage.duration, scenario.stage.trials) == (10, 60, 3)
    assert (scenario.client.max_lag, scenario.client.max_cpu) == (0.005, 0.8)


@pytest.mark.parametrize(
    ("extra", "line", "said"),
    [
        ("agents: {contxt: 8k}", 3, "agents.contxt: unknown key; did you mean context?"),
        ("agents:\n  levels: [1]\n  thnk: 1s", 5, "agents.thnk: unknown key; did you mean think?"),
        ("zzz: 1", 3, "zzz: unknown key; expected one of name, label, note, targets,"),
        ("route: litelm", 3, "did you mean litellm?"),
        ("stage: {duration: 10}", 3, "stage.duration: expected a duration such as 500ms, 10s, 5m or 8h, not 10"),
        ("stage: {trials: many}", 3, "stage.trials: expected a valid integer, not 'many'"),
        ("stage: {trials: 0}", 3, "stage.trials: expected greater than or equal to 1, not 0"),
        ("stage: {max_error_share: 7}", 3, "stage.max_error_share: expected a share such as 5% or 0.05, not 7"),
        ("stage: {max_lost_calls: 5}", 3, "stage.max_lost_calls: expected a share such as 5% or 0.05, not 5"),
        ("client: {retry_after_max: 30}", 3, "client.retry_after_max: expected a duration such as 500ms"),
        ("client: {retry_after_max: null}", 3, "client.retry_after_max: expected a duration such as 500ms"),
        ("agents: {levels: [4, 4]}", 3, "agents.levels: expected different numbers of agents, not [4, 4]"),
        ("agents: {levels: []}", 3, "agents.levels: expected at least 1 in the list, not 0"),
        ("agents: {context: 2k}", 3, "agents: `context` (2000 tokens) leaves no room after `system_tokens` (3000)"),
        (
            "agents: {context: 100k}",
            3,
            "agents.context: 100000 tokens, but moe-30b-a3b-awq-1x3090 serves at most 32768",
        ),
        ("tasks: [lru-cach]", 3, "tasks[0]: expected"),
        ("tasks: []", 3, "tasks: expected at least one of lru-cache"),
        ("tasks: {pth: x}", 3, "tasks.pth: unknown key; did you mean path?"),
        ('thresholds: ["moe.agents=4.tttf < 3"]', 3, "did you mean ttft_s?"),
        ("agents: 3", 3, "agents: expected"),
        ("agents: {seed: 1}\nagents: {seed: 2}", 4, "agents: given twice (first on line 3)"),
    ],
)
def test_a_mistake_is_named_with_its_file_line_key_and_the_nearest_valid_name(write, extra, line, said):
    path = write(TARGET + extra)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: ") or f"{path}:{line}: " in message
    assert said in message


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ("{driver: model, script: quick}", "`script` belongs to `driver: script`"),
        ("{driver: model, history: live}", "`history` belongs to `driver: script`"),
        ("{isolation: allow-unsafe}", "`isolation` belongs to `driver: model or trace`"),
        ("{keep_reasoning: true}", "`keep_reasoning` belongs to `driver: model`"),
        ("{compaction: drop-results}", "`compaction` belongs to `driver: model`"),
        ("{driver: model, max_reply_tokens: 0}", "max_reply_tokens"),
        ("{driver: model, compaction: summary}", "compaction"),
    ],
)
def test_a_key_that_the_driver_would_ignore_is_refused(write, agents, said):
    assert said in refusal(write(TARGET + f"agents: {agents}"))


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("agents: {session: coding}", "`session` belongs to `script: session`"),
        ("agents: {driver: model, session: coding}", "`session` belongs to `driver: script`"),
        ("agents: {script: session, history: live}", "`history` belongs to the scripts of tasks"),
        ("agents: {script: session, max_turns: 5}", "`max_turns` belongs to the scripts of tasks"),
        ("agents: {script: session, reply_scale: 2}", "`reply_scale` belongs to the scripts of tasks"),
        ("agents: {script: session, session: codign}", "did you mean coding?"),
        ("agents: {script: session, session: {reply: {medain: 3}}}", "did you mean median?"),
        ("agents: {script: session, session: {replies: {median: 3}}}", "unknown key"),
        ("agents: {script: session, session: {reply: {median: 9k}}}", "`p90` (700) is below `median` (9000)"),
        ("agents: {script: session, session: {reply: {min: 5k}}}", "`min` (5000) is above `max` (2000)"),
        ("agents: {script: session, session: {tools: {max: 5}}}", "expected a duration"),
        ("agents: {script: session, session: {sub_agents: {fan_out: 65}}}", "less than or equal to 64"),
        ("agents: {script: session}\ntasks: [lru-cache]", "`agents.session.real_tools`"),
    ],
)
def test_a_session_workload_names_what_it_is_made_of_and_nothing_that_it_would_ignore(write, extra, said):
    assert said in refusal(write(TARGET + extra))


def test_sessions_have_the_context_and_the_lengths_of_their_preset_where_nothing_else_is_said(write):
    agents = load_scenario(write(TARGET + "agents: {script: session}")).agents
    assert agents.shape == PRESETS["coding"]
    assert (agents.context, agents.system_tokens) == (32_000, 12_000)
    path = write(TARGET + "agents: {script: session, context: 16k, session: {preset: swe-agent, reply: {median: 100}}}")
    changed = load_scenario(path, ["agents.session.tools.max=2s"]).agents.shape
    preset = PRESETS["swe-agent"]
    reply, tools = replace(preset.reply, median=100), replace(preset.tools, max=2.0)
    assert changed == replace(preset, context=16_000, reply=reply, tools=tools)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_read_back_as_it_was_resolved(write, name):
    served = "targets: [{name: mine, architecture: moe, api_base: 'http://127.0.0.1:8000/v1'}]\n"
    path = write(served + f"agents: {{script: session, session: {name}}}")
    scenario = load_scenario(path)
    assert scenario.agents.shape == PRESETS[name]
    path.write_text(dump_scenario(scenario))
    assert load_scenario(path) == scenario


def test_a_scenario_of_the_model_driver_is_read_back_as_it_was_resolved(write):
    path = write(
        TARGET + "agents: {driver: model, isolation: allow-unsafe, tool_choice: required, max_reply_tokens: 2k}"
    )
    scenario = load_scenario(path)
    assert (scenario.agents.driver, scenario.agents.max_reply_tokens) == ("model", 2000)
    path.write_text(dump_scenario(scenario))
    assert load_scenario(path) == scenario


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("agents: {driver: trace}", "`trace: FILE`"),
        ("agents: {trace: a.jsonl}", "`trace` belongs to `driver: trace`"),
        ("agents: {driver: trace, trace: a.jsonl, max_turns: 5}", "`max_turns` belongs to `driver: script or model`"),
        ("agents: {driver: trace, trace: {path: a, think: {scale: -1}}}", "greater than or equal to 0"),
        ("agents: {driver: trace, trace: a.jsonl}\ntasks: [lru-cache]", "the trace's sessions"),
    ],
)
def test_a_replay_names_its_trace_and_nothing_that_it_would_ignore(write, extra, said):
    assert said in refusal(write(TARGET + extra))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{name: a, architecture: moe}", "give exactly one of `simulate`"),
        ("{name: a, architecture: moe, simulate: x, api_base: http://h/v1}", "give exactly one of `simulate`"),
        ("{name: A b, architecture: moe, simulate: moe-30b-a3b-awq-1x3090}", "expected a name of the form"),
        ("{name: a, architecture: moee, api_base: http://h/v1}", "did you mean moe?"),
        ("{name: a, architecture: moe, api_base: h:8000}", "expected an address such as http://127.0.0.1:8000/v1"),
        ("{name: a, architecture: moe, simulate: moe-30b-a3b-awq-1x309}", "did you mean 'moe-30b-a3b-awq-1x3090'"),
        ("{name: a, architecture: dense, simulate: moe-30b-a3b-awq-1x3090}", "dense, but the profile moe-30b"),
        ("{name: a, simulate: {model: qwen3-32b}}", "`gpu` must be a name, such as rtx4090"),
        ("{name: a, simulate: {gpu: h100}}", "`model` must be a name, such as qwen3-coder-30b-a3b"),
        ("{name: a, simulate: {model: qwen3-32b, gpu: h100, profile: x}}", "either `profile`, or `model` and `gpu`"),
        ("{name: a, simulate: {model: qwen3-32b, gpu: h100, tp: two}}", "`tp` must be a whole number of GPUs"),
        ("{name: a, simulate: {model: qwen3-32b, gpu: h100, quant: 4}}", "`quant` must be a name, such as awq"),
        ("{name: a, simulate: {model: qwen3-31b, gpu: h100}}", "unknown model 'qwen3-31b': did you mean qwen3-32b"),
        ("{name: a, simulate: qwen3-32b@h101}", "unknown GPU 'h101': did you mean h100"),
        (
            "{name: a, architecture: moe, simulate: {profile: moe-30b-a3b-awq-1x3090, max_seqs: 3}}",
            "did you mean max_num_seqs",
        ),
        ("{architecture: moe, api_base: http://h/v1}", "targets[0].name: missing"),
    ],
)
def test_a_target_is_one_backend_with_a_name_and_an_architecture(write, target, said):
    path = write(f"targets:\n  - {target}\n")
    message = refusal(path)
    assert f"{path}:2: " in message
    assert said in message


def test_two_targets_of_one_name_are_refused(write):
    assert "two targets are called 'moe'" in refusal(
        write(TARGET + "  - {name: moe, architecture: dense, api_base: http://h/v1}")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected keys and values such as `targets:`"),
        ("- 1", "expected keys and values"),
        ("targets: [", "not readable as YAML"),
        ("targets: !!python/object:os.system {}", "not readable as YAML"),
        (
            "a: &a [&b [1, 1, 1], *b, *b, *b]\nb: &c [*a, *a, *a, *a]\n"
            + "\n".join(f"c{i}: [*c, *c, *c]" for i in range(500)),
            "aliases",
        ),
        ("a: &a [*a]", "an alias inside itself"),
    ],
)
def test_what_is_no_scenario_at_all_is_refused_with_its_reason(write, text, said):
    assert said in refusal(write(text))


def test_a_missing_file_is_named(tmp_path):
    assert "none.yaml: cannot be read: No such file" in refusal(tmp_path / "none.yaml")


def test_set_overrides_by_dotted_path_with_lists_by_index_or_by_name(write):
    settings = [
        "agents.levels=[2]",
        "stage.duration=5s",
        "targets.moe.gpus=2",
        "targets.0.simulate={profile: moe-30b-a3b-awq-1x3090, max_num_seqs: 4}",
        "stage.duration=7s",
    ]
    scenario = load_scenario(write(TARGET), settings)
    assert scenario.agents.levels == [2]
    assert scenario.stage.duration == 7
    assert scenario.targets[0].gpus == 2
    assert scenario.targets[0].simulate.max_num_seqs == 4


def test_set_reaches_into_a_section_that_the_file_gives_as_one_value(write, tmp_path):
    recorded = tmp_path / "mine.jsonl"
    recorded.touch()
    path = write(TARGET + "agents: {driver: trace, trace: other.jsonl}")
    scenario = load_scenario(path, [f"agents.trace.path={recorded}", "targets.moe.simulate.max_num_seqs=4"])
    assert scenario.agents.trace.path == str(recorded)
    assert (scenario.targets[0].simulate.profile, scenario.targets[0].simulate.max_num_seqs) == (
        "moe-30b-a3b-awq-1x3090",
        4,
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("agents.levls=[1]", "--set agents.levls=[1]: agents.levls: unknown key; did you mean levels?"),
        ("targets.nope.gpus=1", "no item 'nope' in this list; it has moe"),
        ("targets.7.gpus=1", "no item '7' in this list"),
        ("agents", "expected a.b=value"),
        ("=3", "expected a.b=value"),
        ("agents.levels=[", "--set agents.levels=[: not readable as YAML"),
        ("agents.context=2k", "--set agents.context=2k"),
        ("name.first=x", "name is a single value and has no 'first'"),
    ],
)
def test_a_wrong_set_is_named_as_the_place_of_the_mistake(write, setting, said):
    assert said in refusal(write(TARGET), setting)


def test_a_file_is_looked_for_beside_the_scenario_then_in_the_current_folder_and_an_options_there_alone(
    write, tmp_path, monkeypatch
):
    path = write(TARGET + "agents: {driver: trace, trace: {path: a.jsonl, workspace: b}}\nclient: {ca_file: c}")
    here = tmp_path / "here"
    for name in ("mine.jsonl", "b", "c"):
        (here / name).mkdir(parents=True)
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "c").touch()
    monkeypatch.chdir(here)
    scenario = load_scenario(path)
    assert (scenario.agents.trace.path, scenario.client.ca_file) == (str(tmp_path / "a.jsonl"), str(tmp_path / "c"))
    assert scenario.agents.trace.workspace == "b"
    assert load_scenario(path, ["agents.trace.path=mine.jsonl"]).agents.trace.path == "mine.jsonl"
    option = "--set agents.trace.path=a.jsonl"
    assert refusal(path, option[6:]) == f"{option}: agents.trace.path: a.jsonl: no such file in {here}"


def test_a_file_that_is_nowhere_is_named_with_its_key_and_where_it_was_looked_for(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    path = write(TARGET.replace("moe-30b-a3b-awq-1x3090", "mine.json") + "tasks: {path: nope}")
    places = f"no such file in {tmp_path} nor {tmp_path.parent}"
    assert refusal(path).splitlines() == [
        f"{path}:3: tasks.path: nope: {places}",
        f"{path}:2: targets[0].simulate: mine.json: {places}",
    ]


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        ("mo.agents=1.job_s.p50 < 9", "no target is called mo; did you mean moe?"),
        ("moe.agents=5.job_s.p50 < 9", "no stage has so many agents: agents.levels is [1, 2]"),
        ("*.agents=5.job_s.p50 < 9", "no stage has so many agents: agents.levels is [1, 2]"),
    ],
)
def test_a_threshold_that_no_run_of_the_scenario_can_have_a_value_for_is_refused(write, threshold, said):
    path = write(f'{TARGET}agents: {{levels: [1, 2]}}\nthresholds:\n  - "moe.agents=1.errors < 1"\n  - "{threshold}"')
    assert refusal(path) == f"{path}:6: thresholds[1]: {threshold}: {said}"


def test_a_threshold_that_compares_with_one_agent_needs_a_stage_of_one(write):
    path = write(TARGET + 'thresholds: ["moe.agents=4.contention < 0.5"]')
    assert load_scenario(path).thresholds == ["moe.agents=4.contention < 0.5"]
    said = refusal(path, "agents.levels=[4]")
    assert said.endswith("contention compares with one agent, and agents.levels is [4]")


def test_targets_left_out_take_their_thresholds_with_them(write):
    other = "  - {name: other, architecture: moe, api_base: http://127.0.0.1:8000/v1}\n"
    thresholds = ["moe.agents=1.errors < 1", "*.agents=1.errors < 1", "other.agents=1.errors < 1"]
    scenario = load_scenario(write(f"{TARGET}{other}thresholds: {thresholds}"))
    assert scenario.only(["moe"]).thresholds == thresholds[:2]
    assert scenario.only(None).thresholds == thresholds


def test_targets_are_chosen_by_name(write):
    scenario = load_scenario(SHIPPED[[path.stem for path in SHIPPED].index("four-agents")])
    assert [target.name for target in scenario.only(["dense"]).targets] == ["dense"]
    assert scenario.only(None) == scenario
    with pytest.raises(UsageError, match="--target gpt: no such target; the scenario has moe, dense"):
        scenario.only(["gpt"])


def test_several_mistakes_are_all_told_at_once(write):
    message = refusal(write(TARGET + "agents: {contxt: 8k, think: 3}\nroute: x"))
    assert len(message.splitlines()) == 3
    assert issubclass(ScenarioError, UsageError)


@pytest.mark.parametrize(
    ("until", "problem"),
    [
        ("{metric: ttft_s.p95}", "did you mean ttft_s.mean?"),
        ("{metric: output_tokens_per_s, ci: 0%}", "greater than 0"),
        ("{metric: output_tokens_per_s, max: 30s}", "`until.max` (30 s) is shorter than `duration` (60 s)"),
    ],
)
def test_a_window_that_cannot_end_as_asked_is_refused(write, until, problem):
    assert problem in refusal(write(f"{TARGET}stage: {{until: {until}}}"))


def test_a_window_that_ends_when_sure_enough_has_its_defaults(write):
    stage = load_scenario(write(TARGET + "stage: {until: {metric: job_s.mean}}")).stage
    assert (stage.until.ci, stage.until.max, stage.longest) == (0.05, 600.0, 600.0)


def test_a_simulated_model_can_be_named_with_its_gpu(write):
    path = write(
        "targets:\n  - {name: a, simulate: {model: qwen3-32b, gpu: RTX 4090, quant: awq, tp: 2, max_num_seqs: 4}}\n"
    )
    target = load_scenario(path).targets[0]
    assert target.simulate.profile == "qwen3-32b@2xRTX 4090:awq"
    assert (target.simulate.max_num_seqs, target.architecture) == (4, "dense")
    assert load_scenario(write(dump_scenario(load_scenario(path)))).targets[0] == target
