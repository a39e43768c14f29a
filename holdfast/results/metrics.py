"""The metrics by name, each with the rule by which it marks an item."""

import difflib
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from holdfast.results.metric_facts import facts
from holdfast.results.metric_rule import Array, Metric
from holdfast.results.sandbox import MEMORY, SECONDS, runs
from holdfast.results.scores import Output
from holdfast.results.seen import Seen
from holdfast.tasks.checks import passes
from holdfast.tasks.formats.conversation import calls_in
from holdfast.tasks.formats.dialogue_states import turns_right


def metric(name: str) -> Metric:
    """Return the metric of this name; `recorded:NAME` is the mean of `Output.scores[NAME]`, as another program marked the items.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    if name in METRICS:
        return METRICS[name]
    prefix, colon, recorded = name.partition(":")
    if prefix == "recorded" and colon:
        scale = facts(recorded).scale
        computed = "as recorded" + ("" if scale else ", of unknown scale")
        return Metric(
            recorded, scale, lambda output: (output.scores[recorded],), signature_of=lambda _: computed, recorded=True
        )
    near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.4)  # 0.4: `acc` must still lead to `accuracy`
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"metric {name!r} is unknown; {hint}there are {', '.join(METRICS)}")


# Choices, ranked by log-likelihood.


def ranked(output: Output, *, normalised: bool = False, calibrated: bool = False) -> str:
    """Return the choice with the greatest log-likelihood, summed over its tokens, or per UTF-8 byte where `normalised`.

    Where `calibrated`, the choice that gains most by the question: its log-likelihood less that without the question's content, which is
    the greatest probability after contextual calibration (Zhao et al. 2021) and the greatest pointwise mutual information (Holtzman et
    al. 2021). The first of equals wins. Choices that are spelled alike are one answer.

    Raises:
        ValueError: there are no choices, or their log-likelihoods are not numbers that can be ranked.
    """
    if output.choices is None or output.logprobs is None:
        raise ValueError(
            f"{output.task}[{output.index}]: accuracy ranks choices, and this item has none; give every example `choices`, or use "
            "the metric exact_match"
        )
    values = output.logprobs
    if calibrated:
        if output.prior is None:
            raise ValueError(
                f"{output.task}[{output.index}]: what the model says of the choices without the question was not asked; measure it again"
            )
        # Impossible with the question and without: it gains nothing, where the difference would be no number.
        values = [
            value if value == -math.inf else value - before for value, before in zip(values, output.prior, strict=True)
        ]
    # argmax would take the first NaN for the greatest: a broken model would be marked like one that guesses.
    if any(math.isnan(value) or value == math.inf for value in values) or all(value == -math.inf for value in values):
        raise ValueError(
            f"{output.task}[{output.index}]: the choices' log-likelihoods are {', '.join(map(str, values[:4]))}, which cannot be ranked; "
            "the model's weights or its arithmetic are not finite, so nothing that it says can be marked"
        )
    if normalised:
        # Bytes and not tokens, so that models with different tokenizers are compared by one rule. An empty choice has none to divide by.
        values = [value / max(1, len(choice.encode())) for value, choice in zip(values, output.choices, strict=True)]
    return output.choices[int(np.argmax(values))]


def _accuracy(name: str, says: str, *, normalised: bool = False, calibrated: bool = False) -> Metric:
    pick = partial(ranked, normalised=normalised, calibrated=calibrated)
    if calibrated:
        says += " less that without the question's content"

    def measure(output: Output) -> tuple[float]:
        # The chosen text is compared and not its index: choices that are spelled alike are one answer.
        return (float(pick(output) in accepted(output)),)

    return Metric(name, 1.0, measure, None, pick, lambda _: says, calibrated=calibrated)


# Given texts.


def _likelihood(output: Output) -> tuple[float, float, float]:
    """Return the geometric mean of the probabilities of the target's UTF-8 bytes, the bits that they cost, and their number.

    Raises:
        ValueError: its log-likelihood was not asked, or is no number.
    """
    value = output.logprobs[0] if output.logprobs else math.nan
    if math.isnan(value) or value == math.inf:
        raise ValueError(
            f"{output.task}[{output.index}]: `likelihood` needs the target's log-likelihood, and this item has {value}; measure it "
            "again, with a model whose weights are finite"
        )
    bits, count = -value / math.log(2), len(output.target.encode(errors="surrogatepass"))
    return 2 ** (-bits / max(1, count)), bits, float(count)


BITS_PER_BYTE = Metric(
    "bits_per_byte",
    None,
    _likelihood,
    total=lambda sums, n: sums[..., 1] / np.maximum(sums[..., 2], 1),
    signature_of=lambda _: "-log2 likelihood of all targets together, per UTF-8 byte",
    reads_target=True,
)


# Short answers.


def accepted(output: Output) -> tuple[str, ...]:
    """Return every answer that counts as right: the item's list, else its one target."""
    return output.answers or (output.target,)


def loose(text: str) -> str:
    """Return the text in lower case, without punctuation, English articles and superfluous space, as SQuAD compares answers."""
    # Punctuation goes first, as in SQuAD's script: between full stops the last letter of "U.S.A." would count as an article.
    text = "".join(c for c in text.casefold() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _exact_match(output: Output) -> tuple[float]:
    """Return 1 for an accepted answer: compared loosely with the item's list of `answers`, to the letter (stripped) with its one target."""
    if output.answers:
        return (float(any(loose(output.output) == loose(answer) for answer in output.answers)),)
    return (float(output.output.strip() == output.target.strip()),)


def _exact_match_signature(seen: Seen) -> str:
    return f"equal when stripped: {seen.n - seen.listed} items|equal as by SQuAD: {seen.listed} items"


def _starts_with(output: Output) -> tuple[float]:
    """Return 1 for a text that begins with an accepted answer, to the letter; space in front does not count."""
    return (float(any(output.output.strip().startswith(answer.strip()) for answer in accepted(output))),)


def _f1(output: Output) -> tuple[float]:
    """Return the F1 of the bags of words after `loose`, for the accepted answer that fits best (Rajpurkar et al. 2016)."""
    return (max(_overlap(loose(output.output).split(), loose(answer).split()) for answer in accepted(output)),)


def _overlap(ours: list[str], theirs: list[str]) -> float:
    if (
        not ours or not theirs
    ):  # of an answer without words precision or recall is 0 / 0; two empty ones agree, as by SQuAD
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def _checked(output: Output) -> tuple[float]:
    """Return 1 for an answer that passes all of its item's checks.

    Raises:
        ValueError: the item has no checks, or one of them means nothing.
    """
    if not output.checks:
        raise ValueError(
            f"{output.task}[{output.index}]: `checked` needs what is to be checked; give every example `checks`, or use another metric"
        )
    return (float(passes(output.output, output.checks)),)


def _checked_signature(seen: Seen) -> str:
    return f"passes all checks of its item: {', '.join(sorted(seen.checks))}"


def _pass_at_1(output: Output) -> tuple[float]:
    """Return 1 where the answer, run with each of its item's tests, ends without an error.

    A test is a program; `{answer}` in it is where the answer stands, otherwise that comes first.

    Raises:
        ValueError: the item has no tests, or running programs is not allowed.
    """
    if not output.checks:
        raise ValueError(
            f"{output.task}[{output.index}]: `pass@1` needs tests; give every example `checks`, programs that fail by an error"
        )
    programs = [
        test.replace("{answer}", output.output) if "{answer}" in test else f"{output.output}\n{test}"
        for test in output.checks
    ]
    return (float(all(runs(program) for program in programs)),)


def _tool_call(output: Output) -> tuple[float]:
    """Return 1 for a text that calls the tools of an accepted answer, in its order, with equal arguments."""
    calls = calls_in(output.output)
    return (float(bool(calls) and any(calls == calls_in(answer) for answer in accepted(output))),)


def _joint_goal(output: Output) -> tuple[int, int]:
    """Return the turns of a dialogue whose whole state is right, and all of its turns.

    Raises:
        ValueError: the item is no dialogue.
    """
    try:
        return turns_right(output.target, output.output)
    except ValueError:
        raise ValueError(
            f"{output.task}[{output.index}]: `joint_goal_accuracy` needs dialogues; give lines with `turns`, or use another metric"
        ) from None


# Texts. The libraries count; the arithmetic over sums is written out for arrays.


@cache  # a scorer is built once and not for every item
def _rouge_scorer(name: str) -> Any:
    # Imported here: it loads nltk, which commands that only list or report need not wait for.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=False)


def _rouge(name: str) -> Metric:
    """Return the metric ROUGE F1 for the accepted answer that fits best. The library knows the letters a-z and digits only."""

    def measure(output: Output) -> tuple[float]:
        return (_rouge_scorer(name).score_multi(accepted(output), output.output)[name].fmeasure,)

    return Metric(
        name, 100.0, measure, signature_of=lambda _: f"rouge-score:{version('rouge-score')}|stemmer:no|mean of F1"
    )


@cache
def _sacrebleu(name: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF  # pyright: ignore[reportPrivateImportUsage]

    return {"BLEU": BLEU, "CHRF": CHRF}[name]()


def _corpus(name: str, library: str, total: Callable[[Array, float], Array]) -> Metric:
    """Return a metric of sacrebleu with the library's default settings; the accepted answers are its references."""

    def measure(output: Output) -> Sequence[float]:
        # The call that sacrebleu's own significance tests rest on; the public ones give the score without the counts.
        return _sacrebleu(library)._extract_corpus_statistics([output.output], [[text] for text in accepted(output)])[0]

    def signature(seen: Seen) -> str:
        from sacrebleu.metrics import BLEU, CHRF  # pyright: ignore[reportPrivateImportUsage]

        scorer = {"BLEU": BLEU, "CHRF": CHRF}[library]()
        scorer.num_refs = (
            min(seen.references) if len(seen.references) == 1 else -1
        )  # -1 is the library's word for "varies" (nrefs:var)
        return str(scorer.get_signature())

    return Metric(name, 100.0, measure, total, signature_of=signature)


def bleu_from_sums(sums: Array, n: float) -> Array:
    """Return BLEU-4 in 0 to 1 from `[..., 10]` = (length, reference length, 4 x matches, 4 x n-grams) (Papineni et al. 2002).

    Orders without a match are smoothed as by sacrebleu's default `exp` (Chen and Cherry 2014, method 3).
    """
    length, reference = sums[..., 0], sums[..., 1]
    matches, grams = sums[..., 2:6], sums[..., 6:10]
    # Each further order without a match counts half of the one before.
    halvings = np.cumsum((matches == 0) & (grams > 0), axis=-1)
    smoothed = np.where(matches > 0, matches, 0.5**halvings)
    # Without any match, or with texts shorter than four words, sacrebleu gives 0 and does not smooth.
    defined = (matches > 0).any(-1) & (grams > 0).all(-1)
    log_precision = np.log(smoothed / np.maximum(grams, 1)).mean(-1)
    # Brevity only: longer answers lose by their precision.
    log_penalty = np.minimum(0, 1 - reference / np.maximum(length, 1))
    return np.where(defined, np.exp(log_precision + log_penalty), 0.0)


def chrf_from_sums(sums: Array, n: float) -> Array:
    """Return chrF2 in 0 to 1 from `[..., 18]` = 6 x (n-grams, reference n-grams, matches) (Popović 2015).

    Precision and recall are averaged over the orders that occur on both sides.
    """
    ours, theirs, matches = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    occurs = (ours > 0) & (theirs > 0)
    orders = np.maximum(occurs.sum(-1), 1)
    precision = np.where(occurs, matches / np.maximum(ours, 1), 0).sum(-1) / orders
    recall = np.where(occurs, matches / np.maximum(theirs, 1), 0).sum(-1) / orders
    weighted = 4 * precision + recall  # F-beta with beta = 2: (1 + 4) * P * R / (4 * P + R)
    return np.where(weighted > 0, 5 * precision * recall / np.where(weighted > 0, weighted, 1), 0.0)


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        _accuracy("accuracy", "greatest sum of log-likelihoods"),
        _accuracy("accuracy_norm", "greatest log-likelihood per byte", normalised=True),
        _accuracy("accuracy_calibrated", "greatest sum of log-likelihoods", calibrated=True),
        _accuracy("accuracy_letter", "greatest log-likelihood of the choice's letter"),
        _accuracy("accuracy_letter_calibrated", "greatest log-likelihood of the choice's letter", calibrated=True),
        Metric("exact_match", 1.0, _exact_match, signature_of=_exact_match_signature),
        Metric(
            "starts_with", 1.0, _starts_with, signature_of=lambda _: "begins with an accepted answer, when stripped"
        ),
        Metric("f1", 1.0, _f1, signature_of=lambda _: "bags of words, compared as by SQuAD"),
        _rouge("rouge1"),
        _rouge("rouge2"),
        _rouge("rougeL"),
        _corpus("bleu", "BLEU", bleu_from_sums),
        _corpus("chrf", "CHRF", chrf_from_sums),
        Metric("tool_call", 1.0, _tool_call, signature_of=lambda _: "names and arguments of the JSON calls are equal"),
        Metric(
            "joint_goal_accuracy",
            1.0,
            _joint_goal,
            total=lambda sums, n: sums[..., 0] / np.maximum(sums[..., 1], 1),
            signature_of=lambda _: (
                "turns whose every slot is right|own earlier calls in the prompt|case and space do not count"
            ),
            interaction="dialogue",
        ),
        Metric("checked", 1.0, _checked, signature_of=_checked_signature),
        Metric(
            "pass@1",
            1.0,
            _pass_at_1,
            signature_of=lambda _: f"runs with its tests in {SECONDS} s and {MEMORY >> 20} MiB",
        ),
        # And not bits per byte itself, of which less is better and more has no end: points of 100, as every other metric has them.
        Metric(
            "likelihood",
            1.0,
            _likelihood,
            signature_of=lambda _: (
                "mean over items of 2^-(bits per UTF-8 byte), the geometric mean of the bytes' probabilities"
            ),
            reads_target=True,
            beside=BITS_PER_BYTE,
        ),
    )
}
