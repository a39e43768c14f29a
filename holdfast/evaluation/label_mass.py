"""Probability that an answer begins as one of another task's answers does."""

from collections.abc import Sequence
from dataclasses import replace

from holdfast.inference.language_model import LanguageModel
from holdfast.results.metrics import accepted
from holdfast.results.scores import Output
from holdfast.results.symptoms import plain


def with_mass(model: LanguageModel, outputs: Sequence[Output], labels: Sequence[str], delimiter: str) -> list[Output]:
    """Return the outputs with `scores["first_token_mass"]`: the probability that the answer begins as one of the labels does.

    One look at the first token, and nothing is written. Labels that are right for an item, or among its choices, are left out for it.
    """
    if not labels:
        return list(outputs)
    answers = []
    for output in outputs:
        # "yes" may be right here as well as in the target: to answer so is no sign that the target's format spread.
        allowed = {plain(text) for text in (*accepted(output), *(output.choices or ()))}
        answers.append([delimiter + label for label in labels if plain(label) not in allowed])
    masses = model.first_token_mass([output.input for output in outputs], answers)
    return [replace(o, scores={**o.scores, "first_token_mass": mass}) for o, mass in zip(outputs, masses, strict=True)]
