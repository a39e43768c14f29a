"""From records to a task: every line as an example, and the defaults of template and metric."""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain

from holdfast.tasks.answers.choice_rules import ASKED_OTHERWISE, marked_by
from holdfast.tasks.error_list import Problems, short_repr
from holdfast.tasks.examples.splits import Splits, evenly, split_one, version, with_validation
from holdfast.tasks.formats.conversation import assistant_turn, without_thinking
from holdfast.tasks.formats.record_formats import Shape, shape_of, to_example
from holdfast.tasks.formats.records import Record
from holdfast.tasks.formats.settings import TaskYaml
from holdfast.tasks.formats.stored import ReadOnDemand, chosen, mapped
from holdfast.tasks.jinja import compile_template, evaluate, fill
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
    if shape.dialogue:
        default = "joint_goal_accuracy"
    elif template.asks_nothing:
        default = "likelihood"
    else:
        default = default_metric(Every(examples), questions)
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


class Every(Iterable[Example]):
    """The examples of all splits, as often as they are gone through; no list is made of them, for there may be a million."""

    def __init__(self, splits: Splits) -> None:
        self._splits = splits

    def __iter__(self) -> Iterator[Example]:
        return chain.from_iterable(self._splits.values())


def default_stop(examples: Iterable[Example], separator: str) -> tuple[str, ...]:
    """Return a newline where no target has one; else what separates demonstrations; else only the model's own end token."""
    if not any("\n" in example.target for example in examples):
        return ("\n",)
    # An answer of several paragraphs, or one behind a block of thinking, would end at the first of them.
    return (separator,) if separator and not any(separator in example.target for example in examples) else ()


def default_metric(examples: Iterable[Example], questions: Counter[int]) -> str:
    """Return the metric that suits the data; `questions` counts the questions of so many words.

    That is `accuracy` where every example has choices; `tool_call` where every answer calls tools; `exact_match` where answers are short (a
    median of at most five words) and on one line or with listed `answers`; `rougeL` where questions have more than four times the words of
    their answers (medians: a summary); else `bleu`.
    """
    # Medians, because a few long answers would move a mean over the bound.
    if all(example.choices for example in examples):
        return "accuracy"
    if all(assistant_turn(without_thinking(example.target)).calls for example in examples):
        return "tool_call"
    lengths, lines = Counter[int](), False
    for example in examples:
        answer = without_thinking(example.target)
        lengths[len(answer.split())] += 1
        lines = lines or not (example.answers or "\n" not in answer)
    words = _median(lengths)
    if words <= 5 and not lines:
        return "exact_match"
    return "rougeL" if _median(questions) > 4 * words else "bleu"


def _median(counts: Counter[int]) -> float:
    """Return the median of numbers that occur so many times each."""
    ordered = sorted(counts)
    ends = list(accumulate(counts[number] for number in ordered))
    middle = [ordered[bisect_right(ends, position)] for position in ((ends[-1] - 1) // 2, ends[-1] // 2)]
    return sum(middle) / 2


def _kept(draft: Draft, problems: Problems) -> dict[str, Sequence[Record]]:
    """Return the records that `limit` and `keep` leave."""
    keep = draft.settings.keep
    kept: dict[str, Sequence[Record]] = {}
    for split, records in draft.records.items():
        if keep is None and draft.settings.limit is None:
            kept[split] = records
            continue
        # `limit` first: an expression may be slow, and a limit is there because the data is large.
        limited = evenly(len(records), draft.settings.limit)
        numbers = array("Q")
        for number, record in zip(limited, chosen(records, limited), strict=True):
            try:
                if keep is None or evaluate(keep, record.values):
                    numbers.append(number)
            except ValueError as error:
                problems.add(record.where, f"`keep`: {error}")
        kept[split] = chosen(records, numbers)
        # Where lines are wrong, an empty split follows from them and is no error of its own.
        if records and not kept[split] and not problems.lines:
            problems.add(draft.settings_where, f"`keep` leaves no example of {split}; change it")
    return kept


def _examples(draft: Draft, problems: Problems) -> tuple[Shape, dict[str, Sequence[Example]]]:
    """Return every record as an example of one shape, that of the first good line; of records that stay on the disk, examples do too."""
    first: Shape | None = None
    by_split: dict[str, Sequence[Example]] = {}
    for split, records in draft.records.items():
        made = []
        for record in records:
            try:
                shape = shape_of(record.values, draft.settings)
                example = to_example(record.values, shape, draft.settings, draft.closed)
                first = first or shape
                # Lines of two shapes would be asked by two templates, and one score would stand for two tasks.
                if shape != first:
                    raise ValueError(f"the keys {shape.name} come after {first.name}; use one set of keys throughout")
            except ValueError as error:
                problems.add(record.where, error)
            else:
                made += [] if isinstance(records, ReadOnDemand) else [example]
        by_split[split] = tuple(made)
        if isinstance(records, ReadOnDemand):
            by_split[split] = mapped(partial(_example_of, draft.settings, draft.closed), records)
    problems.stop()
    assert first is not None, "a draft without records"
    return first, by_split


def _example_of(settings: TaskYaml, closed: Mapping[str, tuple[str, ...]], record: Record) -> Example:
    return to_example(record.values, shape_of(record.values, settings), settings, closed)


def _template(draft: Draft, shape: Shape, examples: Splits) -> Template:
    """Return the shape's template with the settings put over it.

    Raises:
        ValueError: it could not work on any example: its syntax, or a stop string where the answer begins.
    """
    settings, every = draft.settings, Every(examples)
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
    if template.input == template.instruction == "" and settings.delimiter is None:
        template = replace(template, delimiter="")  # Between a text and nothing there is nothing.
    # By the data: conversations of one answer each train their last and only answer.
    if settings.loss is None and shape.conversation and any(map(_answers_before, every)):
        template = replace(template, loss="all")
    if draft.settings.stop is None and not shape.dialogue:
        template = replace(template, stop=default_stop(every, template.separator))
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


def _questions(draft: Draft, template: Template, examples: Splits, problems: Problems) -> Counter[int]:
    """Return how many questions have how many words; an example that the template does not fit is a problem of its line."""
    words = Counter[int]()
    for split, records in draft.records.items():
        for record, example in zip(records, examples[split], strict=True):
            try:
                words[len(fill(template.input, example.fields, record.values).split())] += 1
            except ValueError as error:
                problems.add(record.where, error)
    return words
