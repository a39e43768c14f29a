"""Format collapse: answers to other tasks that look like the tuned task's answers, whatever they say.

The format is learned first and spreads furthest: tuned on True/False, a model answers "True" to a request for a summary. That is
seen in what the model writes of its own accord, so choices that were ranked say nothing; ask `evaluate` for `generate_choices`.
All numbers are symptoms: they describe the answers and do not mark them.
"""

import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from holdfast.results.metrics import Array, Metric, accepted
from holdfast.results.scores import Output
from holdfast.results.statistics import Estimate, jackknife, paired, ratio, single
from holdfast.tasks.task import Task

ALONG = ("format_share", "collapse_share", "first_token_mass")  # those that are followed over the steps of training
CLOSED, WORDS = 50, 5  # the most answers, and words of an answer, that make a closed set
LONG = 64  # characters, about as many as the fewest tokens that evaluation lets a model write


def written(output: Output) -> str | None:
    """What the model wrote freely; None where it only ranked choices."""
    if output.generated is not None:
        return output.generated
    return output.output if output.logprobs is None else None


def plain(text: str) -> str:
    """Lower case, single spaces, no punctuation at either end: what makes two answers the same format."""
    return " ".join(text.casefold().split()).strip(string.punctuation + " ")


def answer_set(task: Task) -> frozenset[str]:
    """The task's closed set of answers, each `plain`: its choices, else its training targets; empty where it is not closed.

    Closed means: at most 50 different answers of at most five words, and each given twice on average.
    """
    examples = task.splits.get("train") or [example for split in task.splits.values() for example in split]
    choices = {plain(choice) for example in examples for choice in example.choices or ()}
    answers = choices or {plain(example.target) for example in examples}
    closed = len(answers) <= CLOSED and 2 * len(answers) <= len(examples)
    return frozenset(answers) if closed and all(len(a.split()) <= WORDS for a in answers) else frozenset()


def foreign_answers(target: Task, general: Task) -> frozenset[str]:
    """The tuned task's answers that are no answers of the general task: what it should never write there."""
    return answer_set(target) - answer_set(general)


def foreign_to_all(targets: Iterable[Task], general: Task) -> frozenset[str]:
    """Return the answers of any tuned task that are no answers of the general task."""
    return frozenset().union(*(foreign_answers(target, general) for target in targets))


def foreign_labels(target: Task, general: Task) -> tuple[str, ...]:
    """`foreign_answers` as the tuned task spells them, in the order in which it gives them."""
    foreign = foreign_answers(target, general)
    examples = target.splits.get("train") or [example for split in target.splits.values() for example in split]
    spelled = dict.fromkeys(text for example in examples for text in example.choices or (example.target,))
    return tuple(text for text in spelled if plain(text) in foreign)


def in_format(output: Output, foreign: frozenset[str]) -> bool:
    """Whether an answer is the tuned task's and not this item's."""
    text = plain(written(output) or "")
    return text in foreign and text not in {plain(own) for own in (*accepted(output), *(output.choices or ()))}


def symptoms(
    base: Sequence[Output] | None, outputs: Sequence[Output], foreign: frozenset[str]
) -> dict[str, tuple[Estimate, Estimate | None]]:
    """How the answers of one cell look: {name: (value, change from the base)}; only the last where choices were only ranked.

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
    if any(written(output) is None for output in (*outputs, *(base or ()))):
        return massed
    bound = max(LONG, 1.5 * max(len(text) for output in outputs for text in accepted(output)))
    faults: dict[str, Callable[[Output], bool]] = {
        "format_share": lambda output: in_format(output, foreign),
        "empty_share": lambda output: not plain(written(output) or ""),
        "run_on_share": lambda output: len(written(output) or "") > bound,
    }
    found: dict[str, tuple[Estimate, Estimate | None]] = {}
    for name, fault in (*faults.items(), ("collapse_share", lambda output: any(f(output) for f in faults.values()))):
        if foreign or name != "format_share":
            found[name] = _share(name, [fault(o) for o in outputs], None if base is None else [fault(o) for o in base])
    found["modal_share"] = _share("modal_share", _modal(outputs), None if base is None else _modal(base))
    for order in (1, 2):
        own, theirs = _distinct(outputs, order), None if base is None else _distinct(base, order)
        change = None if theirs is None else _within(-1, jackknife(own[0] - theirs[0], own[1] - theirs[1]), 1)
        found[f"distinct_{order}"] = (_within(0, jackknife(*own), 1), change)
    if base is not None and any(written(output) for output in base):
        lengths = ratio(*(np.array([len(written(o) or "") for o in side], float) for side in (outputs, base)))
        change = replace(lengths, value=lengths.value - 1, low=lengths.low - 1, high=lengths.high - 1)
        found["length_ratio"] = (lengths, change)
    return found | massed


def mark(outputs: Iterable[Output], tasks: Iterable[Task]) -> list[Output]:
    """Return the outputs with `scores["format_share"]`: 1 for an answer in a tuned task's format, 0 for any other.

    Left as they are: the tuned tasks' own outputs, ranked choices, and tasks where the tuned tasks have no answers of their own.
    """
    outputs = list(outputs)
    known = {task.name: task for task in tasks}
    targets = [known[name] for name in dict.fromkeys(o.task for o in outputs if o.role == "target") if name in known]
    general = [task for name, task in known.items() if any(o.task == name and o.role == "general" for o in outputs)]
    foreign = {task.name: foreign_to_all(targets, task) for task in general}
    return [
        replace(o, scores={**o.scores, "format_share": float(in_format(o, foreign[o.task]))})
        if o.role == "general" and foreign.get(o.task) and written(o) is not None
        else o
        for o in outputs
    ]


def _share(name: str, own: Sequence[bool], theirs: Sequence[bool] | None) -> tuple[Estimate, Estimate | None]:
    metric = Metric(name, 1.0, lambda output: ())
    new = np.array(own, float)[:, None]
    return single(metric, new), None if theirs is None else paired(metric, np.array(theirs, float)[:, None], new)


def _mass(base: Sequence[Output] | None, outputs: Sequence[Output]) -> dict[str, tuple[Estimate, Estimate | None]]:
    """The mean of `first_token_mass` where every item has it."""
    name = "first_token_mass"
    if any(name not in output.scores for output in (*outputs, *(base or ()))):
        return {}
    kind = Metric(name, 1.0, lambda output: (output.scores[name],))
    own = kind.statistics(outputs)
    return {name: (single(kind, own), None if base is None else paired(kind, kind.statistics(base), own))}


def _within(least: float, estimate: Estimate, most: float) -> Estimate:
    return replace(estimate, low=max(least, estimate.low), high=min(most, estimate.high))


def _modal(outputs: Sequence[Output]) -> list[bool]:
    texts = [plain(written(output) or "") for output in outputs]
    commonest = Counter(texts).most_common(1)[0][0]
    return [text == commonest for text in texts]


def _distinct(outputs: Sequence[Output], order: int) -> tuple[float, Array]:
    """Different n-grams per n-gram (Li et al. 2016), of all outputs, and without each one of them `[n]`."""
    grams = []
    for output in outputs:
        words = (written(output) or "").casefold().split()
        grams.append(Counter(zip(*(words[i:] for i in range(order)), strict=False)))
    every: Counter[tuple[str, ...]] = Counter()
    for own in grams:
        every.update(own)
    total, different = every.total(), len(every)
    without = [
        _per(different - sum(every[gram] == times for gram, times in own.items()), total - own.total()) for own in grams
    ]
    return _per(different, total), np.array(without)


def _per(different: int, total: int) -> float:
    return different / total if total else 0.0
