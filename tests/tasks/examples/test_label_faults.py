"""Labels that differ in spelling alone, and labels that no training row has, are said before anything is trained."""

import json
from pathlib import Path

import pytest

import holdfast
from holdfast.tasks.examples.label_faults import LabelFaults, answers
from holdfast.tasks.task import Example, Task, Template


def task(train: list[str], test: list[str]) -> Task:
    examples = {
        name: tuple(Example({"input": f"{name} {number}"}, answer) for number, answer in enumerate(targets))
        for name, targets in (("train", train), ("test", test))
    }
    return Task("t", examples, Template(), "exact_match", "v", "here")


def test_clean_labels_and_texts_say_nothing() -> None:
    assert answers(task(["yes", "no"] * 20, ["yes", "no"] * 5)).sentences("t") == []
    # Of texts, each its own, nobody expects those of the test in the training data; nor of numbers that hardly repeat.
    texts = [f"a text {number}" for number in range(60)]
    assert answers(task(texts[:40], texts[40:])) == LabelFaults()


def test_spellings_of_one_label_are_named_together() -> None:
    seen = answers(task(["Positive", "positive", "Negative", "Negative. ", "other"] * 4, ["positive", "POSITIVE "] * 3))
    assert seen.spellings == (("Negative", "Negative. "), ("POSITIVE ", "Positive", "positive"))
    assert seen.untaught == ()
    assert seen.sentences("t") == [
        "t: the answers 'Negative', 'Negative. ' differ in case, spaces or full stops alone, and so do those of 1 other label; each is "
        "learned, and mostly counted, as a label of its own, so write them alike"
    ]
    assert answers(task(["1", "-1", "+", ".", "a_b", "a-b", "1.0", "10"] * 10, ["1"] * 10)).spellings == ()


def test_a_label_without_a_training_row_is_named_with_its_items() -> None:
    seen = answers(task(["yes"] * 20, ["yes"] * 7 + ["no"] * 5))
    assert seen.untaught == (("no", 5),)
    assert (
        "5 of 12 test items have an answer that no training row has ('no'), so that it cannot be learned"
        in seen.sentences("t")[0]
    )
    # In another spelling it is there, and the spelling is what is wrong.
    assert answers(task(["yes"] * 20, ["Yes"] * 10)).untaught == ()


def test_a_run_says_it_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, targets in (("train", ["good"] * 10), ("test", ["bad"] * 6)):
        lines = [json.dumps({"input": f"{name} {number}", "target": target}) for number, target in enumerate(targets)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    holdfast.tune("lab", tmp_path, "full", "none", limit=2, shots=(0,), out=tmp_path / "run", model_={"steps": 1})
    heard = capsys.readouterr().err
    assert heard.index("6 of 6 test items have an answer that no training row has ('bad')") < heard.index(
        "model: training begins, 1 steps"
    )
