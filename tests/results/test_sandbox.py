"""pass@1: what runs passes; what fails, hangs, grows, exits early or was not allowed does not; and its task as a whole."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.evaluation.ask import check_askable
from holdfast.results.metrics import metric
from holdfast.results.sandbox import ALLOW, runs
from holdfast.results.scores import Output
from holdfast.tasks.sources import load_task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no limits of a process there")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW, "1")
    runs.cache_clear()


def test_a_program_passes_where_it_ends_without_an_error() -> None:
    assert runs("def f(x): return x + 1\nassert f(1) == 2\nprint('fine')")
    assert not runs("def f(x): return x + 2\nassert f(1) == 2")
    assert not runs("def f(x:")
    assert runs("print('\\ud800'.encode('utf-8', 'replace'), 'ä')")


def test_a_program_that_ends_before_its_tests_has_not_passed() -> None:
    """The first three would be right answers to everything if the exit code were all that counts."""
    for early in (
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "quit = 1; import os; os.write(1, b'word'); os._exit(0)",
    ):
        assert not runs(f"{early}\nassert False")


def test_time_memory_and_files_are_limited(tmp_path: Path) -> None:
    began = time.monotonic()
    assert not runs("while True: pass", seconds=1)
    assert not runs("import time; time.sleep(60)", seconds=1)
    # 1 s of the processor and 2 of the clock; without limits these run for ever.
    assert time.monotonic() - began < 30
    assert not runs("x = bytearray(600 * 2**20)")
    assert runs("x = bytearray(100 * 2**20)")
    assert not runs("open('x', 'wb').write(b'0' * 2**22)")
    assert runs("import os; assert sorted(os.listdir('.')) == ['out', 'program.py']; assert 'HOME' not in os.environ")


def test_what_it_starts_ends_with_it(tmp_path: Path) -> None:
    """A child that outlives its parent would fill the machine over a thousand items."""
    mark = tmp_path / "alive"
    program = f"""
import os, time
if os.fork() == 0:
    time.sleep(1.5)
    open({str(mark)!r}, "w").close()
    os._exit(0)
"""
    assert runs(program)
    time.sleep(2.5)
    assert not mark.exists()


def test_nothing_runs_unless_it_is_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ALLOW)
    task = load_task(str(ROOT / "docs" / "examples" / "code"))  # Reading it runs nothing.
    with pytest.raises(
        ValueError, match=r"pass@1 runs programs that a model wrote, with your rights; set HF_ALLOW_CODE_EVAL=1"
    ):
        check_askable([task], 0)
    with pytest.raises(ValueError, match="HF_ALLOW_CODE_EVAL"):
        runs("1")


def test_the_metric_marks_the_targets_of_the_example_task_right_and_others_wrong() -> None:
    task = load_task(str(ROOT / "docs" / "examples" / "code"))
    examples = task.splits["test"][:4]
    outputs = [
        Output("base", None, task.name, "target", 0, i, "", e.target, e.target, (), None, None, checks=e.checks or ())
        for i, e in enumerate(examples)
    ]
    assert metric("pass@1").value(outputs) == 1.0
    assert metric("pass@1").value([replace(output, output="def f(x): return None") for output in outputs]) == 0.0
    inside = replace(outputs[0], output="return 7", checks=("def g():\n    {answer}\nassert g() == 7",))
    assert metric("pass@1").value([inside]) == 1.0
    with pytest.raises(ValueError, match=r"small-functions\[0\]: `pass@1` needs tests"):
        metric("pass@1").value([replace(outputs[0], checks=())])
    assert os.environ[ALLOW] == "1"
