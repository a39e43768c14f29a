"""Long tables: the worst change first, tasks that kept all in a line, and nothing left out of the records."""

import json
import random
import re
from pathlib import Path

import pytest

from holdfast.report.compare.compare_page import write_comparison
from holdfast.report.console import text
from holdfast.report.run.page import write_page
from holdfast.report.run.terminal import terminal
from holdfast.results.compute_scores import score
from holdfast.results.run_folder import write_results
from holdfast.results.scores import Output
from holdfast.tasks.task import Example, Task
from tests.cli.commands import Commands

# Two lost tasks among eight that are kept, in an order in which the worse one stands last.
SHARES = {f"t{number}": 0.9 for number in range(8)} | {"bad": 0.7, "worst": 0.3}


@pytest.fixture
def holdfast(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


def run(folder: Path, shares: dict[str, float] = SHARES, n: int = 600) -> Path:
    """Write a run's folder: the base is right on 90 % of each task's items, the tuned model on the given share."""
    outputs, tasks, draw = [], [], random.Random(0)
    for name, share in shares.items():
        tasks.append(Task(name, {"test": (Example({"input": "?"}, "yes"),)}, metric="exact_match"))
        order = draw.sample(range(n), n)
        for shots in (0, 1):
            for variant, part in (("base", 0.9), ("tuned", share)):
                right = set(order[: round(part * n)])
                outputs += [
                    Output(
                        variant, None, name, "general", shots, i, "?", "yes", "yes" if i in right else "no",
                        scores={"exact_match": float(i in right)},
                    )
                    for i in range(n)
                ]  # fmt: skip
    folder.mkdir()
    write_results(folder, outputs, score(outputs, tasks, resamples=200), tasks)
    return folder


def test_a_long_table_begins_with_the_worst_change_and_folds_what_is_kept(tmp_path: Path) -> None:
    shown = text(terminal(run(tmp_path / "run")))
    names = re.findall(r"^(\w+) +[01] exact", shown, re.M)
    assert names == ["worst", "worst", "bad", "bad"]
    folded = "8 tasks unchanged (kept at all shots; 0.0 to 0.0 points): t0, t1, t2, t3, t4, t5, t6, t7"
    assert folded in " ".join(shown.split())


def test_a_short_table_keeps_the_users_order(tmp_path: Path) -> None:
    shown = text(terminal(run(tmp_path / "run", {"a": 0.9, "bad": 0.3})))
    assert re.findall(r"^(\w+) +0 exact", shown, re.M) == ["a", "bad"]
    assert "unchanged" not in shown


def test_the_page_folds_the_same_rows_and_holds_them_all(tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    page = write_page(folder).read_text()
    details = re.search(r"<details class=\"task\">\s*<summary data-text>8 tasks unchanged.*?</details>", page, re.S)
    assert details
    forest = page[page.index('<table class="forest"') : details.start()]
    names = [re.sub("<.*?>", "", name) for name in re.findall(r'<span class="name" data-text>(.*?)</span>', forest)]
    assert names == ["worst", "worst", "bad", "bad"]
    assert details.group().count('<span class="name" data-text>') == 16
    again = write_comparison([folder, run(tmp_path / "other", SHARES | {"t3": 0.5})], tmp_path).read_text()
    assert "7 tasks unchanged" in again, "what one of two runs lost is not folded"


def test_the_records_hold_every_row(tmp_path: Path, holdfast: Commands) -> None:
    folder = run(tmp_path / "run")
    for command in (["compare", folder, "--json"], ["report", folder, "--json"]):
        seen = holdfast(*command)
        assert seen.code == 0
        tasks = {name for line in seen.out.splitlines() for name in re.findall(r'"task": "(\w+)"', line)}
        assert tasks == set(SHARES), command
        json.loads(seen.out.splitlines()[0])


def test_several_runs_side_by_side_fold_what_all_kept(tmp_path: Path, holdfast: Commands) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b", SHARES | {"t3": 0.5})
    seen = holdfast("compare", first, second)
    assert "7 tasks unchanged" in seen.out
    assert re.findall(r"^(\w+) +0 +90.0", seen.out, re.M) == ["worst", "t3", "bad"]
