"""Plain technical English, as far as a machine can tell: openings of docstrings, names of variables, nested comprehensions, class names.

`CLEAN` lists the folders that are done. Whoever finishes a further one adds it; nothing leaves the list.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "holdfast"
CLEAN = (
    "analysis", "api", "cli", "curation", "decoding", "edits", "evaluation", "inference", "lab", "methods", "models", "playground",
    "prefix", "prompts", "recipes", "report", "results", "serving", "stages", "studies", "tasks", "training", "weights",
    "plugins", "row.py", "atomic_files.py", "__init__.py", "__main__.py",
)  # fmt: skip

OPENING = re.compile(r"(What|Which|Whether|How|Where|Who)\b")
# Words that say nothing about the value; the field has better ones: scores, answers, path, index, ...
BANNED = frozenset(
    [
        "found",
        "own",
        "one",
        "said",
        "given",
        "asked",
        "how",
        "way",
        "place",
        "kind",
        "some",
        "behind",
        "apart",
        "together",
    ]
)
# Names that stand in files which older versions wrote.
IN_FILES = {("results/study.py", "TaskScore", "asked")}
# Two classes of one name that are still to be renamed; nothing joins this set.
TWICE: set[str] = set()

Fault = tuple[int, str]


def files() -> list[Path]:
    """Return the Python files of the folders that are done."""
    paths: list[Path] = []
    for name in CLEAN:
        path = HOUSE / name
        paths += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return paths


def openings(tree: ast.Module) -> Iterator[Fault]:
    """Yield the docstrings that begin with a question word and not with what the thing does or is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if OPENING.match(text):
                yield getattr(node, "lineno", 1), f"docstring: {text.splitlines()[0]}"


def names(tree: ast.Module, allowed: Iterable[tuple[str, str]] = ()) -> Iterator[Fault]:
    """Yield the banned names that are bound: variables, parameters, fields; `allowed` holds (class, field) of file formats."""
    fields: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            statements = [s for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
            fields |= {s.target for s in statements if (node.name, ast.unparse(s.target)) in set(allowed)}
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in fields:
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        if name in BANNED:
            yield node.lineno, f"name: {name}"  # pyright: ignore[reportAttributeAccessIssue]


def nested(tree: ast.Module) -> Iterator[Fault]:
    """Yield the comprehensions with two `for`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) and len(node.generators) > 1:
            yield node.lineno, f"two `for`: {ast.unparse(node)[:80]}"


def classes(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the files in which each class name stands."""
    found_in: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found_in[node.name].append(path)
    return found_in


def allowed(path: Path) -> list[tuple[str, str]]:
    """Return the (class, field) pairs of a file that other files hold."""
    return [(name, field) for file, name, field in IN_FILES if file == path.relative_to(HOUSE).as_posix()]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_a_file_that_is_done_reads_as_plain_english(path: Path) -> None:
    tree = ast.parse(path.read_text())
    faults = [*openings(tree), *names(tree, allowed(path)), *nested(tree)]
    assert not faults, "\n".join(f"{path}:{line}: {fault}" for line, fault in sorted(faults))


def test_no_class_name_stands_twice() -> None:
    twice = {name: paths for name, paths in classes(sorted(HOUSE.rglob("*.py"))).items() if len(paths) > 1}
    assert set(twice) <= TWICE, {name: list(map(str, twice[name])) for name in set(twice) - TWICE}


@pytest.mark.parametrize("word", ["What", "Which", "Whether", "How", "Where", "Who"])
@pytest.mark.parametrize(
    "code", ['"""{} is meant."""', 'class A:\n    """{} is meant."""', 'def f():\n    """{} is meant."""']
)
def test_a_planted_opening_is_seen(word: str, code: str) -> None:
    assert len(list(openings(ast.parse(code.format(word))))) == 1
    assert not list(openings(ast.parse(code.format("Howitzers and whatever")))), "the word, not its letters"


@pytest.mark.parametrize("name", sorted(BANNED))
@pytest.mark.parametrize(
    "code",
    [
        "{} = 1",
        "def f({}): pass",
        "def f(*, {}=1): pass",
        "for {} in []: pass",
        "a = [{0} for {0} in []]",
        "if ({} := 1): pass",
        "class A:\n    {}: int",
        "lambda {}: 0",
    ],
)
def test_a_planted_name_is_seen(name: str, code: str) -> None:
    assert len(list(names(ast.parse(code.format(name))))) == 1
    assert not list(names(ast.parse(code.format(f"{name}_task"))))


def test_a_field_of_a_file_is_no_fault_and_a_variable_of_its_name_is() -> None:
    tree = ast.parse("class A:\n    asked: str\nasked = 1")
    assert [line for line, _ in names(tree, [("A", "asked")])] == [3]


@pytest.mark.parametrize("code", ["[{}]", "{{{}}}", "sum({})", "{{a: b for a in c for b in a}}"])
def test_a_planted_comprehension_is_seen(code: str) -> None:
    assert len(list(nested(ast.parse(code.format("b for a in c for b in a"))))) == 1
    assert not list(nested(ast.parse("[[b for b in a] for a in c]"))), "one inside another is two of one `for`"


def test_a_planted_second_class_is_seen(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("class Settings: pass\n")
    assert len(classes(tmp_path.glob("*.py"))["Settings"]) == 2
