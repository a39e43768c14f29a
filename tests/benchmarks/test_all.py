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
    assert written["results"] == [LINE] * 4
    assert written["failed"] == {"fails": "ValueError: no luck", "hangs": "was not done after 4 s"}
    assert (written["commit"], written["options"]) == ("abc1234", ["--small"])
    assert "fails: ValueError: no luck" in capsys.readouterr().err


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
