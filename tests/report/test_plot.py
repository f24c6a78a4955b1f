"""Plots as SVG: every point is on its place, inside the frame."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from swarm.report.plot import HEIGHT, WIDTH, Axis, plot

SVG = "{http://www.w3.org/2000/svg}"


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(c.get("cx")), float(c.get("cy"))) for c in ElementTree.fromstring(svg).iter(f"{SVG}circle")]


def test_points_lie_where_their_values_are_on_both_axes():
    svg = plot("t", Axis("x", 0, 10), Axis("y", 0, 10), {"a": [(0, 0), (10, 10), (5, 0)]})
    (left, bottom), (right, top), (middle, _), _ = circles(svg)
    assert 0 < left < middle < right < WIDTH
    assert 0 < top < bottom < HEIGHT
    assert middle == pytest.approx((left + right) / 2)


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    svg = plot("t", Axis("x", 1, 100, log=True), Axis("y", 0, 1), {"a": [(1, 0), (10, 0), (100, 0)]})
    one, ten, hundred = (x for x, _ in circles(svg)[:3])
    assert ten - one == pytest.approx(hundred - ten)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0, 180), [0, 40, 80, 120, 160]),
        (Axis("", 0.5, 8.5), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Axis("", 4, 400, log=True), [5, 10, 20, 50, 100, 200]),
    ],
)
def test_ticks_are_round_numbers(axis, ticks):
    assert axis.ticks() == ticks


def test_names_are_escaped_and_only_the_series_asked_for_are_joined():
    svg = plot("a < b", Axis("x", 0, 1), Axis("y", 0, 1), {"<&>": [(0, 0), (1, 1)], "dots": [(0, 1)]}, lines=["<&>"])
    texts = [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"a < b", "<&>", "dots"} <= set(texts)
    assert len(re.findall("<polyline", svg)) == 1
