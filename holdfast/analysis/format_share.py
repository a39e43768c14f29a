"""Are general tasks answered in the target's format, and does that come off with the prompt?"""

from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel

PANELS = (
    MeasurePanel(
        ("share_off", "share_on"),
        "General answers in the target’s format, %",
        "Whether the format lives in the prompt; at step 0 with the prompt attached, it is the base behind the "
        "prompt of stage 1. Line: mean over tasks; band: the lowest and the highest.",
        line="state",
        scale=100.0,
    ),
)


@analysis
def format_share(subject: Subject) -> list[Finding]:
    """Share of the answers to a general task that are answers of the target and none of its own; the model writes them, greedily.

    With the prompt removed (`share_off`) and, where the model was trained behind one, attached (`share_on`): where the format lives.
    Left out where the target has no closed set of answers.

    Source: Wang et al. 2024 (ICLR), section 3.1 and figure 2; attaching the prompt to other tasks was asked for by its first reviewer
    """
    # Written answers, and not probabilities: a model may find a label likely and still write something else.
    return subject.states("share", subject.likeness.share)
