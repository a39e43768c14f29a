"""The answers that a reader is shown, by a rule that is printed beside them: chosen by hand, examples prove nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from holdfast.results import units
from holdfast.results.scores import Output
from holdfast.results.summary import STATE, Summary, TaskResult

FALLS, RISES = 2, 1
RULE = (
    "Of each task: the two items whose score fell most from the base to the tuned model, answers in the tuned task's format "
    "before all others, then the one that rose most; ties go to the shorter input. Where an item's score stays as it was, "
    "or a metric has no value for one item, such as BLEU, an answer that fell into the tuned task's format counts as fallen."
)
Answers = dict[tuple[str, str | None], Output]  # by (variant, prompt)
LONGEST = 700  # characters of a text that are shown
MOST_TASKS = 40  # whose examples are shown


@dataclass(frozen=True)
class Answer:
    """One model's answer to an item."""

    state: str
    text: str
    score: str
    right: bool | None
    generated: str | None = None  # what was written freely, where the answer was picked among choices


@dataclass(frozen=True)
class ShownItem:
    """One item as it was asked, with the answers side by side."""

    shots: int
    index: int
    input: str
    target: str
    answers: list[Answer]


@dataclass(frozen=True)
class TaskExamples:
    """A task's chosen items, with the numbers of items that `fell`, that `rose`, and `of` which they were chosen."""

    task: str
    role: str
    fell: int
    rose: int
    of: int
    items: list[ShownItem]


def choose(outputs: Sequence[Output], summary: Summary) -> list[TaskExamples]:
    """Return the examples of every task that has its items on file, target first."""
    answered: dict[tuple[str, int], dict[int, Answers]] = {}
    for output in outputs:
        items = answered.setdefault((output.task, output.shots), {})
        items.setdefault(output.index, {})[output.variant, output.prompt] = output
    chosen_examples = []
    for lines in _by_task(summary):
        # All shots in one list: the worst answer of a task is shown, at whatever number of shots it was given.
        moved = sorted(chain.from_iterable(_changes(line, answered.get((line.task, line.shots), {})) for line in lines))
        if moved:
            falls = [change for change in moved if change.size < 0]
            rises = sorted((change for change in moved if change.size > 0), key=lambda change: -change.size)
            task, metric = lines[0].task, lines[0].metric
            chosen = [answered[task, change.shots][change.item] for change in [*falls[:FALLS], *rises[:RISES]]]
            shown = [_item(answers, metric) for answers in chosen]
            chosen_examples.append(TaskExamples(task, lines[0].role, len(falls), len(rises), len(moved), shown))
    return chosen_examples


class Change(NamedTuple):
    """The change of an item's own score; its fields are in the order by which the rule sorts."""

    plain: bool  # whether the tuned answer is not in the tuned task's format
    # whether `size` is that of the format, because the score says nothing: the score's own changes come first
    by_format: bool
    size: float
    length: int  # of the input
    shots: int
    item: int  # its index


def _changes(line: TaskResult, items: Mapping[int, Answers]) -> Iterator[Change]:
    """Yield the change of every item that both models answered, in the prompt state that counts."""
    state = line.headline.prompt if line.headline else None
    for index, answers in items.items():
        base, tuned = answers.get(("base", None)), answers.get(("tuned", state))
        if base and tuned:
            plain = not tuned.scores.get("format_share")
            size = _difference(base, tuned, line.metric)
            by_format = not size  # None (no value for one item) or 0 (wrong before and after)
            if by_format and (formatted := _difference(tuned, base, "format_share")) is not None:
                # Base and tuned the other way round: to fall into the format counts as a loss. Beside a score that stayed, to leave
                # it is no gain.
                size = min(0.0, formatted) if size is not None else formatted
            if size is not None:
                yield Change(plain, by_format, size, len(tuned.input), line.shots, index)


def _difference(before: Output, after: Output, name: str) -> float | None:
    """Return how far an item's own score moved; None where either answer has none."""
    if name not in before.scores or name not in after.scores:
        return None
    return after.scores[name] - before.scores[name]


def _by_task(summary: Summary) -> list[list[TaskResult]]:
    groups: dict[str, list[TaskResult]] = {}
    for line in [*summary.by_own_metric("target"), *summary.by_own_metric("general")]:
        groups.setdefault(line.task, []).append(line)
    return list(groups.values())


def _item(answers: Answers, metric: str) -> ShownItem:
    order = {("base", None): "base", **{("tuned", prompt): name for prompt, name in STATE.items()}}
    first = next(iter(answers.values()))
    shown = [_answer(answers[key], name, metric) for key, name in order.items() if key in answers]
    return ShownItem(first.shots, first.index, cut(first.input, end=True), cut(first.target), shown)


def _answer(output: Output, state: str, metric: str) -> Answer:
    value = output.scores.get(metric)
    written = cut(output.generated) if output.generated is not None else None
    if value is None:
        return Answer(state, cut(output.shown), "", None, written)
    scale = units.factor(metric)
    points = value * scale if scale else None
    # Only the ends are right or wrong: an F1 of 60 is neither, and gets no sign.
    right = {0.0: False, 100.0: True}.get(points) if points is not None else None
    shown = units.points(points) if points is not None else f"{value:.3g}"
    return Answer(state, cut(output.shown), shown, right, written)


def cut(text: str, *, end: bool = False, longest: int = LONGEST) -> str:
    """Return a text short enough to show; with `end` (of an input) its end is kept, where the question stands."""
    over = len(text) - longest
    if over <= 0:
        return text
    return f"[{over} characters cut] …{text[-longest:]}" if end else f"{text[:longest]}… [{over} characters cut]"
