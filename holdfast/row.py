"""A row: the token ids of one sequence and the weight of predicting each. The tokenizer makes rows, the prefix core computes them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence of T tokens, before any packing or padding.

    `weights[i]` is the loss weight of predicting `tokens[i]` from everything before it; 0 means context only. The first
    token can carry a weight only behind a soft prompt. `prompt` is the index of the soft prompt that stands in front,
    or None. `name` says where the row comes from (`rte/train[17]`), for messages. `cut` counts the tokens that truncation
    removed, and `lost` those of them that were to be predicted. `encoded` counts the first tokens, which a model with an
    encoder encodes; it decodes the rest. None is up to the first label. Rows of one step with an equal `group` belong together, such
    as a preference pair: they go through one forward. `media` says what stands behind placeholder tokens, such as an image's digest, by
    position. `targets`, where there are any, are the tokens to predict in the place of those that are read. `factors` multiply the token
    loss of each position and nothing else: penalties and losses of other methods go by `weights`. `added_by` is the number
    of the method, among its stage's, that added the row for a loss of its own (`Method.own_loss`); the step's loss leaves such a row out.
    `example` is the task's example that the row was made of, with the template it is asked by, for methods that judge answers.
    `task_number` is that of the row's task among those of its stage; None where another method made the row.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    prompt: int | None = None
    name: str = ""
    cut: int = 0
    lost: int = 0
    encoded: int | None = None
    group: int | None = None
    media: tuple[tuple[int, Hashable], ...] = ()
    targets: tuple[int, ...] = ()
    factors: tuple[float, ...] = ()
    added_by: int | None = None
    # Not compared: it says nothing that the tokens do not, and its fields need not be hashable.
    example: Any = field(default=None, compare=False)
    task_number: int | None = None

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.weights), (len(self.tokens), len(self.weights))
        assert len(self.targets) in (0, len(self.tokens)), (len(self.tokens), len(self.targets))
        assert len(self.factors) in (0, len(self.tokens)), (len(self.tokens), len(self.factors))

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Return the identity of each position, for sharing and for deduplication: its token, and the content of a placeholder. [T]"""
        if not self.media:
            return self.tokens
        # Two images have equal placeholder tokens, and rows with one each do not begin alike.
        media = dict(self.media)
        return tuple((token, media[i]) if i in media else token for i, token in enumerate(self.tokens))

    @property
    def labels(self) -> list[int]:
        """Return the positions whose token is predicted, ascending."""
        return [i for i, weight in enumerate(self.weights) if weight != 0]

    def equally_weighted(self) -> "Row":
        """Return the row with label weights that sum to 1, so that a long answer counts as much as a short one.

        Source: Muennighoff et al. 2023, "Crosslingual generalization through multitask finetuning" (ACL), the loss of BLOOMZ
        """
        total = sum(self.weights)
        return replace(self, weights=tuple(weight / total for weight in self.weights)) if total else self

    @property
    def boundary(self) -> int:
        """Return the position at which the decoder begins, in a model with an encoder."""
        return next(iter(self.labels), len(self.tokens)) if self.encoded is None else self.encoded


def sharing_keys(rows: Sequence[Row]) -> list[tuple[int, ...]]:
    """Return each row's `key` in numbers, which can be sorted; keys of these rows are equal where their numbers are.

    Numbers below 0 stand for placeholders and what is behind them.
    """
    if not any(row.media for row in rows):
        return [row.tokens for row in rows]
    numbers: dict[Hashable, int] = {}
    keys = []
    for row in rows:
        places = dict(row.media)
        key = list(row.tokens)
        for i in places:
            key[i] = numbers.setdefault(row.key[i], -1 - len(numbers))
        keys.append(tuple(key))
    return keys


def total_weight(rows: Sequence[Row]) -> float:
    """Return the sum of all label weights: what the token loss of a step is divided by."""
    # In two steps on purpose: the order of additions is part of a run's last bit.
    return sum(sum(row.weights) for row in rows)
