"""Pseudo-labels as running text: the data of prompt-based continued pre-training."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation._answers import before_stop
from holdfast.curation._texts import as_text
from holdfast.curation.base import Curation, CurationContext
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.tasks.task import Example
from holdfast.tasks.text.rendered import Rendered
from holdfast.tasks.text.templates import render

FEWEST_NEW_TOKENS = 4


@dataclass(frozen=True)
class PseudoLabels(Curation):
    """Give every question the answer of the model, and train on both as running text, in the words of the task's template.

    For a task with few labels and many questions: the recipe `pcp` trains a first model on the labels, labels by it, goes on with the
    language modelling of these texts, and trains on the labels again. The given answers are not looked at. Choices are ranked, other
    answers written greedily. Wrong labels are trained as well (as in the paper) unless `confidence` is above 0. The cost is one answer
    to each question. Text of one task alone is a risk of forgetting: join `+replay` or `+kl_base`.

    Source: Shi and Lipani 2023, "Don't stop pretraining? Make prompt-based fine-tuning powerful learner" (NeurIPS), section 3
    """

    needs_model: ClassVar[bool] = True
    asks_questions: ClassVar[bool] = True

    confidence: float = Field(
        default=0.0, ge=0, lt=1, description="least probability among the choices at which a label is kept; 0: all"
    )
    questions: int = Field(default=0, ge=0, description="questions that are labelled at most, the first ones; 0: all")
    unlabelled: str = Field(
        default="",
        description="TASK argument whose training questions are labelled too, asked by the target's template",
    )

    def tasks(self) -> tuple[str, ...]:
        """Return the task of `unlabelled`."""
        return (self.unlabelled,) if self.unlabelled else ()

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return a text for each question, in order, without those that `confidence` leaves out; `origin` begins with pseudo-label.

        Raises:
            ValueError: `confidence` is above 0 and a question has no choices to be sure among.
        """
        model, task = context.model, context.task
        assert model is not None
        questions = [(f"{task.name}/train[{i}]", example) for i, example in enumerate(examples)]
        for other in context.others:
            questions += [
                (f"{other.name}/train[{i}]", replace(example, template=None))
                for i, example in enumerate(other.splits.get("train", ()))
            ]
        questions = questions[: self.questions or None]
        rendered = [render(task.template, example, (), model.tokenizer, name=name) for name, example in questions]
        free = [i for i, (_, example) in enumerate(questions) if not example.choices]
        if free and self.confidence:
            raise ValueError(
                f"pseudo_labels: confidence={self.confidence:g}: {questions[free[0]][0]} has no choices to be sure among; leave it at 0"
            )
        labels = _ranked(model, [e for _, e in questions], rendered)
        open_ended = [questions[i][1] for i in free]
        answers = _written(model, task.template.stop, open_ended, [rendered[i] for i in free])
        for i, answer in zip(free, answers, strict=True):
            labels[i] = (answer, 1.0)
        rows = []
        for (name, example), (label, sure) in zip(questions, labels, strict=True):
            if sure >= self.confidence and label:
                text = as_text(task.template, replace(example, target=label))
                rows.append(replace(text, origin=f"pseudo-label: {name}, {sure:.3f}"))
        return rows


def _ranked(model: LanguageModel, examples: Sequence[Example], rendered: Sequence[Rendered]) -> list[tuple[str, float]]:
    """Return the likeliest choice of each example with its probability among the choices; an empty label where there are none."""
    pairs: list[tuple[str, str]] = []
    for example, text in zip(examples, rendered, strict=True):
        before = text.target.removesuffix(example.target)
        pairs += [(text.prompt, before + choice) for choice in example.choices or ()]
    values = iter(score.value for score in model.loglikelihood(pairs)) if pairs else iter(())
    labels = []
    for example in examples:
        scores = [next(values) for _ in example.choices or ()]
        if not scores:
            labels.append(("", 0.0))
            continue
        best = max(range(len(scores)), key=lambda i: scores[i])
        total = sum(math.exp(score - scores[best]) for score in scores)
        labels.append(((example.choices or ())[best], 1 / total))
    return labels


def _written(
    model: LanguageModel, stop: tuple[str, ...], examples: Sequence[Example], rendered: Sequence[Rendered]
) -> list[str]:
    """Return the model's greedy answer to each example, before the first stop string."""
    if not examples:
        return []
    longest = max(FEWEST_NEW_TOKENS, *model.count_tokens([e.target for e in examples]))
    texts = model.generate([text.prompt for text in rendered], Sampling(2 * longest, stop))
    return [before_stop(text, stop) for text in texts]
