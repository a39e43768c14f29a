"""Write a task as a folder that `read_folder` reads, and its rows back exactly."""

import json
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from holdfast.atomic_files import write_text
from holdfast.tasks.task import Example, Task, Template

COLUMNS = (
    "target",
    "choices",
    "answers",
    "rejected",
    "origin",
    "checks",
    "asked_by",
    "mixed_from",
    "shown",
)  # of a row, beside the fields that the template uses


def write_task(task: Task, folder: Path) -> None:
    """Write `train.jsonl`, `validation.jsonl`, `test.jsonl` (those that the task has) and `task.yaml`.

    A row holds the example's fields, its target and, where it has them, choices, answers, a rejected answer, checks, and `origin`: the
    row that it is or was made from; where they are its own, the template that asks it, the task that it was mixed in from, and the
    demonstrations that stand before it, of each its fields and target. A field of one of these names stays, and the columns are called
    `target_` ... then.

    Raises:
        ValueError: a field holds something that JSON has no form for.
    """
    columns = _columns(task)
    examples = list(chain.from_iterable(task.splits.values()))
    unmixed = [example for example in examples if not example.task]
    several = any(example.answers for example in examples)
    for split in task.splits:
        lines = []
        for number, example in enumerate(task.splits[split]):
            # Where one row has several answers every row lists its own, because `task.yaml` names the column for all of them.
            answers = example.accepted if several else None
            values = (
                example.target,
                example.choices,
                answers,
                example.rejected,
                example.origin or None,
                example.checks,
                None if example.template is None else asdict(example.template),
                example.task or None,
                None if example.demonstrations is None else [_shown(shown) for shown in example.demonstrations],
            )
            row = dict(example.fields) | {c: v for c, v in zip(columns, values, strict=True) if v is not None}
            try:
                lines.append(json.dumps(row, ensure_ascii=False) + "\n")
            except TypeError as error:
                raise ValueError(f"{task.name}/{split}[{number}]: cannot be written as JSON: {error}") from None
        write_text(folder / f"{split}.jsonl", "".join(lines))
    settings = {"name": task.name, "metric": task.metric, "target": columns[0]}
    settings |= {"choices": columns[1]} if all(example.choices for example in unmixed) else {}
    settings |= {"answers": columns[2]} if several else {}
    settings |= {"checks": columns[5]} if all(example.checks for example in unmixed) else {}
    default = asdict(Template())
    template = {
        key: list(v) if isinstance(v, tuple) else v for key, v in asdict(task.template).items() if v != default[key]
    }
    write_text(folder / "task.yaml", yaml.safe_dump(settings | template, sort_keys=False, allow_unicode=True))


def read_rows(folder: Path, split: str) -> tuple[Example, ...]:
    """Return the examples of one split as `write_task` wrote them: equal to what they were."""
    settings = yaml.safe_load((folder / "task.yaml").read_text(encoding="utf-8"))
    suffix = settings["target"].removeprefix(COLUMNS[0])
    columns = [f"{name}{suffix}" for name in COLUMNS]
    examples = []
    # Not `splitlines`: a text may hold U+2028 and other separators, which JSON leaves as they are.
    for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n"):
        row = json.loads(line)
        target, choices, answers, rejected, origin, checks, template, task, shown = (
            row.pop(column, None) for column in columns
        )
        choices = None if choices is None else tuple(choices)
        answers = None if answers in (None, [target]) else tuple(answers)
        checks = None if checks is None else tuple(checks)
        template = _template(template)
        shown = (
            None
            if shown is None
            else tuple(
                Example(each["fields"], each["target"], template=_template(each.get("template"))) for each in shown
            )
        )
        examples.append(
            Example(row, target, choices, answers, rejected, origin or "", checks, template, task or "", shown)
        )
    return tuple(examples)


def _shown(example: Example) -> dict[str, Any]:
    """Return a demonstration as JSON: its fields, its target and, where it has one, the template that asks it."""
    template = {} if example.template is None else {"template": asdict(example.template)}
    return {"fields": dict(example.fields), "target": example.target, **template}


def _template(values: dict[str, Any] | None) -> Template | None:
    return None if values is None else replace(Template(**values), stop=tuple(values["stop"]))


def _columns(task: Task) -> list[str]:
    """Return names for `COLUMNS` that no example has as a field."""
    taken = set(chain.from_iterable(example.fields for example in chain.from_iterable(task.splits.values())))
    suffix = ""
    while any(f"{name}{suffix}" in taken for name in COLUMNS):
        suffix += "_"
    return [f"{name}{suffix}" for name in COLUMNS]
