"""The documentation says what the code does: generated pages are fresh, and what the README shows exists."""

import importlib.util
import re
from pathlib import Path

import pytest

from holdfast.report.compare.compare import NOTE

ROOT = Path(__file__).parents[1]


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "methods.md", "combinations.md", "add-a-technique.md"])
def test_generated_pages_are_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == generator().GENERATED[name](), "run: python docs/generate.py"


def test_every_command_that_the_documentation_gives_exists() -> None:
    from tests.cli.test_app import COMMANDS

    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for line in re.findall(r"^\s*(?:\$ )?holdfast (\w+)", path.read_text(), re.MULTILINE):
            assert line in COMMANDS, f"{path.name} gives the command `holdfast {line}`, which does not exist"


def test_every_field_that_the_readme_sets_exists() -> None:
    from holdfast.recipes.assignments import parse
    from holdfast.recipes.plan import RecipePlan
    from holdfast.recipes.promot import promot
    from holdfast.tasks.task_set import TaskRef

    given = RecipePlan(
        "model", (TaskRef("task"),), parse(re.findall(r"--set\s+([\w.]+=[\w.:-]+)", (ROOT / "README.md").read_text()))
    )
    promot(given)
    given.check_all_used()
    assert given.set


def test_every_row_of_the_papers_can_be_planned() -> None:
    from holdfast.recipes.assignments import parse
    from holdfast.recipes.find import find_recipe
    from holdfast.recipes.plan import RecipePlan
    from holdfast.tasks.task_set import TaskRef

    text = (ROOT / "docs" / "promot-and-fticl.md").read_text()
    commands = re.findall(r"`holdfast tune MODEL ([A-Z ]+?)(?: --method (\w+))?((?: --set [\w.=]+)*)`", text)
    assert len(commands) >= 10
    for tasks, method, settings in commands:
        given = RecipePlan("model", tuple(map(TaskRef, tasks.split())), parse(re.findall(r"--set (\S+)", settings)))
        assert find_recipe(method or "promot")(given)
        given.check_all_used()


def test_the_file_map_of_the_readme_names_folders_that_exist() -> None:
    for folder in re.findall(r"holdfast/(\w+)  ", (ROOT / "README.md").read_text()):
        assert (ROOT / "holdfast" / folder).is_dir(), folder


def test_no_text_of_the_repository_speaks_of_anything_but_the_project() -> None:
    """Paths of one machine and left-over notes have no place in it."""
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT)
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml"} and not inside.parts[0].startswith(
            (".", "runs", "build")
        ):
            text = path.read_text()
            for word in ("/work" + "/main", "/ro" + "ot/", "TO" + "DO", "FIX" + "ME"):
                assert word not in text, f"{inside} contains {word}"


def test_the_pages_quote_one_demo() -> None:
    """A verdict of the demo stands in three places: written anew in one of them, the others contradict it."""
    for run in ("elicit-sentiment-full", "elicit-sentiment-promot"):
        texts = [" ".join((ROOT / page).read_text().split()) for page in ("README.md", "docs/index.md")]
        verdicts = re.findall(rf"{run}: (Gained .*?(?:more|ruled out)\.)", " ".join(texts))
        assert len(verdicts) == 3
        assert len(set(verdicts)) == 1, verdicts


def test_the_readme_explains_the_signs_as_the_table_does() -> None:
    assert NOTE in " ".join((ROOT / "README.md").read_text().split())
