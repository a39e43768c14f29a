"""Find techniques by folder: a method, recipe, edit, ... exists because its file does. No list to forget.

A class registers by its base class, a function by a decorator. Names, summaries and fields are read from the text of the
files, so that a listing imports neither torch nor transformers; a technique's module is imported once it is used.
"""

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "_registered_as"
CODE = re.compile(r"\.py\s*:|\bharness:.*@")  # a user's own technique, and a task that a folder describes


@dataclass(frozen=True)
class Family:
    """A family of techniques: each module of `package` defines some, by a base class or decorator from its module `base`.

    `name` is a technique's name in messages; `registrar` is the class or the decorator; modules in `support` hold none.
    """

    name: str
    package: str
    registrar: str
    support: frozenset[str] = frozenset({"base"})

    @property
    def home(self) -> str:
        """Return the name of the module that has the base class or the decorator."""
        return f"{self.package}.base"

    @property
    def by_decorator(self) -> bool:
        """Return whether functions register, by a decorator, and not classes."""
        # A class's name begins with a capital, a decorator's with a small letter.
        return self.registrar[0].islower()

    @property
    def advice(self) -> str:
        """Return an instruction to register, for messages."""
        if self.by_decorator:
            return f"put @{self.registrar} of {self.home} above the function"
        return f"derive the class from {self.registrar} of {self.home}"


METHODS = Family("method", "holdfast.methods", "Method")
RECIPES = Family(
    "recipe",
    "holdfast.recipes",
    "recipe",
    frozenset({"base", "assignments", "describe", "find", "pipeline", "plan", "sweep"}),
)
EDITS = Family("edit", "holdfast.edits", "Edit")
CURATIONS = Family("curation", "holdfast.curation", "Curation")
DECODINGS = Family("decoding", "holdfast.decoding", "Decoding")
ANALYSES = Family("analysis", "holdfast.analysis", "analysis")


@dataclass(frozen=True)
class Technique:
    """A technique as its file describes it; `about` is the middle of its docstring, and values of `fields` and `attributes` are text."""

    name: str
    module: str
    symbol: str
    summary: str
    about: str
    source: str
    fields: Mapping[str, str]
    attributes: Mapping[str, str]

    @property
    def joins(self) -> bool:
        """Return whether this is a method that takes part beside another (`full+l2_sp`), because it chooses no parameters."""
        return self.attributes.get("chooses_parameters") == "False"


def register(family: Family, function: Function) -> Function:
    """Mark a function as a technique: the body of the family's decorator."""
    setattr(function, MARK, family.name)
    return function


# What the files say, without importing them.


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
            "fields": dict(t.fields),
        }
        for t in sorted(listed, key=lambda t: (t.joins, t.name))
    ]


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
    for _, kin in reversed(lineage(module, node.name) if isinstance(node, ast.ClassDef) else []):
        # Annotations are fields in a dataclass alone: the base class has attributes of instances, too.
        dataclassed = any("dataclass" in ast.unparse(decorator) for decorator in kin.decorator_list)
        for name, annotation, value in _assigned(kin):
            field = dataclassed and annotation is not None and "ClassVar" not in annotation
            (fields if field else attributes)[name] = value
    return Technique(
        snake(node.name), module, node.name, summary, about.strip(), " ".join(source.split()), fields, attributes
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
    """Return the dotted name that `name` was imported from, where it is of the same top-level package."""
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == module.split(".")[0]:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return f"{node.module}.{alias.name}"
    return None


# Techniques themselves.


def find(argument: str, *families: Family, label: str = "") -> Any:
    """Return the class or function for a name, or for `path/to/file.py:Name`, a user's own; `label` is for messages.

    Raises:
        ValueError: there is none (the nearest name is suggested), or it is no technique of these families.
    """
    if ".py:" in argument:
        return from_file(argument, *families)
    known: list[str] = []
    for family in families:
        if argument in techniques(family):
            return _load(family, techniques(family)[argument])
        known += techniques(family)
    raise unknown(label or families[0].name, argument, known)


def configure(family: Family, name: str, settings: Mapping[str, Any], section: str = "") -> Any:
    """Return a technique of a family with its fields set; `section` stands before the point where `--set` names a field.

    Raises:
        ValueError: there is no such technique or field, or a value does not fit.
    """
    from pydantic import ValidationError  # Here, because `holdfast --help` lists techniques and sets no field.

    technique = find(name, family)
    prefix = f"{section}." if section else ""
    known = [prefix + field.name for field in fields(technique)]
    for key in settings:
        if prefix + key not in known:
            raise unknown(f"field of {family.name} {name!r}:", prefix + key, known)
    try:
        return technique(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        label = section or name
        if first["loc"]:  # An error of the whole technique, and not of a field, has no location.
            label += f".{'.'.join(map(str, first['loc']))}={first['input']!r}"
        raise ValueError(f"{label}: {first['msg'].removeprefix('Value error, ')}") from None


def members(family: Family) -> dict[str, Any]:
    """Import a family, and return every class or function of it by name."""
    return {name: _load(family, technique) for name, technique in techniques(family).items()}


def _load(family: Family, technique: Technique) -> Any:
    member = getattr(importlib.import_module(technique.module), technique.symbol)
    check(member, family, f"{technique.module}: {technique.symbol}")
    return member


def from_file(argument: str, *families: Family) -> Any:
    """Run a user's file and return the technique that `path/to/file.py:Name` names.

    Raises:
        ValueError: there is no such file, running it fails, or the name in it is no technique of these families.
    """
    path, _, name = argument.rpartition(":")
    label = " or ".join(family.name for family in families)
    if not path or not Path(path).is_file():
        raise ValueError(
            f"{argument}: write your own {label} as path/to/file.py:Name; there is no file {path or argument}"
        )
    module = run_file(Path(path))
    member = getattr(module, name, None)
    if member is None:
        raise ValueError(f"{argument}: {path} defines no {label} called {name}")
    for family in families:
        if belongs(member, family):
            check(member, family, argument)
            return member
    raise ValueError(f"{argument}: {name} is no {label}; {', or '.join(family.advice for family in families)}")


def run_file(path: Path) -> ModuleType:
    """Run a user's Python file as a module of its own.

    Raises:
        ValueError: it is no Python, or fails or exits while it runs: one line with the file and the line in it.
    """
    name = "holdfast_own_" + re.sub(r"\W", "_", str(path.resolve()))  # So that no module of another name is hidden.
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where dataclasses look up annotations that are strings.
    try:
        # Python's own error for a NUL byte has no line number.
        if (position := path.read_bytes().find(b"\0")) >= 0:
            line = path.read_bytes()[:position].count(b"\n") + 1
            raise SyntaxError("holds a NUL byte, so it is no Python text", (str(path), line, None, None))
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # SystemExit would end the command as if it were done.
        del sys.modules[name]
        if isinstance(error, SyntaxError):
            lines, message = [error.lineno], error.msg
        else:
            # The last line that is in the user's file: the error itself may come from deep inside a library.
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
            message = f"{type(error).__name__}: {error}".rstrip(": ")
        message = " ".join(message.split())
        raise ValueError(f"{path}:{(lines or [None])[-1] or 1}: {message}; the file must run as a module") from error
    return module


def belongs(member: Any, family: Family) -> bool:
    """Return whether a class or function is registered as a technique of a family."""
    if family.by_decorator:
        return getattr(member, MARK, None) == family.name
    base = getattr(importlib.import_module(family.home), family.registrar)
    return isinstance(member, type) and issubclass(member, base) and member is not base


def check(member: Any, family: Family, label: str) -> None:
    """Refuse a class that registers and yet cannot do anything, or that leaves its fields unread.

    Raises:
        ValueError: a required method is missing, no hook is overridden, a hook's name is misspelt, or it is no dataclass.
    """
    if family.by_decorator:
        return
    if missing := sorted(getattr(member, "__abstractmethods__", ())):
        raise ValueError(f"{label}: lacks {', '.join(missing)}, which every {family.name} of this sort defines")
    base = getattr(importlib.import_module(family.home), family.registrar)
    hooks = [name for name, hook in vars(base).items() if callable(hook) and (name[0] != "_" or name == "__call__")]
    # A misspelt hook is never called, and nothing would say so.
    for name, function in vars(member).items():
        near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.8)
        if inspect.isfunction(function) and near and name not in hooks and name[0] != "_":
            raise ValueError(f"{label}: {name} is no part of a {family.name}; did you mean {near[0]!r}?")
    if all(getattr(member, name) is getattr(base, name) for name in hooks):
        raise ValueError(f"{label}: does nothing; define one of {', '.join(hooks)}")
    annotations = [name for name, text in inspect.get_annotations(member).items() if "ClassVar" not in str(text)]
    if not is_dataclass(member) or (annotations and "__dataclass_fields__" not in vars(member)):
        raise ValueError(f"{label}: is no dataclass, so its fields cannot be set; put @dataclass of pydantic above it")


def refuse_code(content: Any, where: str | Path, *, trust_code: bool) -> None:
    """Refuse what was read from a file where it names code of a user's: a run's folder that somebody sends is no program.

    That is `path/to/file.py:Name` wherever it stands, and a task whose description by `harness:NAME@FOLDER` may call functions of the
    folder. On the command line, or as an argument in Python, both are asked for by whoever runs them.

    Raises:
        ValueError: the file names code, and `trust_code` is off.
    """
    code = sorted({text for text in _texts(content) if CODE.search(text)})
    if code and not trust_code:
        raise ValueError(
            f"{where}: names code that would run with your rights: {', '.join(code)[:200]}; read it first, then give --trust-code "
            "(in Python trust_code=True)"
        )


def _texts(content: Any) -> Iterator[str]:
    """Yield every text in plain data, keys included."""
    # By identity: YAML aliases repeat an object, a few lines of them a billion times, or put it into itself.
    seen: set[int] = set()
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping | Sequence) and id(value) not in seen:
            seen.add(id(value))
            left += [*value, *value.values()] if isinstance(value, Mapping) else [*value]


def snake(name: str) -> str:
    """Return `prompt_tuning` for `PromptTuning`."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def unknown(label: str, name: str, known: list[str]) -> ValueError:
    """Return the error for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(sorted(known))
    return ValueError(f"unknown {label} {name!r}; {hint}")
