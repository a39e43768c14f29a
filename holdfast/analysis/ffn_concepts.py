"""Words that the feed-forward layers promote, before and after tuning."""

import torch
from torch import Tensor

from holdfast.analysis._word_space import WordSpace, angle, shared
from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel

DOWN = (
    "down_proj",
    "c_proj",
    "fc2",
    "dense_4h_to_h",
    "fc_out",
    "w2",
)  # as transformers names what writes a block's output
DIRECTIONS, WORDS, MOST = 10, 8, 10  # of a block's space; of a list; value vectors that are shown
SAME = 0.5  # cosine above which a direction of the tuned model is that of the base
STILL = 1e-3  # degrees, below which nothing has turned

PANELS = (
    MeasurePanel(
        ("turn",),
        "Turn of what feed-forward units write, degrees",
        "Mean angle between what each inner unit writes before and after tuning.",
    ),
    MeasurePanel(
        ("concept_overlap",),
        "Concepts of feed-forward layers, share that stayed",
        "Share of the space of a block’s first ten principal directions that is the base’s.",
        zero=None,
    ),
)


@analysis
def ffn_concepts(subject: Subject) -> list[Finding]:
    """Words that each feed-forward layer promotes, in the base and in the tuned model, and how far tuning turned them.

    A value vector (what one inner unit writes) promotes the words that rank first behind the final norm and the head. By block: `turn`, the
    mean angle between the base's and the tuned value vectors in degrees; `concept_overlap`, how much of the space of their first ten
    principal directions is the same (1: all; ten directions at random: 10 / width); `word_overlap`, of the first direction's eight
    words; `concept_base` and `concept_tuned`, these words with the share of the variance that lies along it, either sign being as good.
    `turned` are the ten value vectors of the whole model that turned most, with the words of both. Labels of concepts need somebody who
    reads them. Needs no rows; costs a decomposition of [width, width] for each block of both models.

    Raises:
        ValueError: the model has an encoder, or no feed-forward layer under a known name, as where experts share one tensor.

    Source: Wu et al. 2024, "From language modeling to instruction following" (NAACL), section 5; value vectors as words: Geva et al.
        2022, "Transformer feed-forward layers build predictions by promoting concepts in the vocabulary space" (EMNLP)
    """
    base, tuned = WordSpace(subject.base), WordSpace(subject.pretrained)
    layers = [
        name
        for name in base.modules
        if name.rpartition(".")[2] in DOWN and "att" not in name.rpartition(".")[0].lower()
    ]
    if not layers:
        raise ValueError(f"ffn_concepts: the model has no feed-forward output under a known name ({', '.join(DOWN)})")
    findings: list[Finding] = []
    turned: list[tuple[float, str, int]] = []
    for name in layers:
        before, after = (model.matrix(name).T.double() for model in (base, tuned))
        degrees = angle(before, after)
        spaces = [principal(vectors) for vectors in (before, after)]
        overlap = float((spaces[0][0].T @ spaces[1][0]).square().sum()) / spaces[0][0].shape[1]
        direction, later = (directions[:, 0] for directions, _ in spaces)
        direction = signed(base, direction)
        # With the base's sign where it is nearly the same direction: by its own words the sign could turn where hardly anything did.
        agreement = float(direction @ later)
        later = later * (1 if agreement > 0 else -1) if abs(agreement) > SAME else signed(tuned, later)
        lists = [
            model.top(model.promoted(each[None])[0], WORDS)
            for model, each in zip((base, tuned), (direction, later), strict=True)
        ]
        findings += [
            Finding("turn", name, float(degrees.mean())),
            Finding("concept_overlap", name, overlap),
            Finding("word_overlap", name, shared(*lists)),
            Finding("concept_base", f"{name}: {base.words(lists[0])}", spaces[0][1]),
            Finding("concept_tuned", f"{name}: {tuned.words(lists[1])}", spaces[1][1]),
        ]
        values, units = degrees.topk(min(MOST, len(degrees)))
        turned += [(value, name, unit) for value, unit in zip(values.tolist(), units.tolist(), strict=True)]
    for value, name, unit in sorted(turned, key=lambda each: -each[0])[:MOST]:
        if value > STILL:
            words = [
                model.words(model.top(model.promoted(model.matrix(name)[:, unit][None])[0], WORDS))
                for model in (base, tuned)
            ]
            findings.append(Finding("turned", f"{name} {unit}: {' -> '.join(words)}", value))
    return findings


def principal(vectors: Tensor) -> tuple[Tensor, float]:
    """Return the first principal directions of vectors [n, D] as columns [D, <= 10], and the share of the variance along the first."""
    centred = vectors - vectors.mean(0)
    values, directions = torch.linalg.eigh(centred.T @ centred)
    total = float(values.clamp_min(0).sum())
    return directions.flip(1)[:, :DIRECTIONS], float(values[-1]) / total if total else 0.0


def signed(model: WordSpace, direction: Tensor) -> Tensor:
    """Return a direction [D] with that of its two signs which promotes a word most."""
    scores = model.promoted(direction[None])[0]
    return direction if scores.max() >= -scores.min() else -direction
