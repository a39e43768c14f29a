"""The one list of what is known of a metric by its name: its greatest value, its direction, and whether it judges or only describes."""

from dataclasses import dataclass
from functools import cache

TARGET_MEAN = "target_mean"  # of several targets' validation metrics, each as a share of its greatest value
# Greatest value 1: shares of right answers and means of marks in 0 to 1, ours and those that the lm-evaluation-harness records.
SHARES = (
    "accuracy", "acc", "exact_match", "em", "starts_with", "contains", "checked", "tool_call", "joint_goal_accuracy", "f1", "pass@1",
    "bleu_acc", "rouge1_acc", "rouge2_acc", "rougel_acc", "likelihood", TARGET_MEAN,
)  # fmt: skip
# Greatest value 100: what sacrebleu reports, and ROUGE as papers print it.
HUNDRED = ("bleu", "chrf", "rouge", "rouge1", "rouge2", "rougel", "rougelsum")
LESS_IS_BETTER = (
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "loss",
    "bits",
    "bits_per_byte",
    "nats",
    "nll",
    "ter",
    "brier",
    "ece",
)
# Of a margin: from 56 points to 51 every text costs 16 % more bits, and a word of 4.5 bytes has half more perplexity; to 55 it is 3 % more.
LIKELIHOOD_STEP = 0.2
DIFFERENCE = "_diff"  # of marks: has neither the lowest nor the greatest value of a share
# Symptoms say how answers look, not whether they are right: a change is shown and never called gained or lost.
SYMPTOMS = {
    "format_share": "answers in the format of the tuned task",
    "collapse_share": "answers in the tuned task's format, empty, or that did not stop",
    "empty_share": "empty answers",
    "run_on_share": "answers that did not stop",
    "modal_share": "share of the commonest answer",
    "distinct_1": "different words, per word written",
    "distinct_2": "different pairs of words, per pair written",
    "first_token_mass": "probability that an answer begins as the tuned task's answers do",
    "length_ratio": "length of the answers over the base's",
}
ENDLESS = ("length_ratio",)  # a symptom without a greatest value


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """The meaning of a metric's number. `scale` is its greatest value, its lowest being 0; None where it has none or it is not known.

    `step` is the part of a margin, which is meant for shares of right answers, that is as much in this metric.
    """

    scale: float | None
    more_is_better: bool = True
    symptom: str | None = None  # in words
    step: float = 1.0

    @property
    def points(self) -> float | None:
        """Return what turns the metric's own unit into points (0 to 100); None without a scale."""
        return None if self.scale is None else 100.0 / self.scale


@cache
def facts(metric: str) -> MetricFacts:
    """Return what is known of a metric, or of a variant of it (`acc_norm`, `rougeLsum_max`); of an unknown one no scale is assumed."""
    name = metric.casefold()  # the lm-evaluation-harness writes rougeL and ROUGE in its own cases
    if symptom := next((text for symptom, text in SYMPTOMS.items() if _is(name, (symptom,))), None):
        return MetricFacts(None if _is(name, ENDLESS) else 1.0, symptom=symptom)
    if _is(name, LESS_IS_BETTER):
        return MetricFacts(None, more_is_better=False)
    if name.endswith(
        DIFFERENCE
    ):  # before the shares: `bleu_diff` also begins with the name of a metric that has a scale
        return MetricFacts(None)
    if _is(name, SHARES):
        return MetricFacts(1.0, step=LIKELIHOOD_STEP if _is(name, ("likelihood",)) else 1.0)
    return MetricFacts(100.0 if _is(name, HUNDRED) else None)


def _is(name: str, names: tuple[str, ...]) -> bool:
    # Only with a separator: `f1_macro` is a variant of `f1`, but `emoji` is none of `em`. The harness writes filters behind a comma.
    return any(name == known or name.startswith((f"{known}_", f"{known}-", f"{known},")) for known in names)
