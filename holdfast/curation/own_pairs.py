"""Pairs of the model's own answers: what a preference method learns from on-policy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation._answers import prompts
from holdfast.curation.base import Curation, CurationContext
from holdfast.inference.sampling import Sampling
from holdfast.tasks.answers.rewards import find_rewards
from holdfast.tasks.task import Example


@dataclass(frozen=True)
class OwnPairs(Curation):
    """Let the model answer each question several times, and pair the answer of the highest reward with that of the lowest.

    The pairs are for `+dpo`, `+ipo` and `+simpo`; plain training takes the chosen answers alone, which is the control without the
    rejected ones (rejection sampling). `reward` names rules or functions of yours as for `+grpo`. A question whose answers all have
    rewards within `gap` has no pair, and is left out; with `gold` its own target is one of the answers, so that a model that is never
    right has something to prefer. The recipe `on_policy_dpo` does this again with the model that it trained. Its cost is `samples`
    answers to each training example.

    Source: Tajwar et al. 2024, "Preference fine-tuning of LLMs should leverage suboptimal, on-policy data" (ICML)
    """

    needs_model: ClassVar[bool] = True
    asks_questions: ClassVar[bool] = True

    reward: str = Field(default="exact", description="rules or path/to/file.py:function, added up, by commas")
    samples: int = Field(default=8, ge=2, description="answers to each question")
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="at which they are drawn")
    max_new_tokens: int = Field(default=64, ge=1, description="most tokens of an answer")
    gap: float = Field(default=0.0, ge=0, description="rewards of a pair differ by more")
    gold: bool = Field(default=False, description="count the example's own target among the answers")
    shots: int = Field(default=0, ge=0, description="demonstrations before each question")

    def __post_init__(self) -> None:
        find_rewards(self.reward)  # Before a model is loaded and has answered everything.

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the questions that have a pair, in order; `origin` has both rewards.

        Raises:
            ValueError: a reward fails, or no question has a pair.
        """
        model, task, reward = context.model, context.task, find_rewards(self.reward)
        assert model is not None
        stop, seed = task.template.stop, context.seed * 1_000_003
        sampling = Sampling(self.max_new_tokens, stop, temperature=self.temperature, seed=seed, samples=self.samples)
        texts = iter(model.generate(prompts(examples, context, self.shots), sampling))
        pairs = []
        for index, example in enumerate(examples):
            answers = [next(texts).strip() for _ in range(self.samples)] + [example.target] * self.gold
            # An answer without a word has no token to learn from.
            rewards = {answer: reward(answer, example) for answer in answers if answer}
            if not rewards:
                continue
            best, worst = max(rewards, key=rewards.__getitem__), min(rewards, key=rewards.__getitem__)
            if rewards[best] - rewards[worst] > self.gap:
                origin = f"own pair: {task.name}/train[{index}], rewards {rewards[best]:g} and {rewards[worst]:g}"
                pairs.append(replace(example, target=best, rejected=worst, choices=None, answers=None, origin=origin))
        if not pairs:
            raise ValueError(
                f"own_pairs: none of {len(examples)} questions of {task.name} has two answers whose rewards differ by more than "
                f"{self.gap:g}; draw more samples, give a reward with more steps, or set curate.gold=true"
            )
        return pairs
