"""A domain as sub-tasks: each declared with what it reads and what it answers, checked row by row, and split by document.

Source: the data recipe of AnyTaskTune (arXiv 2407.07094): train one model for each sub-task or one for all, and measure each by itself.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from holdfast.tasks.error_list import Problems
from holdfast.tasks.formats.records import Record, json_value, read_records
from holdfast.tasks.formats.write import write_task
from holdfast.tasks.jinja import fill
from holdfast.tasks.task import METRICS, Example, Task, Template
from holdfast.tasks.yaml_files import read_yaml

ADVICE = "docs/add-a-task.md shows a declaration of sub-tasks"
STRICT = ConfigDict(extra="forbid")
PARTS = (("test", 0.1), ("validation", 0.2), ("train", 1.0))  # each up to this share of the documents
Word = Annotated[str, Field(min_length=1)]


@checked(config=STRICT)
class SubTask:
    """One thing to learn of a domain.

    `reads` are the columns that a row must have, as text; `input` is the question, a Jinja template over them, and `target` the column of
    the answer. An answer is one of `choices`, matches the regular expression `pattern` as a whole, or is a JSON object with `keys`,
    where these are given. A row without the target is not of this sub-task. `metric` marks it; by default accuracy of choices, else
    exact_match.
    """

    reads: list[Word]
    input: Word
    target: Word
    choices: list[Word] | None = None
    pattern: str | None = None
    keys: list[Word] | None = None
    metric: str = ""
    instruction: str = ""

    def wrong(self, values: Mapping[str, Any]) -> str:
        """Return what is wrong with a row of this sub-task; empty where nothing is."""
        for column in self.reads:
            if not isinstance(values.get(column), str) or not values[column].strip():
                return f"`{column}` is no text, which this sub-task reads"
        answer = values[self.target]
        if not isinstance(answer, str) or not answer.strip():
            return f"`{self.target}` is no text"
        if self.choices is not None and answer not in self.choices:
            return f"`{self.target}` is {answer!r}, and the choices are {', '.join(self.choices)}"
        if self.pattern is not None and not re.fullmatch(self.pattern, answer, re.DOTALL):
            return f"`{self.target}` is {answer!r}, which does not match {self.pattern}"
        return (
            ""
            if self.keys is None or _has(answer, self.keys)
            else f"`{self.target}` is no JSON object with {', '.join(self.keys)}"
        )


@checked(config=STRICT)
class Domain:
    """A domain: its file of rows, the column that names a row's document, and its sub-tasks by name."""

    name: Word
    rows: Word
    document: Word
    subtasks: dict[Word, SubTask]


@dataclass(frozen=True)
class Built:
    """A sub-task that was written: its folder, the examples of each part, the doubles left out, and its documents."""

    name: str
    folder: str
    train: int
    validation: int
    test: int
    doubles: int
    documents: int


def build(path: Path, out: Path) -> list[Built]:
    """Write a folder for each sub-task that a YAML file declares, `OUT/NAME-SUBTASK`, each a TASK; nothing unless all rows are right.

    All rows of one document are in the same part, in every sub-task: what is trained on in one is not tested in another. Of rows that
    ask and answer the same the first stays.

    Raises:
        ValueError: the file is no such declaration, rows are wrong (all of them are listed), or a sub-task has nothing to train on or
            to test.
    """
    domain = _read(path)
    problems = Problems()
    # Beside it and nowhere else: a declaration that somebody sent reads no other file of the user's.
    if Path(domain.rows).name != domain.rows or not (path.parent / domain.rows).is_file():
        raise ValueError(f"{path}: rows: there is no file {domain.rows} beside it")
    records = read_records(path.parent / domain.rows, problems)
    problems.stop()
    tasks = [_task(domain, name, subtask, records, problems) for name, subtask in domain.subtasks.items()]
    problems.stop()
    written = []
    for task, doubles, documents in tasks:
        sizes = {part: len(task.splits[part]) for part, _ in PARTS}
        if not sizes["train"] or not sizes["test"]:
            raise ValueError(
                f"{path}: {task.name}: {documents} documents leave {sizes['train']} examples to train on and {sizes['test']} to test; "
                "add documents"
            )
        written.append(Built(task.name, str(out / task.name), **sizes, doubles=doubles, documents=documents))
    for task, _, _ in tasks:
        write_task(task, out / task.name)
    return written


def part_of(domain: str, document: str) -> str:
    """Return the part of a document: by the hash of both names alone, so that neither order nor other documents move it."""
    share = int(hashlib.sha256(f"{domain}:{document}".encode()).hexdigest()[:8], 16) / 16**8
    return next(part for part, end in PARTS if share < end)


def _read(path: Path) -> Domain:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; {ADVICE}")
    declared = read_yaml(path, ADVICE)
    try:
        domain = TypeAdapter(Domain).validate_python(declared)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg'].lower()}") from None
    if not domain.subtasks:
        raise ValueError(f"{path}: subtasks: there are none; declare at least one")
    for name, subtask in domain.subtasks.items():
        if subtask.metric and subtask.metric not in METRICS:
            raise ValueError(
                f"{path}: subtasks.{name}.metric: {subtask.metric!r} is unknown; metrics: {', '.join(METRICS)}"
            )
        try:
            re.compile(subtask.pattern or "")
        except re.error as error:
            raise ValueError(f"{path}: subtasks.{name}.pattern: no regular expression ({error})") from None
    return domain


def _task(
    domain: Domain, name: str, subtask: SubTask, records: Sequence[Record], problems: Problems
) -> tuple[Task, int, int]:
    """Return a sub-task's examples by part, the number of doubles, and that of documents."""
    parts: dict[str, list[Example]] = {part: [] for part, _ in PARTS}
    seen: set[tuple[str, str]] = set()
    documents: set[str] = set()
    doubles = 0
    for record in records:
        if record.values.get(subtask.target) is None:
            continue
        document = record.values.get(domain.document)
        wrong = f"`{domain.document}` names no document" if document in (None, "") else subtask.wrong(record.values)
        if wrong:
            problems.add(record.where, f"{name}: {wrong}")
            continue
        fields = {column: record.values[column] for column in subtask.reads}
        try:
            key = (fill(subtask.input, fields), record.values[subtask.target])
        except ValueError as error:
            problems.add(record.where, f"{name}: {error}")
            continue
        doubles += key in seen
        if key not in seen:
            seen.add(key)
            documents.add(str(document))
            choices = None if subtask.choices is None else tuple(subtask.choices)
            parts[part_of(domain.name, str(document))].append(Example(fields, key[1], choices))
    metric = subtask.metric or ("accuracy" if subtask.choices else "exact_match")
    splits = {part: tuple(examples) for part, examples in parts.items()}
    template = Template(input=subtask.input, instruction=subtask.instruction)
    return Task(f"{domain.name}-{name}", splits, template, metric), doubles, len(documents)


def _has(answer: str, keys: Sequence[str]) -> bool:
    try:
        value = json_value(answer)
    except ValueError:
        return False
    return isinstance(value, dict) and set(keys) <= value.keys()
