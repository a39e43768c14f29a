"""The families of techniques: a folder each, and a base class or a decorator by which a technique registers."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "_registered_as"


@dataclass(frozen=True)
class Family:
    """A family of techniques: each module of `package` defines some, by a base class or decorator from its module `base`.

    `name` is a technique's name in messages; `registrar` is the class or the decorator; modules in `support` hold none. `former` are hooks
    and flags of earlier versions, each with its successor: nothing reads them any more.
    """

    name: str
    package: str
    registrar: str
    support: frozenset[str] = frozenset({"base"})
    former: tuple[tuple[str, str], ...] = ()

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


METHODS = Family(
    "method",
    "holdfast.methods",
    "Method",
    frozenset({"base", "combinations"}),
    former=(("completions", "row_parts"), ("shows_answer", "row_parts"), ("vectors_alone", "moves_matrices")),
)
RECIPES = Family(
    "recipe",
    "holdfast.recipes",
    "recipe",
    frozenset({"base", "assignments", "describe", "find", "pipeline", "plan", "sweep", "techniques"}),
)
EDITS = Family("edit", "holdfast.edits", "Edit")
CURATIONS = Family("curation", "holdfast.curation", "Curation")
DECODINGS = Family("decoding", "holdfast.decoding", "Decoding")
ANALYSES = Family("analysis", "holdfast.analysis", "analysis")


def register(family: Family, function: Function) -> Function:
    """Mark a function as a technique: the body of the family's decorator."""
    setattr(function, MARK, family.name)
    return function


def snake(name: str) -> str:
    """Return `prompt_tuning` for `PromptTuning`."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def name_of(technique: object) -> str:
    """Return the name of a technique: that of its class, as options take it."""
    return snake(type(technique).__name__)


def unknown(label: str, name: str, known: list[str]) -> ValueError:
    """Return the error for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(sorted(known))
    return ValueError(f"unknown {label} {name!r}; {hint}")
