"""Figures of several lines: colours that stay apart, labels that do not overlap, and means of the same seeds at every step."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from holdfast.report.chart import line_chart, svg
from holdfast.report.run import course_figures
from holdfast.report.study.study_page import files, page
from holdfast.results.study import Cell, Spread, Study, Trajectory
from holdfast.results.tradeoff import Point

# Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia; of linear RGB.
BLINDNESS = [
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
]


def linear(colour: str) -> np.ndarray:
    """Linear RGB of `#rrggbb`."""
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of linear RGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ rgb / np.array([0.9505, 1.0, 1.089]), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(("theme", "paper"), [(0, "#ffffff"), (1, "#14171a")])
def test_no_two_lines_look_alike_to_anybody_and_their_labels_can_be_read(theme: int, paper: str) -> None:
    """Distance 20 in CIELAB is seen at a glance; the common red #d62728 and green #2ca02c fall to 7 for deuteranopes."""
    found = re.findall(r"--arm-\d: (#\w{6})", line_chart.style())
    colours = found[line_chart.COLOURS * theme :][: line_chart.COLOURS]
    assert len(found) == 3 * line_chart.COLOURS  # light, dark, and light again for print
    for one, other in combinations(colours, 2):
        for view in BLINDNESS:
            seen = [lab(np.clip(view @ linear(colour), 0, 1)) for colour in (one, other)]
            assert np.linalg.norm(seen[0] - seen[1]) > 20, (one, other)
    weights = np.array([0.2126, 0.7152, 0.0722])
    for colour in colours:
        dark, light = sorted(float(weights @ linear(c)) for c in (colour, paper))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour  # WCAG AA for text


def test_labels_are_pulled_apart_and_stay_in_order_and_inside() -> None:
    assert line_chart.spread_labels([10.0, 90.0], 5.0) == [10.0, 90.0]
    assert line_chart.spread_labels([50.0, 49.0, 99.0, 100.0], 10.0) == [59.0, 49.0, 90.0, 100.0]
    crowded = line_chart.spread_labels([3.0] * 40, 10.0)
    assert max(crowded) <= 100.0
    assert min(b - a for a, b in pairwise(crowded)) == pytest.approx(2.5)


def course(arm: str, seed: int, *points: tuple[int, float, float | None]) -> Trajectory:
    return Trajectory("t", arm, seed, None, [Point(*point, format_share=0.0) for point in points])


def test_a_mean_is_over_the_same_seeds_at_every_step() -> None:
    """Where one of two seeds ends early, the mean further on would jump to the other: 40 at step 8 here."""
    own = [course("a", 0, (0, 10, 100), (4, 20, 90)), course("a", 1, (0, 10, 100), (4, 30, 80), (8, 40, 70))]
    found = course_figures.moments(own, "target")
    assert found == [course_figures.Moment(0, 10, 10, 10), course_figures.Moment(4, 25, 20, 30)]


def test_steps_are_spread_out_and_an_arm_that_was_not_followed_has_no_line() -> None:
    courses = [course("a", 0, (0, 0, 100), (4, 50, 90), (8, 60, 80)), course("prompt", 0, (0, 0, 100), (1, 70, 100))]
    panels = course_figures.over_steps(["a", "prompt"], courses)
    assert [panel.title for panel in panels] == list(course_figures.MEASURES.values())
    assert [line.label for panel in panels for line in panel.lines] == ["a"] * 3
    assert [place.x for place in panels[0].lines[0].points] == pytest.approx(
        [0.0, 1.0, 1.585], abs=0.001
    )  # log2 of 1, 2, 3
    assert panels[0].ticks is not None
    assert [label for _, label in panels[0].ticks] == ["0", "4", "8"]
    assert "a: 0.0 at step 0, 50.0 at step 4, 60.0 at step 8" in panels[0].described
    assert (
        course_figures.over_steps(["prompt"], courses[1:]) == []
    )  # neither the start nor the end of a run is a course


def test_a_line_is_named_by_what_tells_it_from_the_others() -> None:
    assert course_figures.labels(["full@model.learning_rate=1e-3", "promot@prompt.length=4"]) == ["full", "promot"]
    assert course_figures.labels(["full@a=1", "full@a=2"]) == ["full@a=1", "full@a=2"]
    assert course_figures.labels(["full@model.learning_rate=1e-3", "full@model.learning_rate=1e-4"]) == ["1", "2"]


def study(names: list[str]) -> Study:
    spread = Spread(1.0, None, 1)
    cells = [Cell("x/t & u", n, n, {}, 2, None, spread, spread, spread, spread, None, None, None, None) for n in names]
    courses = [
        Trajectory(
            "x/t & u",
            name,
            seed,
            None,
            [Point(s, 9.0 * s + seed, 100.0 - s - place, float(place)) for s in (0, 2, 4, 8)],
        )
        for place, name in enumerate(names)
        for seed in (0, 1)
    ]
    return Study(cells, courses=courses)


@pytest.mark.parametrize("names", [["full", "promot"], [f"full@model.learning_rate={i}e-4" for i in range(9)]])
def test_each_figure_is_a_file_of_its_own_and_on_the_page(names: list[str]) -> None:
    found = files(study(names))
    assert set(found) == {"study-steps-t---u.svg", "study-tradeoff-t---u.svg"}
    for text in found.values():
        root = ElementTree.fromstring(text)  # well formed: it stands alone
        space = "{http://www.w3.org/2000/svg}"
        assert root.findtext(f"{space}desc")
        assert "prefers-color-scheme: dark" in str(root.findtext(f"{space}style"))
        assert "href" not in text
        shown = [element.text for element in root.iter(f"{space}text")]
        assert all(any(name in (label or "") for label in shown) for name in names)  # at the line, or in the key
    bands = found["study-steps-t---u.svg"].count('class="seeds"')
    assert bands == len(names)  # only the target score differs between the seeds
    html = page(study(names), "s")
    assert html.count('class="plot lines') == 4
    assert html.count("<li><svg") == (9 if len(names) == 9 else 0)


@pytest.mark.parametrize("value", [100.0, 0.0, -3.0])
def test_a_value_that_never_moves_stands_between_zero_and_itself(value: float) -> None:
    """The bug: an axis from 90 to 110 % around a score that was always 100 %."""
    scale = svg.Scale.around([value, value], room=0.0)
    assert (scale.low, scale.high) == (min(0.0, value), max(0.0, value) if value else 1.0)
