"""S3FT: selective self-to-supervised fine-tuning."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation._answers import before_stop, prompts
from holdfast.curation.base import Curation, CurationContext
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.tasks.answers.judges import find_judge, words
from holdfast.tasks.task import Example

FEWEST_NEW_TOKENS = 4


@dataclass(frozen=True)
class S3ft(Curation):
    """Train on the model's own answer where it is right, else on its paraphrase of the gold answer where that is right, else on gold.

    Answers are greedy, behind the first `shots` training examples: a model that was not tuned to follow instructions needs some. `judge` is
    `exact` (an accepted answer, letter by letter), `answer` (but for case, punctuation and articles), `number` (its last number), `f1`
    (word F1 of `threshold` or more) or a function of yours, `path/to/file.py:function`, of the answer and the example. `paraphrase` is
    asked with `{question}` and `{answer}` filled in; empty: no paraphrases. With `paraphrase=` and `otherwise=drop` it is Self-SFT: the
    model's own right answers and nothing else. An answer of `length` times the gold's tokens or more counts as cut, and is not right. What
    the paper leaves open is ours: that a paraphrase is judged as an answer is, and its prompt. The cost is an answer, and where it is wrong
    a paraphrase, to each training example before training.

    Source: Gupta et al. 2025, "Selective self-to-supervised fine-tuning for generalization in large language models" (NAACL findings)
    """

    HASH_LATER: ClassVar[dict[str, object]] = {"otherwise": "gold", "length": 2.0}
    needs_model: ClassVar[bool] = True
    asks_questions: ClassVar[bool] = True

    shots: int = Field(default=0, ge=0, description="demonstrations before a question that the base answers")
    judge: str = Field(
        default="answer",
        description="rule that accepts an answer: exact, answer, number, f1 or path/to/file.py:function",
    )
    threshold: float = Field(default=0.8, gt=0, le=1, description="least F1 of words that is accepted")
    paraphrase: str = Field(
        default="{question}\nA right answer: {answer}\nThe same answer in my own words:",
        description="prompt that asks the base to say the target in its own words",
    )

    otherwise: Literal["gold", "drop"] = Field(
        default="gold",
        description="what is done with an example whose answers are wrong: train on gold, or leave it out",
    )
    length: float = Field(
        default=2.0, gt=0, description="an answer is shorter than so many times the gold's tokens, or 4"
    )

    def __post_init__(self) -> None:
        find_judge(self.judge, self.threshold)  # Before a model is loaded and has answered everything.

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the examples in their order, without those that `otherwise` drops; `origin` begins with own, paraphrase or gold."""
        model, task = context.model, context.task
        assert model is not None
        questions = prompts(examples, context, self.shots)
        answered = self._right_answers(model, examples, questions, task.template.stop)
        rest = [i for i, answer in enumerate(answered) if answer is None] if self.paraphrase else []
        # `replace` and not `format`: a question may hold braces of its own.
        rephrasing = [self.paraphrase.replace("{question}", questions[i]) for i in rest]
        rephrasing = [text.replace("{answer}", examples[i].target) for text, i in zip(rephrasing, rest, strict=True)]
        again = self._right_answers(model, [examples[i] for i in rest], rephrasing, task.template.stop)
        paraphrased = dict(zip(rest, again, strict=True))
        curated = []
        for i, example in enumerate(examples):
            # In the order of preference: what the model would write anyway moves its weights least.
            answers = {"own": answered[i], "paraphrase": paraphrased.get(i)}
            answers["gold"] = example.target if self.otherwise == "gold" else None
            for origin, target in answers.items():
                if target is not None:
                    curated.append(replace(example, target=target, origin=f"{origin}: {task.name}/train[{i}]"))
                    break
        return curated

    def _right_answers(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[str], stop: tuple[str, ...]
    ) -> list[str | None]:
        """Return the model's answer to each prompt; None where it is empty, cut or wrong."""
        if not prompts:
            return []
        limits = [
            max(FEWEST_NEW_TOKENS, round(self.length * count))
            for count in model.count_tokens([e.target for e in examples])
        ]
        # All prompts in one call, with the limit of the longest; each answer is held against its own limit below.
        texts = model.generate(prompts, Sampling(max(limits), stop))
        answers = [before_stop(text, stop) for text in texts]
        counts = model.count_tokens(answers)
        checked = zip(answers, examples, counts, limits, strict=True)
        judge = find_judge(self.judge, self.threshold)
        return [a if count < limit and sensible(a, e) and judge(a, e) else None for a, e, count, limit in checked]


def sensible(answer: str, example: Example) -> bool:
    """Return whether an answer says anything and, where there are choices, is one of them."""
    # Letter by letter: it is what is ranked afterwards.
    return bool(words(answer)) and (not example.choices or answer in example.choices)
