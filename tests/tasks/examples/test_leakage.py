"""Faults of a task's data are said before anything is trained: leaked test items, repeated rows, answers that begin another."""

import json
import time
from pathlib import Path

import pytest

import holdfast
from holdfast.tasks.examples.leakage import Leakage, leakage
from holdfast.tasks.task import Example, Task, Template

LONG = "The ferry to the northern island leaves twice a day in summer and once in winter, number {}"
SHORT = "Is {} even?"


def task(train: list[Example], test: list[Example]) -> Task:
    return Task("t", {"train": tuple(train), "test": tuple(test)}, Template(), "accuracy", "v", "here")


def rows(text: str, numbers: range, **more: object) -> list[Example]:
    return [
        Example({"input": text.format(f"w{n} x{n} y{n}"), **more}, "yes" if n % 2 else "no", ("yes", "no"))
        for n in numbers
    ]


def test_data_without_faults_says_nothing() -> None:
    found = leakage(task(rows(LONG, range(100)), rows(LONG, range(100, 150))))
    assert found == Leakage(50, 0, 0, 100, 0, 0, ())
    assert found.sentences("t") == []


@pytest.mark.parametrize("text", [LONG, SHORT])
def test_a_test_question_in_train_is_found_whatever_its_id_case_and_spaces(text: str) -> None:
    train, test = rows(text, range(100), id=1), rows(text, range(95, 145), id=2)
    test[0] = Example({"input": str(test[0].fields["input"]).upper().replace(" ", "  ") + " !", "id": 3}, "yes")
    found = leakage(task(train, test))
    assert (found.exact, found.near) == (5, 0)
    assert "5 of 50 test questions stand in the training or validation data word for word" in found.sentences("t")[0]


def test_a_question_with_one_word_changed_is_found_and_another_of_the_same_template_is_not() -> None:
    words = " ".join(f"word{n}" for n in range(30))
    train = [*rows(LONG, range(100)), Example({"input": words}, "yes")]
    test = [*rows(LONG, range(100, 150)), Example({"input": words.replace("word29", "other")}, "no")]
    assert (leakage(task(train, test)).exact, leakage(task(train, test)).near) == (0, 1)


def chat(city: str, answer: str = "Warm.") -> Example:
    """A chat whose system turn and first answer all chats share."""
    turns = [
        ("System", "You answer questions about the weather of a city in one short and friendly sentence"),
        ("User", "Can you help me with the weather today ?"),
        ("Assistant", "Yes , with pleasure ; tell me where you are"),
        ("User", f"How warm is it in {city} ?"),
    ]
    return Example({"input": "\n".join(f"{who}: {text}" for who, text in turns)}, answer)


def test_few_chats_that_share_all_but_a_word_are_not_alike_and_a_long_turn_with_another_word_is() -> None:
    """The bug: each of six such questions counted as nearly in the training data, to be removed."""
    train = [chat(f"city{n}") for n in range(20)]
    found = leakage(task(train, [chat(f"town{n}") for n in range(6)]))
    assert (found.exact, found.near) == (0, 0)
    long = " ".join(f"word{n}" for n in range(30))
    found = leakage(task([*train, chat(long)], [*map(chat, ("a", "b", "c")), chat(long.replace("word29", "other"))]))
    assert (found.exact, found.near) == (0, 1)


def test_a_test_question_in_the_validation_data_counts() -> None:
    parts = task(rows(LONG, range(10)), rows(LONG, range(8, 16)))
    held_out = Task(
        "t", {**parts.splits, "validation": tuple(rows(LONG, range(10, 13)))}, Template(), "accuracy", "v", ""
    )
    assert (leakage(held_out).exact, leakage(held_out).rows) == (5, 10)


def test_repeated_and_contradicting_rows_are_counted() -> None:
    train = [*rows(SHORT, range(10)), *rows(SHORT, range(3)), Example({"input": SHORT.format("w5 x5 y5")}, "no")]
    found = leakage(task(train, rows(SHORT, range(20, 30))))
    assert (found.rows, found.repeated, found.contradicting) == (14, 3, 1)
    assert len(found.sentences("t")) == 2


def test_an_answer_that_begins_another_is_named() -> None:
    train = [
        Example({"input": f"q{n}"}, "New York", ("New York", "New York City", "Newark", "eight", "eighteen"))
        for n in range(5)
    ]
    found = leakage(task(train, rows(SHORT, range(3))))
    assert found.prefixes == (("New York", "New York City"),)
    assert "'New York' begins 'New York City'" in found.sentences("t")[0]


def test_a_large_task_takes_seconds() -> None:
    began = time.process_time()
    leakage(task(rows(LONG, range(30_000)), rows(LONG, range(30_000, 40_000))))
    assert time.process_time() - began < 30, "quadratic, it would take an hour"


def test_tune_says_it_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "leaky").mkdir()
    lines = [
        json.dumps({"input": f"the {animal} is small . good or bad ?", "target": "good"})
        for animal in ("cat", "dog", "fox")
    ]
    for name in ("train", "test"):
        (tmp_path / "leaky" / f"{name}.jsonl").write_text("\n".join(lines))
    settings = {"steps": 1, "validation_limit": 0}
    holdfast.tune("lab", tmp_path / "leaky", "full", "none", limit=2, shots=[0], out=tmp_path / "run", model_=settings)
    said = capsys.readouterr().err
    # One of the three is taken for validation, which chooses the weights: it has leaked all the same.
    assert "leaky: 3 of 3 test questions stand in the training or validation data word for word" in said
    assert said.index("stand in the training") < said.index("training begins")
