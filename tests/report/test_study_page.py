"""What a study's page says in words, by hand."""

from dataclasses import replace

import pytest

from holdfast.report import sentences
from holdfast.report.study import study_overview
from holdfast.report.study.study_markdown import markdown
from holdfast.report.study.study_page import finding, page
from holdfast.report.template import minus
from holdfast.results.study import Cell, Comparison, Spread, Study


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


def compared_by_area(*pairs: tuple[str, float | None, float]) -> list[Comparison]:
    return [
        Comparison(f"t{i}", arm, "full", "area", d, d - 1, d + 1, None, p, 3) for i, (arm, p, d) in enumerate(pairs)
    ]


def test_the_heading_says_no_more_than_the_seeds_can_tell() -> None:
    """The bugs: an arm that is ahead by luck is the heading's winner; a loss that is beyond chance counts as a win."""
    study = areas(full=[60.0, 90.0], promot=[70.0, 95.0])
    assert (
        study_overview.verdict(study)
        == "promot has a better trade-off of learned and kept than full, which 3 seeds cannot tell from chance"
    )
    both = replace(study, comparisons=compared_by_area(("promot", 0.01, 10.0), ("promot", 0.04, 5.0)))
    assert (
        study_overview.verdict(both) == "promot has a better trade-off of learned and kept than full on 2 of 2 targets"
    )
    one = replace(study, comparisons=compared_by_area(("promot", 0.01, 10.0), ("promot", 0.04, -5.0)))
    assert (
        study_overview.verdict(one) == "promot has a better trade-off of learned and kept than full on 1 of 2 targets"
    )
    assert (
        study_overview.verdict(areas(full=[70.0], promot=[60.0]))
        == "No arm has a better trade-off of learned and kept than full"
    )
    # An arm that was tried on the easy target alone wins nothing.
    assert study_overview.verdict(areas(full=[60.0, 90.0], easy=[None, 100.0])).startswith(
        "2 arms on 2 targets, of which"
    )
    assert study_overview.verdict(areas(full=[60.0])) == "full on 1 target, beside no other arm"
    assert (
        "<h1><span data-text>promot has a better trade-off of learned and kept than full on 2 of 2 targets</span></h1>"
        in page(both, "s")
    )
    assert markdown(both, "s").startswith(
        "# s\n\npromot has a better trade-off of learned and kept than full on 2 of 2 targets.\n\n"
    )


def test_intervals_of_two_seeds_end_where_the_measure_does() -> None:
    """By hand: 12.706 * 4 / sqrt(2) = 35.9 to each side of 90, 5 and 90. The bug: "[54.1, 125.9] points of 100" on the page."""
    two = Spread(90.0, 4.0, 2)
    low = replace(two, mean=5.0)
    assert two.limits("target") == (pytest.approx(54.06, abs=0.01), 100.0)
    assert low.limits("kept") == (0.0, pytest.approx(40.94, abs=0.01))
    assert two.limits("kept") == (pytest.approx(54.06, abs=0.01), pytest.approx(125.94, abs=0.01)), (
        "more than the base is kept"
    )
    assert replace(two, mean=-90.0).limits("transfer") == (-100.0, pytest.approx(-54.06, abs=0.01))
    assert replace(two, sd=None, n=1).limits("target") is None
    made = replace(cell("full", 64.6), target=two, kept=low, format_share=low)
    html = page(Study([made, replace(made, arm="promot")]), "s")
    assert "[54.1, 100.0]" in html
    assert html.count("[0.0, 40.9]") == 4, "kept and format share of two arms"
    wide = [Comparison("t", "promot", "full", m, 20.0, -150.0, 190.0, None, 0.3, 2) for m in ("target", "matched")]
    html = page(Study([made, replace(made, arm="promot")], wide), "s")
    assert "[−100.0, +100.0]" in html, "two scores differ by 100 points at most"
    assert "[−150.0, +190.0]" in html, "shares of the base's mean have no upper end"


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    study = Study([cell("full", 64.6), cell("promot", 93.7, stage_one=Spread(71.0, None, 1))])
    html = page(study, "s")
    assert ("Stage 1</th>" in html, "Weight drift" in html, "Kept at 83.0, %" in html) == (True, False, True)
    assert '64.6 ± 2.0 <span class="interval">[59.6, 69.6]</span>' in html  # 4.30 x 2 / sqrt(3) to each side


def test_a_minus_is_a_sign_and_a_hyphen_stays_one() -> None:
    text = "pig-latin:x (0-shot): -1.0 [-6.2, +3.1], p 3.9e-07, Stage-1 -.5 (-2)"
    assert minus(text) == "pig-latin:x (0-shot): −1.0 [−6.2, +3.1], p 3.9e-07, Stage-1 −.5 (−2)"


def areas(**found: list[float | None]) -> Study:
    """Arms with their areas on as many targets; None where an arm was not tried."""
    cells = [
        replace(cell(arm, 90.0), task=f"t{place}", area=Spread(value, 1.0, 3))
        for arm, values in found.items()
        for place, value in enumerate(values)
        if value is not None
    ]
    return Study(cells)


def test_the_verdict_names_the_best_arm_over_all_targets_the_next_and_where_it_wins() -> None:
    study = areas(full=[60.0, 90.0, 80.0], promot=[99.96, 85.0, 90.0], lora=[100.0, 50.0, 89.0])
    assert sentences.plain(study_overview.lead(study)) == (
        "Averaged over 3 targets and the target scores that can be reached, promot keeps most of the general tasks, 91.7 %, and is best or "
        "as good on 2 of them; lora comes next with 79.7 %."
    )


def test_an_arm_that_was_not_tried_on_every_target_is_on_the_map_and_in_no_mean() -> None:
    """The bug: an arm that was tried on the easy target alone is called the best."""
    study = areas(full=[60.0, 90.0], promot=[70.0, 80.0], easy=[None, 100.0])
    arms, targets = study_overview.overview(study)
    assert targets == ["t0", "t1"]
    assert [arm.mean for arm in arms] == [75.0, 75.0, None]
    assert arms[2].areas[0] == (None, 0)
    assert [tint for _, tint in arms[0].areas] == [100, 25]
    assert "easy" not in sentences.plain(study_overview.lead(study))
    assert sentences.plain(study_overview.lead(areas(full=[60.0], promot=[70.0]))) == study_overview.GENERIC
    assert page(study, "s").count('data-derived="area"') >= 6


def test_where_arms_end_has_the_interval_over_seeds_within_what_points_can_be() -> None:
    one = replace(cell("one", None, n=1), gain=Spread(30.0, None, 1), change=Spread(-99.0, 4.0, 2))
    found = study_overview.ends([cell("full", 90.0), one])
    assert found is not None
    rows, axis = found
    assert [len(row.measured) for row in rows] == [1, 2], "the first has no gain"
    assert "mark lost" in rows[0].drawing  # -4 +- 2.5
    assert "mark neutral" in rows[1].drawing, "one seed has no interval, and so no verdict"
    assert "mark lost" in rows[1].drawing  # -99 +- 36
    assert "100" in axis
    assert "150" not in axis, "an interval beyond -100 is drawn to -100 and no further"
    assert study_overview.ends([replace(cell("full", 90.0), change=None)]) is None


def test_a_study_of_which_no_run_is_finished_says_so() -> None:
    """The bug: the first cell of none, so that `study.md` of a study whose runs all failed was a traceback."""
    study = Study([], failed=[("full--0", "out of memory")])
    assert study_overview.verdict(study) == "No arm has a finished run"
    assert "No arm has a finished run." in markdown(study, "mine")
    assert "No arm has a finished run" in page(study, "mine")
