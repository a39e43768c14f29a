"""List techniques from the text of their files: names, summaries and fields, without importing torch or transformers."""

import ast
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from holdfast.plugins.family import Family, snake


@dataclass(frozen=True)
class Technique:
    """A technique as its file describes it: `about` is the middle of its docstring, values of `fields` and `attributes` are text.

    `hooks` are the functions that its class defines, or one that it derives from within the family.
    """

    name: str
    module: str
    symbol: str
    summary: str
    about: str
    source: str
    fields: Mapping[str, str]
    attributes: Mapping[str, str]
    hooks: frozenset[str] = frozenset()

    @property
    def filled(self) -> frozenset[str]:
        """Return the fields that a recipe fills with a stage (`Method.stages`): no user sets them, so they are no settings."""
        return frozenset(ast.literal_eval(self.attributes.get("stages", "()")))

    @property
    def joins(self) -> bool:
        """Return whether this is a method that takes part beside another (`full+l2_sp`), because it chooses no parameters."""
        return "chooses_parameters" in self.attributes and "parameters" not in self.hooks


@lru_cache
def techniques(family: Family) -> dict[str, Technique]:
    """Return every technique of a family by name, in the order of names.

    Raises:
        ValueError: a file of the folder registers nothing, or is no Python.
    """
    known: dict[str, Technique] = {}
    (folder,) = importlib.import_module(family.package).__path__  # The package itself imports nothing.
    for path in sorted(Path(folder).glob("*.py")):
        if path.stem in family.support or path.stem.startswith("_"):
            continue
        module = f"{family.package}.{path.stem}"
        registered = [
            _described(family, module, node) for node in tree(module).body if _registers(family, module, node)
        ]
        # Refused and not passed over: a plugin whose base class is misspelt would otherwise just not exist.
        if not registered:
            raise ValueError(
                f"{path}: registers no {family.name}; {family.advice}, or begin the file's name with an underscore"
            )
        known |= {technique.name: technique for technique in registered}
    return dict(sorted(known.items()))


def records(*families: Family) -> list[dict[str, Any]]:
    """Return name, summary, source and fields of each technique, for a list; `+name` is a method that joins another."""
    listed: list[Technique] = []
    for family in families:
        listed += techniques(family).values()
    return [
        {
            "name": f"+{t.name}" if t.joins else t.name,
            "summary": t.summary,
            "source": t.source,
            "fields": {name: default for name, default in t.fields.items() if name not in t.filled},
        }
        for t in sorted(listed, key=lambda t: (t.joins, t.name))
    ]


def assigned_calls(module: str, name: str) -> list[tuple[list[Any], dict[str, Any]]]:
    """Return the arguments, by position and by name, of each call in the tuple that a module assigns to `name`; nothing without one.

    Raises:
        ValueError: the tuple holds something else than calls with plain values.
    """
    values = [n.value for n in tree(module).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name]
    try:
        return [
            (list(map(ast.literal_eval, call.args)), {str(k.arg): ast.literal_eval(k.value) for k in call.keywords})
            for call in chain.from_iterable(value.elts for value in values)  # pyright: ignore[reportAttributeAccessIssue]
        ]
    except (ValueError, AttributeError):
        raise ValueError(f"{module}: {name}: write a tuple of calls with plain values, as its neighbours do") from None


def described(family: Family, member: Any, name: str) -> Technique:
    """Return a class or function of a user's file, which was run, as a technique of this name."""
    node = next(n for n in tree(member.__module__).body if getattr(n, "name", "") == member.__name__)
    return replace(_described(family, member.__module__, node), name=name)


@lru_cache
def tree(module: str) -> ast.Module:
    """Return the syntax of a module's file; empty where there is no such module."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ast.Module([], [])
    try:
        return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{spec.origin}:{error.lineno}: {error.msg}") from None


def _registers(family: Family, module: str, node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
        names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        return family.by_decorator and family.registrar in names
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        return (family.home, family.registrar) in {(home, kin.name) for home, kin in lineage(module, node.name)}
    return False


def _described(family: Family, module: str, node: ast.stmt) -> Technique:
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    summary, _, more = (ast.get_docstring(node) or "").partition("\n")
    about, _, source = more.partition("Source:")
    fields: dict[str, str] = {}
    attributes: dict[str, str] = {}
    hooks: set[str] = set()
    for home, kin in reversed(lineage(module, node.name) if isinstance(node, ast.ClassDef) else []):
        if (home, kin.name) != (family.home, family.registrar):
            hooks |= {statement.name for statement in kin.body if isinstance(statement, ast.FunctionDef)}
        # Annotations are fields in a dataclass alone: the base class has attributes of instances, too.
        dataclassed = any("dataclass" in ast.unparse(decorator) for decorator in kin.decorator_list)
        for name, annotation, value in _assigned(kin):
            field = dataclassed and annotation is not None and "ClassVar" not in annotation
            (fields if field else attributes)[name] = value
    return Technique(
        snake(node.name),
        module,
        node.name,
        summary,
        about.strip(),
        " ".join(source.split()),
        fields,
        attributes,
        frozenset(hooks),
    )


def _assigned(node: ast.ClassDef) -> Iterator[tuple[str, str | None, str]]:
    """Yield name, annotation and value of the public fields and attributes in a class body; of `Field(...)`, the default."""
    for statement in node.body:
        annotation = None
        if isinstance(statement, ast.AnnAssign):
            target, value, annotation = statement.target, statement.value, ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
        else:
            continue
        if not isinstance(target, ast.Name) or target.id.startswith("_"):
            continue
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
            default = [keyword.value for keyword in value.keywords if keyword.arg == "default"]
            value = (default or value.args or [None])[0]
        yield target.id, annotation, ast.unparse(value) if value is not None else ""


def lineage(module: str, name: str) -> list[tuple[str, ast.ClassDef]]:
    """Return a class and its ancestors within the package of `module`, each with its module, nearest first."""
    for node in tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            ancestors = [(module, node)]
            for base in node.bases:
                *owner, symbol = ast.unparse(base).split(".")
                home = imported(module, owner[0]) if owner else module
                ancestors += lineage(home, symbol) if home else []
            return ancestors
    source = imported(module, name)
    return lineage(*source.rsplit(".", 1)) if source and "." in source else []


def imported(module: str, name: str) -> str | None:
    """Return the dotted name that `name` was imported from, where it is of the same top-level package, or of this one."""
    homes = {module.split(".")[0], __name__.split(".")[0]}  # of a user's own file, ours
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in homes:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return f"{node.module}.{alias.name}"
    return None
