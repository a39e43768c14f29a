"""Rank a pool of examples by how like an item their questions are: retrieval for `nearest` demonstrations and the curation."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from holdfast.tasks.task import Example, Template
from holdfast.tasks.text.templates import Ranking, asked_text

NEAREST = "nearest"
INSTALL = "pip install 'holdfast[select]'"


def check_mode(mode: str) -> str:
    """Return a mode of demonstrations: `first`, `sampled`, `nearest`, or `nearest:` with the folder of a sentence-embedding model.

    Raises:
        ValueError: it is none of these, or its package or folder is not there.
    """
    name, _, embeddings = mode.partition(":")
    if mode not in ("first", "sampled", NEAREST) and not (name == NEAREST and embeddings):
        raise ValueError(
            f"{mode!r} is no choice of demonstrations; write first, sampled, nearest (by words) or nearest:FOLDER of a sentence-embedding "
            "model"
        )
    if name == NEAREST:
        check_measure(embeddings)
    return mode


def check_measure(embeddings: str) -> None:
    """Refuse a measure whose package or folder is missing; `embeddings` is a folder, empty: character n-grams.

    Raises:
        ValueError: as above.
    """
    from importlib.util import find_spec

    package = "sentence_transformers" if embeddings else "sklearn"
    if find_spec(package) is None:
        raise ValueError(f"nearest: needs the package {package.replace('_', '-')}; {INSTALL}")
    if embeddings and not os.path.isfile(os.path.join(os.path.expanduser(embeddings), "config.json")):
        raise ValueError(f"nearest: {embeddings}: no sentence-embedding model in this folder (it has no config.json)")


def ranking(
    mode: str, template: Template, pool: Sequence[Example], shots: int, skip: int = 0
) -> "str | NearestQuestions":
    """Return what `choose_demonstrations` takes as `mode`: the mode itself or, of `nearest`, the ranking of this pool.

    Without shots nothing is ranked. The `skip` nearest stand last, so that a second set of demonstrations differs from the first.
    """
    if not mode.startswith(NEAREST):
        return mode
    return NearestQuestions(template, pool if shots else (), mode.partition(":")[2], skip)


class NearestQuestions(Ranking):
    """The questions of a pool as unit vectors, and the cosine between them and any other question.

    By default the vectors are TF-IDF weights of runs of 2 to 4 characters within words, which match inflected words and need no
    list of words in any language; `embeddings` is the folder of a sentence-embedding model, whose vectors match meaning. What all
    questions begin and end with is the template's and is not compared.
    """

    def __init__(self, template: Template, pool: Sequence[Example], embeddings: str = "", skip: int = 0) -> None:
        self._template, self._skip = template, skip
        texts = [asked_text(template, example) for example in pool]
        self._prefix, self._suffix = _shared_ends(texts)
        self._questions = [self._question(text) for text in texts]
        self._rows = {text: row for row, text in enumerate(self._questions)}
        self._same: dict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(self._questions):
            self._same[_plain(text)].append(row)
        self._encode = encoder(self._questions, embeddings) if pool else None
        self._vectors: Any = self._encode(self._questions) if self._encode else None
        # By feature: a question's few features then touch the few rows that have them, and not every question of the pool.
        self._by_feature: Any = None if self._encode is None else self._vectors.T
        if hasattr(self._by_feature, "tocsr"):
            self._by_feature = self._by_feature.tocsr()

    def _question(self, text: str) -> str:
        return text.removeprefix(self._prefix).removesuffix(self._suffix).strip() if text else text

    def similarities(self, item: Example) -> np.ndarray:
        """Return the cosine of each pool question with the item's, `[N]`; -1 where they are the same question, letter case and space aside.

        The same question is no demonstration: its answer would be copied, or contradict the item's.
        """
        if self._encode is None:
            return np.zeros(0)
        text = self._question(asked_text(self._template, item))
        row = self._rows.get(text)
        vector = self._encode([text]) if row is None else self._vectors[row : row + 1]
        product = vector @ self._by_feature
        values = np.asarray(product.toarray() if hasattr(product, "toarray") else product).ravel()
        values[self._same.get(_plain(text), [])] = -1.0
        # Rounded, so that the order of equal questions does not hang on the machine's last bit.
        return np.round(values, 6)

    def ranked(self, item: Example, least: float = -1.0) -> list[int]:
        """Return the numbers of the pool's examples, nearest first, of equal ones the earlier; without those that ask the same, and
        those below the cosine `least`."""
        values = self.similarities(item)
        order = [int(i) for i in np.argsort(-values, kind="stable") if values[i] > -1.0 and values[i] >= least]
        return order[self._skip :] + order[: self._skip]


def encoder(texts: Sequence[str], embeddings: str = "") -> Callable[[Sequence[str]], Any]:
    """Return a function from texts to unit vectors, one a row: TF-IDF with the weights of `texts`, or a sentence-embedding model."""
    if embeddings:
        from sentence_transformers import SentenceTransformer  # An extra, and seconds to import.

        model = SentenceTransformer(os.path.expanduser(embeddings), device="cpu")
        return partial(model.encode, normalize_embeddings=True, show_progress_bar=False)
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    try:
        return vectorizer.fit(texts).transform
    except ValueError:
        raise ValueError("nearest: the questions of the pool hold no text that could be compared") from None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _shared_ends(texts: Sequence[str]) -> tuple[str, str]:
    """Return what all texts begin with, and what all of them end with after it; nothing where no text would be left."""
    if len(set(texts)) < 2:
        return "", ""
    prefix = _shared_beginning(texts)
    suffix = _shared_beginning([text.removeprefix(prefix)[::-1] for text in texts])[::-1]
    return prefix, suffix


def _shared_beginning(texts: Sequence[str]) -> str:
    """Return what all texts begin with: of the first and the last in order, which differ soonest."""
    first, last = min(texts), max(texts)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]
