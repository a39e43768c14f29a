"""Each metric against answers worked out on paper, or against the library that defines it."""

import math
import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF  # pyright: ignore[reportPrivateImportUsage]

from holdfast.results.metrics import METRICS, accepted, loose, metric
from holdfast.results.scores import Output
from holdfast.tasks.formats.dialogue_states import write_states


def item(output: str = "", target: str = "", **more) -> Output:
    return Output("base", None, "t", "general", 0, 0, "", target, output, **more)


def corpus(n: int, seed: int, references: int = 1) -> list[Output]:
    """Sentences of a few words, the outputs noisy copies of the targets; some empty, some without any match."""
    rng = random.Random(seed)
    words = ("the", "a", "cat", "dog", "sat", "lay", "on", "under", "mat", "rug", "today", ",", ".", "two", "men")
    found = []
    for i in range(n):
        targets = tuple(" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(references))
        noisy = " ".join(w if rng.random() < 0.7 else rng.choice(words) for w in targets[0].split())
        found.append(item("" if i % 11 == 3 else "xyzzy" if i % 11 == 7 else noisy, targets[0], answers=targets))
    return found


def test_accuracy_ranks_by_the_sum_and_accuracy_norm_by_byte() -> None:
    outputs = [
        item(target="b", choices=("a", "b"), logprobs=(-2.0, -1.0)),  # right by both
        item(
            target="long answer", choices=("no", "long answer"), logprobs=(-2.0, -3.3)
        ),  # -1 against -0.3 a byte: right by norm
        item(target="b", choices=("a", "b"), logprobs=(-1.0, -1.0)),  # a tie goes to the first: wrong by both
        item(target="bar", choices=("pub", "bar", "bar"), logprobs=(-9.0, -8.0, -1.0)),  # spelled alike: right by both
    ]
    assert metric("accuracy").value(outputs) == 0.5
    assert metric("accuracy_norm").value(outputs) == 0.75


def test_accuracy_norm_counts_bytes_and_not_characters() -> None:
    """One character of three bytes: -3.6 / 3 = -1.2 a byte beats -1.4 of "n"; per character it would be -3.6 and lose."""
    outputs = [item(target="年", choices=("n", "年"), logprobs=(-1.4, -3.6))]
    assert metric("accuracy_norm").value(outputs) == 1
    assert metric("accuracy").value(outputs) == 0


def test_accuracy_refuses_an_item_without_choices() -> None:
    with pytest.raises(ValueError, match=r"t\[0\]: accuracy ranks choices.*exact_match"):
        metric("accuracy").value([item("a", "a")])


def test_exact_match_is_to_the_letter_for_a_target_and_loose_for_listed_answers() -> None:
    exact = metric("exact_match")
    assert exact.value([item(" Earring\n", "Earring")]) == 1
    assert exact.value([item("earring", "Earring")]) == 0
    assert exact.value([item("the Beatles!", "Beatles", answers=("Beatles", "Fab Four"))]) == 1
    assert exact.value([item("fab four", "Beatles", answers=("Beatles", "Fab Four"))]) == 1
    assert exact.value([item("Ringo", "Beatles", answers=("Beatles", "Fab Four"))]) == 0


def test_loose_drops_case_punctuation_articles_and_space() -> None:
    assert loose("The  U.S.  Army, an army.") == "us army army"


def test_f1_by_hand() -> None:
    f1 = metric("f1")
    # {new york city} against {york}: 1 common of 3 + 1 words, 2 * 1 / 4.
    assert f1.value([item("New York City", "York")]) == 0.5
    assert f1.value([item("New York City", "York", answers=("York", "city of new york"))]) == pytest.approx(
        6 / 7
    )  # 3 of 3 + 4
    assert f1.value([item("", "York")]) == 0
    assert f1.value([item("the", "a")]) == 1  # both are empty once the articles are gone
    assert f1.value([item("b b", "b")]) == pytest.approx(2 / 3)  # a word counts as often as both have it


def test_rouge_by_hand() -> None:
    pair = [item("the cat sat", "the cat lay on the mat")]
    # 1-grams: the, cat: P 2/3, R 2/6, F 4/9. 2-grams: "the cat": P 1/2, R 1/5, F 2/7. Longest common: the cat: as 1-grams.
    assert metric("rouge1").value(pair) == pytest.approx(400 / 9)
    assert metric("rouge2").value(pair) == pytest.approx(200 / 7)
    assert metric("rougeL").value(pair) == pytest.approx(400 / 9)
    assert metric("rouge1").value([item("dog", "cat", answers=("cat", "dog"))]) == 100


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize(("name", "library"), [("bleu", BLEU), ("chrf", CHRF)])
def test_corpus_metrics_are_sacrebleu(name: str, library: type, references: int) -> None:
    for n, seed in ((1, 0), (2, 1), (4, 7), (40, 2), (200, 3)):
        outputs = corpus(n, seed, references)
        streams = [[accepted(o)[r] for o in outputs] for r in range(references)]
        theirs = library()
        expected = theirs.corpus_score([o.output for o in outputs], streams).score
        # Both compute in float64: 1e-9 covers the order of the sums; a wrong smoothing or penalty moves it by 1e-2 and more.
        assert metric(name).value(outputs) == pytest.approx(expected, abs=1e-9)
        assert metric(name).signature(outputs) == str(theirs.get_signature())


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_aggregating_many_sums_at_once_is_aggregating_each(name: str) -> None:
    m, rng = metric(name), np.random.default_rng(0)
    sums = rng.multinomial(30, np.full(30, 1 / 30), size=50) @ m.statistics(corpus(30, 5))
    np.testing.assert_array_equal(m.aggregate(sums, 30), [float(m.aggregate(row, 30)) for row in sums])


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_nothing_written_is_worth_nothing(name: str) -> None:
    assert metric(name).value([item("", "a cat"), item("", "a dog")]) == 0
    assert metric(name).value([item("a cat sat here .", "a cat sat here .")]) == pytest.approx(100)


CHECKS = {"pass@1": "assert 'cat' in '''{answer}'''"}  # a program, which some of the answers pass


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_the_items_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")  # pass@1 runs the answers
    outputs = [
        item(
            o.output,
            o.target,
            choices=(o.target, "z"),
            logprobs=(-len(o.target), -20.0),
            prior=(-0.5, -1.0),
            checks=(CHECKS.get(name, "contains cat"),),
        )
        for o in corpus(50, 9)
    ]
    if metric(name).interaction:  # answers that are states, of which one in four is right
        states = [write_states([{"hotel": {"area": str(i % 4)}}] * (i % 3 + 1)) for i in range(51)]
        outputs = [item(states[i], states[(i + i % 3 * 3) % 51]) for i in range(50)]
    values = {metric(name).value(random.Random(seed).sample(outputs, 50)) for seed in range(5)}
    assert max(values) - min(values) < 1e-10  # float64 sums in another order


def test_checked_marks_each_item_by_its_own_checks() -> None:
    outputs = [
        item("RIVER", checks=("upper", "words 1")),
        item("river", checks=("upper", "words 1")),
        item("river", checks=("lower",)),
        item("", checks=("words 1",)),
    ]
    assert metric("checked").value(outputs) == 0.5
    assert metric("checked").signature(outputs) == "passes all checks of its item: lower, upper, words"
    with pytest.raises(ValueError, match=r"t\[0\]: `checked` needs what is to be checked"):
        metric("checked").value([item("river")])


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="'rougel' is unknown; did you mean 'rougeL'"):
        metric("rougel")


@pytest.mark.parametrize("name", ["accuracy", "accuracy_norm", "accuracy_calibrated"])
@pytest.mark.parametrize("values", [(math.nan, math.nan), (-1.0, math.nan), (math.inf, -1.0), (-math.inf, -math.inf)])
def test_log_likelihoods_that_cannot_be_ranked_are_refused(name: str, values: tuple[float, ...]) -> None:
    """The first NaN would be taken for the greatest: an accuracy of a half, with an interval, for a model that is broken."""
    with pytest.raises(ValueError, match=r"t\[0\]: the choices' log-likelihoods are .*not finite"):
        metric(name).value([item(target="a", choices=("a", "b"), logprobs=values, prior=(-1.0, -0.5))])


def test_a_choice_that_is_impossible_is_ranked_last() -> None:
    assert metric("accuracy").value([item(target="b", choices=("a", "b"), logprobs=(-math.inf, -5.0))]) == 1


def test_thinking_is_not_marked() -> None:
    """The bug: a thinking model's right answer was wrong by every metric."""
    block = "<think>\nParis? Or Rome?\n</think>\n\n"
    right, wrong, cut = (
        item(f"{block}Rome", "Rome"),
        item(f"{block}Paris", f"{block}Rome"),
        item("<think> Rome", "Rome"),
    )
    for name in ("exact_match", "starts_with", "f1", "rougeL", "chrf"):
        measure = metric(name)
        assert measure.value([right]) == measure.unit
        # chrF of Paris against Rome; nothing at all was answered by the third.
        assert measure.value([wrong]) < 0.3 * measure.unit
        assert measure.value([cut]) == 0
    listed = item(f"{block}Rome", f"{block}Rome", answers=(f"{block}Rome", "Roma"))
    assert metric("exact_match").value([listed]) == 1
    # Marked without the block, and kept with it.
    assert right.output.startswith("<think>")


def test_calls_are_equal_by_name_and_arguments_in_any_spelling() -> None:
    target = '<tool_call>\n{"name": "f", "arguments": {"a": 1, "b": "x"}}\n</tool_call>'
    answers = {
        '{"name": "f", "parameters": {"b": "x", "a": 1}}': 1,  # as of Llama 3
        'I look.\n<tool_call>{"arguments": {"a": 1, "b": "x"}, "name": "f"}</tool_call>': 1,
        '[{"name": "f", "arguments": {"a": 1, "b": "x"}}]': 1,
        '{"name": "f", "arguments": {"a": 2, "b": "x"}}': 0,
        '{"name": "g", "arguments": {"a": 1, "b": "x"}}': 0,
        f"{target}\n{target}": 0,
        "f(a=1)": 0,
        '{"name": "f"': 0,
    }
    for answer, mark in answers.items():
        assert metric("tool_call").value([item(answer, target)]) == mark, answer
