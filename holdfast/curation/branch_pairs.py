"""Pairs at the branches of answers to hard questions: the data of iTool."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation.base import Curation, CurationContext
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.tasks.answers.judges import f1, words
from holdfast.tasks.answers.rewards import find_rewards
from holdfast.tasks.formats.conversation import calls_in
from holdfast.tasks.task import Example
from holdfast.tasks.text.templates import render

STEP = re.compile(r"\. |, |=|\(|\n")  # what ends a step of an answer


@dataclass(frozen=True)
class BranchPairs(Curation):
    """Select the questions whose right answer the model finds least likely, and pair the best and the worst continuation at each branch.

    Hard are the `share` of examples with the highest perplexity of their target, of those that call a tool and of the others alike. For
    each the model draws `samples` answers; the one with the highest reward and the one with the lowest are a pair where they differ by
    `gap` or more, have at most `overlap` of their words in common, and the better has at least `least`. Then the better one's first step
    (up to a full stop, comma, equals sign or bracket) is held, and the model draws again from there, `depth` times: answers of a pair are
    alike up to their branch. It is best-of-n in the place of the paper's tree search, and the reward is a rule (`tool_call`: TL-Training's
    table) or a function of yours in the place of the model's own judgement. The script's least reward of the better answer, -0.3, is of
    that judgement's scale; in the table it would let calls with wrong values (-0.25) be preferred, so here it is 0: of single calls the
    right ones alone. For `+simpo` and `+dpo`; the recipe `itool` repeats it.
    It costs a forward of each example, and `samples` answers a level to each hard one.

    Source: Zeng et al. 2025, "iTool" (EMNLP); samples, depth, temperature and filters by its released script
    """

    needs_model: ClassVar[bool] = True
    asks_questions: ClassVar[bool] = True

    share: float = Field(default=0.3, gt=0, le=1, description="part of the examples that counts as hard")
    reward: str = Field(default="tool_call", description="rules or path/to/file.py:function, added up, by commas")
    samples: int = Field(default=3, ge=2, description="answers at each branch")
    depth: int = Field(default=3, ge=1, description="branches along an answer")
    temperature: float = Field(default=1.5, gt=0, allow_inf_nan=False, description="at which answers are drawn")
    max_new_tokens: int = Field(default=50, ge=1, description="most tokens that are drawn at a branch")
    gap: float = Field(default=0.1, ge=0, description="least difference of a pair's rewards")
    overlap: float = Field(default=0.95, ge=0, le=1, description="most F1 of words that a pair has in common")
    least: float = Field(default=0.0, description="least reward of the better answer; 0 with tool_call: a right call")

    def __post_init__(self) -> None:
        find_rewards(self.reward)  # Before a model is loaded and has answered everything.

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the pairs, those of one question one after another; `origin` has the level and both rewards.

        Raises:
            ValueError: a reward fails, the share selects nothing, no right answer would fit, or no answers make a pair.
        """
        model, task, reward = context.model, context.task, find_rewards(self.reward)
        assert model is not None
        rendered = [render(task.template, example, (), model.tokenizer) for example in examples]
        surprise = _surprise(model, [(text.prompt, text.target) for text in rendered])
        hard = hardest(surprise, [bool(calls_in(example.target)) for example in examples], self.share)
        if not hard:
            raise ValueError(
                f"branch_pairs: {self.share:g} of {len(examples)} examples of {task.name} are none; raise curate.share"
            )
        shortest = min(model.count_tokens([examples[index].target for index in hard]))
        if shortest > self.max_new_tokens:
            raise ValueError(
                f"branch_pairs: max_new_tokens={self.max_new_tokens} cuts every right answer, of which the shortest has {shortest} "
                "tokens, so that all that is drawn would count as wrong; raise curate.max_new_tokens"
            )
        held = dict.fromkeys(hard, "")
        pairs: dict[tuple[int, str, str], Example] = {}
        for level in range(self.depth):
            seed = context.seed * 1_000_003 + level * self.samples
            sampling = Sampling(
                self.max_new_tokens, task.template.stop, temperature=self.temperature, seed=seed, samples=self.samples
            )
            texts = iter(model.generate([rendered[index].prompt + held[index] for index in hard], sampling))
            for index in hard:
                answers = [held[index] + next(texts) for _ in range(self.samples)]
                rewards = {answer: reward(answer.strip(), examples[index]) for answer in answers if answer.strip()}
                if not rewards:
                    continue
                best, worst = max(rewards, key=rewards.__getitem__), min(rewards, key=rewards.__getitem__)
                if self.keeps(best.strip(), rewards[best], worst.strip(), rewards[worst]):
                    origin = (
                        f"branch: {task.name}/train[{index}], level {level}, {rewards[best]:g} and {rewards[worst]:g}"
                    )
                    pair = replace(
                        examples[index],
                        target=best.strip(),
                        rejected=worst.strip(),
                        choices=None,
                        answers=None,
                        origin=origin,
                    )
                    # Levels may draw the same two answers again, which would count twice.
                    pairs.setdefault((index, pair.target, worst.strip()), pair)
                held[index] = first_step(best, len(held[index]))
        if not pairs:
            raise ValueError(
                f"branch_pairs: no answers to {len(hard)} hard questions of {task.name} pass the filters (gap {self.gap:g}, overlap "
                f"{self.overlap:g}, least {self.least:g}); tune on the answers first, draw more samples or longer ones, "
                "or give another reward"
            )
        return [pairs[key] for key in sorted(pairs, key=lambda key: key[0])]

    def keeps(self, best: str, high: float, worst: str, low: float) -> bool:
        """Return whether two answers with these rewards are a pair."""
        return (
            high - low >= self.gap
            and high >= self.least
            and best != worst
            and f1(words(best), words(worst)) <= self.overlap
        )


def hardest(surprise: Sequence[float], groups: Sequence[bool], share: float) -> list[int]:
    """Return the floor(share * n) indices of the highest surprise within each group, ascending."""
    chosen: list[int] = []
    for group in (True, False):
        members = [index for index, other in enumerate(groups) if other is group]
        members.sort(key=lambda index: -surprise[index])
        chosen += members[: int(share * len(members) + 1e-9)]  # 0.3 * 10 is a hair below 3 in floating point.
    return sorted(chosen)


def first_step(answer: str, begin: int) -> str:
    """Return an answer up to the end of its first step behind `begin`; up to `begin` where no step ends there."""
    end = STEP.search(answer, begin + 1)
    return answer[: end.end()] if end else answer[:begin]


def _surprise(model: LanguageModel, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the mean negative log-likelihood of each answer's tokens, in nats: the logarithm of its perplexity."""
    return [-score.value / max(1, score.tokens) for score in model.loglikelihood(pairs)]
