"""The heads that are enough for the answer, and whether tuning uses the same ones."""

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from holdfast.analysis._head_patching import Heads, Question, aligned, counterparts, questions
from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel

STEPS, RATE, PENALTY = 40, 0.1, 0.02  # Adam's steps and rate, and the cost of a head in nats
RANDOM = 8  # random circuits to compare with

PANELS = (
    MeasurePanel(
        ("right",),
        "Right answers with a circuit alone, %",
        "With all heads, and with nothing but those of a circuit: the base’s in the base, the base’s in the tuned "
        "model, the tuned model’s own, and random heads.",
        line="where",
        scale=100.0,
    ),
)


@analysis
def circuit(subject: Subject) -> list[Finding]:
    """Heads that are enough for the answer, by a learned mask (desiderata-based masking), in the base and in the tuned model.

    A head outside the circuit has the outputs of a question with another answer. The mask is trained to keep the answer's probability
    with few heads: each costs 0.02 nats. `size` is the share of all heads in the circuit of each model, `overlap` the heads in both over
    those in either, `right` the share of right answers: of the whole models, of the base's circuit in the base (`base in base`) and in
    the tuned model (`base in tuned`), of the tuned model's own (`tuned in tuned`), and, for comparison, of random heads of the number of
    the base's (`random in tuned`, mean of eight draws). Where `base in tuned` is near `tuned in tuned` and far above `random in tuned`,
    tuning strengthened the mechanism that was there. Any prompt is left off. Costs 40 forwards and backwards a row for each model.

    Raises:
        ValueError: there are no training rows with two answers, or the model's heads are not known.

    Source: Prakash et al. 2024, "Fine-tuning enhances existing mechanisms: a case study on entity tracking" (ICLR), sections 3 and 4 (DCM)
    """
    probes = questions(subject.rows, "circuit")
    others = counterparts(probes)
    findings, masks, models = [], {}, {"base": Heads(subject.base.model), "tuned": Heads(subject.model.model)}
    for name, heads in models.items():
        masks[name] = learned(heads, probes, others)
        findings.append(Finding("size", name, float(masks[name].float().mean())))
        whole = right(heads, probes, others, torch.ones_like(masks[name]))
        findings.append(Finding("right", f"whole {name}", whole))
    either = (masks["base"] | masks["tuned"]).sum()
    if either:
        findings.append(Finding("overlap", "heads", float((masks["base"] & masks["tuned"]).sum() / either)))
    for mask, model in (("base", "base"), ("base", "tuned"), ("tuned", "tuned")):
        findings.append(Finding("right", f"{mask} in {model}", right(models[model], probes, others, masks[mask])))
    draws = [shuffled(masks["base"], seed) for seed in range(RANDOM)]
    chance = [right(models["tuned"], probes, others, mask) for mask in draws]
    return [*findings, Finding("right", "random in tuned", fmean(chance))]


def shuffled(mask: Tensor, seed: int) -> Tensor:
    """Return a mask with as many heads, drawn at random."""
    order = torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(seed))
    return mask.flatten()[order.to(mask.device)].view(mask.shape)


def learned(heads: Heads, probes: Sequence[Question], others: Sequence[Question]) -> Tensor:
    """Return the heads of the circuit, bool [L, H]."""
    mask = torch.ones(len(heads.places), heads.heads, device=heads.model.device, requires_grad=True)
    optimizer = torch.optim.Adam([mask], lr=RATE)
    pairs = [_outputs(heads, question, other) for question, other in zip(probes, others, strict=True)]
    frozen = {p: p.requires_grad for p in heads.model.parameters()}
    heads.model.requires_grad_(False)
    try:
        for _ in range(STEPS):
            optimizer.zero_grad()
            for question, (clean, donors) in zip(probes, pairs, strict=True):
                logs = _masked(heads, question, clean, donors, mask)
                (-logs[question.answer] / len(probes)).backward()
            (PENALTY * mask.sum()).backward()
            optimizer.step()
            with torch.no_grad():
                mask.clamp_(0, 1)
    finally:
        for parameter, before in frozen.items():
            parameter.requires_grad_(before)
    return mask.detach() > 0.5


def right(heads: Heads, probes: Sequence[Question], others: Sequence[Question], mask: Tensor) -> float:
    """Return the share of questions whose answer is the most probable, with nothing but the heads of a mask [L, H]."""
    correct = 0
    with torch.no_grad():
        for question, other in zip(probes, others, strict=True):
            logs = _masked(heads, question, *_outputs(heads, question, other), mask.float())
            correct += int(logs.argmax()) == question.answer
    return correct / len(probes)


def _outputs(heads: Heads, question: Question, other: Question) -> tuple[list[Tensor], list[Tensor]]:
    clean = heads.outputs(question.tokens)
    return clean, aligned(clean, heads.outputs(other.tokens))


def _masked(heads: Heads, question: Question, clean: list[Tensor], donors: list[Tensor], mask: Tensor) -> Tensor:
    """Return the log-probabilities [V] where heads outside the mask have the donors' outputs."""

    def mixed(layer: int, outputs: Tensor) -> Tensor:
        share = mask[layer][:, None]
        # Inside the circuit a head computes from what it now reads; outside, it says what the other question made it say.
        return share * outputs + (1 - share) * donors[layer]

    return heads.answers(question.tokens, mixed)[0]
