"""GRPO: the model's own answers are rewarded, against the mean of the answers to the same question."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from accelerate import PartialState
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.inference.sampling import Sampling
from holdfast.inference.stopping import Stops
from holdfast.methods._divergence import frozen_start
from holdfast.methods._own_answers import answers, closed, with_answer
from holdfast.methods._policy_losses import advantages, anchor, token_losses
from holdfast.methods.base import Context, Method
from holdfast.models.fingerprint import file_fingerprint
from holdfast.prefix.packing import label_factors
from holdfast.row import Row, total_weight
from holdfast.tasks.answers.rewards import find_rewards

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits

ALIKE = 10  # Steps without any spread of rewards, after which it is said.


@dataclass
class Grpo(Method):
    """Reinforce the model's own answers: those with more reward than others of the same question become likelier, held near the start.

    In each step the model writes `samples` answers to each question of the batch. `reward` names what an answer is worth: rules (exact,
    answer, number, f1, thinking_format, thinking_answer, tool_call) or functions of yours, `path/to/file.py:function` of the answer and
    the example, added up. An answer's advantage is its reward minus the mean over its question, by `scale` over the standard
    deviation of the group, of the batch or as it is; the loss of a token is -advantage * p / p(then), plus `beta` times the estimate of
    its KL to the start. One step is taken for each sampling, so that p is p(then) and nothing is clipped. The answers to
    one question follow its tokens in one packed row, which are computed once.

    Use it where an answer can be checked and the model finds a right one now and then: a question whose answers all have the same reward
    teaches nothing (`reward_without_spread` of the log). The log has the reward and the KL of each step, the length of answers (longer
    and longer ones at the same reward say that length is what pays) and the share that `max_new_tokens` cut. Beside a method that chooses
    the parameters, such as `Full`. It costs memory for one more model (none where `beta` is 0), and a generation of `samples` answers to
    each question and step: most of the time.

    Source: Shao et al. 2024, "DeepSeekMath" (arXiv 2402.03300), equation 3; loss_type and scale after TRL 1.16, whose default `dapo` is;
    rewards of thinking and answer after Li et al. 2025 (CLS-RL)
    """

    KIND: ClassVar[str] = "Grpo"
    asks_questions: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-5, "steps": 200}

    reward: str = Field(default="exact", description="rules or path/to/file.py:function, added up, by commas")
    samples: int = Field(default=8, ge=2, description="answers to each question of a step")
    beta: float = Field(
        default=0.04, ge=0, allow_inf_nan=False, description="weight of the KL to the start, in nats a token; 0 is off"
    )
    temperature: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="at which answers are drawn and scored"
    )
    max_new_tokens: int = Field(default=64, ge=1, description="most tokens of an answer")
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = Field(
        default="dapo",
        description="mean over a step's tokens; over answers of their means; or sums over max_new_tokens",
    )
    scale: Literal["group", "batch", "none"] = Field(
        default="group", description="standard deviation that advantages are divided by"
    )
    seed: int = Field(default=0, description="of the draw")

    def __post_init__(self) -> None:
        self._reward = find_rewards(self.reward)  # Before a model is loaded and has answered anything.
        self._figures, self._kl, self._alike = {}, (0.0, 0.0), 0

    def beside(self, other: Method) -> str:
        """Refuse rows that nobody rewards."""
        if other.adds_rows:
            return "its rows are rewarded answers, and the other adds rows that have no reward; hold the model with kl_base or l2_sp"
        return ""

    def versions(self) -> Sequence[str]:
        """Return the fingerprints of the files that reward."""
        return [file_fingerprint(path) for path in self._reward.files]

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves: the anchor.

        Raises:
            ValueError: the model has an encoder.
        """
        if not context.pretrained.architecture.one_sequence:
            raise ValueError("grpo: a model with an encoder is not reinforced here; tune it with --method full+kl_base")
        self._start = frozen_start(context.model) if self.beta else None

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the questions with the model's own answers, those of one question as a group, each token with its advantage.

        Raises:
            ValueError: a reward fails.
        """
        by_question = {row.name if row.group is None else row.group: row for row in reversed(rows) if row.labels}
        questions = list(by_question.values())[::-1]
        if (
            not questions
        ):  # Truncation left no answer a label, so that nobody knows where a question ends; the loop says so.
            return []
        tokenizer, written, cut = context.pretrained.tokenizer, [], 0
        # No two steps draw by the same seed: sample j is drawn by seed + j.
        seed = self.seed * 1_000_003 + context.step * self.samples
        for stop in dict.fromkeys(row.example.template.stop for row in questions):
            sampling = Sampling(
                self.max_new_tokens, stop, temperature=self.temperature, seed=seed, samples=self.samples
            )
            stops, mine = Stops(tokenizer, stop), [row for row in questions if row.example.template.stop == stop]
            for row, group in zip(mine, answers(mine, sampling, context), strict=True):
                values = [self._reward(stops.text(answer), row.example) for answer in group]
                whole = [closed(row, a, self.max_new_tokens, context, stopped=stops.reached(a)) for a in group]
                cut += sum(len(a) >= self.max_new_tokens and not stops.reached(a) for a in group)
                written.append((row, whole, values))
        rewards = torch.tensor([values for _, _, values in written])
        self._note(rewards, [len(answer) for answer in chain.from_iterable(whole for _, whole, _ in written)], cut)
        ready = []
        for number, ((row, whole, _), gained) in enumerate(
            zip(written, advantages(rewards, self.scale).tolist(), strict=True)
        ):
            for answer, advantage in zip(whole, gained, strict=True):
                if answer:
                    weight = {"dapo": 1.0, "grpo": 1 / len(answer), "dr_grpo": 1 / self.max_new_tokens}[self.loss_type]
                    new = with_answer(row, answer, weight)
                    ready.append(replace(new, group=number, targets=(), factors=(advantage,) * len(new.tokens)))
        return ready

    def objective(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor:
        """Return the weighted sum of the tokens' losses."""
        log_p, start = output.token_log_likelihoods(self.temperature), None
        if self._start is not None:
            with torch.no_grad():
                # Moved only here, where the stage's device is known for sure; the second move costs nothing.
                start = self._start.to(output.states.device)(rows).token_log_likelihoods(self.temperature)
            kl = anchor(log_p.detach(), start)
            self._kl = (self._kl[0] + float(kl.sum()), self._kl[1] + len(kl))
        gained = label_factors(rows)
        assert gained is not None
        return torch.dot(token_losses(log_p, gained.to(log_p), start, self.beta), output.weights.to(log_p))

    def units(self, rows: Sequence[Row]) -> float:
        """Return the number of tokens, or of answers where each has a mean or sum of its own."""
        return total_weight(rows) if self.loss_type == "dapo" else len(rows)

    def figures(self) -> Mapping[str, float]:
        """Return the step's rewards, lengths and divergence."""
        total, count = self._kl
        return self._figures | ({"kl_to_start": total / count} if count else {})

    def _note(self, rewards: Tensor, lengths: Sequence[int], cut: int) -> None:
        self._kl = (0.0, 0.0)
        self._figures = {
            "reward": float(rewards.mean()),
            "reward_without_spread": float((rewards == rewards[:, :1]).all(-1).float().mean()),
            "answer_tokens": sum(lengths) / len(lengths),
            "answers_cut": cut / len(lengths),
        }
        self._alike = self._alike + 1 if self._figures["reward_without_spread"] == 1 else 0
        if self._alike == ALIKE and PartialState().is_main_process:
            print(
                f"grpo: in {ALIKE} steps every question's answers had the same reward (now {self._figures['reward']:g}), so nothing "
                "is learned; train on targets first, draw more samples, or give a reward with more steps"
                + f" ({cut} of the last {len(lengths)} were cut at max_new_tokens={self.max_new_tokens})"
                * bool(cut),
                file=sys.stderr,
                flush=True,
            )
