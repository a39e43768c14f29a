"""The list of planted bugs follows the code: `python -m tests.planted` plants them, which takes minutes."""

from pathlib import Path

from tests.planted.bugs import BUGS

ROOT = Path(__file__).parents[2]


def test_every_bug_still_has_its_place_and_its_tests() -> None:
    lost = []
    for bug in BUGS:
        if (ROOT / "holdfast" / bug.file).read_text().count(bug.old) != 1:
            lost.append(f"{bug.name}: holdfast/{bug.file} does not hold the text to replace exactly once")
        for test in bug.tests.split():
            path, _, name = test.partition("::")
            if not (ROOT / "tests" / path).exists() or f"def {name}" not in (ROOT / "tests" / path).read_text():
                lost.append(f"{bug.name}: there is no tests/{test}")
    assert not lost, "let tests/planted/bugs.py follow the code:\n" + "\n".join(lost)
    assert len({bug.name for bug in BUGS}) == len(BUGS)
