"""What is said of a study, by hand; the bugs that each test was made for are planted in it, or named where they are."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.report.study.study_markdown import markdown
from holdfast.results import cell_answers
from holdfast.results.scores import Output, Role, Score, read_scores, write_jsonl
from holdfast.results.study import Comparison, Trajectory, read
from holdfast.results.tradeoff import Point
from holdfast.studies import results
from holdfast.studies.plan import Arm


def run(folder: Path, right: list[bool]) -> Path:
    """A run's folder with one target and these answers."""
    folder.mkdir()
    outputs = [
        Output(
            "tuned", None, "t", "target", 0, i, f"q{i}", "yes", "yes" if ok else "no", scores={"exact_match": float(ok)}
        )
        for i, ok in enumerate(right)
    ]
    write_jsonl(folder / "outputs.jsonl", outputs)
    share = sum(right) / len(right)
    write_jsonl(
        folder / "scores.jsonl", [Score("tuned", None, "t", "target", 0, "exact_match", share, 0, 1, len(right))]
    )
    return folder


def test_both_arms_are_resampled_with_the_same_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of 60 items gained and none lost is significant only because the items are the same. Planted: each arm draws its own."""
    before = [i % 2 == 0 for i in range(60)]
    folders = [
        run(tmp_path / "a", before),
        run(tmp_path / "b", [ok or i in range(1, 12, 2) for i, ok in enumerate(before)]),
    ]

    def p() -> float:
        first, other = (results._draws([folder])["target"] for folder in folders)
        return results._two_sided(other - first)

    assert p() < 0.02  # exactly (1 - 6/60)^60 doubled: 0.004
    draw = np.random.default_rng(0)
    monkeypatch.setattr(
        results, "_counts", lambda task, n: [draw.multinomial(n, np.full(n, 1 / n), 2000).astype(float)]
    )
    assert p() > 0.1


def test_draws_are_the_same_in_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks bound the memory and must change no draw: the bug is a block that begins with the first draw again. The noise is rounding."""
    folder = run(tmp_path / "a", [i % 3 == 0 for i in range(50)])
    whole = results._draws([folder])["target"]
    monkeypatch.setattr(results, "BLOCK", 50 * 300)
    assert results._draws([folder])["target"] == pytest.approx(whole, abs=1e-9)


def test_draws_of_many_items_spread_as_those_of_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: groups taken for items, whose mean is 5 times too high, or spread. 500 groups estimate a spread within 1 / sqrt(1000) = 3 %,
    2,000 draws within 1.6 %; three times that here."""
    draw = np.random.default_rng(0)
    folder = run(tmp_path / "a", (draw.random(2500) < 0.6).tolist())
    whole = results._draws([folder])["target"]
    monkeypatch.setattr(cell_answers, "LARGEST", 1000)
    monkeypatch.setattr(cell_answers, "GROUPS", 500)
    grouped = results._draws([folder])["target"]
    assert grouped.mean() == pytest.approx(whole.mean(), abs=0.1)
    assert grouped.std() == pytest.approx(whole.std(), rel=0.11)


def compared(first: dict[int, float], other: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> Comparison:
    monkeypatch.setattr(results, "_draws", lambda folders: {})
    names = ("target", "change", "matched", "area")
    measured: dict[str, dict[int, Any]] = {
        arm: {seed: dict.fromkeys(names, value) for seed, value in values.items()}
        for arm, values in (("full", first), ("new", other))
    }
    arms = [Arm("full", "full"), Arm("new", "promot")]
    runs = {("t", arm, seed): Path(f"{arm}-{seed}") for arm, values in measured.items() for seed in values}
    return results._compare("t", arms, measured, runs)[0]


def test_arms_are_paired_by_seed_and_not_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an arm's first seed failed. The bug: seed 1 of one arm against seed 0 of the other, a difference of 15 and 25."""
    found = compared({0: 10.0, 1: 20.0, 2: 40.0}, {1: 25.0, 2: 46.0}, monkeypatch)
    assert (found.difference, found.n_seeds) == (5.5, 2)
    assert found.p_seeds == pytest.approx(2 * np.arctan(0.5 / 5.5) / np.pi)  # t of one degree of freedom is Cauchy


def test_items_are_compared_of_the_seeds_that_both_arms_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other arm's second seed failed. The bug: p over items of the mean of two seeds against one, beside a difference of one."""
    compared({0: 10.0}, {0: 10.0}, monkeypatch)
    seen: list[list[str]] = []
    monkeypatch.setattr(results, "_draws", lambda folders: seen.append([folder.name for folder in folders]) or {})
    measured = {"full": {0: {"target": 1.0}}, "new": {0: {"target": 1.0}, 1: {"target": 9.0}}}
    full: dict[str, Any] = {
        arm: {seed: dict.fromkeys(("target", "change", "matched", "area"), 1.0) for seed in values}
        for arm, values in measured.items()
    }
    runs = {("t", arm, seed): Path(f"{arm}-{seed}") for arm, values in measured.items() for seed in values}
    results._compare("t", [Arm("full", "full"), Arm("new", "promot")], full, runs)
    assert seen == [["new-0"], ["full-0"]]


def test_p_values_are_corrected_within_a_measure() -> None:
    """Holm by hand. The bugs: none at all, and one family over both measures (0.01 would become 0.06)."""
    found = [
        Comparison("t", str(i), "full", measure, 1.0, None, None, p, None, 3)
        for measure in ("target", "change")
        for i, p in enumerate((0.03, 0.01, 0.02))
    ]
    corrected = [one.p_items for one in results._corrected(found)]
    assert corrected == pytest.approx([0.04, 0.03, 0.04] * 2)
    assert all(one.p_seeds is None for one in results._corrected(found))


def test_arms_are_matched_below_the_best_arms_mean() -> None:
    """The bugs: the level of the best single run (97), which no arm's mean reaches; and the score of a prompt as the base's (91)."""
    courses = [
        Trajectory("t", arm, seed, None, [Point(0, start, 100.0), Point(4, end, 50.0)])
        for arm, seed, start, end in (("full", 0, 40.0, 100.0), ("full", 1, 40.0, 80.0), ("promot", 0, 60.0, 85.0))
    ]
    assert results.level(courses, None) == pytest.approx(40 + 0.9 * (90 - 40))
    assert results.level(courses, 70.0) == 70.0
    assert results.level([], None) is None


def test_what_analyses_found_and_backward_transfer_are_of_each_arm(tmp_path: Path) -> None:
    """Of two blocks the mean (0.1 + 0.3) / 2, without what lies outside of them or belongs to no step; -0.2 is -20 points."""
    folder = run(tmp_path / "a", [True, False] * 5)
    (score,) = read_scores(folder)
    moved = {
        "transfer": -0.2,
        "transfer_low": -0.5,
        "transfer_high": 0.1,
        "delta": 0.0,
        "delta_low": -0.1,
        "delta_high": 0.1,
    }
    base = replace(score, variant="base")
    write_jsonl(folder / "scores.jsonl", [base, replace(score, **moved)])
    found = [(4, "layers.0", 0.1), (4, "layers.1", 0.3), (4, results.OUTSIDE, 9.0), (None, "layers.0", 9.0)]
    (folder / "analysis.jsonl").write_text(
        "".join(
            json.dumps(
                {"analysis": "weight_drift", "step": step, "measure": "mean_abs", "where": where, "value": value}
            )
            + "\n"
            for step, where, value in found
        )
    )
    study = results.study(["t"], [Arm("full", "full")], 1, {("t", "full", 0): folder})
    (look,) = study.looks
    assert (look.task, look.arm, look.analysis, look.measure, look.step) == ("t", "full", "weight_drift", "mean_abs", 4)
    assert look.value == pytest.approx(0.2)
    transfer = study.cells[0].transfer
    assert transfer
    assert (transfer.mean, transfer.n) == (pytest.approx(-20.0), 1)
    assert "| BWT |" in markdown(study, "s")
    study.write(tmp_path)
    assert read(tmp_path) == study


def test_items_are_resampled_with_the_prompt_on_the_target_and_without_it_elsewhere(tmp_path: Path) -> None:
    """All answers are right where they count and wrong where not, so every draw is 100 points."""
    outputs, scores = [], []
    parts: tuple[tuple[str, Role, str], ...] = (("t", "target", "on"), ("g", "general", "off"))
    for task, role, counts in parts:
        for state in ("on", "off"):
            mark = float(state == counts)
            asked = ("tuned", state, task, role, 0)
            answer = "yes" if mark else "no"
            outputs += [Output(*asked, i, f"q{i}", "yes", answer, scores={"exact_match": mark}) for i in range(4)]
            scores.append(Score(*asked, "exact_match", mark, 0, 1, 4))
    write_jsonl(tmp_path / "outputs.jsonl", outputs)
    write_jsonl(tmp_path / "scores.jsonl", scores)
    draws = results._draws([tmp_path])
    assert {name: set(values) for name, values in draws.items()} == {"target": {100.0}, "change": {100.0}}
