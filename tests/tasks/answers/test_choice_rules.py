"""Letters stand for the choices that a question lists; a question without content keeps how it is asked and loses what is asked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.tasks.answers.choice_rules import marked_by, with_rule, without_content, wording
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.templates import render


def asks(subject: str, answer: str, *choices: str, **more) -> Example:
    return Example({"subject": subject}, answer, choices, **more)


TASK = Task(
    "things",
    {
        "train": (asks("sky", "blue", "red", "blue"),),
        "test": (asks("grass", "green", "green", "red", "black"), asks("coal", "black", "green", "red", "black")),
    },
    Template("Thing: {{ subject }}\nColour:"),
    "accuracy",
    "v1",
)


def test_choices_are_listed_before_the_line_that_only_asks() -> None:
    task = marked_by(TASK, "accuracy_letter")
    example = task.splits["test"][1]
    shown = render(task.template, example, task.splits["train"])
    assert shown.prompt == (
        "Thing: sky\nA. red\nB. blue\nColour: B\n\nThing: coal\nA. green\nB. red\nC. black\nColour:"
    )
    assert (shown.target, example.choices, task.metric) == (" C", ("A", "B", "C"), "accuracy_letter")


@pytest.mark.parametrize("asked", ["Colour of {{ subject }}?", "A thing\n{{ subject }}:"])
def test_behind_a_question_without_such_a_line_the_answer_is_asked_for(asked: str) -> None:
    task = marked_by(replace(TASK, template=Template(asked)), "accuracy_letter")
    assert render(task.template, task.splits["train"][0]).prompt.endswith("\nA. red\nB. blue\nAnswer:")


def test_every_accepted_answer_and_the_rejected_one_become_letters() -> None:
    test = asks("rose", "red", "pink", "red", "red", answers=("red", "pink", "scarlet"), rejected="pink")
    (example,) = marked_by(replace(TASK, splits={"test": (test,)}), "accuracy_letter").splits["test"]
    assert (example.target, example.answers, example.rejected) == ("B", ("B", "A"), "A"), "of equal choices the first"


def test_a_task_of_one_s_own_names_the_rule_in_its_yaml(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lines = [{"input": f"{split}{i}", "target": "yes", "choices": ["no", "yes"]} for i in range(3)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    versions = set()
    for metric in ("accuracy", "accuracy_calibrated", "accuracy_letter", "accuracy_letter_calibrated"):
        (tmp_path / "task.yaml").write_text(f"metric: {metric}\n")
        task = load_task(str(tmp_path))
        versions.add(task.version)
        assert task.metric == metric
        assert task.splits["test"][0].target == ("B" if "letter" in metric else "yes")
    assert len(versions) == 4, "answers that were asked for one rule must not be taken for those of another"
    assert marked_by(load_task(str(tmp_path)), "accuracy_letter").splits["test"][0].choices == ("A", "B")


def test_of_a_suite_only_tasks_with_choices_change() -> None:
    free = Task("free", {"test": (Example({"subject": "sky"}, "blue"),)}, metric="f1")
    assert [task.metric for task in with_rule([TASK, free], "accuracy_calibrated")] == ["accuracy_calibrated", "f1"]
    with pytest.raises(ValueError, match="free: no task here has choices, among which accuracy_letter picks"):
        with_rule([free], "accuracy_letter")


def test_a_question_without_content_keeps_its_wording() -> None:
    """What all items share is how they are asked; truth values steer a template and are no content."""
    fields = {"rule": "be brief", "text": "hot", "marks": [1, {"note": "x"}], "last": True, "none": None}
    examples = [Example(fields, "a"), Example({**fields, "text": "cold", "marks": [2]}, "b")]
    kept = wording(examples)
    assert kept == {"rule", "last", "none"}
    emptied = without_content(examples[0], "N/A", kept)
    assert emptied.fields == {**fields, "text": "N/A", "marks": ["N/A", {"note": "N/A"}]}
    assert wording(examples[:1]) == frozenset(), "of one item nothing says what is wording"


def test_of_a_conversation_the_user_s_words_are_content() -> None:
    turns = tuple({"role": role, "content": role} for role in ("system", "user", "assistant", "user"))
    emptied = without_content(Example({"messages": turns}, "yes"), "N/A")
    assert [turn["content"] for turn in emptied.fields["messages"]] == ["system", "N/A", "assistant", "N/A"]  # pyright: ignore


@pytest.mark.parametrize(
    ("task", "metric", "match"),
    [
        (TASK, "f1", "metric 'f1' picks no choices; write accuracy, "),
        (replace(TASK, source="harness:arc"), "accuracy_letter", "the harness ranks choices by its own rule"),
        (replace(TASK, splits={"train": (Example({}, "a"),)}), "accuracy_letter", r"things/train\[0\] has no choices"),
        (
            replace(TASK, splits={"test": (asks("x", "0", *map(str, range(27))),)}),
            "accuracy_letter",
            r"test\[0\] has 27 choices, and there are 26 letters",
        ),
        (
            replace(TASK, splits={"test": (Example({"messages": ()}, "a", ("a", "b")),)}),
            "accuracy_letter_calibrated",
            "a conversation has no place for lettered choices",
        ),
        (marked_by(TASK, "accuracy_letter"), "accuracy", "asks for letters already"),
    ],
)
def test_what_cannot_be_asked_so_is_refused(task: Task, metric: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        marked_by(task, metric)
