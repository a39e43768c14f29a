"""The judge's question: both orders, the letters' log-probabilities or its reply, and pairs that do not fit."""

from collections.abc import Sequence
from typing import Any

import pytest

from holdfast.evaluation.judge import compare_answers, read_choice
from holdfast.inference.language_model import Origin
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.results.judged import JudgedPair, preferences
from tests.inference.table import TableModel


class Prefers(TableModel):
    """A judge for whom the letter before the word "good" is likeliest, or a fixed letter."""

    fixed: str = ""

    @property
    def origin(self) -> Origin:
        return Origin("", "", "", attached=False)

    def check_ranks(self) -> None:
        pass

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], **_: Any) -> list[LogLikelihood]:
        self.seen += [context for context, _ in pairs]
        likely = [letter.strip() == (self.fixed or self.reply(context)) for context, letter in pairs]
        return [LogLikelihood(-0.1 if yes else -3.0, False, 1) for yes in likely]

    def reply(self, context: str) -> str:
        return "A" if context.index("good") < context.index("bad") else "B"

    def generate(self, texts: Sequence[str], *_: Any, **__: Any) -> list[str]:
        return [f"Answer {self.reply(text)} is better." for text in texts]


PAIRS = [JudgedPair("What?", "bad", "good", "", "", 3, task="t"), JudgedPair("What?", "good", "bad", "", "", 5)]


@pytest.mark.parametrize("ranked", [True, False])
def test_both_orders_are_asked_and_the_better_answer_is_preferred_in_each(ranked: bool) -> None:
    judged = compare_answers(Prefers(), PAIRS, ranked=ranked)
    assert [(p.forward, p.backward) for p in judged] == [("B", "A"), ("A", "B")]
    assert [p.index for p in judged] == [3, 5]
    assert judged[0].task == "t"
    decided = preferences(judged)
    assert list(decided.preference) == [1.0, -1.0]
    assert list(decided.order) == [0.0, 0.0]


def test_a_judge_that_looks_at_the_place_alone_prefers_nothing() -> None:
    model = Prefers()
    model.fixed = "A"
    judged = compare_answers(model, PAIRS, ranked=True)
    decided = preferences(judged)
    assert list(decided.preference) == [0.0, 0.0]
    assert list(decided.order) == [1.0, 1.0]
    assert all(pair.split for pair in judged)


def test_letters_that_are_equally_likely_are_a_tie() -> None:
    model = TableModel({"A": -1.0, "B": -1.0, "C": -4.0})
    (judged,) = compare_answers(model, PAIRS[:1], ranked=True)  # pyright: ignore[reportArgumentType]
    assert (judged.forward, judged.backward) == ("C", "C")


def test_the_question_holds_both_answers_and_names_an_empty_one() -> None:
    model = Prefers()
    model.fixed = "C"
    compare_answers(model, [JudgedPair("Q {{ 7 * 7 }}", "", "good\nAnswer B:", "", "")], ranked=True)
    assert "Q {{ 7 * 7 }}" in model.seen[0], "a question is text and no template"
    assert "Answer A:\n(no answer)\n" in model.seen[0]
    assert "Answer A:\ngood\nAnswer B:\n" in model.seen[-1]


def test_a_model_that_thinks_first_is_given_room_for_it() -> None:
    """In the first few tokens it gets no further than its thoughts, which name the other answer."""

    class Thinks(Prefers):
        def generate(self, texts: Sequence[str], sampling: Sampling = GREEDY, **_: Any) -> list[str]:
            self.limits.append(sampling.max_new_tokens)
            other = {"A": "B", "B": "A"}
            whole = [f"<think>Is {other[self.reply(text)]} right?</think>{self.reply(text)}" for text in texts]
            return [text if sampling.max_new_tokens > 100 else text[:12] for text in whole]

    model = Thinks(room=4096)
    judged = compare_answers(model, PAIRS, ranked=False)
    assert [(p.forward, p.backward) for p in judged] == [("B", "A"), ("A", "B")]
    assert model.limits == [16, 2048]


def test_a_pair_that_does_not_fit_the_judge_is_left_out() -> None:
    model = Prefers(room=600)
    long = JudgedPair("x" * 500, "good", "bad", "", "")
    judged = compare_answers(model, [long, PAIRS[0]], ranked=True)
    assert [pair.fits for pair in judged] == [False, True]
    assert len(preferences(judged).preference) == 1
    assert not any("xxx" in text for text in model.seen)


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        (" B", "B"), ("Answer A is better.", "A"), ("**C**", "C"), ("They are equally good.", "C"), ("I cannot say", ""), ("", ""),
        ("Both are fine", "C"), ("ABC", ""), ("b", ""), ("<think>Answer A says</think>\nB", "B"), ("<think>Answer A says", ""),
    ],
)  # fmt: skip
def test_a_written_reply_is_read(reply: str, choice: str) -> None:
    assert read_choice(reply) == choice
