"""What a study's page says in words, by hand."""

from dataclasses import replace

import pytest

from holdfast.report.page import minus
from holdfast.report.study import Cell, Comparison, Spread, Study
from holdfast.report.study_page import finding, page


def cell(arm: str, matched: float | None, n: int = 3, stage_one: Spread | None = None) -> Cell:
    spread = None if matched is None else Spread(matched, 2.0 if n > 1 else None, n)
    target, change, kept = Spread(85.0, 1.0, 3), Spread(-4.0, 1.0, 3), Spread(90.0, 1.0, 3)
    return Cell("t", arm, arm, {}, 3, 83.0, target, None, change, kept, spread, None, stage_one, None)


COMPARED = [Comparison("t", "promot", "full", "matched", 29.1, 25.2, 33.1, None, 0.003, 3)]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            [cell("full", 64.6), cell("promot", 93.7)],
            "promot keeps 93.7 % of the base’s mean on the general tasks, full 64.6 % (difference +29.1 [+25.2, +33.1], 95 % over 3 "
            "seeds).",
        ),
        ([cell("full", None), cell("promot", 93.7)], "general tasks; full does not get there (difference"),
        ([cell("full", 96.0), cell("promot", 93.7)], "full keeps 96.0 % of the base’s mean on the general tasks: no arm keeps more."),
    ],
)  # fmt: skip
def test_the_finding_is_the_best_arm_beside_the_first(cells: list[Cell], said: str) -> None:
    assert said in finding(cells, COMPARED)
    assert finding(cells, COMPARED).startswith("At 83.0 points on the target, ")


def test_an_arm_whose_seeds_do_not_all_get_there_is_not_the_best() -> None:
    """The bug: the one lucky seed of an arm (its mean is over one of three) is called the best."""
    assert finding([cell("full", 64.6), cell("lora", 99.0, n=1)], []).startswith(
        "At 83.0 points on the target, full keeps"
    )
    assert finding([cell("full", None), cell("lora", 99.0, n=1)], []) == ""
    assert finding([replace(cell("full", 64.6), level=None)], []) == ""


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    html = page(Study([cell("full", 64.6), cell("promot", 93.7, stage_one=Spread(71.0, None, 1))]), "s")
    assert ("Stage 1</th>" in html, "Weight drift" in html, "Kept at 83.0, %" in html) == (True, False, True)
    assert '64.6 ± 2.0 <span class="interval">[59.6, 69.6]</span>' in html  # 4.30 x 2 / sqrt(3) to each side


def test_a_minus_is_a_sign_and_a_hyphen_stays_one() -> None:
    text = "pig-latin:x (0-shot): -1.0 [-6.2, +3.1], p 3.9e-07, Stage-1 -.5 (-2)"
    assert minus(text) == "pig-latin:x (0-shot): −1.0 [−6.2, +3.1], p 3.9e-07, Stage-1 −.5 (−2)"
