"""Adaptive machine translation's data: each example alone, and behind its fuzzy match."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation._measured import measured, questions
from holdfast.curation.base import Curation, CurationContext
from holdfast.tasks.examples.nearest import NearestQuestions, check_measure
from holdfast.tasks.task import Example


@dataclass(frozen=True)
class Nearest(Curation):
    """Train each example twice: alone, and behind the example whose question is most like its own (a fuzzy match).

    For a model that will be asked both ways: with a retrieved example where there is one (`--demonstrations nearest`), and without.
    Matches come from the train split of `pool` or, without it, from the other training examples; the same question is no match, and
    what the run is measured on is none. Where nothing is as like as `least`, the example stands alone twice, so that both halves stay
    equal. A match is read and not trained, unless `--set model.loss_on=all`. The cost is twice the rows, half of them longer; the
    vectors of 10,000 questions take seconds by words, and about a minute by embeddings.

    Source: Moslem, Haque and Way 2023, "Fine-tuning large language models for adaptive machine translation" (arXiv 2312.12740)
    """

    asks_questions: ClassVar[bool] = True

    shots: int = Field(default=1, ge=1, description="matches before an example, the most like it last")
    least: float = Field(default=0.0, ge=0, le=1, description="cosine below which a question is no match")
    embeddings: str = Field(
        default="", description="folder of a sentence-embedding model; empty: TF-IDF of runs of characters"
    )
    pool: str = Field(
        default="", description="TASK argument whose train split has the matches; empty: the other training examples"
    )
    alone: bool = Field(default=True, description="train each example without matches too")

    def __post_init__(self) -> None:
        check_measure(self.embeddings)

    def tasks(self) -> tuple[str, ...]:
        """Return the task of `pool`."""
        return (self.pool,) if self.pool else ()

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return twice the examples in random order; `origin` begins with alone, matched, or unmatched.

        Raises:
            ValueError: the pool has fewer than `shots` examples to show.
        """
        task = context.task
        pool = tuple(context.others[0].splits.get("train", ())) if context.others else tuple(examples)
        template = context.others[0].template if context.others else task.template
        held = {text for text, _ in measured((task,))}
        shown_by = None if template == task.template else template
        pool = [
            Example(e.fields, e.target, template=e.template or shown_by)
            for e in pool
            if held.isdisjoint(questions(template, e))
        ]
        if len(pool) < self.shots + (not context.others):
            name = self.pool or task.name
            raise ValueError(
                f"nearest: {name}: has {len(pool)} training examples to look for matches in, too few for {self.shots}"
            )
        ranking = NearestQuestions(task.template, pool, self.embeddings)
        rows: list[Example] = []
        for number, example in enumerate(examples):
            name = f"{task.name}/train[{number}]"
            matches = ranking.ranked(example, self.least)[: self.shots]
            # The most like it last, beside the question.
            shown = tuple(pool[match] for match in reversed(matches))
            if self.alone:
                rows.append(replace(example, demonstrations=(), origin=f"alone: {name}"))
            rows.append(replace(example, demonstrations=shown, origin=f"{'matched' if shown else 'unmatched'}: {name}"))
        random.Random(f"{context.seed}:nearest").shuffle(rows)
        return rows
