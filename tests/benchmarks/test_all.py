"""One file of results, whatever fails on the way."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import all as everything

LINE = {"benchmark": "b", "case": "c", "ours": 1.0, "theirs": 2.0, "ratio": 2.0, "max_difference": 0.0, "threads": 1}
PRINTS = f"import json; print(json.dumps({LINE!r}), flush=True)\n"
SCRIPTS = {
    "works": PRINTS * 2,
    "fails": PRINTS + "raise ValueError('no luck')\n",
    "hangs": PRINTS + "import time; time.sleep(60)\n",
    "cut": 'print(\'{"benchmark": "b", \', flush=True)\n',
}


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, text in SCRIPTS.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(everything, "HERE", folder)
    monkeypatch.setattr(everything, "LIMITS", {"fails": 60, "hangs": 4, "cut": 60, "works": 60})
    monkeypatch.setattr(everything, "machine", lambda: {"cores": 2})
    monkeypatch.setattr(everything, "commit", lambda: "abc1234")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return folder


def test_one_that_fails_or_hangs_loses_nothing_but_its_own(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["all", "--small"])
    with pytest.raises(SystemExit) as ended:
        everything.main()
    assert ended.value.code == 1
    (path,) = (scripts / "results").iterdir()
    written = json.loads(path.read_text())
    assert path.name == f"{written['date']}-cpu.json"
    assert written["results"] == [LINE | {"equal": True, "goal": None, "met": None}] * 4
    assert written["failed"] == {"fails": "ValueError: no luck", "hangs": "was not done after 4 s"}
    assert (written["commit"], written["options"]) == ("abc1234", ["--small"])
    assert "fails: ValueError: no luck" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("benchmark", "case", "goal"),
    [
        ("training step", "stage 1 P=100 B=16 T=32", 6.0),
        ("training step", "stage 2 P=100 B=16 T=128", 2.0),
        ("training step", "full ragged rte B=16", 1.3),
        ("training step", "lora ragged rte B=16", None),
        ("training step", "ideal, useful tokens, 4x768 stage 2 P=100 B=16 T=32", 0.8),
        ("few-shot scoring", "5-shot first_n, 40 items of 4 choices", 8.0),
        ("few-shot scoring", "5-shot default, 40 items of 4 choices", 3.0),
        ("few-shot generation", "4-shot greedy, 64 prompts, 32 tokens each", 3.0),
        ("limit", "fp32 stage 2 109M P=100 B=16 T=128", 0.65),
        ("limit", "bf16 stage 2 109M P=100 B=16 T=128", None),
        ("limit", "bf16 against fp32, stage 2 109M P=100 B=16 T=128", 1.4),
        ("memory", "rte full", 1 / 0.6),
        ("edits", "dare bytes above the start", 1 / 3),
        ("edits", "plain wise_ft seconds", None),
        ("scaling", "stage 1 B=4..32", None),
    ],
)
def test_a_case_has_the_goal_that_the_table_of_goals_gives_it(benchmark: str, case: str, goal: float | None) -> None:
    result = {**LINE, "benchmark": benchmark, "case": case}
    found = everything.judged(result | {"ratio": 100.0})
    assert (found["goal"], found["met"]) == (goal, None if goal is None else True)
    if goal is not None:
        assert not everything.judged(result | {"ratio": 0.99 * goal})["met"]
        wrong = everything.judged(result | {"ratio": 100.0, "max_difference": 1.0})
        assert not wrong["met"]
        assert "MISSED" in everything.line(wrong)
        assert "RESULTS DIFFER" in everything.line(wrong)


def test_names_choose_and_unknown_ones_are_refused(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["all", "works", "--out", str(scripts / "mine.json")])
    with pytest.raises(SystemExit) as ended:
        everything.main()
    assert ended.value.code == 0
    assert len(json.loads((scripts / "mine.json").read_text())["results"]) == 2
    monkeypatch.setattr(sys, "argv", ["all", "speed"])
    with pytest.raises(SystemExit):
        everything.main()
    assert "speed: there is no such benchmark; use fails, hangs, cut, works" in capsys.readouterr().err
