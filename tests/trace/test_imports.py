"""Logs of real agents and published formats, read as traces: each file has the form of its maker."""

import gzip
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import UsageError
from swarm.trace.format import Parent, read_trace, write_trace
from swarm.trace.read import load_trace, read_any, recognised
from swarm.trace.redact import Redactor
from swarm.trace.structure import pause
from tests.small_runs import called

LOGS = Path(__file__).parent / "logs"
FILES = {
    "claude-code": "claude",
    "codex": "codex",
    "opencode": "opencode",
    "openhands": "openhands-sdk",
    "swe-agent": "swe-agent.traj",
    "weka": "weka.json",
    "aiperf": "aiperf.jsonl",
    "mlperf": "mlperf.jsonl",
    "otel": "otel.jsonl",
    "sharegpt": "sharegpt.json",
}
CLAUDE = "5f1c2f0e-0000-4000-8000-000000000001"
CODEX = "019a2d7a-41c4-78b1-b7cc-a45d62a89cd5"
SPAWNED = "019a2d7a-77aa-7000-8000-0000000000aa"


def seconds(pause_ns):
    return pause_ns / 1e9


def counts(turns):
    return [(turn.prompt_tokens, turn.cached_tokens, turn.completion_tokens) for turn in turns]


@pytest.mark.parametrize(("form", "name"), FILES.items())
def test_every_format_is_recognised_by_its_contents_and_becomes_a_trace_that_reads_back(form, name, tmp_path):
    made = load_trace(LOGS / name)
    assert made.header.source == form
    write_trace(tmp_path / "made.jsonl", made)
    assert read_trace(tmp_path / "made.jsonl") == made


@pytest.mark.parametrize("name", [*FILES.values(), "openhands-v0.json", "mini.traj.json"])
def test_an_import_holds_no_text_unless_contents_are_asked_for(name):
    made = read_any([LOGS / name], None, lambda _: None)
    text = json.dumps([str(made.header), [str(turn) for turn in made.turns]])
    assert not any(said in text for said in ("cart", "Fix", "total is", "mutex", "pytest"))
    kept = read_any([LOGS / name], None, lambda _: Redactor(()))
    if name not in ("weka.json", "aiperf.jsonl"):
        assert any(message.content for turn in kept.turns for message in turn.added)
        assert kept.header.content


def test_claude_code_replies_in_pieces_are_one_turn_with_the_usage_of_the_whole():
    turns = load_trace(LOGS / "claude").sessions()[CLAUDE]
    assert [turn.error for turn in turns] == [None, "rate_limited", None, None, None, None, None, None]
    first = turns[0]
    assert counts([first]) == [(15004, 12000, 90)]
    assert [call.name for call in first.reply.calls] == ["Read", "Bash"]
    assert first.reply.reasoning_bytes == len("Look at the cart first.")
    assert [message.role for message in turns[1].added] == ["assistant", "tool", "tool"]
    assert pause(first, turns[1]).kind == "tool"
    assert seconds(pause(first, turns[1]).ns) == 4


def test_a_failed_attempt_of_claude_code_is_a_turn_and_its_back_off_no_tool_time():
    failed, again = load_trace(LOGS / "claude").sessions()[CLAUDE][1:3]
    assert (failed.status, seconds(failed.end_ns - failed.t_ns)) == (529, 2)
    assert seconds(again.t_ns - failed.end_ns) == 8


def test_a_background_agent_of_claude_code_gives_its_result_to_a_later_turn():
    sessions = load_trace(LOGS / "claude").sessions()
    child = sessions[f"{CLAUDE}/ab12cd3"]
    assert child[0].parent == Parent(session=CLAUDE, turn=3)
    results = {turn.number: turn.results for turn in sessions[CLAUDE] if turn.results}
    assert results == {5: (f"{CLAUDE}/ab12cd3",)}


def test_compaction_of_claude_code_leaves_one_session_with_a_turn_for_the_summary():
    turns = load_trace(LOGS / "claude").sessions()[CLAUDE]
    summary, after = turns[-2:]
    assert (summary.prompt_tokens, summary.kept) == (15800, turns[-3].kept + len(turns[-3].added))
    assert seconds(summary.end_ns - summary.t_ns) == 15
    assert (after.kept, [message.role for message in after.added]) == (1, ["user"])


def lines_of(name):
    return (LOGS / name).read_text().splitlines()


def test_what_a_resumed_session_copies_is_counted_once(tmp_path):
    lines = lines_of(f"claude/-home-ada-shop/{CLAUDE}.jsonl")
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    more = json.loads(lines[-1])
    more["message"]["id"] = "msg_new"
    (tmp_path / "b.jsonl").write_text("\n".join([*lines, json.dumps(more)]).replace(CLAUDE, "other"))
    made = load_trace(tmp_path)
    assert len([turn for turn in made.sessions()["other"] if turn.error is None and turn.model]) == 1
    assert any("copies" in note for note in made.header.notes)


def test_going_back_to_an_earlier_message_takes_what_came_after_out_of_the_prompt(tmp_path):
    lines = [json.loads(line) for line in lines_of(f"claude/-home-ada-shop/{CLAUDE}.jsonl")[:12]]
    lines.append(lines[1] | {"uuid": "u9", "parentUuid": "a3", "message": {"role": "user", "content": "No, stop."}})
    lines.append(lines[4] | {"uuid": "a9", "parentUuid": "u9", "message": lines[4]["message"] | {"id": "msg_9"}})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    last = load_trace(tmp_path / "a.jsonl").turns[-1]
    assert (last.kept, [message.role for message in last.added]) == (3, ["user"])


def test_codex_counts_each_reply_once_and_its_failures():
    turns = load_trace(LOGS / "codex").sessions()[CODEX]
    assert counts(turns) == [
        (9000, 6000, 120),
        (9200, 9000, 30),
        (9400, 9200, 25),
        (None, None, None),
        (5000, 4000, 10),
    ]
    assert [turn.error for turn in turns] == [None, None, None, "cut", None]
    assert turns[0].model == "gpt-5-codex"
    assert [call.name for call in turns[0].reply.calls] == ["shell", "spawn_agent"]


def test_the_result_of_a_spawned_thread_of_codex_comes_with_the_call_that_waits_for_it():
    sessions = load_trace(LOGS / "codex").sessions()
    assert sessions[SPAWNED][0].parent == Parent(session=CODEX, turn=1)
    assert [turn.results for turn in sessions[CODEX]] == [(), (), (SPAWNED,), (), ()]


def test_compaction_of_codex_replaces_the_history():
    turns = load_trace(LOGS / "codex").sessions()[CODEX]
    assert turns[3].kept == 1
    assert [message.role for message in turns[3].added] == ["user", "user", "user"]


def test_a_reply_of_opencode_ends_before_its_tools_and_its_retries_are_turns():
    sessions = load_trace(LOGS / "opencode").sessions()
    first, failed, second = sessions["ses_1"]
    assert counts([first, second]) == [(9500, 9000, 80), (9620, 9500, 40)]
    assert (first.end_ns - first.t_ns, first.first_token_ns - first.t_ns) == (2_400_000_000, 800_000_000)
    assert (failed.status, failed.error) == (503, "server_error")
    assert sessions["ses_2"][0].parent == Parent(session="ses_1", turn=1)
    assert failed.results == ("ses_2",)


def test_opencodes_database_and_its_export_say_the_same_as_its_files(tmp_path):
    storage = LOGS / "opencode/storage"
    base = sqlite3.connect(tmp_path / "opencode.db")
    base.execute("CREATE TABLE session (id TEXT, parent_id TEXT)")
    base.execute("CREATE TABLE message (id TEXT, session_id TEXT, time_created INTEGER, data TEXT)")
    base.execute("CREATE TABLE part (id TEXT, message_id TEXT, session_id TEXT, data TEXT)")
    exported = {}
    for path in storage.glob("session/*/*.json"):
        info = json.loads(path.read_text())
        base.execute("INSERT INTO session VALUES (?, ?)", (info["id"], info.get("parentID")))
        exported[info["id"]] = {"info": info, "messages": []}
    for path in sorted(storage.glob("message/*/*.json")):
        info = json.loads(path.read_text())
        parts = [json.loads(part.read_text()) for part in sorted(storage.glob(f"part/{info['id']}/*.json"))]
        row = (info["id"], info["sessionID"], info["time"]["created"], json.dumps(info))
        base.execute("INSERT INTO message VALUES (?, ?, ?, ?)", row)
        for part in parts:
            row = (part["id"], info["id"], info["sessionID"], json.dumps(part))
            base.execute("INSERT INTO part VALUES (?, ?, ?, ?)", row)
        exported[info["sessionID"]]["messages"].append({"info": info, "parts": parts})
    base.commit()
    base.close()
    for name, document in exported.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document, indent=1))
    files = load_trace(storage)
    for made in (load_trace(tmp_path / "opencode.db"), load_trace(storage.parent)):
        assert [(turn.session, turn.t_ns, turn.end_ns, turn.parent, turn.results) for turn in made.turns] == [
            (turn.session, turn.t_ns, turn.end_ns, turn.parent, turn.results) for turn in files.turns
        ]
    both = read_any([tmp_path / "ses_1.json", tmp_path / "ses_2.json"], None, lambda _: None)
    assert counts(both.turns) == counts(files.turns)


def test_parallel_actions_of_one_reply_of_openhands_are_one_turn():
    turns = load_trace(LOGS / "openhands-v0.json").turns
    assert counts(turns) == [(5200, 0, 70), (5600, 5200, 30)]
    assert [call.name for call in turns[0].reply.calls] == ["execute_bash", "execute_bash"]
    assert [message.role for message in turns[1].added] == ["assistant", "tool", "tool"]
    assert turns[0].streamed is False


def test_openhands_sdk_tells_usage_and_latency_beside_its_events():
    turns = load_trace(LOGS / "openhands-sdk").turns
    assert counts(turns) == [(6000, 0, 45), (5900, 5000, 20)]
    assert [seconds(turn.end_ns - turn.t_ns) for turn in turns] == [4, 3]
    assert turns[0].tools.count == 1
    assert [message.role for message in turns[1].added] == ["user", "tool"]  # the summary, and what was not forgotten


def test_swe_agents_queries_are_the_prompts_and_its_tools_the_pauses():
    one, other = load_trace(LOGS / "swe-agent.traj").turns
    assert (one.streamed, other.kept, len(other.added)) == (False, 2, 2)
    assert seconds(pause(one, other).ns) == 0.4


def test_mini_swe_agent_tells_usage_and_times_with_its_messages():
    one, other = load_trace(LOGS / "mini.traj.json").turns
    assert counts([one, other]) == [(1200, 0, 35), (1300, 0, 20)]
    assert (one.streamed, seconds(one.end_ns - one.t_ns), pause(one, other).kind) == (False, 3, "tool")
    assert seconds(pause(one, other).ns) == 2


def test_wekas_sub_agents_join_their_parent_unless_they_were_launched_beside_it():
    sessions = load_trace(LOGS / "weka.json").sessions()
    main = sessions["trace_0001"]
    assert [turn.results for turn in main] == [(), ("trace_0001/agent_001",)]
    assert sessions["trace_0001/agent_002"][0].parent == Parent(session="trace_0001", turn=1)
    assert main[1].blocks[:3] == main[0].blocks[:3]
    assert sessions["trace_0001/agent_001"][0].blocks[0] == main[0].blocks[0]
    assert len(main[0].blocks) == 4  # 200 tokens in blocks of 64: the last one has no id in the file
    assert [turn.streamed for turn in main] == [True, True]
    assert sessions["trace_0001/agent_002"][0].streamed is False
    assert pause(*main).kind == "tool"


def test_aiperfs_deltas_add_up_and_sessions_share_the_blocks_that_they_begin_with():
    sessions = load_trace(LOGS / "aiperf.jsonl").sessions()
    assert counts(sessions["sess-a"]) == [(1536, None, 320), (1536 + 320 + 768, None, 180)]
    shared = [turns[0].added[0] for turns in sessions.values()]
    assert shared[0] == shared[1]
    assert shared[0].tokens == 512
    assert pause(*sessions["sess-a"]).ns == 2_450_300_000


def test_mlperfs_delays_come_before_what_they_bring():
    one, other = load_trace(LOGS / "mlperf.jsonl").turns
    assert pause(one, other).kind == "tool"
    assert seconds(pause(one, other).ns) == 1.2
    assert [message.role for message in one.added] == ["system", "user"]
    assert one.added[1].content == {"role": "user", "content": "Fix it."}  # only texts tell its lengths


def test_an_agent_inside_an_agents_span_is_a_sub_agent():
    sessions = load_trace(LOGS / "otel.jsonl").sessions()
    assert counts(sessions["conv-1"]) == [(900, None, 40), (960, None, 15)]
    assert sessions["conv-1/s4"][0].parent == Parent(session="conv-1", turn=2)
    assert [message.role for message in sessions["conv-1"][1].added] == ["assistant", "tool"]


def test_spans_without_messages_grow_with_their_lengths(tmp_path):
    text = (
        (LOGS / "otel.jsonl").read_text().replace("gen_ai.input.messages", "x").replace("gen_ai.output.messages", "x")
    )
    (tmp_path / "a.jsonl").write_text(text.replace("gen_ai.system_instructions", "x"))
    made = load_trace(tmp_path / "a.jsonl")
    assert made.sessions()["conv-1"][1].kept == 1
    assert any("no messages" in note for note in made.header.notes)


def test_sharegpt_says_that_it_has_no_times():
    made = load_trace(LOGS / "sharegpt.json")
    assert {name: len(turns) for name, turns in made.sessions().items()} == {"QWJhYvA_0": 2, "i6IyJda_0": 1}
    assert made.header.notes[0].startswith("it has no times")


def written(tmp_path, form, name):
    """The same documents in another way of writing them."""
    text = (LOGS / name).read_text()
    lines = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)
    path = tmp_path / "file.any"
    match form:
        case "byte order mark":
            path.write_text(text, encoding="utf-8-sig")
        case "utf-16":
            path.write_text(text, encoding="utf-16")
        case "gzip":
            path.write_bytes(gzip.compress(text.encode()))
        case "array":
            path.write_text(json.dumps(lines))
        case "pretty array":
            path.write_text(json.dumps(lines, indent=2))
        case "pretty documents":
            path.write_text("\n".join(json.dumps(each, indent=2) for each in lines))
    return path


@pytest.mark.parametrize("form", ["byte order mark", "utf-16", "gzip", "array", "pretty array", "pretty documents"])
@pytest.mark.parametrize("name", ["aiperf.jsonl", "mlperf.jsonl", "otel.jsonl", "sharegpt.json"])
def test_it_does_not_matter_how_json_is_written_down(tmp_path, form, name):
    made = load_trace(written(tmp_path, form, name))
    plain = load_trace(LOGS / name)
    names = [name.replace("QWJhYvA_0", "") for name in plain.sessions()]
    assert len(made.sessions()) == len(names)
    assert counts(made.turns) == counts(plain.turns)
    assert made.header.notes == plain.header.notes


def test_a_damaged_line_costs_that_line_and_is_counted(tmp_path):
    lines = lines_of("aiperf.jsonl")
    (tmp_path / "a.jsonl").write_text("\n".join([lines[0], '{"session_id": "sess', lines[1], "}{", lines[2]]))
    made = load_trace(tmp_path / "a.jsonl")
    assert counts(made.turns) == counts(load_trace(LOGS / "aiperf.jsonl").turns)
    assert "2 damaged lines are left out" in made.header.notes


def test_a_file_that_breaks_off_is_read_to_there(tmp_path):
    packed = gzip.compress("".join(f"{line}\n" for line in lines_of("aiperf.jsonl") * 500).encode())
    (tmp_path / "a.gz").write_bytes(packed[: len(packed) // 2])
    assert any("read to where it is damaged: a.gz" in note for note in load_trace(tmp_path / "a.gz").header.notes)


def test_a_damaged_document_among_pretty_ones_costs_that_document(tmp_path):
    good = [json.dumps(json.loads(line), indent=2) for line in lines_of("aiperf.jsonl")]
    (tmp_path / "a.json").write_text("\n".join([good[0], '{\n  "session_id": oops\n}', good[1], good[2]]))
    made = load_trace(tmp_path / "a.json")
    assert len(made.turns) == 3
    assert "1 damaged lines are left out" in made.header.notes


def test_logs_of_several_agents_in_a_folder_become_one_trace(tmp_path):
    made = read_any([LOGS / "claude", LOGS / "codex"], None, lambda _: None)
    assert {CLAUDE, CODEX} <= set(made.sessions())
    assert any("passed over" in note for note in made.header.notes)


def test_a_format_that_is_named_chooses_the_files_of_a_folder():
    made = read_any([LOGS / "codex", LOGS / "claude"], "codex", lambda _: None)
    assert set(made.sessions()) == {CODEX, SPAWNED}


def test_import_writes_a_trace_and_says_what_the_format_does_not(tmp_path):
    out = tmp_path / "made.jsonl"
    done = called("trace", "import", LOGS / "sharegpt.json", "--out", out)
    assert (done.returncode, read_trace(out).header.source) == (0, "sharegpt")
    assert "2 sessions, 3 turns" in done.stdout
    assert "it has no times" in done.stdout
    again = called("trace", "import", LOGS / "sharegpt.json", "--out", out)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_import_with_contents_keeps_texts_without_secrets(tmp_path):
    secret = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    log = json.loads((LOGS / "sharegpt.json").read_text())
    log[0]["conversations"][0]["value"] = f"My token is {secret}."
    (tmp_path / "log.json").write_text(json.dumps(log))
    done = called("trace", "import", tmp_path / "log.json", "--contents", "--out", tmp_path / "a.jsonl")
    assert done.returncode == 0
    text = (tmp_path / "a.jsonl").read_text()
    assert secret not in text
    assert "My token is" in text


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nothing.json"], "cannot be read"),
        (["--format", "wizard", str(LOGS / "weka.json")], "expected one of swarm, events"),
        ([str(LOGS / "README.md")], "not recognised"),
    ],
)
def test_what_cannot_be_imported_is_refused(args, said, tmp_path):
    done = called("trace", "import", *args, "--out", tmp_path / "a.jsonl")
    assert done.returncode == 2
    assert said in done.stderr


def test_an_empty_folder_holds_no_turn(tmp_path):
    with pytest.raises(UsageError, match="there is no turn in it"):
        load_trace(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw):
    """A log of which some values say something else than they should."""
    name = draw(st.sampled_from([path for path in sorted(LOGS.rglob("*.json*")) if "opencode" not in str(path)]))
    text = name.read_text()
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = [json.loads(line) for line in text.splitlines()]
    for _ in range(draw(st.integers(1, 4))):
        spot = draw(st.sampled_from(documents))
        while isinstance(spot, dict | list) and spot:
            keys = list(spot) if isinstance(spot, dict) else range(len(spot))
            key = draw(st.sampled_from(list(keys)))
            if not isinstance(spot[key], dict | list) or not spot[key] or draw(st.booleans()):
                spot[key] = draw(JSON)
                break
            spot = spot[key]
    return documents


@settings(max_examples=300, deadline=None)
@given(documents=damaged())
def test_whatever_a_log_says_it_is_read_or_refused(tmp_path_factory, documents):
    path = tmp_path_factory.mktemp("log") / "a.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents))
    form = recognised(path)
    if form is None:
        return
    try:
        made = read_any([path], form, lambda _: Redactor(()))
    except UsageError:
        return
    write_trace(path.with_name("made.jsonl"), made)
    assert len(read_trace(path.with_name("made.jsonl")).turns) == len(made.turns)
