"""Pairs with known answers: balanced, of the training questions, and a user's file of them."""

import re
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from holdfast.results.statistics_judge import longer
from holdfast.tasks.answers.judge_calibration import TASKS, KnownPair, known_pairs, pairs_version, read_known_pairs
from holdfast.tasks.everyday import suite
from holdfast.tasks.text.templates import asked_text


def test_the_right_answer_is_as_often_first_as_last_and_longer_as_shorter() -> None:
    counts = Counter((pair.truth, longer(pair.first, pair.second)) for pair in known_pairs())
    # Of like length and of equal quality are those with one text twice.
    assert set(counts.values()) == {20, 40}
    assert (len(counts), counts[0, 0]) == (9, 20)
    assert len(set(known_pairs())) == len(known_pairs()) == 340
    assert sum(pair.first == pair.second for pair in known_pairs()) == 20


def test_no_test_question_of_the_suite_is_among_them() -> None:
    questions = {pair.question for pair in known_pairs()}
    tests = chain.from_iterable(
        (asked_text(suite.task(name).template, example) for example in suite.task(name).splits["test"])
        for name in TASKS
    )
    assert not any(any(question.endswith(text) for question in questions) for text in tests)


def test_every_task_meets_every_form() -> None:
    """Else a form that a judge fails would be a task that it cannot do."""
    forms: dict[str, set[tuple[int, int]]] = {}
    for pair in known_pairs():
        if pair.truth:
            forms.setdefault(pair.question.partition("\n")[0], set()).add(
                (pair.truth * longer(pair.first, pair.second), pair.truth)
            )
    assert len(forms) == len(TASKS)
    assert all(len(found) == 6 for found in forms.values())


def test_the_wrong_answer_is_wrong() -> None:
    by_question = {
        f"{suite.task(name).template.instruction}\n{asked_text(suite.task(name).template, e)}": e
        for name, e in chain.from_iterable(((name, e) for e in suite.task(name).splits["train"]) for name in TASKS)
    }
    for pair in known_pairs():
        example = by_question[pair.question]
        if pair.truth:
            right, wrong = (pair.first, pair.second) if pair.truth < 0 else (pair.second, pair.first)
            assert right.endswith(example.target)
            assert not any(wrong.casefold() == answer.casefold() for answer in example.accepted)


def test_the_version_changes_with_any_pair() -> None:
    pairs = known_pairs()
    assert pairs_version(pairs) == pairs_version(known_pairs())
    assert pairs_version(pairs) != pairs_version(pairs[1:])


def test_a_users_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"question": "q", "first": "a", "second": "b", "better": "second"}\n')
    assert read_known_pairs(path) == [KnownPair("q", "a", "b", 1)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"question": "q", "first": "a", "better": "second"}', "labels.jsonl:1: `second` is missing"),
        ('{"question": "q", "first": "a", "second": "b", "better": "b"}', "labels.jsonl:1: `better` is 'b'; write first, second or equal"),
        ("[]", "labels.jsonl:1: is a list"),
    ],
)  # fmt: skip
def test_a_faulty_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=re.escape(words)):
        read_known_pairs(path)
    with pytest.raises(ValueError, match="there is no such file"):
        read_known_pairs(tmp_path / "none.jsonl")
