"""Disguises turn back, and a task in disguise is the same task: same items, same right answers, other letters."""

import pytest

from holdfast.tasks.loaders.transforms import TRANSFORMS, disguised, leetspeak, pig_latin
from holdfast.tasks.task import Example, Task, Template

TEXTS = ("what time is it", "a strong thyme, by the sea!", "rhythm", "true", "one\ntwo  three", "")
TASK = Task(
    "colours",
    {"test": (Example({"thing": "grass"}, "green", ("green", "red"), ("green", "emerald")),)},
    Template("Colour of {{ thing }}?", instruction="answer", stop=("\n", "end")),
    "accuracy",
)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=lambda t: t.name)
@pytest.mark.parametrize("text", TEXTS)
def test_what_a_disguise_does_can_be_undone(transform, text: str) -> None:
    assert transform.undo(transform.apply(text)) == text
    assert transform.apply(text) == transform.apply(text)
    assert not text.strip() or transform.apply(text) != text or text == "rhythm"


def test_the_spellings_are_the_known_ones() -> None:
    assert leetspeak("what time is it") == "wh47 71m3 15 17"
    assert pig_latin("what time is it") == "at-whay ime-tay is-ay it-ay"


def test_a_task_in_disguise_asks_the_same_with_the_same_answers_right() -> None:
    found = disguised(TASK, TRANSFORMS["leetspeak"])
    (example,) = found.splits["test"]
    assert (found.name, found.metric, found.template.instruction) == ("leetspeak:colours", "accuracy", "4n5w3r")
    assert (example.fields["input"], example.target) == ("C0l0ur 0f gr455?", "gr33n")
    assert (example.choices, example.answers) == (("gr33n", "r3d"), ("gr33n", "3m3r4ld"))
    assert found.template.stop == ("\n", "end", "3nd"), "an answer ends where either spelling of a stop string begins"
    assert found.version != TASK.version


def test_what_cannot_be_disguised_is_refused() -> None:
    talk = Task("talk", {"test": (Example({"messages": []}, "x"),)})
    with pytest.raises(ValueError, match="leetspeak:talk: a conversation cannot be disguised"):
        disguised(talk, TRANSFORMS["leetspeak"])
    alike = Task("alike", {"test": (Example({"input": "?"}, "b1t", ("b1t", "blt", "bit")),)}, metric="accuracy")
    with pytest.raises(ValueError, match="two choices are spelled alike"):
        disguised(alike, TRANSFORMS["leetspeak"])
