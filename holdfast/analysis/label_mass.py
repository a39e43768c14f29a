"""Is the target's answer on the tip of the tongue everywhere?"""

from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel

PANELS = (
    MeasurePanel(
        ("mass_off", "mass_on"),
        "Label mass on general tasks, %",
        "Probability that an answer to a general task begins as one of the target’s, before anything is written. "
        "Line: mean over tasks; band: the lowest and the highest.",
        line="state",
        scale=100.0,
    ),
)


@analysis
def label_mass(subject: Subject) -> list[Finding]:
    """Probability that the answer to a general task begins as one of the target's does and none of its own, mean over its questions.

    One look at the first token and no generation, so it moves before any answer does; the same number as `first_token_mass` in
    scores.jsonl, over the steps. With the prompt removed (`mass_off`) and, where the model was trained behind one, attached
    (`mass_on`): the second says whether the format lives in the prompt. Left out where the target has no closed set of answers.
    """
    return subject.states("mass", subject.likeness.mass)
