"""S3FT: selective self-to-supervised fine-tuning."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation.base import STRICT, Curation, CurationContext
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.tasks.task import Example
from holdfast.tasks.templates import choose_demonstrations, render

FEWEST_NEW_TOKENS = 4


@dataclass(frozen=True, config=STRICT)
class S3ft(Curation):
    """Train on the model's own answer where it is right, else on its paraphrase of the gold answer where that is right, else on gold.

    Answers are greedy, behind the first `shots` training examples: a model that was not tuned to follow instructions needs some.
    `judge` is `answer` (a gold answer, but for case, punctuation and articles) or `f1` (word F1 of `threshold` or more with a gold
    answer). `paraphrase` is asked with `{question}` and `{answer}` filled in; empty: no paraphrases. An answer of more than twice the
    gold's tokens was cut, and is not right.

    Source: Gupta et al. 2025, "Selective self-to-supervised fine-tuning for generalization in large language models" (NAACL findings)
    """

    needs_model: ClassVar[bool] = True

    shots: int = Field(default=0, ge=0, description="demonstrations before a question that the base answers")
    judge: Literal["answer", "f1"] = Field(
        default="answer", description="rule that accepts an answer: equal to the target, or F1 of words"
    )
    threshold: float = Field(default=0.8, gt=0, le=1, description="least F1 of words that is accepted")
    paraphrase: str = Field(
        default="{question}\nA right answer: {answer}\nThe same answer in my own words:",
        description="prompt that asks the base to say the target in its own words",
    )

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return as many examples as there were, in their order; `origin` begins with own, paraphrase or gold."""
        model, task = context.model, context.task
        assert model is not None
        questions = []
        for index, example in enumerate(examples):
            shown = choose_demonstrations(
                task.template, examples, self.shots, mode="first", seed=0, index=index, exclude=example
            )
            questions.append(render(task.template, example, shown, model.tokenizer).prompt)
        answered = self._right_answers(model, examples, questions, task.template.stop)
        rest = [i for i, answer in enumerate(answered) if answer is None] if self.paraphrase else []
        # `replace` and not `format`: a question may hold braces of its own.
        prompts = [self.paraphrase.replace("{question}", questions[i]) for i in rest]
        prompts = [p.replace("{answer}", examples[i].target) for p, i in zip(prompts, rest, strict=True)]
        again = self._right_answers(model, [examples[i] for i in rest], prompts, task.template.stop)
        paraphrased = dict(zip(rest, again, strict=True))
        curated = []
        for i, example in enumerate(examples):
            # In the order of preference: what the model would write anyway moves its weights least.
            answers = {"own": answered[i], "paraphrase": paraphrased.get(i), "gold": example.target}
            origin, target = next((name, answer) for name, answer in answers.items() if answer is not None)
            curated.append(replace(example, target=target, origin=f"{origin}: {task.name}/train[{i}]"))
        return curated

    def _right_answers(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[str], stop: tuple[str, ...]
    ) -> list[str | None]:
        """Return the model's answer to each prompt; None where it is empty, cut or wrong."""
        if not prompts:
            return []
        limits = [max(FEWEST_NEW_TOKENS, 2 * count) for count in model.count_tokens([e.target for e in examples])]
        # All prompts in one call, with the limit of the longest; each answer is held against its own limit below.
        texts = model.generate(prompts, Sampling(max(limits), stop))
        answers = [_before(text, stop) for text in texts]
        counts = model.count_tokens(answers)
        checked = zip(examples, answers, counts, limits, strict=True)
        return [a if count < limit and self._right(a, e) else None for e, a, count, limit in checked]

    def _right(self, answer: str, example: Example) -> bool:
        words = _words(answer)
        # Where there are choices, the answer must be one of them, letter by letter: it is what is ranked afterwards.
        if not words or (example.choices and answer not in example.choices):
            return False
        if self.judge == "answer":
            return words in [_words(gold) for gold in example.accepted]
        return max(_f1(words, _words(gold)) for gold in example.accepted) >= self.threshold


def _before(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string, without space at its ends."""
    return text[: min((i for s in stop if (i := text.find(s)) >= 0), default=len(text))].strip()


def _words(text: str) -> list[str]:
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def _f1(words: Sequence[str], gold: Sequence[str]) -> float:
    common = sum((Counter(words) & Counter(gold)).values())
    return 2 * common / (len(words) + len(gold)) if common else 0.0
