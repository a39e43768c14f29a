"""What a metric's number means to a reader: its unit, its direction, and whether it judges or only describes."""

import math

from holdfast.results.scores import Score

# What the libraries report from 0 to 100 (sacrebleu; ROUGE as papers print it). Everything else lies in 0 to 1 ...
HUNDRED = ("bleu", "chrf", "rouge", "ter")
# ... except these, which have no upper end, and anything unknown whose values leave 0 to 1.
UNBOUNDED = ("perplexity", "loss", "bits", "nats", "length", "nll")
LESS_IS_BETTER = ("perplexity", "loss", "bits", "nats", "nll", "ter", "brier", "ece")
# How the answers look, not whether they are right: a change is shown and never called gained or lost.
COUNTS = ("n", "needed", "truncated")  # of items: whole numbers in no unit
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


def _is(metric: str, names: tuple[str, ...]) -> bool:
    return any(metric.lower() == name or metric.lower().startswith((name + "_", name + "-")) for name in names)


def is_symptom(metric: str) -> bool:
    """Whether the metric describes the answers instead of judging them."""
    return _is(metric, tuple(SYMPTOMS))


def meaning(metric: str) -> str:
    """What a symptom says, in words."""
    return next((said for name, said in SYMPTOMS.items() if _is(metric, (name,))), metric)


def sign(metric: str) -> int:
    """+1 where more is better, -1 where less is."""
    return -1 if _is(metric, LESS_IS_BETTER) else 1


def factor(metric: str, value: float = 0.0) -> float | None:
    """What turns the metric's own unit into points (0 to 100), or None where it has no upper end.

    `value` is one of the metric's values: an unknown metric that leaves 0 to 1 is shown in its own unit.
    """
    if _is(metric, UNBOUNDED):
        return None
    if any(metric.lower().startswith(name) for name in HUNDRED):
        return 1.0
    return None if abs(value) > 1 else 100.0


def points(value: float, plus: bool = False) -> str:
    """A value in points with one decimal; zero has no sign."""
    text = f"{value:+.1f}" if plus else f"{value:.1f}"
    return "0.0" if text in ("-0.0", "+0.0") else text


def shown(score: Score, name: str = "value") -> str:
    """One of a score's numbers as a reader sees it: points with one decimal, or three digits in its own unit."""
    value = getattr(score, name)
    if name in COUNTS and value is not None:
        return str(value)
    if value is None or not math.isfinite(value):
        return "n/a"
    if name == "p":
        return f"{value:.2g}" if value >= 0.0001 else "<0.0001"
    if name == "chance":
        return points(100 * value)
    scale, plus = factor(score.metric, score.value), name in ("delta", "transfer")
    if scale is not None:
        return points(value * scale, plus)
    return f"{value:+.3g}" if plus else f"{value:.3g}"


def with_interval(score: Score, name: str = "value") -> str:
    """`value [low, high]`, or the same of `delta` or `transfer`."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return f"{shown(score, name)} [{shown(score, low)}, {shown(score, high)}]"
