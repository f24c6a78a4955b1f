"""The HTML page in a browser: inert, offline, within its width, readable in the dark, and alive under a pointer."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import BROWSER, MISSING, Tab, browser, visit
from synthetic import Run

from swarm.analysis.report_data import read_view
from swarm.analysis.results import analyse
from swarm.report.html import to_html

pytestmark = pytest.mark.skipif(BROWSER is None, reason=MISSING)

EVIL = '<script>document.title = "stolen"</script><img src="http://127.0.0.1:9/x" onerror="document.title = 1">'


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser(tmp_path_factory.mktemp("profile")) as address:
        yield address


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of two models, the name of one of which is a script."""
    folder = tmp_path_factory.mktemp("run")
    run = Run(targets={"dense": "dense", "moe": "moe"}, levels=[1, 3], trials=1)
    for level in (1, 3):
        for target in ("dense", "moe"):
            run.healthy(target, level, window_s=11.0)
    directory = run.write(folder / "run")
    (directory / "environment.json").write_text(
        json.dumps({"predicted": False, "targets": {"moe": {"model": EVIL}}, EVIL: EVIL})
    )
    written = folder / "report.html"
    written.write_text(to_html([read_view(directory, analyse(directory))]), encoding="utf-8")
    return written


async def test_it_runs_nothing_but_its_own_script_and_fetches_nothing(devtools, page):
    async def look(tab):
        model = "[...document.querySelectorAll('.legend .unit')].map(one => one.textContent)"
        return (
            await tab.run("document.title"),
            await tab.run("document.images.length"),
            await tab.run(model),
            tab.requests,
            tab.messages,
        )

    title, images, models, requests, messages = await visit(devtools, page, look)
    assert title == "synthetic"
    assert images == 0
    assert EVIL in models
    assert requests == [page.as_uri()]
    assert messages == []


async def test_a_script_that_got_in_all_the_same_would_not_run(devtools, page, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("<main>", "<main><script>document.title = 'stolen'</script>"))

    async def look(tab):
        return await tab.run("document.title"), tab.messages

    title, messages = await visit(devtools, broken, look)
    assert title == "synthetic"
    assert "Content Security Policy" in messages[0]


@pytest.mark.parametrize("width", [380, 768, 1280, 1920])
async def test_it_is_never_wider_than_the_window(devtools, page, width):
    async def look(tab):
        await tab.size(width, 900)
        return await tab.run("document.documentElement.scrollWidth")

    assert await visit(devtools, page, look) <= width


OVERLAPS = """
[...document.querySelectorAll("figure > svg")].flatMap(svg => {
  const texts = [...svg.querySelectorAll("text")].filter(one => one.textContent);
  const boxes = texts.map(one => one.getBoundingClientRect());
  return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(
    b => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2));
}).length
"""


async def test_no_two_labels_of_a_picture_overlap(devtools, page):
    async def look(tab):
        return await tab.run(OVERLAPS)

    assert await visit(devtools, page, look) == 0


CUT_OFF = """
[...document.querySelectorAll("figure > svg")].flatMap(svg => {
  const view = svg.viewBox.baseVal;
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBBox();
    return box.x < 0 || box.x + box.width > view.width || box.y < 0 || box.y + box.height > view.height + 1;
  }).map(text => text.textContent);
})
"""


async def test_no_label_of_a_picture_is_cut_off(devtools, page):
    async def look(tab):
        return await tab.run("document.querySelectorAll('figure > svg text').length"), await tab.run(CUT_OFF)

    labels, cut_off = await visit(devtools, page, look)
    assert labels > 100
    assert cut_off == []


CONTRAST = """
(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map(one => one / 255)
      .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return Math.min(...[...document.querySelectorAll("h1, p, td, th, .unit, .badge, figcaption")].map(one => {
    const ink = light(getComputedStyle(one).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }));
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_can_be_read_in_the_light_and_in_the_dark(devtools, page, scheme):
    async def look(tab):
        await tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        return await tab.run("getComputedStyle(document.body).backgroundColor"), await tab.run(CONTRAST)

    paper, contrast = await visit(devtools, page, look)
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert contrast >= 4.5  # WCAG 2.2, level AA


async def _place(tab: Tab, across: float, row: int = 0) -> tuple[float, float]:
    """Of a point of the first timeline, in the window."""
    await tab.run("document.querySelector('svg.lanes').scrollIntoView({block: 'center'})")
    box = await tab.run(
        "(box => [box.left, box.top, box.width])(document.querySelector('svg.lanes').getBoundingClientRect())"
    )
    return box[0] + across * box[2], box[1] + 16 * row + 8


async def test_pointing_at_a_moment_tells_what_every_agent_did(devtools, page):
    async def look(tab):
        await tab.point(*await _place(tab, 0.1 / 11))
        return await tab.run("[...document.querySelector('.tip').children].map(one => one.textContent)")

    head, *agents = await visit(devtools, page, look)
    assert head.startswith("at 0.1")
    assert agents == [
        f"agent {agent}: before the first token 0.20 s (1,000 prompt tokens, 800 of them cached)" for agent in range(3)
    ]


async def test_dragging_zooms_in_and_a_double_click_zooms_out(devtools, page):
    async def look(tab):
        view = "document.querySelector('svg.lanes').getAttribute('viewBox').split(' ').map(Number)"
        (left, top), (right, _) = await _place(tab, 0.25), await _place(tab, 0.5)
        button = {"button": "left", "clickCount": 1}
        await tab.point(left, top, "mousePressed", **button)
        await tab.point(right, top, buttons=1)
        await tab.point(right, top, "mouseReleased", **button)
        zoomed, ticks = await tab.run(view), await tab.run("document.querySelector('.ticks').textContent")
        for clicks in (1, 2):
            await tab.point(right, top, "mousePressed", button="left", clickCount=clicks)
            await tab.point(right, top, "mouseReleased", button="left", clickCount=clicks)
        return zoomed, ticks, await tab.run(view)

    zoomed, ticks, whole = await visit(devtools, page, look)
    assert zoomed[0] == pytest.approx(2750, abs=20)
    assert zoomed[2] == pytest.approx(2750, abs=30)
    assert ticks.startswith("3 s3.5 s4 s4.5 s5 s")
    assert (whole[0], whole[2]) == (0, 11000)


async def test_everything_is_open_on_paper(devtools, page):
    async def look(tab):
        before = await tab.run("document.querySelectorAll('details:not([open])').length")
        await tab.ask("Page.printToPDF")
        return before, await tab.run("document.querySelectorAll('details:not([open])').length")

    before, after = await visit(devtools, page, look)
    assert before > 0
    assert after == 0
