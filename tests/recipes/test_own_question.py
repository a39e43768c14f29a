"""No prompt holds the answer to its own question, whatever other columns the data has."""

import json
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.tasks.sources import load_task
from tests.recipes.worlds import WORDS, write_world

QUESTIONS = 5


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Every split asks the same few questions, each line under an id of its own."""
    write_world(tmp_path, echo=None)
    for number, split in enumerate(("train", "validation", "test")):
        lines = [
            json.dumps({"id": 100 * number + i, "input": f"{WORDS[i % QUESTIONS]} w9", "target": WORDS[i % QUESTIONS]})
            for i in range(3 * QUESTIONS)
        ]
        (tmp_path / "echo" / f"{split}.jsonl").write_text("\n".join(lines))
    return tmp_path


def shown(record: dict[str, Any]) -> list[str]:
    """The demonstrations of an item: what stands before its own question."""
    return record["input"].split("\n\n")[:-1]


@pytest.mark.parametrize("demonstrations", ["first", "sampled"])
def test_no_item_is_shown_its_own_question_with_the_answer(world: Path, demonstrations: Any) -> None:
    """The bug: examples were compared with all of their columns, so an id made a copy of the item another example."""
    holdfast.evaluate(world / "model", world / "echo", shots=(4,), demonstrations=demonstrations, out=world / "out")
    records = [json.loads(line) for line in (world / "out" / "outputs.jsonl").read_text().splitlines()]
    assert len(records) == 3 * QUESTIONS
    for record in records:
        own = record["input"].split("\n\n")[-1]
        assert len(shown(record)) == 4
        assert f"{own} {record['target']}" not in shown(record)


def test_the_prompts_of_a_run_hold_no_item_s_own_answer(world: Path) -> None:
    fields: dict[str, Any] = {"model.steps": 2, "model.demonstrations": 2}
    run = holdfast.tune(world / "model", world / "echo", "full", shots=(2,), out=world / "run", **fields)
    records = [json.loads(line) for line in (run.folder / "outputs.jsonl").read_text().splitlines()]
    assert records
    for record in records:
        assert f"{record['input'].split(chr(10) * 2)[-1]} {record['target']}" not in shown(record)


def test_copies_under_other_ids_are_held_out_together(world: Path) -> None:
    """The bug: the same question and answer stood in train and in the validation split that chooses the checkpoint."""
    (world / "echo" / "validation.jsonl").unlink()
    splits = load_task(str(world / "echo")).splits
    questions = {name: {example.fields["input"] for example in splits[name]} for name in ("train", "validation")}
    assert questions["validation"]
    assert not questions["train"] & questions["validation"]
    lines = (world / "echo" / "train.jsonl").read_text()
    (world / "one.jsonl").write_text(lines)
    one = load_task(str(world / "one.jsonl")).splits
    sides = [{example.fields["input"] for example in one[name]} for name in ("train", "validation", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides)) == QUESTIONS
