"""Attention heads that write the answer, before and after tuning."""

from statistics import fmean

import torch
from torch import Tensor

from holdfast.analysis._head_patching import Heads, Question, aligned, counterparts, questions
from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel

PANELS = (
    MeasurePanel(
        ("effect_tuned",),
        "Direct effect of a head on the answer’s lead, nats",
        "What the answer loses of its lead over another question’s when one head says what it says of that question. "
        "Line: mean over a block’s heads; band: the least and the most.",
    ),
)


@analysis
def path_patching(subject: Subject) -> list[Finding]:
    """Direct effect of each attention head on the answer: what is lost when its output comes from a question with another answer.

    At the last token one head's output is that of the other question; all other heads keep what they computed, so that the change goes
    straight to the answer. `effect_base` and `effect_tuned` are what the answer loses of its lead over the other question's answer (of the
    difference of their logits, which no certainty hides), for each head; `agreement` is their correlation over the heads: near 1, the
    tuned model uses the heads that the base used. Any prompt is left off. Costs two
    forwards a row and one as wide as there are heads, for each of both models.

    Raises:
        ValueError: there are no training rows with two answers, or the model's heads are not known.

    Source: Prakash et al. 2024, "Fine-tuning enhances existing mechanisms: a case study on entity tracking" (ICLR), section 3; path
        patching is Goldowsky-Dill et al. 2023 (arXiv 2304.05969)
    """
    probes = questions(subject.rows, "path_patching")
    findings, effects = [], []
    for name, model in (("base", subject.base.model), ("tuned", subject.model.model)):
        heads = Heads(model)
        each = torch.stack([_effects(heads, q, other) for q, other in zip(probes, counterparts(probes), strict=True)])
        effects.append(each.mean(0))
        pairs = zip(heads.names, effects[-1].tolist(), strict=True)
        findings += [Finding(f"effect_{name}", head, effect) for head, effect in pairs]
    agreement = correlation(*(effect.tolist() for effect in effects))
    return [*findings, Finding("agreement", "all heads", agreement)] if agreement is not None else findings


def _effects(heads: Heads, question: Question, other: Question) -> Tensor:
    """Return what the answer loses of its lead for each head, [heads]."""
    clean = heads.outputs(question.tokens)
    donors = aligned(clean, heads.outputs(other.tokens))

    def replaced(layer: int, outputs: Tensor) -> Tensor:
        outputs = clean[layer].expand_as(outputs).clone()
        for head in range(heads.heads):
            outputs[layer * heads.heads + head, -1, head] = donors[layer][-1, head]
        return outputs

    with torch.no_grad():
        # The last copy has no head replaced.
        logs = heads.answers(question.tokens, replaced, len(heads.names) + 1)
    lead = logs[:, question.answer] - logs[:, other.answer]
    return lead[-1] - lead[:-1]


def correlation(first: list[float], second: list[float]) -> float | None:
    """Return Pearson's correlation; None where either does not vary."""
    means = fmean(first), fmean(second)
    centred = [[value - mean for value in values] for values, mean in zip((first, second), means, strict=True)]
    sizes = [sum(value**2 for value in values) ** 0.5 for values in centred]
    product = sum(a * b for a, b in zip(*centred, strict=True))
    return product / (sizes[0] * sizes[1]) if all(sizes) else None
