"""Weight of the instruction in what the model answers, before and after tuning."""

from collections.abc import Sequence
from itertools import takewhile
from statistics import fmean, variance
from typing import Any

import torch
from torch import Tensor

from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel
from holdfast.row import Row

MOST, ANSWER = 16, 64  # rows that are looked at, and tokens of an answer
LEVELS, LEAST = 10, 7  # attributions are rounded up to tenths of the largest, and seven tenths or less count as none

PANELS = (
    MeasurePanel(
        ("instruction_score",),
        "Weight of the instruction in the answer",
        "Sum of the densities of gradient times input over the instruction’s words, in the base and in the tuned "
        "model.",
        line="where",
        zero=None,
    ),
)


@analysis
def instruction_attribution(subject: Subject) -> list[Finding]:
    """Share of the answer that is owed to the words of the instruction: gradient times input, in the base and in the tuned model.

    The instruction is what all training prompts have in common at their beginning and at their end (the template's words, without
    special tokens); the answers are the rows' own. For each answer token the attribution to each input token is the positive part of
    gradient times embedding, over the largest; small ones are dropped. A token's density is |a|_1 / |a|_4 over the answer's tokens, over
    the largest; `instruction_score` is its sum over the instruction, over log2(2 + its length). `t` is Welch's t of the difference of
    tuned and base over the rows: above 2, the tuned model rests more on the instruction. Any prompt is left off. Costs a backward for
    each answer token of 16 rows, in both models.

    Raises:
        ValueError: there are no training rows, they have no words in common, or the model has an encoder.

    Source: Wu et al. 2024, "From language modeling to instruction following" (NAACL), section 3
    """
    if not subject.rows:
        raise ValueError("instruction_attribution needs the rows of training; ask for it in `holdfast tune` or `study`")
    if not subject.pretrained.architecture.one_sequence:
        raise ValueError("instruction_attribution: a model with an encoder is not supported; use a decoder-only model")
    rows = [row for row in subject.rows if row.labels and row.labels[0] > 0]
    special = frozenset(subject.pretrained.tokenizer.all_special_ids)
    places = instructions([row.tokens[: row.labels[0]] for row in rows], special)
    if not places or not any(places):
        raise ValueError(
            "instruction_attribution: the training prompts have no words in common, so there is no instruction in them"
        )
    scores = {
        name: [
            score(attribution(model, row), positions) for row, positions in list(zip(rows, places, strict=True))[:MOST]
        ]
        for name, model in (("base", subject.base.model), ("tuned", subject.model.model))
    }
    findings = [Finding("instruction_score", name, fmean(values)) for name, values in scores.items()]
    if len(rows) > 1 and (spread := sum(variance(values) / len(values) for values in scores.values())):
        findings.append(Finding("t", "tuned - base", (fmean(scores["tuned"]) - fmean(scores["base"])) / spread**0.5))
    return findings


def instructions(prompts: Sequence[Sequence[int]], special: frozenset[int] = frozenset()) -> list[list[int]]:
    """Return the positions of each prompt's instruction: the tokens with which all prompts begin, and with which all end."""
    if len({tuple(prompt) for prompt in prompts}) < 2:
        return []  # Of one prompt every token is common.
    shortest = min(map(len, prompts))
    before, after = (
        sum(1 for _ in takewhile(lambda i: len({prompt[i] for prompt in prompts}) == 1, order))
        for order in (range(shortest), range(-1, -shortest - 1, -1))
    )
    after = min(after, shortest - before)
    return [
        [i for i, token in enumerate(prompt) if (i < before or i >= len(prompt) - after) and token not in special]
        for prompt in prompts
    ]


def attribution(model: Any, row: Row) -> Tensor:
    """Return the attribution of each answer token to each token of the prompt, [answer, prompt]: whole tenths of the largest, or 0."""
    first, labels = row.labels[0], row.labels[:ANSWER]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            embedded = model.get_input_embeddings()(torch.tensor([row.tokens], device=model.device))
        embedded = embedded.detach().requires_grad_()
        with torch.enable_grad():
            logs = model(inputs_embeds=embedded, use_cache=False).logits[0].float().log_softmax(-1)
            attributions = []
            for label in labels:
                # Of the logarithm, which does not vanish where the probability is near 1; divided by the largest, both are the same.
                (gradient,) = torch.autograd.grad(logs[label - 1, row.tokens[label]], embedded, retain_graph=True)
                attributions.append((gradient * embedded.detach())[0, :first].sum(-1).relu())
    finally:
        model.train(training)
    each = torch.stack(attributions).cpu()
    levels = (LEVELS * each / each.amax(1, keepdim=True).clamp_min(torch.finfo(each.dtype).tiny)).ceil()
    return torch.where(levels > LEAST, levels, 0.0)


def score(levels: Tensor, positions: Sequence[int]) -> float:
    """Return the instruction's score of attributions [answer, prompt], the instruction being the prompt's tokens at these positions."""
    # Small beside a level of 1, and no more than that: a token to which nothing is attributed has density 0.
    density = levels.norm(1, dim=0) / levels.norm(4, dim=0).clamp_min(1e-9)
    density = density / density.max().clamp_min(1e-9)
    return float(density[list(positions)].sum() / torch.log2(torch.tensor(2.0 + len(positions))))
