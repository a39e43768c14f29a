"""What a study's page says in words, by hand."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from holdfast.report import sentences
from holdfast.report.study import study_overview
from holdfast.report.study.study_markdown import markdown
from holdfast.report.study.study_page import finding, page
from holdfast.report.study.study_terminal import terminal
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
        == "Unclear with 3 seeds: whether promot has a better trade-off of learned and kept than full; it takes more seeds or "
        "test items to tell"
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


def two_seeds() -> Study:
    """Two arms of two seeds on ten items: the target's differences are equal, those of the area lie near each other."""
    made = [
        replace(cell(arm, kept), seeds=2, target=Spread(90.0, 0.0, 2), area=Spread(kept - 20, 5.0, 2))
        for arm, kept in (("full", 64.6), ("promot", 93.7))
    ]
    tests = [
        Comparison("t", "promot", "full", "target", 10.0, 10.0, 10.0, 0.19, None, 2),
        Comparison("t", "promot", "full", "area", 74.0, 4.1, 143.9, None, 0.04, 2),
    ]
    return Study(made, tests)


UNTOLD = (
    "Unclear with 2 seeds: whether promot has a better trade-off of learned and kept than full; it takes at least 3 seeds, and more "
    "test items, to tell."
)


def test_two_seeds_are_no_winner_and_have_no_interval_in_the_text() -> None:
    """The bugs: "promot is better" by a t of one degree of freedom, "[+10.0, +10.0]" of two equal seeds, "+143.9"."""
    text = markdown(two_seeds(), "s")
    assert text.startswith(f"# s\n\n{UNTOLD}\n\n")
    assert "+10.0, unclear over 2 seeds (0.19, -)" in text
    assert "+74.0, unclear over 2 seeds (-, -)" in text
    three = [replace(test, n_seeds=3) for test in two_seeds().comparisons]
    text = markdown(replace(two_seeds(), comparisons=three), "s")
    assert "promot has a better trade-off of learned and kept than full.\n" in text
    assert "+10.0, unclear over 3 seeds (0.19, -) | +74.0 [+4.1, +143.9] (-, 0.04) |" in text


def test_two_seeds_are_no_winner_on_the_page_and_in_the_terminal() -> None:
    html = page(two_seeds(), "s")
    assert f"<h1><span data-text>{UNTOLD[:-1]}</span></h1>" in html
    assert html.count("unclear over 2 seeds</span>") == 2
    assert "143.9" not in html
    assert "+10.0, +10.0" not in html
    assert "[90.0, 90.0]" not in html
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(terminal(two_seeds()))
    shown = console.export_text()
    assert " ".join(shown.split()).startswith(UNTOLD)
    assert ".04" not in shown, "p over two seeds"


def test_an_arm_of_two_seeds_does_not_take_the_heading_from_one_that_is_resolved() -> None:
    study = areas(full=[60.0], promot=[70.0], lora=[80.0])
    tests = [*compared_by_area(("promot", 0.01, 10.0)), replace(compared_by_area(("lora", 0.01, 20.0))[0], n_seeds=2)]
    assert study_overview.verdict(replace(study, comparisons=tests)) == (
        "promot has a better trade-off of learned and kept than full; unclear with 2 seeds: whether lora has one too"
    )
    behind = replace(compared_by_area(("promot", None, -10.0))[0], n_seeds=2)
    assert study_overview.verdict(replace(areas(full=[70.0], promot=[60.0]), comparisons=[behind])) == (
        "Unclear with 2 seeds: no arm is ahead of full in learned and kept; it takes at least 3 to tell"
    )


def test_intervals_of_three_seeds_end_where_the_measure_does() -> None:
    """By hand: 4.303 * 14 / sqrt(3) = 34.8 to each side of 90, 5 and 90. The bug: "[55.2, 124.8] points of 100" on the page."""
    three = Spread(90.0, 14.0, 3)
    low = replace(three, mean=5.0)
    assert three.limits("target") == (pytest.approx(55.22, abs=0.01), 100.0)
    assert low.limits("kept") == (0.0, pytest.approx(39.78, abs=0.01))
    assert three.limits("kept") == (pytest.approx(55.22, abs=0.01), pytest.approx(124.78, abs=0.01)), (
        "more than the base is kept"
    )
    assert replace(three, mean=-90.0).limits("transfer") == (-100.0, pytest.approx(-55.22, abs=0.01))
    assert replace(three, sd=None, n=1).limits("target") is None
    assert replace(three, n=2).limits("target") is None
    assert replace(three, sd=1e-14).limits("target") is None, "equal scores, up to rounding"
    made = replace(cell("full", 64.6), target=three, kept=low, format_share=low)
    html = page(Study([made, replace(made, arm="promot")]), "s")
    assert "[55.2, 100.0]" in html
    assert html.count("[0.0, 39.8]") == 4, "kept and format share of two arms"
    wide = [Comparison("t", "promot", "full", m, 20.0, -150.0, 190.0, None, 0.3, 3) for m in ("target", "matched")]
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
    one = replace(cell("one", None, n=1), gain=Spread(30.0, None, 1), change=Spread(-99.0, 14.0, 3))
    found = study_overview.ends([cell("full", 90.0), one])
    assert found is not None
    rows, axis = found
    assert [len(row.measured) for row in rows] == [1, 2], "the first has no gain"
    assert "mark lost" in rows[0].drawing  # -4 +- 2.5
    assert "mark neutral" in rows[1].drawing, "one seed has no interval, and so no verdict"
    assert "mark lost" in rows[1].drawing  # -99 +- 35
    assert "100" in axis
    assert "150" not in axis, "an interval beyond -100 is drawn to -100 and no further"
    assert study_overview.ends([replace(cell("full", 90.0), change=None)]) is None


def test_a_study_of_which_no_run_is_finished_says_so() -> None:
    """The bug: the first cell of none, so that `study.md` of a study whose runs all failed was a traceback."""
    study = Study([], failed=[("full--0", "out of memory")])
    assert study_overview.verdict(study) == "No arm has a finished run"
    assert "No arm has a finished run." in markdown(study, "mine")
    assert "No arm has a finished run" in page(study, "mine")
