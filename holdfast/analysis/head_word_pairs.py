"""Pairs of words that attention heads connect, before and after tuning."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from holdfast.analysis._word_space import WordSpace, shared
from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.models.attention_heads import projections
from holdfast.results.measure_panel import MeasurePanel

WORDS, MOST = 5, 5  # words of a list; heads of each circuit that are shown
STILL = 1e-3  # degrees, below which nothing has turned
SAME = 0.5  # cosine above which a direction of the tuned model is that of the base
Directions = tuple[Tensor, Tensor]

PANELS = (
    MeasurePanel(
        ("qk_turn",),
        "Turn of what heads look for, degrees",
        "Mean angle between the heads’ QK circuits before and after tuning.",
    ),
    MeasurePanel(
        ("ov_turn",),
        "Turn of what heads write, degrees",
        "Mean angle between the heads’ OV circuits before and after tuning.",
    ),
)


@analysis
def head_word_pairs(subject: Subject) -> list[Finding]:
    """Words that attention heads look for and write, in the base and in the tuned model, and how far tuning turned the heads.

    A head's QK circuit says which word it looks at from which; its OV circuit, which word it promotes where it reads which. Of each
    circuit, the pair of directions with the largest singular value is read as words: five on each side, embeddings behind the norm
    before the attention, and what is written behind the final norm and the head. By layer: `qk_turn` and `ov_turn`, the mean angle in
    degrees between the base's and the tuned circuits as matrices, and `qk_words` and `ov_words`, the mean share of words that both have.
    `qk_pair` and `ov_pair` are the five heads of each circuit that turned most, with the words of both models. Rotary positions, biases,
    norms inside of heads and what earlier layers add to a word are left out. Needs no rows; costs a product of words and width a head.

    Raises:
        ValueError: the model has an encoder, or keeps queries, keys and values in one matrix.

    Source: Wu et al. 2024, "From language modeling to instruction following" (NAACL), section 4; circuits: Elhage et al. 2021, "A
        mathematical framework for transformer circuits"
    """
    base, tuned = WordSpace(subject.base), WordSpace(subject.pretrained)
    findings: list[Finding] = []
    turned: dict[str, list[tuple[float, str]]] = {}
    for name in projections(subject.base.model):
        before, after = (
            HeadWeights(model, name.rpartition(".")[0], name.rpartition(".")[2]) for model in (base, tuned)
        )
        for circuit in ("qk", "ov"):
            degrees, same = [], []
            for head in range(before.heads):
                old, new = (layer.factors(circuit, head) for layer in (before, after))
                kept, words = before.ends(circuit, leading(*old))
                pairs = [words, after.ends(circuit, leading(*new), kept)[1]]
                degrees.append(turn(old, new))
                same += [shared(first, second) for first, second in zip(*pairs, strict=True)]
                texts = [
                    " => ".join(model.words(side) for side in pair)
                    for model, pair in zip((base, tuned), pairs, strict=True)
                ]
                shown = (degrees[-1], f"{before.attention} head {head}: {texts[0]} -> {texts[1]}")
                turned.setdefault(circuit, []).append(shown)
            findings += [
                Finding(f"{circuit}_turn", before.attention, sum(degrees) / len(degrees)),
                Finding(f"{circuit}_words", before.attention, sum(same) / len(same)),
            ]
    for circuit, heads in turned.items():
        most = sorted(heads, key=lambda each: -each[0])[:MOST]
        findings += [Finding(f"{circuit}_pair", where, value) for value, where in most if value > STILL]
    return findings


@dataclass(frozen=True)
class HeadWeights:
    """The weights of one attention layer, head by head; heads that share keys and values have the same."""

    model: WordSpace
    attention: str
    output: str

    @property
    def heads(self) -> int:
        """The number of heads."""
        return self.model.pretrained.model.config.get_text_config().num_attention_heads

    @cached_property
    def matrices(self) -> dict[str, Tensor]:
        """The weights of queries, keys, values and output, each [outputs, inputs], in float64.

        Raises:
            ValueError: the model keeps them otherwise.
        """
        names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": self.output}
        if missing := [end for end in names.values() if f"{self.attention}.{end}" not in self.model.modules]:
            raise ValueError(
                f"head_word_pairs: {self.attention} has no {missing[0]}; a model that keeps queries, keys and values in one matrix is not "
                "supported"
            )
        return {short: self.model.matrix(f"{self.attention}.{end}").double() for short, end in names.items()}

    def factors(self, circuit: str, head: int) -> tuple[Tensor, Tensor]:
        """Return the factors [D, d] of a head's circuit, whose product, the second transposed, is the circuit [D, D].

        Of `qk` these are queries and keys: word a looks at word b by a' (QK) b. Of `ov` they are what is read and what is written.
        """
        size = self.matrices["o"].shape[1] // self.heads
        group = head * (self.matrices["k"].shape[0] // size) // self.heads
        rows, shared_rows = slice(head * size, (head + 1) * size), slice(group * size, (group + 1) * size)
        if circuit == "qk":
            return self.matrices["q"][rows].T, self.matrices["k"][shared_rows].T
        return self.matrices["v"][shared_rows].T, self.matrices["o"][:, rows]

    def ends(
        self, circuit: str, directions: Directions, like: Directions | None = None
    ) -> tuple[Directions, tuple[list[int], list[int]]]:
        """Return a pair of directions, which may change their sign together, with one of both signs, and the words at its two sides.

        The sign is that of `like` where it is nearly the same pair, else that at which words of both sides stand out most.
        """
        source, drain = (direction[None].float() for direction in directions)
        left = self.model.read(source, self.attention)[0]
        right = (self.model.read(drain, self.attention) if circuit == "qk" else self.model.promoted(drain))[0]
        # By its own words the sign could turn where hardly anything did, and the other ends of the same directions would be listed.
        sign = 0 if like is None else sign_like(directions, like)
        if not sign:
            sign = 1 if left.max() * right.max() >= left.min() * right.min() else -1
        words = self.model.top(sign * left, WORDS), self.model.top(sign * right, WORDS)
        return (sign * directions[0], sign * directions[1]), words


def sign_like(directions: Directions, like: Directions) -> int:
    """Return 1 where a pair of unit directions is nearly another one, -1 where it is that with the other sign, else 0."""
    agreement = sum(float(first @ second) for first, second in zip(directions, like, strict=True)) / 2
    return 0 if abs(agreement) < SAME else 1 if agreement > 0 else -1


def leading(first: Tensor, second: Tensor) -> Directions:
    """Return the unit directions [D] with the largest singular value of `first @ second.T`, from its factors [D, d]."""
    # The circuit itself is [D, D] and of rank d: the decomposition is made of [d, d].
    (outer, inner), (outer2, inner2) = torch.linalg.qr(first), torch.linalg.qr(second)
    left, _, right = torch.linalg.svd(inner @ inner2.T)
    return outer @ left[:, 0], outer2 @ right[0]


def turn(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> float:
    """Return the angle in degrees between two circuits as matrices [D, D], from their factors [D, d]; 0 where either is 0."""

    def product(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> Tensor:
        # The trace of circuit.T @ circuit, of which no matrix [D, D] is made.
        return ((left[0].T @ right[0]) * (left[1].T @ right[1])).sum()

    sizes = product(before, before).sqrt() * product(after, after).sqrt()
    return float(torch.rad2deg((product(before, after) / sizes).clamp(-1, 1).acos())) if sizes > 0 else 0.0
