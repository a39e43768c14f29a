"""The terminal table: it fits, it is complete without colour, and it says what is missing."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.models.architecture import of_run
from holdfast.report.card import write_card
from holdfast.report.compare.compare import compare
from holdfast.report.compare.compare_page import write_comparison
from holdfast.report.console import text
from holdfast.report.run.page import write_page
from holdfast.report.run.terminal import terminal
from holdfast.results.run_folder import expanded, finished, read
from holdfast.results.scores import read_scores, write_jsonl
from holdfast.results.summary import Summary
from holdfast.results.units import is_symptom
from tests.report import example_run

WORDS = "gained|kept|lost|unclear"


def test_no_line_is_wider_than_80_columns_and_no_number_is_cut(run: Path) -> None:
    shown = text(terminal(run), width=80)
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "\x1b" not in shown


def test_a_name_of_16_letters_is_on_one_line_beside_an_attached_and_a_removed_prompt(run: Path) -> None:
    """The bug: `elicit-sentiment` of the first example was folded by one letter."""
    wide = {"value": 1.0, "delta": 1.0, "delta_low": 0.926, "delta_high": 1.0, "n": 100}
    scores = [replace(s, task="elicit-sentiment", **wide) if s.task == "rte" else s for s in read_scores(run)]
    write_jsonl(run / "scores.jsonl", scores)
    shown = text(terminal(run), width=80).splitlines()
    assert shown[1].startswith("elicit-sentiment "), shown[1]
    assert "100.0 100.0 100.0 +100.0 [92.6,100.0] 100 " in shown[1]


def test_every_task_has_a_line_per_shot_with_its_verdict_target_first(run: Path) -> None:
    lines = text(terminal(run), width=120).splitlines()
    rows = [line.split() for line in lines if re.search(rf" {example_run.N} ({WORDS})$", line)]
    assert [row[:2] for row in rows[:2]] == [["rte", "0"], ["rte", "1"]]
    assert len(rows) == 2 * len(example_run.TASKS)
    score = next(s for s in read(run).scores if s.task == "rte" and s.prompt == "on" and s.shots == 0)
    assert score.delta is not None
    assert f"{100 * score.delta:+.1f}" in rows[0]
    assert f"{100 * score.value:.1f}" in rows[0]


def test_a_run_without_a_prompt_has_one_column_tuned(tmp_path: Path) -> None:
    shown = text(terminal(example_run.make(tmp_path / "plain", prompts=(None,))), width=80)
    head = shown.splitlines()[0].split()
    assert head == ["task", "k", "metric", "base", "tuned", "delta", "n", "verdict"]
    assert "attached" not in shown


def test_what_is_absent_is_named(run: Path) -> None:
    (run / "log.jsonl").unlink()
    assert "Absent: log.jsonl" in text(terminal(run), width=80)


def test_a_folder_without_scores_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no scores\.jsonl, so there is nothing.*holdfast tune MODEL TASK --out"):
        terminal(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ('{"variant": "base"}\n', r"scores\.jsonl:1: `prompt`: .*required"),
        ("{half\n", r"scores\.jsonl:1: this line is not JSON"),
    ],
)
def test_broken_scores_are_one_clear_line(run: Path, content: str, message: str) -> None:
    (run / "scores.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message):
        terminal(run)


def test_two_scores_with_one_key_are_refused(run: Path) -> None:
    path = run / "scores.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="two scores for"):
        terminal(run)


def test_a_killed_runs_unfinished_last_log_line_is_dropped(run: Path) -> None:
    log = run / "log.jsonl"
    whole = len(read(run).log)
    log.write_text(log.read_text() + '{"stage": "model", "st')
    assert len(read(run).log) == whole
    log.write_text('{"stage"\n' + log.read_text())
    with pytest.raises(ValueError, match=r"log\.jsonl:1"):
        read(run)


def test_a_folder_of_runs_stands_for_them_and_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "demo" / name).mkdir(parents=True)
        (tmp_path / "demo" / name / "config.yaml").write_text("")
    (tmp_path / "edited").mkdir()
    (tmp_path / "edited" / "config.json").write_text("{}")
    demo, edited = tmp_path / "demo", tmp_path / "edited"
    assert expanded([demo, edited]) == [demo / "one", demo / "two", edited]
    for path, said in (
        (demo, "holds runs and is none itself; give one of .*one, .*two"),
        (demo / "one", "its run is not finished"),
        (edited, "a model and no run; measure it with `holdfast evaluate"),
        (tmp_path / "nope", "there is no such folder"),
    ):
        with pytest.raises(ValueError, match=said):
            read(path)


def test_a_run_that_is_not_finished_is_left_out_of_a_folder_of_runs_and_not_where_it_is_named(tmp_path: Path) -> None:
    done = example_run.make(tmp_path / "runs" / "done")
    stopped = tmp_path / "runs" / "stopped"
    stopped.mkdir()
    (stopped / "config.yaml").write_text("")
    assert finished([tmp_path / "runs"]) == ([done], [stopped])
    assert finished([done, stopped]) == ([done, stopped], [])
    (done / "scores.jsonl").unlink()
    assert finished([tmp_path / "runs"]) == ([done, stopped], [])  # Reading the first one says what is wrong.


def test_comparison_has_a_column_per_run_and_names_those_below_the_floor(tmp_path: Path) -> None:
    mild = example_run.make(tmp_path / "mild", forget=0.2)
    harsh = example_run.make(tmp_path / "harsh", prompts=(None,))
    renderable, missed = compare([mild, harsh], floor=0.9)
    shown = text(renderable, width=80)
    # A path may be longer than the terminal: folded, it could not be copied.
    assert max(len(line) for line in shown.splitlines() if "/harsh" not in line and "/mild" not in line) <= 80
    assert missed == [str(harsh)]
    assert shown.splitlines()[0].split() == ["task", "k", "base", "(1)", "(2)"]
    assert f"(2) {harsh}" in shown.replace("\n", "") or "harsh" in shown
    assert compare([mild, harsh], floor=None)[1] == []


def test_a_floor_that_the_interval_crosses_is_not_said_to_be_kept(tmp_path: Path) -> None:
    run = example_run.make(tmp_path / "mild", forget=0.2)
    kept = Summary.of(read(run).scores).retention
    assert kept is not None
    between, below = (kept.low + kept.value) / 200, kept.low / 100 - 0.01
    renderable, missed = compare([run], floor=between)
    shown = " ".join(text(renderable, width=200).split())
    assert missed == []
    assert "Unclear, because their 95 % intervals reach below it:" in shown
    assert "Unclear, because" not in text(compare([run], floor=below)[0], width=200)
    assert "<td>unclear</td>" in write_comparison([run], tmp_path / "out", floor=between).read_text()
    assert "<td>held</td>" in write_comparison([run], tmp_path / "out", floor=below).read_text()


def test_a_task_on_which_the_base_cannot_be_told_from_chance_is_marked_wherever_its_numbers_stand(run: Path) -> None:
    """Its change is a number like the others, and a reader would count it among what was lost."""
    scores = read_scores(run)
    name, n = next((score.task, score.n) for score in scores if score.role == "general")
    bases = [s.task == name and s.variant == "base" and not is_symptom(s.metric) for s in scores]
    write_jsonl(
        run / "scores.jsonl", [replace(s, low=0.0) if base else s for s, base in zip(scores, bases, strict=True)]
    )
    rows = [line.split() for line in text(terminal(run), width=120).splitlines()]
    assert {row[-1] for row in rows if row[:1] == [name]} == {"floor?"}
    marks = [line.split() for line in text(compare([run])[0], width=120).splitlines()]
    assert {row[-1] for row in marks if row[:1] == [name]} == {"f"}
    card = write_card(run, of_run(run)).read_text()
    assert (
        len(
            [
                line
                for line in card.splitlines()
                if f"| {name} |" in line and "base may be no better than chance at n = " in line
            ]
        )
        == 2
    )
    page = write_page(run).read_text()
    assert "General tasks, base not shown to be above chance: in no mean" in page
    assert f"The base may be no better than chance at n = {n} on {name} (0/1-shot)" in page
