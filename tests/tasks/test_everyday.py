"""The everyday suite: what every task of it keeps to, and its facts where a program can tell."""

import hashlib
import json
from collections import Counter
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from holdfast.evaluation.ask import check_askable
from holdfast.results.metrics import loose, metric
from holdfast.results.scores import Output
from holdfast.tasks.everyday import suite
from holdfast.tasks.sources import expand, listing, load_task, load_tasks
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import asked_text, render

NAMES = suite.names()
DIGEST = "5299b5f72095"


def marked(task: Task, example: Example, answer: str) -> float:
    """Return the value of a written answer."""
    output = Output(
        "base", None, task.name, "general", 0, 0, "", example.target, answer, answers=example.answers or (), choices=example.choices,
        logprobs=tuple(0.0 if choice == answer else -1.0 for choice in example.choices or ()), checks=example.checks or (),
    )  # fmt: skip
    return metric(task.metric).value([output])


def test_the_name_of_the_suite_stands_for_all_of_its_tasks() -> None:
    assert len(NAMES) >= 12
    tasks = load_tasks("everyday")
    assert [task.name for task in tasks] == expand("everyday") == [f"everyday:{name}" for name in NAMES]
    check_askable(tasks, 4)
    assert {entry["name"] for entry in listing()} >= {"everyday", *expand("everyday")}
    with pytest.raises(ValueError, match=r"everyday is a suite.*everyday:capitals"):
        load_task("everyday")
    with pytest.raises(ValueError, match=r"everyday:capital: no such task; did you mean `everyday:capitals`"):
        load_task("everyday:capital")


@pytest.mark.parametrize("name", NAMES)
def test_each_task_keeps_to_the_form_of_the_suite(name: str) -> None:
    task = load_task(f"everyday:{name}")
    assert len(task.splits["test"]) == suite.TEST
    assert len(task.splits["validation"]) == suite.VALIDATION
    assert len(task.splits["train"]) >= 30
    examples = list(chain.from_iterable(task.splits.values()))
    questions = Counter(asked_text(task.template, example) for example in examples)
    assert max(questions.values()) == 1, questions.most_common(1)  # so none of train is in test
    for example in examples:
        assert marked(task, example, example.target) == 1, example
        assert marked(task, example, "xyzzy") == 0 or example.choices, example
        assert "\n" not in example.target
        assert len(example.target) <= 80
    # At no shots the task is told in words, in front of the question.
    assert render(task.template, examples[0]).prompt.startswith(task.template.instruction + "\n\n")
    assert task.template.stop


@pytest.mark.parametrize("name", [name for name in NAMES if suite.TASKS[name].metric == "accuracy"])
def test_labels_are_balanced_and_the_first_demonstrations_show_several(name: str) -> None:
    task = load_task(f"everyday:{name}")
    # By position: of two conclusions the right one is now the first, now the second.
    positions = {
        split: [(e.choices or ()).index(e.target) for e in examples] for split, examples in task.splits.items()
    }
    count = len(task.splits["test"][0].choices or ())
    assert max(Counter(positions["test"]).values()) <= 100 / count + 5  # a constant answer must stay near chance
    assert len(set(positions["train"][:4])) == min(4, count)


def test_the_items_are_the_same_for_everybody() -> None:
    """The versions are fingerprints of all items. Whoever changes an item changes what earlier runs were asked, and sees it here."""
    versions = " ".join(suite.task(name).version for name in NAMES)
    assert hashlib.sha256(versions.encode()).hexdigest()[:12] == DIGEST


def test_facts_of_tables_have_no_row_twice_and_no_answer_in_the_question() -> None:
    for name in (
        "capitals",
        "plurals",
        "past-tenses",
        "antonyms",
        "french-words",
        "german-words",
        "spanish-words",
        "facts",
    ):
        rows = list(suite.TASKS[name].examples(Random(0)))
        questions = Counter(str(row.fields["input"]).casefold() for row in rows)
        assert max(questions.values()) == 1, (name, questions.most_common(2))
        for row in rows:
            assert row.answers is not None
            assert all(answer.strip() and loose(answer) for answer in row.answers), row


def test_sums_are_right() -> None:
    signs = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}
    for example in chain.from_iterable(load_task("everyday:arithmetic").splits.values()):
        text = str(example.fields["input"])
        for word, sign in signs.items():
            text = text.replace(word, sign)
        first, sign, second = text.split()
        a, b = int(first), int(second)
        assert int(example.target) == {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign], text
        assert sign != "/" or a % b == 0


def test_json_holds_what_the_text_says() -> None:
    for example in chain.from_iterable(load_task("everyday:json").splits.values()):
        record = json.loads(example.target)
        assert ", ".join(record) == example.fields["keys"]
        assert all(str(value) in str(example.fields["text"]) for value in record.values()), example


def test_a_translation_with_or_without_its_article_is_right() -> None:
    task = load_task("everyday:german-words")
    examples = {example.fields["input"]: example for example in chain.from_iterable(task.splits.values())}
    dog = examples["dog"]
    assert [marked(task, dog, answer) for answer in ("Hund", "der Hund.", "ein Hund", "die Hund", "chien")] == [
        1,
        1,
        1,
        0,
        0,
    ]
    # Of a generated noun phrase only the article of the masculine object changes.
    sentences = load_task("everyday:sentences").splits
    german = [e for e in chain.from_iterable(sentences.values()) if e.fields["language"] == "German"]
    acts = [e.target for e in german if not e.target.startswith(("Wo ", "Der ", "Die ", "Das "))]
    assert acts
    assert all(" der " not in target for target in acts)


def test_the_page_has_a_line_for_each_task_in_both_of_its_tables() -> None:
    text = (Path(__file__).parents[2] / "docs/everyday.md").read_text()
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    assert lines == 2 * [f"`{name}`" for name in NAMES]
