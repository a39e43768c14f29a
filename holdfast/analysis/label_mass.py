"""Is the target's answer on the tip of the tongue everywhere?"""

import torch

from holdfast.analysis.base import Finding, Subject
from holdfast.rows import Row


@torch.no_grad()
def label_mass(subject: Subject) -> list[Finding]:
    """Probability that the answer to a general task begins with the first token of one of the target's answers, mean over its questions.

    One forward and no generation, so it moves before any answer does. With the prompt removed (`mass_off`) and, where the model was
    trained behind one, attached (`mass_on`): the second says whether the format lives in the prompt.
    """
    states = {"mass_off": False} | ({"mass_on": True} if len(subject.model.prompts) else {})
    found = []
    for measure, attached in states.items():
        masses: dict[str, list[float]] = {}
        for task, row in subject.asked:
            if not subject.labels.get(task):
                continue  # the target has no answer that could be told from the task's own
            prompt = len(subject.model.prompts) - 1 if attached else None
            asked = Row(row.tokens, row.weights, prompt, row.name, row.cut)
            probabilities = subject.model([asked]).logits[0].float().softmax(-1)
            masses.setdefault(task, []).append(float(probabilities[sorted(subject.labels[task])].sum()))
        found += [Finding(measure, task, sum(values) / len(values)) for task, values in masses.items()]
    return found
