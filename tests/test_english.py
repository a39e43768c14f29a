"""Plain technical English, as far as a machine can tell: openings of docstrings, names, nested comprehensions."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "holdfast"
FILES = sorted(HOUSE.rglob("*.py"))

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

Fault = tuple[int, str]


def openings(tree: ast.Module) -> Iterator[Fault]:
    """Yield the docstrings that begin with a question word and not with what the thing does or is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if OPENING.match(text):
                yield getattr(node, "lineno", 1), f"docstring: {text.splitlines()[0]}"


def names(tree: ast.Module, allowed: Iterable[tuple[str, str]] = ()) -> Iterator[Fault]:
    """Yield the banned names that are bound, with or without an underscore before them: variables, parameters, fields, functions, classes.

    `allowed` holds (class, field) of file formats.
    """
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
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        if name.lstrip("_") in BANNED:
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_a_file_reads_as_plain_english(path: Path) -> None:
    tree = ast.parse(path.read_text())
    faults = [*openings(tree), *names(tree, allowed(path)), *nested(tree)]
    assert not faults, "\n".join(f"{path}:{line}: {fault}" for line, fault in sorted(faults))


def test_no_class_name_stands_twice() -> None:
    twice = {name: list(map(str, paths)) for name, paths in classes(FILES).items() if len(paths) > 1}
    assert not twice


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
        "_{} = 1",
        "a.{} = 1",
        "def {}(): pass",
        "async def _{}(): pass",
        "class {}: pass",
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
