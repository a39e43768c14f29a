"""Why, as figures and in words: what each line is made of, and where the format is said to live."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.report import sentences
from holdfast.report.run.analysis_figures import format_panel, of_arms, panels
from holdfast.report.run.page import page
from holdfast.results.run_folder import FindingRecord, read
from holdfast.results.scores import Score
from holdfast.results.study import AnalysisPoint
from tests.report.test_page import test_no_number_is_on_the_page_without_a_source as no_number_without_a_source


def finding(analysis: str, step: int | None, measure: str, where: str, value: float) -> FindingRecord:
    return FindingRecord(analysis, step, measure, where, value)


def test_a_line_is_the_mean_of_a_blocks_matrices_and_its_band_their_range() -> None:
    found = panels(
        [
            finding("gradient_alignment", step, "cosine", f"model.layers.{block}.mlp.{name}.weight", value + block)
            for step in (0, 4)
            for block in (0, 1)
            for name, value in (("up", 0.2), ("down", 0.4))
        ]
    )
    assert [panel.title for panel, _ in found] == ["Gradient alignment, cosine"]
    lines = {line.label: line.points for line in found[0][0].lines}
    assert list(lines) == ["block 0", "block 1"]
    assert lines["block 1"][0][1:] == pytest.approx((1.3, 1.2, 1.4))


def test_of_many_blocks_some_are_shown_and_that_is_said() -> None:
    records = [
        finding("weight_drift", step, "relative_norm", f"layers.{block}", 0.01 * block)
        for step in (0, 4)
        for block in range(24)
    ]
    ((panel, said),) = panels(records)
    assert [line.label for line in panel.lines] == [f"block {i}" for i in (0, 5, 9, 14, 18, 23)]
    assert "Shown are 6 of 24 blocks" in said
    assert panel.lines[-1].points[0].y == pytest.approx(23.0)  # per cent


def test_of_a_finished_run_the_blocks_are_a_line() -> None:
    """Per cent of the base's norm, block by block; what lies outside of the blocks is no place on the line."""
    where = ["embeddings and head", "layers.0", "layers.1"]
    records = [finding("weight_drift", None, "relative_norm", name, 0.1 * i) for i, name in enumerate(where)]
    ((panel, _),) = panels(records)
    assert (panel.across, [(p.x, p.y) for p in panel.lines[0].points]) == ("block", [(0.0, 10.0), (1.0, 20.0)])
    assert panel.described == "10 in block 0, 20 in block 1."


def test_a_study_has_a_line_for_each_arm_over_its_seeds() -> None:
    """Per cent. The second arm ends where only one of its seeds goes on; a third was not analysed, and the numbers stay the arms'."""
    found = [("a", 0, 0, 0.0), ("a", 0, 8, 0.1), ("a", 1, 0, 0.0), ("a", 1, 8, 0.3)]
    found += [("c", 0, 0, 0.0), ("c", 1, 0, 0.0), ("c", 0, 4, 0.2), ("c", 1, 4, 0.2), ("c", 1, 8, 0.9)]
    (panel,) = of_arms(
        ["a", "b", "c"],
        [
            AnalysisPoint("t", arm, seed, "weight_drift", "relative_norm", step, value)
            for arm, seed, step, value in found
        ],
    )
    assert [(line.label, line.number) for line in panel.lines] == [("a", 0), ("c", 2)]
    assert [place[1:] for place in panel.lines[0].points] == [(0, 0, 0), pytest.approx((20, 10, 30))]
    assert panel.described == "a: 0 at step 0, 20 at step 8; c: 0 at step 0, 20 at step 4."


def test_an_analysis_that_declares_no_panel_has_a_plain_one_for_each_measure() -> None:
    """Of a user's own file nothing is read: the page is made of numbers alone."""
    records = [finding("mine.py:widths", step, name, "layers.0", 0.5) for step in (0, 4) for name in ("width", "depth")]
    drawn = panels(records)
    assert [panel.title for panel, _ in drawn] == ["width (widths)", "depth (widths)"]
    assert drawn[0][0].described == "block 0: 0.5 at step 0, 0.5 at step 4."
    assert [
        panel.title
        for panel in of_arms(["a"], [AnalysisPoint("t", "a", 0, "mine.py:widths", "width", s, 1.0) for s in (0, 4)])
    ] == ["width (widths)"]


def test_one_look_is_no_course() -> None:
    assert panels([finding("weight_drift", 4, "relative_norm", "layers.0", 0.1)]) == []
    assert panels([finding("weight_drift", None, "relative_norm", "layers.0", 0.1)] * 2) == []
    assert panels([]) == []


def test_the_figures_are_on_the_page_where_there_is_an_analysis(run: Path) -> None:
    assert 'id="why"' not in page(read(run))
    (run / "analysis.jsonl").write_text(
        "".join(
            f'{{"analysis": "label_mass", "step": {step}, "measure": "mass_{state}", "where": "<b>", "value": 0.{step}}}\n'
            for step in (0, 4)
            for state in ("off", "on")
        )
    )
    html = page(read(run))
    assert html.count('class="plot lines') == 1
    assert "prompt attached: 0 at step 0, 40 at step 4" in html
    no_number_without_a_source(run)
    (run / "analysis.jsonl").write_text('{"analysis": "label_mass"}\n')
    with pytest.raises(ValueError, match=r"analysis\.jsonl:1: `step`: field required"):
        read(run)


def share(value: float, **where: Any) -> Score:
    place: dict[str, Any] = {"variant": "tuned", "prompt": None, "task": "g", "role": "general", "shots": 0} | where
    return Score(**place, metric="format_share", value=value, low=0.0, high=1.0, n=50)


@pytest.mark.parametrize(
    ("alone", "on", "off", "said"),
    [
        (0.6, 0.7, 0.05, "lives in the prompt and comes off with it"),
        (0.0, 0.7, 0.05, "only where prompt and tuned model meet"),
        (0.6, 0.7, 0.50, "is in the model too"),
        (0.0, 0.0, 0.50, "is in the model too"),
        (0.05, 0.04, 0.0, "neither the prompt nor the model"),
    ],
)
def test_where_the_format_lives_is_said(alone: float, on: float, off: float, said: str) -> None:
    """The bug: 1-shot scores, which stage 1 was not asked, in the mean of the others (the 1.0 here)."""
    scores = [
        share(0.0, variant="base"),
        share(alone, prompt="on", step=0),
        share(on, prompt="on"),
        share(off, prompt="off"),
        share(1.0, prompt="on", shots=1),
        share(1.0, prompt="off", shots=1),
        share(0.0, variant="base", shots=1),
    ]
    place = sentences.format_location(scores)
    assert place is not None
    found = sentences.format_sentence(place)
    assert said in found
    assert (
        f"stage 1 {100 * alone:.1f} %; tuned, prompt attached, {100 * on:.1f} %, prompt removed {100 * off:.1f} %"
        in found
    )
    assert sentences.format_location([replace(score, step=None) for score in scores if score.step is None]) is None
    panel = format_panel(place)
    assert [[p.y for p in line.points] for line in panel.lines] == [[100 * alone, 100 * on], [0.0, 100 * off]]
    assert panel.described == (
        f"prompt attached: {100 * alone:.1f} before, {100 * on:.1f} after; prompt removed: 0.0 before, {100 * off:.1f} after."
    )
