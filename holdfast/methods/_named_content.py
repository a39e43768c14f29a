"""The texts and tasks that a method's fields name: how they are told apart, how a file of texts is read, and texts as rows."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from holdfast.models.fingerprint import file_fingerprint
from holdfast.row import Row
from holdfast.tasks.sources import load_tasks
from holdfast.tasks.task import Template


def holds_texts(path: Path) -> bool:
    """Return whether a path is a file of texts: one a line (`.txt`), or JSON lines with a `text` (`.jsonl`)."""
    if not path.is_file() or path.suffix not in (".txt", ".jsonl"):
        return False
    if path.suffix == ".txt":
        return True
    with path.open(encoding="utf-8") as file:
        line = next((line for line in file if line.strip()), "")
    try:
        return "text" in json.loads(line)
    except (json.JSONDecodeError, TypeError):
        return False  # The reader of tasks lists every line that is wrong.


def content_versions(argument: str) -> tuple[str, ...]:
    """Return the fingerprints of the content of a file of texts, or of the tasks that a TASK argument names; none of an empty argument.

    Raises:
        ValueError: there is no such task, or its data is wrong.
    """
    if not argument:
        return ()
    if holds_texts(Path(argument)):
        return (file_fingerprint(Path(argument)),)
    return tuple(task.version for task in load_tasks(argument))


def text_rows(texts: Iterable[tuple[str, str]], tokenizer: Any, length: int, count: int | None = None) -> list[Row]:
    """Return texts, each with its name, as rows of up to `length` tokens that are all predicted but the first: `count` of them, or all."""
    rows: list[Row] = []
    for name, text in texts:
        tokens = tuple(tokenizer(text)["input_ids"][:length])
        # The first token is predicted from nothing, so a text of one token has nothing to learn.
        if len(tokens) > 1:
            rows.append(Row(tokens, (0.0, *[1.0] * (len(tokens) - 1)), name=name))
        if len(rows) == count:
            break
    return rows


def side_of(template: Template) -> Literal["input", "right"]:
    """Return the side at which an example is cut that is too long: of a document the end goes, as of a text in a file."""
    return "right" if template.asks_nothing else "input"


def read(path: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a file, each with its location (`path:line`).

    Raises:
        ValueError: there is no such file, or a line is no JSON object with a `text`.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file; give one text a line, or JSON lines with a `text`")
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            location = f"{path}:{number}"
            if not path.endswith(".jsonl"):
                yield location, line.rstrip("\n")
            elif line.strip():  # Editors like to end a file with an empty line.
                try:
                    yield location, str(json.loads(line)["text"])
                except (json.JSONDecodeError, KeyError, TypeError):
                    raise ValueError(f"{location}: is no JSON object with a `text`") from None
