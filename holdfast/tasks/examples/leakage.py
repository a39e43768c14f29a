"""Faults of a task's data that no score shows: test questions in the training data, rows that repeat, answers that begin another.

Questions are compared as they are asked, without case, punctuation and spaces; and by their runs of three words, where a few words differ.
"""

import hashlib
import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from holdfast.tasks.examples.splits import evenly
from holdfast.tasks.task import SPLITS, Example, Task
from holdfast.tasks.text.templates import asked_text

WORD = re.compile(r"\w+")
RUN = 3  # words
ALIKE = 0.8  # share of the runs of two questions that both have, from which on they are near-duplicates
FEWEST = 8  # words of a question that is compared by its runs: in a shorter one a word is too much of it
COMMON = 50  # test questions with a run of words beyond which it is the template's, and tells nothing
SAMPLE = 1000  # training rows, evenly spaced; a run that most of them have is the template's too
LEAST = 4  # rows that such a run must exceed: of three rows, two that are alike are most
MOST = 50_000  # examples of a split that are compared, evenly spaced
SKETCH = 256  # runs of a text that are compared: of more, those with the least digests, which are the same ones in a text that is alike
Key = int  # a digest of 8 bytes of the words of a text: the words of a corpus would take many times its size


@dataclass(frozen=True)
class Leakage:
    """The numbers of a task: test items that are in train or validation (which chooses the weights) word for word (`exact`) or nearly
    (`near`), of so many; training rows that say what an earlier one says (`repeated`), and that answer the same question otherwise
    (`contradicting`); and pairs of choices of which one begins the other (`prefixes`)."""

    test: int
    exact: int
    near: int
    rows: int
    repeated: int
    contradicting: int
    prefixes: tuple[tuple[str, str], ...]

    def sentences(self, name: str) -> list[str]:
        """Return a warning for each fault, with what it does to the numbers."""
        lines = []
        if self.exact or self.near:
            copies = f"{self.exact} of {self.test} test questions stand in the training or validation data"
            lines.append(
                f"{name}: {copies} word for word, {self.near} more nearly so; what is learned by heart counts as ability there, so remove "
                "them from one of the two"
            )
        if self.repeated:
            lines.append(
                f"{name}: {self.repeated} of {self.rows} training rows repeat an earlier one, and count so much more"
            )
        if self.contradicting:
            lines.append(
                f"{name}: {self.contradicting} training rows answer a question otherwise than an earlier row; look at them"
            )
        if self.prefixes:
            first, second = self.prefixes[0]
            more = f" and {len(self.prefixes) - 1} more pairs" if len(self.prefixes) > 1 else ""
            lines.append(
                f"{name}: the answer {first!r} begins {second!r}{more}: ranked by likelihood, the longer never wins; rename one"
            )
        return lines


def leakage(task: Task) -> Leakage:
    """Compare a task's training, validation and test examples; of large splits, `MOST` of each."""
    train, validation, test = (_sampled(task.splits.get(name, ())) for name in SPLITS)
    keys = [_key(_words(task, example)) for example in train]
    asked_before = {*keys, *(_key(_words(task, example)) for example in validation)}
    fresh = [example for example in test if _key(_words(task, example)) not in asked_before]
    answers: dict[Key, str] = {}
    repeated = contradicting = 0
    for key, example in zip(keys, train, strict=True):
        first = answers.setdefault(key, example.target)
        repeated += first == example.target
        # Two documents that differ in case and signs alone have one key, and answer nothing.
        contradicting += first != example.target and not task.template.asks_nothing
    choices = sorted(set(chain.from_iterable(example.choices or () for example in (*train[:1000], *test[:1000]))))
    near = _near(task, [*train, *validation], fresh)
    return Leakage(
        len(test), len(test) - len(fresh), near, len(train), repeated - len(answers), contradicting, _prefixes(choices)
    )  # fmt: skip


def _sampled(examples: Sequence[Example]) -> list[Example]:
    return [examples[index] for index in evenly(len(examples), MOST)]


def _words(task: Task, example: Example) -> tuple[str, ...]:
    """Return the words of a question; those of its choices too, for a question may be the same for all items."""
    words = tuple(WORD.findall(asked_text(task.template, example).casefold()))
    # A text of signs alone, such as an equation in symbols, has no words.
    return words or (asked_text(task.template, example).strip(),)


def _key(words: Sequence[str]) -> Key:
    digest = hashlib.blake2b("\0".join(words).encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _near(task: Task, train: Sequence[Example], test: Sequence[Example]) -> int:
    """Return the number of test questions that share `ALIKE` of their runs of words with a training question."""
    runs = {number: _runs(_words(task, example)) for number, example in enumerate(test)}
    holders: dict[Key, list[int]] = defaultdict(list)
    for number, of_one in runs.items():
        for run in of_one:
            holders[run].append(number)
    sample = evenly(len(train), SAMPLE)
    held = Counter(chain.from_iterable(_runs(_words(task, train[number])) for number in sample))
    # What many questions share is what their template writes, or the system turn of all chats: two questions are not alike for it.
    most = max(LEAST, len(sample) / 2)
    written = {run for run, numbers in holders.items() if len(numbers) > COMMON or held[run] > most}
    told = {number: of_one - written for number, of_one in runs.items()}
    alike: set[int] = set()
    for example in train:
        mine = _runs(_words(task, example)) - written
        shared = Counter(chain.from_iterable(holders[run] for run in mine if run in holders))
        for number, count in shared.items():
            if count >= ALIKE * len(mine | told[number]):
                alike.add(number)
    return len(alike)


def _runs(words: tuple[str, ...]) -> set[Key]:
    """Return the digests of the runs of words of a text, of a long one the least of them."""
    if len(words) < FEWEST:
        return set()
    runs = {_key(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}
    return runs if len(runs) <= SKETCH else set(heapq.nsmallest(SKETCH, runs))


def _prefixes(choices: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of which the first is the first words of the second; `choices` are sorted."""
    if len(choices) > 1000:  # Choices that differ from item to item are no set of labels.
        return ()
    # Sorted texts that begin with the same letters stand in a row.
    pairs = []
    for index, first in enumerate(choices):
        for second in choices[index + 1 :]:
            if not second.startswith(first):
                break
            # At the end of a word: "eight" and "eighteen" are different tokens from the first on in most vocabularies.
            if not second[len(first)].isalnum():
                pairs.append((first, second))
    return tuple(pairs)
