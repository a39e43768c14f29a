"""The learning curve of a study: which arms make one, what its table and figure say, and arms that make none."""

from typing import Any

import pytest

from holdfast.report.study.learning_curve import learning_curves, panels, rows
from holdfast.report.study.study_markdown import markdown
from holdfast.report.study.study_page import files, page
from holdfast.results.study import Cell, Spread, Study


def cell(arm: str, mean: float, method: str = "full", sd: float | None = 2.0, **settings: Any) -> Cell:
    target = Spread(mean, sd, 3 if sd is not None else 1)
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return Cell("films", arm, method, dotted, 3, None, target, None, None, Spread(90.0, 1.0, 3), None, None, None, None)


CELLS = [
    cell("full@model.train_limit=100", 80.0, model__train_limit=100),
    cell("full@model.train_limit=10", 55.0, model__train_limit=10),
    cell("tuned first@model.train_limit=10", 70.0, "warm_up", model__train_limit=10, curate__shares="target=0"),
    cell("tuned first@model.train_limit=100", 82.0, "warm_up", model__train_limit=100, curate__shares="target=0"),
    cell("full@model.learning_rate=0.001,model.train_limit=10", 60.0, model__train_limit=10, model__learning_rate=1e-3),
    cell("all of it", 85.0),
]


def test_arms_that_differ_in_the_dial_alone_are_one_curve_in_its_order() -> None:
    """Another rate is another curve, of one point here, which is none; and an arm without the dial has no place across."""
    first, second = learning_curves(CELLS)
    assert (first.name, first.dial, [value for value, _ in first.cells]) == ("full", "train_limit", [10.0, 100.0])
    assert (second.name, [c.target.mean for _, c in second.cells if c.target]) == ("tuned first", [70.0, 82.0])
    assert learning_curves(CELLS[-2:]) == []


def test_the_table_and_the_figure_have_means_with_students_interval() -> None:
    curves = learning_curves(CELLS)
    # 4.303 * 2 / sqrt(3) = 4.97: the t of two degrees of freedom; the normal's would be 2.26.
    assert rows(curves) == (
        ["examples", "full", "tuned first"],
        [["10", "55.0 [50.0, 60.0]", "70.0 [65.0, 75.0]"], ["100", "80.0 [75.0, 85.0]", "82.0 [77.0, 87.0]"]],
    )
    target, kept = panels(curves)
    assert [label for _, label in target.ticks or ()] == ["10", "100"]
    assert [(point.x, point.y) for point in target.lines[0].points] == [(1.0, 55.0), (2.0, 80.0)]
    assert "full from 55.0 to 80.0; tuned first from 70.0 to 82.0" in target.described
    assert kept.title.startswith("General tasks")
    assert panels([]) == []


def test_one_seed_has_no_interval_and_a_wide_one_stays_on_the_scale() -> None:
    single = learning_curves(
        [
            cell("a@model.train_limit=1", 50.0, sd=None, model__train_limit=1),
            cell("a@model.train_limit=2", 60.0, sd=None, model__train_limit=2),
        ]
    )
    assert rows(single)[1] == [["1", "50.0"], ["2", "60.0"]]
    wide = learning_curves(
        [
            cell("a@model.train_share=0.1", 50.0, sd=60.0, model__train_share=0.1),
            cell("a@model.train_share=1", 60.0, model__train_share=1.0),
        ]
    )
    assert panels(wide)[0].lines[0].points[0][2:] == (0.0, 100.0)
    assert rows(wide)[0] == ["share", "a"]
    assert panels(wide)[0].across == "share of the training examples"


@pytest.mark.parametrize("cells", [CELLS, CELLS[-2:]], ids=["curves", "none"])
def test_the_page_the_text_and_the_file_show_it_where_there_is_one(cells: list[Cell]) -> None:
    study = Study(cells=cells)
    there = len(cells) > 2
    assert ("Over the number of training examples" in page(study, "s")) is there
    assert ("| 10 | 55.0 [50.0, 60.0] | 70.0 [65.0, 75.0] |" in markdown(study, "s")) is there
    assert ("study-examples-films.svg" in files(study)) is there
