"""The page of several runs: the sentence on all of them, one axis for their changes, and their courses in one figure."""

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.report import sentences
from holdfast.report.compare import compare_figures
from holdfast.report.compare.compare import side_by_side
from holdfast.results.run_folder import Folder, read
from holdfast.results.scores import write_jsonl
from holdfast.results.summary import Summary
from tests.report import example_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Folder]:
    """One that forgets, one that does not, one without a prompt and one that forgets twice as much."""
    made = (("a", ("on", "off"), 1.0), ("b", ("on", "off"), 0.0), ("c", (None,), 0.5), ("d", (None,), 2.0))
    return [read(example_run.make(tmp_path / name, prompts=kinds, forget=forget)) for name, kinds, forget in made]


def summaries(runs: list[Folder]) -> list[Summary]:
    return [Summary.of(run.scores) for run in runs]


def test_few_runs_are_named_one_by_one_and_of_many_the_best(runs: list[Folder]) -> None:
    found = summaries(runs)
    few = sentences.plain(compare_figures.lead(runs[:2], found[:2]))
    gains, kept = [s.gain.value for s in found if s.gain], [s.retention.value for s in found if s.retention]
    assert few == (
        f"a gained {gains[0]:.1f} points and keeps {kept[0]:.1f} %; b gained {gains[1]:.1f} points and keeps {kept[1]:.1f} %."
    )
    many = sentences.plain(compare_figures.lead(runs, found))
    assert (gains[1], kept[1]) == (max(gains), max(kept))
    assert (
        many
        == f"Of 4 runs, 2 (b) keeps most, {kept[1]:.1f} %, and gained {gains[1]:.1f} points, which no other exceeds."
    )


def test_a_loss_on_the_target_is_called_one_and_a_run_without_general_tasks_keeps_nothing(runs: list[Folder]) -> None:
    """The bug: "gained -3.0 points"."""
    worse = [replace(s, delta=-0.03, delta_low=-0.06, delta_high=-0.01) if s.delta else s for s in runs[0].scores]
    target = Summary.of([score for score in worse if score.role == "target"])
    assert sentences.plain(compare_figures.lead(runs[:1], [target])) == "a lost 3.0 points."


def test_a_run_that_did_not_measure_a_task_has_no_mark_in_its_row(runs: list[Folder]) -> None:
    less = Summary.of([score for score in runs[1].scores if score.task != "xsum"])
    plot = compare_figures.forest(side_by_side([summaries(runs)[0], less]))
    assert plot is not None
    rows = {(row.side.task, row.side.shots): row.drawing.count('class="mark') for _, own in plot.groups for row in own}
    assert rows["xsum", 0] == 1
    assert rows["squad", 0] == 2
    heat = compare_figures.heat(side_by_side([summaries(runs)[0], less]))
    assert [cell.score is None for side, cells in heat if side.task == "xsum" for cell in cells] == [False, True] * 2


def test_many_runs_have_a_map_but_no_common_axis(runs: list[Folder]) -> None:
    sides = side_by_side(summaries(runs) * 2)
    assert compare_figures.forest(sides) is None
    assert all(len(cells) == 8 for _, cells in compare_figures.heat(sides))


def test_courses_are_drawn_where_a_run_was_followed_and_runs_of_one_name_stay_two(
    runs: list[Folder], tmp_path: Path
) -> None:
    assert compare_figures.courses(runs) is None
    scores = runs[0].scores
    along = [replace(s, step=step) for s in scores for step in (100, 600) if s.variant == "tuned"]
    write_jsonl(runs[0].path / "scores.jsonl", [*scores, *along])
    twin = example_run.make(tmp_path / "other" / "a", prompts=("on", "off"), forget=0.0)
    found = compare_figures.courses([read(runs[0].path), read(twin)])
    assert found is not None
    panel, key = found
    assert [line.label for line in panel.lines] == ["1", "2"]
    assert [len(line.points) for line in panel.lines] == [3, 2]
    assert [line.label for line in key] == ["1 a", "2 a"]
