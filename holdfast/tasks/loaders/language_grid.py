"""Tasks in several languages, each asked by prompts in several languages: a grid that a YAML file declares, as a suite of tasks.

Source: the evaluation of Muennighoff et al. 2023, "Crosslingual generalization through multitask finetuning" (xP3, BLOOMZ)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from holdfast.tasks.error_list import nearest
from holdfast.tasks.examples.splits import version
from holdfast.tasks.formats.stored import mapped
from holdfast.tasks.jinja import compile_template, fill
from holdfast.tasks.task import Example, Task
from holdfast.tasks.yaml_files import read_yaml

PREFIX = "grid:"
ADVICE = "docs/add-a-task.md shows a grid of languages"
STRICT = ConfigDict(extra="forbid")
Name = Annotated[str, Field(pattern=r"^[^\s:@#|]+$")]
Text = Annotated[str, Field(min_length=1)]
CELL = re.compile(r"(?P<grid>[^:@]+):(?:(?P<group>[^:@]+):)?(?P<language>[^:@]+)@(?P<prompt>[^:@]+)\.(?P<number>\d+)$")


@checked(config=STRICT)
class GridPrompt:
    """One prompt: a Jinja template over the columns of the data, and the words that stand for the data's answers in its language."""

    input: Text
    answers: dict[str, Text] | None = None


@checked(config=STRICT)
class LanguageGrid:
    """The data by language, the prompts by theirs, and the groups of the data's languages, such as `tuned`, `pretrained` and `unseen`.

    `data` are TASKs, a path counted from the folder of the file.
    """

    name: Name
    data: dict[Name, Text]
    prompts: dict[Name, list[Text | GridPrompt]]
    groups: dict[Name, list[Name]] = Field(default_factory=dict)


@dataclass(frozen=True, order=True)
class GridCell:
    """A place of the grid, as the name of its task says it; prompts of a language are numbered from 1."""

    grid: str
    group: str
    language: str
    prompt: str
    number: int

    @property
    def name(self) -> str:
        """Return the name of the cell's task."""
        group = f"{self.group}:" if self.group else ""
        return f"{self.grid}:{group}{self.language}@{self.prompt}.{self.number}"


def cell_of(name: str) -> GridCell | None:
    """Return the cell that a task's name stands for; None where it is no task of a grid."""
    match = CELL.fullmatch(name)
    if match is None:
        return None
    return GridCell(match["grid"], match["group"] or "", match["language"], match["prompt"], int(match["number"]))


def drawn_by(name: str) -> str:
    """Return the name by which the items of a task are drawn: the same for all prompts of a language's data."""
    return name.rpartition("@")[0] if cell_of(name) else name


def arguments(argument: str) -> list[str]:
    """Return the TASK arguments of a grid's cells, `grid:FILE#LANGUAGE@PROMPT.NUMBER`, by language and prompt; of a cell itself.

    Raises:
        ValueError: the file is no grid.
    """
    if "#" in argument:
        return [argument]
    return [f"{argument}#{cell.language}@{cell.prompt}.{cell.number}" for cell in _cells(_read(_path(argument)))]


def task(argument: str, load: Callable[[str], Task]) -> Task:
    """Return the task of one cell; `load` reads the data's TASK.

    Raises:
        ValueError: there is no such file or cell, the prompt does not fit the data, or its answers are not those of the data.
    """
    path, wanted = _path(argument), argument.partition("#")[2]
    grid = _read(path)
    cell = next((c for c in _cells(grid) if f"{c.language}@{c.prompt}.{c.number}" == wanted), None)
    if cell is None:
        raise ValueError(f"{argument}: the grid has no such cell; ask {argument.partition('#')[0]} for all")
    where = f"{path}: prompts.{cell.prompt}, number {cell.number}"
    prompt = grid.prompts[cell.prompt][cell.number - 1]
    prompt = GridPrompt(prompt) if isinstance(prompt, str) else prompt
    local = path.parent / grid.data[cell.language]
    data = load(str(local) if local.exists() else grid.data[cell.language])
    try:
        compile_template(prompt.input)
        splits = {s: mapped(partial(_reworded, prompt=prompt), examples) for s, examples in data.splits.items()}
        template = replace(data.template, input=prompt.input)
        return Task(cell.name, splits, template, data.metric, version(template, splits), argument)
    except ValueError as error:
        raise ValueError(f"{where}: with the data of {cell.language}: {error}") from None


def _path(argument: str) -> Path:
    return Path(argument.removeprefix(PREFIX).partition("#")[0]).expanduser()


def _read(path: Path) -> LanguageGrid:
    if not path.is_file():
        raise ValueError(f"{PREFIX}{path}: there is no such file; {ADVICE}")
    try:
        grid = TypeAdapter(LanguageGrid).validate_python(read_yaml(path, ADVICE))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg'].lower()}") from None
    if empty := [key for key, value in (("data", grid.data), ("prompts", grid.prompts)) if not value]:
        raise ValueError(f"{path}: {empty[0]}: there are none; declare at least one language")
    members = list(chain.from_iterable(grid.groups.values()))
    for language in members:
        if language not in grid.data:
            raise ValueError(
                f"{path}: groups: there is no data in {language!r}; {nearest(language, list(grid.data))}there is {', '.join(grid.data)}"
            )
        if members.count(language) > 1:
            raise ValueError(f"{path}: groups: {language!r} is in two of them; leave it in one")
    return grid


def _cells(grid: LanguageGrid) -> list[GridCell]:
    group: dict[str, str] = {}
    for name, members in grid.groups.items():
        group |= dict.fromkeys(members, name)
    cells: list[GridCell] = []
    for language in grid.data:
        for prompt, templates in grid.prompts.items():
            numbers = range(1, len(templates) + 1)
            cells += [GridCell(grid.name, group.get(language, ""), language, prompt, number) for number in numbers]
    return cells


def _reworded(example: Example, prompt: GridPrompt) -> Example:
    """Return an example with its answers in the words of the prompt, once the template was filled with it."""
    fill(prompt.input, example.fields)
    words = prompt.answers
    if words is None:
        return example
    choices, answers = example.choices, example.answers
    return replace(
        example,
        target=_word(words, example.target),
        choices=None if choices is None else tuple(_word(words, choice) for choice in choices),
        answers=None if answers is None else tuple(_word(words, answer) for answer in answers),
    )


def _word(words: Mapping[str, str], answer: str) -> str:
    if answer not in words:
        raise ValueError(f"`answers` has no word for {answer!r} ({', '.join(words)}); add it")
    return words[answer]
