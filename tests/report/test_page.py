"""The HTML page: what it says, in which order, and that what a run directory holds stays text."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import pytest
from msgspec import structs
from synthetic import Run

from swarm.analysis.report_data import read_view
from swarm.analysis.results import analyse
from swarm.report.html import to_html
from swarm.results import Threshold

EVIL = '<script>document.title = "stolen"</script><img src=x onerror="document.title=1">"\'&{{ 7 * 7 }}'


class Page(HTMLParser):
    """The elements of a page, and the text of the kinds that matter."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts.setdefault(tag, []).append(data)

    def text(self, tag: str) -> str:
        return " ".join("".join(self.texts.get(tag, [])).split())

    def of(self, name: str) -> list[dict[str, str | None]]:
        """Elements that have this class."""
        return [fields for _, fields in self.elements if name in (fields.get("class") or "").split()]


def two_models(levels=(1, 2), trials=3, **work):
    run = Run(targets={"dense": "dense", "moe": "moe"}, levels=list(levels), trials=trials)
    for trial in range(1, trials + 1):
        for level in levels:
            for target, slower in (("dense", 2.0), ("moe", 1.0)):
                run.healthy(target, level, trial, slower=slower * (1 + 0.02 * trial), period=2.0, window_s=24.0, **work)
    return run


def test_the_verdict_and_the_sentence_come_first(viewed):
    view = viewed(two_models())
    page = Page(to_html([view]))
    assert page.text("h1").startswith("At 2 agents dense keeps 100% of its single-agent speed")
    assert page.text("header").startswith("run-1 2026-01-02T03:04:05+00:00 VALID At 2 agents")
    first = [tag for tag, _ in page.elements if tag in ("h1", "h2", "table", "svg")]
    assert first[:3] == ["h1", "h2", "table"]


def test_what_a_run_directory_holds_stays_text(viewed, tmp_path):
    run = two_models(levels=(1,), trials=1)
    run.stage("moe", 2, 1)  # the last line of a run that broke off
    directory = run.write(tmp_path / "evil")
    environment = {"predicted": False, "targets": {"moe": {"model": EVIL, "notes": [EVIL]}}, "machine": {EVIL: EVIL}}
    (directory / "environment.json").write_text(json.dumps(environment))
    (directory / "scenario.yaml").write_text((directory / "scenario.yaml").read_text() + f"# {EVIL}\n")
    results = analyse(directory)
    results = structs.replace(
        results,
        name=EVIL,
        invalid_reasons=[EVIL],
        notes=[EVIL],
        thresholds=[Threshold(expression=EVIL, target=EVIL, value=None, passed=False, reason=None)],
        targets=[results.targets[0], structs.replace(results.targets[1], name=EVIL)],
    )
    text = to_html([replace(read_view(directory, results), name=EVIL)])
    page = Page(text)
    assert page.texts["script"] == [resources.files("swarm.report").joinpath("page.js").read_text()]
    assert not [tag for tag, _ in page.elements if tag in ("img", "iframe", "object", "link", "base")]
    assert not [name for _, fields in page.elements for name in fields if name.startswith("on")]
    for tag in ("title", "h1", "td", "pre", "li"):
        assert EVIL in "".join(page.texts[tag]), tag


def test_what_agents_and_servers_say_stays_text_in_the_timeline(viewed):
    run = Run()
    stage = run.stage()
    stage.tool(1, 2, name=EVIL)
    stage.end()
    page = Page(to_html([viewed(run)]))
    assert [fields["data-n"] for fields in page.of("tool") if "data-n" in fields] == [EVIL]
    assert len(page.texts["script"]) == 1


def test_only_our_script_is_allowed_to_run_and_nothing_is_fetched(viewed):
    text = to_html([viewed(two_models(levels=(1,), trials=1))])
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(fields["content"] for _, fields in Page(text).elements if fields.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    fetching = [fields for _, fields in Page(text).elements if {"src", "srcset", "action", "data"} & fields.keys()]
    assert fetching == []
    assert {fields["href"] for _, fields in Page(text).elements if "href" in fields} <= {"#validity"}
    assert "@import" not in text
    assert "url(" not in text


@pytest.mark.parametrize("predicted", [False, True], ids=["measured", "predicted"])
def test_the_page_claims_the_checks_that_took_place(viewed, predicted):
    run = Run(predicted=predicted)
    run.healthy()
    text = Page(to_html([viewed(run)])).text("p")
    assert ("Every stage passed every check: agents alive, load generator fast enough, errors" in text) is not predicted
    assert ("every check that a prediction can fail: agents alive, errors, reply lengths" in text) is predicted


def test_trials_have_whiskers_and_a_prediction_has_none(viewed):
    view = viewed(two_models())
    measured = Page(to_html([view]))
    assert len(measured.of("whisker")) >= 4 * 4
    assert "95% intervals" in measured.text("p")
    predicted = Page(to_html([replace(view, results=structs.replace(view.results, predicted=True))]))
    assert predicted.of("whisker") == []
    assert [fields["class"] for fields in predicted.of("badge")] == ["badge valid", "badge warn"]
    assert "so that there are no intervals" in predicted.text("p")


def test_one_trial_has_no_whiskers_and_says_so(viewed):
    page = Page(to_html([viewed(two_models(trials=1))]))
    assert page.of("whisker") == []
    assert "One trial of each stage: no interval can be given" in page.text("p")


def test_the_rate_of_an_agent_is_told_from_the_rate_over_its_window(viewed):
    text = Page(to_html([viewed(two_models(levels=(1,), trials=1))])).text("p")
    assert "the median agent's output rate while it has a request in flight" in text
    assert "Tokens as they arrived, and behind each name their mean, per second of the window" in text


def figure(page_text, title):
    """The labels of the vertical axis of the first picture of this title, and what stands beside the title."""
    found = re.search(
        rf'<figcaption>{title}(?: <span class="unit">([^<]*)</span>)?</figcaption>.*?</svg>', page_text, re.S
    )
    return re.findall(r'text-anchor="end">([^<]+)<', found[0]), found[1]


def test_chunks_that_came_together_do_not_stretch_the_axis_of_their_gaps(viewed):
    view = viewed(two_models(levels=(1,), trials=1))
    gaps = [(1.0, 1e-6), (2.0, 0.016), (10.0, 0.018), (100.0, 0.03)]
    curves = {key: stage | {"itl": gaps} for key, stage in view.curves.items()}
    assert figure(to_html([replace(view, curves=curves)]), "Inter-token latency") == (
        ["10 ms", "20 ms", "50 ms"],
        "log scale",
    )


def test_a_logarithmic_axis_has_two_labels_or_more_of_round_numbers(viewed):
    text = to_html([viewed(two_models())])
    assert figure(text, "Job time, p50") == (["2 s", "5 s"], "log scale")
    for title in ("Time to first token, p95", "Inter-token latency, p99", "End-to-end latency"):
        labels, _ = figure(text, title)
        assert len(labels) >= 2, title
        assert all(re.fullmatch(r"[125]0* m?s", label) for label in labels), labels


def test_steps_of_two_and_a_half_are_written_as_such(viewed):
    run = Run()
    run.healthy(window_s=30.0, slower=1.5)
    labels, unit = figure(to_html([viewed(run)]), "Output rate of one agent, p50")
    assert (labels, unit) == (["0", "2.5", "5", "7.5", "10", "12.5"], "tok/s")


def test_the_times_of_a_timeline_are_round_numbers_and_what_the_server_says_has_a_scale(viewed):
    run = Run(levels=[4])
    run.healthy(agents=4, window_s=16.0).server(3.0, waiting=2, kv_usage=0.5)
    text = to_html([viewed(run)])
    assert "<span>waiting, 0-4</span><span>KV cache, 0-100%</span>" in text
    assert re.findall(r'<span style="left:([\d.]+)%">([^<]+)</span>', text) == [
        ("0.000", "0 s"),
        ("31.250", "5 s"),
        ("62.500", "10 s"),
        ("93.750", "15 s"),
    ]


def test_models_are_compared_with_their_interval_and_whether_it_tells(viewed):
    page = Page(to_html([viewed(two_models())]))
    assert "moe against dense" in page.text("h2")
    cells = page.text("td")
    assert "Time to first token, p500.50 [0.50, 0.50]better" in cells
    assert "Output of all agents1.00 [1.00, 1.00]" in cells


def test_one_target_is_not_compared(viewed):
    run = Run()
    run.healthy(window_s=12.0)
    page = Page(to_html([viewed(run)]))
    assert "against" not in page.text("h2")
    assert "Not known: the causes are those of the growth against one agent" in page.text("p")


def test_an_invalid_stage_is_marked_and_its_reason_given(viewed):
    run = Run(levels=[1, 2])
    run.healthy(agents=1, window_s=12.0)
    run.healthy(agents=2, window_s=4.0)
    view = viewed(run)
    page = Page(to_html([view]))
    assert [fields["class"] for fields in page.of("badge")] == ["badge invalid"]
    assert any(fields["class"] == "dot invalid" for fields in page.of("dot"))
    assert sum(tag == "tr" and fields.get("class") == "invalid" for tag, fields in page.elements) >= 1
    (reason,) = view.results.invalid_reasons
    assert reason.startswith("moe with 2 agents: ")
    assert reason in page.text("li")


def test_a_broken_off_run_shows_what_there_is(viewed):
    run = Run(levels=[1, 4], trials=1)
    run.stage(agents=1).work(until=3)
    page = Page(to_html([viewed(run)]))
    assert "BROKEN OFF" in page.text("span")
    assert "not run: the run ended before this stage" in page.text("li")
    assert len(page.of("lanes")) == 1


def test_a_run_in_which_nothing_began_is_empty_and_says_so(viewed):
    page = Page(to_html([viewed(Run(levels=[1, 4]))]))
    assert page.text("h1") == "Nothing was measured."
    assert {"not measured", "Nothing was measured.", "No stage began.", "No latency was recorded."} <= {
        text.strip() for text in page.texts["p"]
    }


def test_several_runs_are_told_apart_on_one_page(viewed):
    views = [viewed(two_models(levels=(1,), trials=1)), viewed(two_models(levels=(1,), trials=1))]
    page = Page(to_html(views))
    assert "moe (run-1)" in page.text("li")
    assert "moe (run-2)" in page.text("li")
    assert len(page.of("run")) == 2


def test_the_bars_of_the_causes_fill_their_width(viewed):
    view = viewed(two_models())
    stages = view.results.targets[1].stages
    shares = dict.fromkeys(("decode", "prefill", "cache", "queue", "preemption", "tools", "client", "unknown"), 0.0) | {
        "decode": 0.5,
        "prefill": 0.375,
        "unknown": 0.125,
    }
    stages[1] = structs.replace(stages[1], attribution=shares)
    page = Page(to_html([view]))
    bars = [fields for tag, fields in page.elements if tag == "rect" and (fields["class"] or "").startswith("k-")]
    assert sum(float(bar["width"]) for bar in bars) == 1000
    assert {bar["class"]: bar["width"] for bar in bars if bar["width"] != "0.0"} == {
        "k-decode": "500.0",
        "k-prefill": "375.0",
        "k-unknown": "125.0",
    }


def test_a_page_of_many_agents_stays_small(viewed):
    run = Run(levels=[64])
    run.healthy(agents=64, window_s=20.0)
    text = to_html([viewed(run)])
    assert Page(text).of("lanes")
    assert len(text) < 1_000_000


def test_the_same_run_gives_the_same_page(viewed):
    view = viewed(two_models(levels=(1,), trials=1))
    assert to_html([view]) == to_html([view])


@pytest.mark.parametrize("file", ["page.css", "page.js", "page.html.j2"])
def test_the_page_is_written_for_any_machine(file):
    text = resources.files("swarm.report").joinpath(file).read_text()
    assert "http://" not in text
    assert "https://" not in text
