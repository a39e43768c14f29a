"""Attention heads in which what tuning gained has come about."""

import torch
from torch import Tensor

from holdfast.analysis._head_patching import Heads, questions
from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel

PANELS = (
    MeasurePanel(
        ("recovered",),
        "Gain that one head of the tuned model brings to the base",
        "Share of the gain in the answer’s log-probability. Line: mean over a block’s heads; band: the least and the "
        "most; outside: all heads together.",
    ),
)


@analysis
def cross_model_patching(subject: Subject) -> list[Finding]:
    """Share of what tuning gained in the answer's log-probability that the base gains with one head's outputs of the tuned model (CMAP).

    The base reads a training row and computes with that head's outputs of the tuned model at every token (`recovered`, for each head, and
    for all of them together: what is left lies in the feed-forward layers and norms). `gain` is the tuned model's gain in nats. Says where
    tuning improved what the model does; `circuit` says whether it does it as before. Any prompt is left off. Nothing is reported while
    the gain is below 0.01 nats, as before the first step. Costs three forwards a row, one of them as wide as there are heads.

    Raises:
        ValueError: there are no training rows, or the model's heads are not known.

    Source: Prakash et al. 2024, "Fine-tuning enhances existing mechanisms: a case study on entity tracking" (ICLR), section 5 (CMAP)
    """
    base, tuned = Heads(subject.base.model), Heads(subject.model.model)
    probes = questions(subject.rows, "cross_model_patching")
    gained, patched = [], []
    with torch.no_grad():
        for question in probes:
            donors, count = tuned.outputs(question.tokens), len(base.names)

            def replaced(layer: int, outputs: Tensor, donors: list[Tensor] = donors) -> Tensor:
                outputs = outputs.clone()
                for head in range(base.heads):
                    outputs[layer * base.heads + head, :, head] = donors[layer][:, head]
                outputs[-1] = donors[layer]
                return outputs

            start = base.answers(question.tokens)[0, question.answer]
            gained.append(tuned.answers(question.tokens)[0, question.answer] - start)
            # A copy for each head, and a last one for all of them.
            patched.append(base.answers(question.tokens, replaced, count + 1)[:, question.answer] - start)
    gain, recovered = torch.stack(gained).mean(), torch.stack(patched).mean(0)
    if abs(float(gain)) < 0.01:
        return []
    shares = zip([*base.names, "all heads"], (recovered / gain).tolist(), strict=True)
    return [Finding("gain", "answer", float(gain)), *(Finding("recovered", name, share) for name, share in shares)]
