"""From records to a task: every line as an example, and the defaults of template and metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median

from holdfast.tasks.choice_rules import ASKED_OTHERWISE, marked_by
from holdfast.tasks.conversation import assistant_turn, without_thinking
from holdfast.tasks.error_list import Problems, short_repr
from holdfast.tasks.jinja import compile_template, evaluate, fill
from holdfast.tasks.record_formats import Shape, shape_of, to_example
from holdfast.tasks.records import Record
from holdfast.tasks.settings import TaskYaml
from holdfast.tasks.splits import Splits, evenly, split_one, version, with_validation
from holdfast.tasks.task import Example, Task, Template


@dataclass(frozen=True, slots=True)
class Draft:
    """Data as it was read: records by split (a single file is the split `all`), the settings, and where each came from."""

    name: str
    source: str
    records: Mapping[str, Sequence[Record]]
    settings: TaskYaml
    settings_where: str
    closed: Mapping[str, tuple[str, ...]]


def to_task(draft: Draft, problems: Problems, seed: int = 0) -> Task:
    """Return the task of a draft. `seed` chooses which examples are held out where the data itself has no such split.

    Raises:
        ValueError: everything that is wrong with any line, and what was already in `problems`.
    """
    draft = replace(draft, records=_kept(draft, problems))
    shape, examples = _examples(draft, problems)
    template = _template(draft, shape, examples)
    questions = _questions(draft, template, examples, problems)
    problems.stop()  # all bad lines at once: whoever mends a file wants them in one go
    every = list(chain.from_iterable(examples.values()))
    default = "joint_goal_accuracy" if shape.dialogue else default_metric(every, questions)
    metric = draft.settings.metric or default
    try:
        whole = examples.get("all")
        splits = with_validation(template, examples, seed) if whole is None else split_one(template, whole, seed)
    except ValueError as error:
        raise ValueError(f"{draft.source}: {error}") from None
    name = draft.settings.name or draft.name
    if not name.isprintable():  # A folder's, in an archive that somebody sent: a terminal would obey what is in it.
        raise ValueError(
            f"{short_repr(draft.source)}: its name has control characters; rename it, or give a `name` in its task.yaml"
        )
    task = Task(name, splits, template, metric, version(template, splits), draft.source)
    return marked_by(task, metric) if metric in ASKED_OTHERWISE else task


def _answers_before(example: Example) -> bool:
    """Return whether a conversation holds answers of the assistant before its target."""
    messages = example.fields.get("messages")
    return isinstance(messages, tuple) and any(message["role"] == "assistant" for message in messages)


def default_stop(targets: Sequence[str], separator: str) -> tuple[str, ...]:
    """Return a newline where no target has one; else what separates demonstrations; else only the model's own end token."""
    if not any("\n" in target for target in targets):
        return ("\n",)
    # An answer of several paragraphs, or one behind a block of thinking, would end at the first of them.
    return (separator,) if separator and not any(separator in target for target in targets) else ()


def default_metric(examples: Sequence[Example], questions: Sequence[str]) -> str:
    """Return the metric that suits the data.

    That is `accuracy` where every example has choices; `tool_call` where every answer calls tools; `exact_match` where answers are short (a
    median of at most five words) and on one line or with listed `answers`; `rougeL` where questions have more than four times the words of
    their answers (medians: a summary); else `bleu`.
    """
    # Medians, because a few long answers would move a mean over the bound.
    if all(example.choices for example in examples):
        return "accuracy"
    answers = [without_thinking(example.target) for example in examples]
    if all(assistant_turn(answer).calls for answer in answers):
        return "tool_call"
    words = median(len(answer.split()) for answer in answers)
    if words <= 5 and all(e.answers or "\n" not in answer for e, answer in zip(examples, answers, strict=True)):
        return "exact_match"
    return "rougeL" if median(len(text.split()) for text in questions) > 4 * words else "bleu"


def _kept(draft: Draft, problems: Problems) -> dict[str, list[Record]]:
    """Return the records that `limit` and `keep` leave."""
    keep = draft.settings.keep
    kept: dict[str, list[Record]] = {}
    for split, records in draft.records.items():
        kept[split] = []
        # `limit` first: an expression may be slow, and a limit is there because the data is large.
        for record in (records[i] for i in evenly(len(records), draft.settings.limit)):
            try:
                if keep is None or evaluate(keep, record.values):
                    kept[split].append(record)
            except ValueError as error:
                problems.add(record.where, f"`keep`: {error}")
        # Where lines are wrong, an empty split follows from them and is no error of its own.
        if records and not kept[split] and not problems.lines:
            problems.add(draft.settings_where, f"`keep` leaves no example of {split}; change it")
    return kept


def _examples(draft: Draft, problems: Problems) -> tuple[Shape, dict[str, tuple[Example, ...]]]:
    """Return every record as an example of one shape, that of the first good line."""
    first: Shape | None = None
    by_split: dict[str, tuple[Example, ...]] = {}
    for split, records in draft.records.items():
        made = []
        for record in records:
            try:
                shape = shape_of(record.values, draft.settings)
                made.append(to_example(record.values, shape, draft.settings, draft.closed))
                first = first or shape
                # Lines of two shapes would be asked by two templates, and one score would stand for two tasks.
                if shape != first:
                    raise ValueError(f"the keys {shape.name} come after {first.name}; use one set of keys throughout")
            except ValueError as error:
                problems.add(record.where, error)
        by_split[split] = tuple(made)
    problems.stop()
    assert first is not None, "a draft without records"
    return first, by_split


def _template(draft: Draft, shape: Shape, examples: Splits) -> Template:
    """Return the shape's template with the settings put over it.

    Raises:
        ValueError: it could not work on any example: its syntax, or a stop string where the answer begins.
    """
    settings = draft.settings
    every = list(chain.from_iterable(examples.values()))
    # A chat task that was written out names its target, and its messages are a column.
    wrong = {
        "loss": ("messages", not all("messages" in example.fields for example in every)),
        "think": ("messages", not shape.conversation),
        "call_steps": ("turns", not shape.dialogue),
    }
    for key, (lines, misplaced) in wrong.items():
        if getattr(settings, key) is not None and misplaced:
            raise ValueError(
                f"{draft.settings_where}: `{key}` is for lines with `{lines}`, and these have {shape.name}; remove it"
            )
    template = settings.template(shape.template)
    # By the data: conversations of one answer each train their last and only answer.
    if settings.loss is None and not shape.dialogue and any(map(_answers_before, every)):
        template = replace(template, loss="all")
    if draft.settings.stop is None and not shape.dialogue:
        targets = [example.target for example in every]
        template = replace(template, stop=default_stop(targets, template.separator))
    # Compiled once here: a mistake in the template would otherwise be reported for every line of the data.
    try:
        compile_template(template.input)
    except ValueError as error:
        raise ValueError(f"{draft.settings_where}: `input`: {error}") from None
    for stop in template.stop:
        if not stop:
            raise ValueError(f"{draft.settings_where}: `stop` holds an empty text, which ends every answer; remove it")
        if stop in template.delimiter:
            raise ValueError(
                f"{draft.settings_where}: the delimiter {template.delimiter!r} contains the stop string {stop!r}, so "
                'every answer would end where it begins; write that text at the end of `input`, and `delimiter: ""`'
            )
    return template


def _questions(draft: Draft, template: Template, examples: Splits, problems: Problems) -> list[str]:
    """Return every question as text; an example that the template does not fit is a problem of its line."""
    questions = []
    for split, records in draft.records.items():
        for record, example in zip(records, examples[split], strict=True):
            try:
                questions.append(fill(template.input, example.fields))
            except ValueError as error:
                problems.add(record.where, error)
    return questions
