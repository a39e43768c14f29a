"""Few-shot documents of real tasks: examples one after another, in several wordings, some with labels that mean nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from holdfast.lab.corpus import Ids, encode
from holdfast.lab.documents import BESIDE
from holdfast.tasks.loaders.readers import read_folder
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import question

TARGETS = ("rte", "cb", "wic", "boolq", "paws", "multi30k_en_fr")  # never shown: what is fine-tuned on later
CUE = "\nAnswer:"  # of a task folder's own wording, which most documents have
# Before and behind a question. A space at an end would be a token of its own here, and part of the next word in the whole text.
WORDINGS = (("", CUE), ("Input:\n", "\nOutput:"), ("Q:\n", "\nA:"), ("", " ->"))
OFTEN = (0.6, 0.15, 0.15, 0.1)
MOST = 8  # examples of a document
LISTED, RELABELLED = 0.25, 0.25  # shares of the documents on tasks with labels
FIRST = 0.5  # loss weight of an answer that nothing has explained yet; of a meaningless label, twice `BESIDE`
MEANINGLESS = (
    "red blue green north south east west apple lemon cherry river stone cloud seven nine four alpha beta gamma delta left "
    "right up down cat dog bird salt iron gold yes no true false spring autumn monday friday X Y Z P Q R"
)
LABELS = tuple(MEANINGLESS.split())


def tasks(folder: Path) -> list[Task]:
    """Return every task folder under a folder, named by its path there.

    Raises:
        ValueError: there is none, or one is not as it should be.
    """
    places = sorted({path.parent for path in folder.rglob("test.jsonl")})
    if not places:
        raise ValueError(f"{folder}: no folder with a test.jsonl under it; give the folder of the task folders")
    return [replace(read_folder(path), name=path.relative_to(folder).as_posix()) for path in places]


def is_target(task: Task) -> bool:
    """Return whether pretraining must not show the task."""
    return task.name.rpartition("/")[2] in TARGETS


@dataclass(frozen=True, slots=True)
class Examples:
    """The training examples of many tasks as tokens: `tokens[bounds[i, 0]:bounds[i, 1]]` is the question of example i, without its
    cue, and up to `bounds[i, 2]` follows the answer with the space before it. `labels[i]` is the answer's place among the `choices`
    that all examples of its task share, or -1; `spans` holds first and last + 1 example of each task.
    """

    tokens: Ids
    bounds: Any
    labels: Any
    spans: list[tuple[int, int]]
    choices: list[list[str]]

    def weights(self) -> list[float]:
        """Return the relative frequency of each task: the root of its size in tokens."""
        # By size alone two large tasks would fill pretraining; with equal shares the small ones would be learned by heart.
        return [float(self.bounds[b - 1, 2] - self.bounds[a, 0]) ** 0.5 for a, b in self.spans]


def kept(every: Sequence[Task]) -> list[tuple[Task, list[Example]]]:
    """Return the training examples of every task that is not a target, without those whose question is in any test split."""
    tested: set[str] = set()
    for task in every:
        tested |= {question(task.template, example) for example in task.splits["test"]}
    chosen = []
    for task in every:
        if is_target(task):
            continue
        examples = [e for e in task.splits.get("train", ()) if question(task.template, e) not in tested]
        if examples:
            chosen.append((task, examples))
    return chosen


def texts(task: Task, example: Example) -> tuple[str, str]:
    """Return the question without its cue, and the answer with the delimiter before it."""
    return question(task.template, example).removesuffix(CUE), task.template.delimiter + example.target


def prepare(tokenizer: Any, chosen: Sequence[tuple[Task, list[Example]]]) -> Examples:
    """Return the examples as tokens, so that no step of training has to tokenise."""
    parts, lengths, labels, spans, choices = [], [], [], [], []
    for task, examples in chosen:
        closed = {example.choices or () for example in examples}
        shared = list(next(iter(closed))) if len(closed) == 1 else []
        # Question, answer, question, answer: one call for a task, because the tokenizer works on many texts in parallel.
        ids = encode(tokenizer, chain.from_iterable(texts(task, example) for example in examples))
        parts += ids
        lengths += [(len(a), len(b)) for a, b in zip(ids[::2], ids[1::2], strict=True)]
        labels += [shared.index(example.target) if shared else -1 for example in examples]
        spans.append((len(labels) - len(examples), len(labels)))
        choices.append(shared)
    ends = np.cumsum(np.array(lengths).flatten()).reshape(-1, 2)
    bounds = np.column_stack([ends[:, 1] - np.array(lengths).sum(1), ends])
    return Examples(np.concatenate(parts), bounds, np.array(labels), spans, choices)


@dataclass(frozen=True, slots=True)
class TokenDocument:
    """A document as token ids, and the loss weight of predicting each."""

    ids: list[int]
    weights: list[float]

    def add(self, ids: Sequence[int], weight: float) -> None:
        """Append tokens that are learned with a weight."""
        self.ids.extend(ids)
        self.weights.extend([weight] * len(ids))


def few_shot(rng: Random, examples: Examples, task_index: int, encode: Callable[[str], Sequence[int]]) -> TokenDocument:
    """Return examples of one task; `encode` gives the ids of a text, the first and the end token of documents among them (`<s>`, `</s>`).

    Of the documents on tasks with labels, some list the labels first, and some replace them by words that mean nothing, so that
    only the demonstrations say what to answer (symbol tuning, Wei et al., 2023, arXiv 2305.08298).
    """
    opening, cue = rng.choices(WORDINGS, OFTEN)[0]
    names, style = examples.choices[task_index], rng.random()
    relabelled = bool(names) and len(names) <= len(LABELS) and style < RELABELLED
    listed = bool(names) and RELABELLED - LISTED / 2 <= style < RELABELLED + LISTED / 2
    if relabelled:
        names = rng.sample(LABELS, len(names))
    document = TokenDocument([], [])
    document.add(encode("<s>"), 0.0)
    if listed:
        document.add(encode(f"Answer with one of: {', '.join(names)}.\n\n"), BESIDE)
    shown = [rng.randrange(*examples.spans[task_index]) for _ in range(rng.randint(1, MOST))]
    for index, chosen in enumerate(shown):
        start, middle, end = examples.bounds[chosen]
        document.add(encode(opening), BESIDE)
        document.add(examples.tokens[start:middle].tolist(), BESIDE)
        document.add(encode(cue), BESIDE)
        clear = 1.0 if index or listed else 2 * BESIDE if relabelled else FIRST
        answer = encode(f" {names[examples.labels[chosen]]}") if relabelled else examples.tokens[middle:end].tolist()
        document.add(answer, clear)
        if index + 1 < len(shown):
            document.add(encode("\n"), 0.5)
            document.add(encode("\n"), BESIDE)
        else:
            document.add(encode("</s>"), 0.5)
    return document
