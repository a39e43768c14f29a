"""Format collapse: answers to other tasks that look like the tuned task's answers, whatever they say.

The format is learned first and spreads furthest: tuned on True/False, a model answers "True" to a request for a summary. That is
seen in what the model writes of its own accord, so choices that were ranked say nothing; ask `evaluate` for `generate_choices`.
All numbers are symptoms: they describe the answers and do not mark them.
"""

import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from holdfast.results.metric_rule import Array, Metric
from holdfast.results.metrics import accepted, metric
from holdfast.results.scores import Output
from holdfast.results.statistics import Estimate, jackknife, paired, ratio, single
from holdfast.tasks.formats.conversation import without_thinking
from holdfast.tasks.task import Example, Task

MASS = "first_token_mass"
ALONG = ("format_share", "collapse_share", MASS)  # those that are followed over the steps of training
CLOSED, WORDS = 50, 5  # the most answers, and words of an answer, that make a closed set
NOTHING: dict[str, float] = {}  # One for all: a million empty ones would be 64 MB.
LONG = 64  # characters, about as many as the fewest tokens that evaluation lets a model write


def written(output: Output) -> str | None:
    """Return the text that the model wrote freely, without the thinking before it; None where it only ranked choices."""
    if output.generated is not None:
        return without_thinking(output.generated)
    return without_thinking(output.output) if output.logprobs is None else None


def plain(text: str) -> str:
    """Return the text in lower case, with single spaces and no punctuation at either end, in which two answers of one format are equal."""
    return " ".join(text.casefold().split()).strip(string.punctuation + " ")


def answer_set(task: Task) -> frozenset[str]:
    """Return the task's closed set of answers, each `plain`: its choices, else its training targets; empty where it is not closed.

    Closed means: at most 50 different answers of at most five words, and each given twice on average.
    """
    choices = _few(chain.from_iterable(example.choices or () for example in _examples(task)))
    answers = choices if choices is None or choices else _few(example.target for example in _examples(task))
    # Twice on average: in a handful of examples any answers are few, and free text would pass for a set of labels.
    closed = answers is not None and 2 * len(answers) <= _count(task)
    return frozenset(answers) if answers and closed and all(len(a.split()) <= WORDS for a in answers) else frozenset()


def _few(texts: Iterable[str]) -> set[str] | None:
    """Return the different texts, each `plain`; None where they are more than `CLOSED`, which need not all be read to know it."""
    read: set[str] = set()
    different: set[str] = set()
    for text in texts:
        if text in read:  # Labels come again with every example.
            continue
        read.add(text)
        different.add(plain(text))
        if len(different) > CLOSED:
            return None
    return different


def foreign_answers(target: Task, general: Task) -> frozenset[str]:
    """Return the tuned task's answers that are no answers of the general task, so that none should be written there."""
    if metric(general.metric).reads_target:  # Nothing is written there.
        return frozenset()
    return answer_set(target) - answer_set(general)


def foreign_to_all(targets: Iterable[Task], general: Task) -> frozenset[str]:
    """Return the answers of any tuned task that are no answers of the general task."""
    return frozenset().union(*(foreign_answers(target, general) for target in targets))


def foreign_labels(target: Task, general: Task) -> tuple[str, ...]:
    """Return `foreign_answers` as the tuned task spells them, in the order in which they first occur."""
    foreign = foreign_answers(target, general)
    if not foreign:
        return ()
    # A dict and not a set: the order enters what is evaluated, and must be the same in every process.
    spelled = dict.fromkeys(chain.from_iterable(example.choices or (example.target,) for example in _examples(target)))
    return tuple(text for text in spelled if plain(text) in foreign)


def _examples(task: Task) -> Iterable[Example]:
    """Return the training examples, else those of all splits."""
    return task.splits.get("train") or chain.from_iterable(task.splits.values())


def _count(task: Task) -> int:
    return len(task.splits.get("train") or ()) or sum(map(len, task.splits.values()))


def in_format(output: Output, foreign: frozenset[str]) -> bool:
    """Return whether an answer is one of the tuned task's (`foreign`, each `plain`) and none of this item's."""
    text = plain(written(output) or "")
    # An item may list answers that its task's set lacks; "yes" to a yes/no question is no sign of collapse.
    return text in foreign and text not in {plain(answer) for answer in (*accepted(output), *(output.choices or ()))}


def kept(output: Output, first: Output) -> Output:
    """Return an answer with what `symptoms` reads of it, and without its question, which may be thousands of words long.

    The names that all answers of a cell share are those of its `first`: read from a file, each answer has copies of its own.
    """
    scores = {MASS: output.scores[MASS]} if MASS in output.scores else NOTHING
    shared = {"variant": first.variant, "prompt": first.prompt, "task": first.task, "role": first.role}
    return replace(output, **shared, scores=scores, input="", demonstrations="", decoding="", checks=())


def symptoms(
    base: Sequence[Output] | None, outputs: Sequence[Output], foreign: frozenset[str]
) -> dict[str, tuple[Estimate, Estimate | None]]:
    """Return the symptoms of one cell's answers: {name: (value, change from the base)}; only the last where choices were only ranked.

    format_share     answers of the tuned task's closed set; left out where it has none of its own
    empty_share      nothing, or only space and punctuation
    run_on_share     over 64 characters and over 1.5 times the longest accepted answer: the model did not stop
    collapse_share   any of these three
    modal_share      the commonest answer of the cell
    distinct_1, _2   different words (pairs of words) per word (pair) written
    length_ratio     mean length in characters over the base's; only where there is a base
    first_token_mass probability that the answer begins as one of the tuned task's does; also where choices were only ranked

    `base` holds the same items in the same order.
    """
    massed = _mass(base, outputs)
    # All or none: texts of some items and ranked choices of others would not be one sample.
    if any(written(output) is None for output in (*outputs, *(base or ()))):
        return massed
    bound = max(LONG, 1.5 * max(map(len, chain.from_iterable(map(accepted, outputs)))))
    faults: dict[str, Callable[[Output], bool]] = {
        "format_share": lambda output: in_format(output, foreign),
        "empty_share": lambda output: not plain(written(output) or ""),
        "run_on_share": lambda output: len(written(output) or "") > bound,
    }
    signs: dict[str, tuple[Estimate, Estimate | None]] = {}
    for name, fault in (*faults.items(), ("collapse_share", lambda output: any(f(output) for f in faults.values()))):
        if foreign or name != "format_share":  # a share of an empty set is 0 whatever was written, and says nothing
            signs[name] = _share(name, [fault(o) for o in outputs], None if base is None else [fault(o) for o in base])
    signs["modal_share"] = _share("modal_share", _modal(outputs), None if base is None else _modal(base))
    for order in (1, 2):
        ours, theirs = _distinct(outputs, order), None if base is None else _distinct(base, order)
        # The differences without each item, and not two intervals: the items are the same, so what is hard in them cancels.
        change = None if theirs is None else _within(-1, jackknife(ours[0] - theirs[0], ours[1] - theirs[1]), 1)
        signs[f"distinct_{order}"] = (_within(0, jackknife(*ours), 1), change)
    if base is not None and any(written(output) for output in base):  # of a base that wrote nothing there is no ratio
        lengths = ratio(*(np.array([len(written(o) or "") for o in side], float) for side in (outputs, base)))
        change = replace(lengths, value=lengths.value - 1, low=lengths.low - 1, high=lengths.high - 1)
        signs["length_ratio"] = (lengths, change)
    return signs | massed


def mark(outputs: Iterable[Output], tasks: Iterable[Task]) -> list[Output]:
    """Return the outputs with `scores["format_share"]`: 1 for an answer in a tuned task's format, 0 for any other.

    Left as they are: the tuned tasks' own outputs, ranked choices, and tasks where the tuned tasks have no answers of their own.
    """
    return list(marked(list(outputs), tasks))


def marked(outputs: Iterable[Output], tasks: Iterable[Task]) -> Iterator[Output]:
    """Yield what `mark` returns, one output at a time; `outputs` are gone through twice."""
    known = {task.name: task for task in tasks}
    # A dict and not a set, so that the order is that of the outputs.
    roles = dict.fromkeys((output.task, output.role) for output in outputs)
    targets = [known[name] for name, role in roles if role == "target" and name in known]
    general = [known[name] for name, role in roles if role == "general" and name in known]
    foreign = {task.name: foreign_to_all(targets, task) for task in general}
    for o in outputs:
        if o.role == "general" and foreign.get(o.task) and written(o) is not None:
            yield replace(o, scores={**o.scores, "format_share": float(in_format(o, foreign[o.task]))})
        else:
            yield o


def _share(name: str, flags: Sequence[bool], theirs: Sequence[bool] | None) -> tuple[Estimate, Estimate | None]:
    metric = Metric(name, 1.0, lambda output: ())
    new = np.array(flags, float)[:, None]
    return single(metric, new), None if theirs is None else paired(metric, np.array(theirs, float)[:, None], new)


def _mass(base: Sequence[Output] | None, outputs: Sequence[Output]) -> dict[str, tuple[Estimate, Estimate | None]]:
    """Return the mean of `first_token_mass`, as `symptoms` does; empty unless every item has it."""
    if any(MASS not in output.scores for output in (*outputs, *(base or ()))):
        return {}
    metric = Metric(MASS, 1.0, lambda output: (output.scores[MASS],))
    items = metric.statistics(outputs)
    return {MASS: (single(metric, items), None if base is None else paired(metric, metric.statistics(base), items))}


def _within(least: float, estimate: Estimate, most: float) -> Estimate:
    return replace(estimate, low=max(least, estimate.low), high=min(most, estimate.high))


def _modal(outputs: Sequence[Output]) -> list[bool]:
    texts = [plain(written(output) or "") for output in outputs]
    commonest = Counter(texts).most_common(1)[0][0]
    return [text == commonest for text in texts]


def _distinct(outputs: Sequence[Output], order: int) -> tuple[float, Array]:
    """Return different n-grams per n-gram (Li et al. 2016), of all outputs, and without each one of them `[n]`."""
    grams = []
    for output in outputs:
        words = (written(output) or "").casefold().split()
        grams.append(Counter(zip(*(words[i:] for i in range(order)), strict=False)))
    every: Counter[tuple[str, ...]] = Counter()
    for counts in grams:
        every.update(counts)
    total, different = every.total(), len(every)
    # An n-gram is lost with an output exactly where this output holds all of its occurrences: no second count of all texts.
    without = [
        _per(different - sum(every[gram] == times for gram, times in counts.items()), total - counts.total())
        for counts in grams
    ]
    return _per(different, total), np.array(without)


def _per(different: int, total: int) -> float:
    return different / total if total else 0.0
