"""Weigh each label by its probability, or by the entropy at its place."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._divergence import frozen_start
from holdfast.methods._token_factors import (
    best_entropy,
    key_factors,
    log_probabilities,
    log_probability,
    names_of,
    normalised,
)
from holdfast.methods.base import Context, Method
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits

FROZEN = ("stm", "flow", "prift")  # from the model as it was, each row once
MOVING = ("dft", "eaft")  # from the step's own predictions


@dataclass
class TokenWeights(Method):
    """Multiply the loss of each label by a factor that is small where the model finds the label unlikely, or sure of another.

    p is a label's probability and l its loss. Under the model before training: `stm` 1 where 1 / p is at most `threshold`, else 0, and the
    mean is over the labels that are left (Wu et al. 2025, NeurIPS); `flow` exp(-mean l of the answer / its median over up to 512 examples),
    the same for a whole answer (Sanyal et al. 2025, ICML); `prift` p (after arXiv 2606.09396, whose exact weight we have not seen). Under
    the model as it moves, without gradient: `dft` p (arXiv 2508.05629); `eaft` the entropy of the 20 likeliest tokens over 3
    (PRIS-CV/EAFT); `talr` exp(-l / median of the step's mean losses), at least 0.01 (after arXiv 2509.20758, whose code is not public).
    `keys` needs no model: where an answer is or holds one of a few `candidates`, the tokens that tell it from the others weigh up to 9
    times as much as the rest (TL-Training, Ye et al. 2024).

    Beside a method that chooses the parameters, such as `Full`; `full+token_weights+kl_base` with `by=dft` is ASFT (arXiv 2509.23753).
    Use it where plain training forgets and there is no general data. The first token of a closed set of labels is what the base finds least
    likely: `stm` and `dft` then learn no format, so train that first (`promot+token_weights`). Replayed rows keep their weights.
    `stm`, `flow` and `prift` cost memory for one more model, and each row once through it; `talr` a forward a step;
    `dft` and `eaft` the head once more; `keys` nothing.

    Source: Wu et al. 2025, "On the generalization of SFT" (arXiv 2508.05629) for `dft`; of the other rules as above
    """

    KIND: ClassVar[str] = "TokenWeights"

    by: Literal["stm", "flow", "prift", "dft", "eaft", "talr", "keys"] = Field(
        default="dft", description="rule of the factors"
    )
    power: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="exponent of the factors; 0 is plain training"
    )
    threshold: float = Field(default=2.5, gt=0, description="of stm: the largest 1 / p that is trained")
    candidates: str = Field(
        default="", description="of keys: names that answers hold, by commas; else the answers, if they are few"
    )

    def beside(self, other: Method) -> str:
        """Refuse losses that are not summed over tokens."""
        if other.replaces_loss:
            return "it weighs the token loss, and the other has a loss of its own in its place"
        return ""

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves, and look at the data.

        Raises:
            ValueError: `stm` would leave nothing to learn, or `keys` finds no closed set of answers.
        """
        self._scores: dict[int, Tensor] = {}
        self._median, self._base, self._names = 1.0, None, []
        if not self.power:
            return
        if self.by == "keys":
            self._names = names_of(self.candidates, context)
        if self.by in FROZEN:
            self._base = frozen_start(context.model)
        sample = [row for row in context.rows if row.labels]
        if self.by == "flow" and sample:
            self._median = float(torch.stack([-score.mean() for score in self._scored(sample)]).median())
        if self.by == "stm" and sample and not any(bool(self._kept(score).any()) for score in self._scored(sample)):
            raise ValueError(
                f"token_weights.threshold={self.threshold}: the model gives no label of the first {len(sample)} examples a probability of "
                f"{1 / self.threshold:.2g}, so there is nothing to learn; raise it, or train the format first (promot+token_weights)"
            )

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows with their factors; those of `dft` and `eaft` follow from the predictions of the step."""
        mine = [row for row in rows if row.labels]
        if not self.power or not mine:
            return rows
        if self.by in MOVING:
            factors = [torch.ones(len(row.labels)) for row in mine]  # marks them
        elif self.by == "keys":
            factors = [key_factors(row, self._names) for row in mine]
        elif self.by == "talr":
            scores = log_probabilities(context.model, mine)
            middle = float(torch.stack([-score.mean() for score in scores]).median())
            factors = [(score / max(middle, 1e-6)).exp().clamp(min=0.01) for score in scores]
        else:
            by_rule = {"stm": self._kept, "flow": self._easy, "prift": torch.exp}
            factors = [by_rule[self.by](score) for score in self._scored(mine)]
        factors = [factor**self.power for factor in factors]
        if self.by in ("stm", "keys"):
            factors = normalised(factors, mine)
        weighed = iter(zip(mine, factors, strict=True))
        return [_with_factors(*next(weighed)) if row.labels else row for row in rows]

    def token_factors(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor | None:
        """Return the factors that follow from the step's own predictions: [N]."""
        if not self.power or self.by not in MOVING:
            return None
        factors = output.each(log_probability).exp() if self.by == "dft" else output.each(best_entropy)
        mine = torch.tensor([bool(row.factors) for row in rows], device=output.row.device)[output.row]
        return torch.where(mine, factors**self.power, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return what the model before training says of the rows so far: another batch would compute other last bits."""
        scores = list(self._scores.values())
        return {
            "rows": torch.tensor(list(self._scores), dtype=torch.int64),
            "sizes": torch.tensor([len(score) for score in scores], dtype=torch.int64),
            "scores": torch.cat(scores) if scores else torch.zeros(0),
            "median": self._median,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what was found out of the rows so far."""
        parts = state["scores"].split(state["sizes"].tolist()) if len(state["rows"]) else ()
        self._scores = dict(zip(state["rows"].tolist(), parts, strict=True))
        self._median = state["median"]

    def _kept(self, score: Tensor) -> Tensor:
        return (-score <= torch.tensor(self.threshold).log()).to(score)

    def _easy(self, score: Tensor) -> Tensor:
        return (score.mean() / max(self._median, 1e-6)).exp().expand(len(score))

    def _scored(self, rows: Sequence[Row]) -> list[Tensor]:
        """Return the log-probability of each row's labels under the model before training; each row is computed once."""
        assert self._base is not None
        # As the answer is written, where another method hides parts of it: what is drawn anew each time would never be known already.
        plain = [replace(row, tokens=row.targets or row.tokens, targets=()) for row in rows]
        keys = [hash((row.tokens, row.weights, -1 if row.prompt is None else row.prompt)) for row in plain]
        new = {key: row for key, row in zip(keys, plain, strict=True) if key not in self._scores}
        self._scores |= dict(zip(new, log_probabilities(self._base, list(new.values())), strict=True))
        return [self._scores[key] for key in keys]


def _with_factors(row: Row, factors: Tensor) -> Row:
    """Return a row with the factors of its labels."""
    every = [1.0] * len(row.tokens)
    for label, factor in zip(row.labels, factors.tolist(), strict=True):
        every[label] = factor
    return replace(row, factors=tuple(every))
