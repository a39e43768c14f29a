"""The notebooks are kept as they ran, and a fresh run prints the same."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def printed(cells: list[Any]) -> list[str]:
    """The text of each code cell's outputs, with `#` for digits: another processor may move a number, and no word."""
    texts = []
    for cell in cells:
        if cell["cell_type"] == "code":
            text = "".join(
                "".join(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in cell["outputs"]
            )
            texts.append(re.sub(r"\d+", "#", text))
    return texts


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["1-first-run", "2-already-tuned", "3-a-study"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_run_in_order_and_none_failed(path: Path) -> None:
    code = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own parts
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_fresh_run_prints_what_is_kept(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    spec = importlib.util.spec_from_file_location("record", FOLDER / "record.py")
    assert spec is not None
    assert spec.loader is not None
    record = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(record)
    kept = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert printed(record.executed(path, tmp_path).cells) == printed(kept)
