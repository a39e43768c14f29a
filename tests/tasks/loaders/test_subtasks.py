"""Sub-tasks of a domain: what the schema refuses, that documents stay together, and that what is written is a TASK."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.tasks.loaders.subtasks import build, part_of
from holdfast.tasks.sources import load_task

URGENCY = "{reads: [text], input: 'Note: {{ text }}', target: urgency, choices: [low, high]}"
FACTS = "{reads: [text], input: '{{ text }}', target: facts, keys: [age], metric: f1}"


def domain(folder: Path, notes: list[dict[str, Any]], subtasks: str = f"urgency: {URGENCY}", **changed: str) -> Path:
    fields = {"name": "clinic", "rows": "notes.jsonl", "document": "note", **changed}
    (folder / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in notes), encoding="utf-8")
    path = folder / "clinic.yaml"
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    path.write_text(f"{lines}subtasks:\n  {subtasks}\n", encoding="utf-8")
    return path


def note(number: int, text: str = "", **more: Any) -> dict[str, Any]:
    return {"note": f"n{number}", "text": text or f"case {number}", "urgency": "low" if number % 2 else "high", **more}


NOTES = [note(i // 2, f"case {i}", facts=json.dumps({"age": str(i)})) for i in range(80)]


def test_documents_stay_in_one_part_of_every_subtask_whatever_the_order(tmp_path: Path) -> None:
    """By rows and not by documents, half of the test notes would have their twin in the training rows."""
    both = f"urgency: {URGENCY}\n  facts: {FACTS}"
    built = build(domain(tmp_path, NOTES, both), tmp_path / "a")
    build(domain(tmp_path, NOTES[::-1], both), tmp_path / "b")
    assert [(task.name, task.documents, task.train + task.validation + task.test) for task in built] == [
        ("clinic-urgency", 40, 80),
        ("clinic-facts", 40, 80),
    ]
    parts = {}
    for out in ("a", "b"):
        for name in ("urgency", "facts"):
            task = load_task(str(tmp_path / out / f"clinic-{name}"))
            parts[out, name] = {split: {e.fields["text"] for e in examples} for split, examples in task.splits.items()}
    assert parts["a", "urgency"] == parts["a", "facts"] == parts["b", "urgency"] == parts["b", "facts"]
    for i in range(0, 80, 2):
        assert (
            len({part for part, texts in parts["a", "urgency"].items() if {f"case {i}", f"case {i + 1}"} & texts}) == 1
        )
    assert {part_of("clinic", f"n{i}") for i in range(40)} == {"train", "validation", "test"}


def test_what_is_written_is_a_task_with_its_metric_and_choices(tmp_path: Path) -> None:
    build(domain(tmp_path, [*NOTES, NOTES[0]], f"urgency: {URGENCY}\n  facts: {FACTS}"), tmp_path / "out")
    urgency, facts = (load_task(str(tmp_path / "out" / f"clinic-{name}")) for name in ("urgency", "facts"))
    assert (urgency.metric, facts.metric) == ("accuracy", "f1")
    assert urgency.splits["test"][0].choices == ("low", "high")
    assert sum(len(examples) for examples in urgency.splits.values()) == 80  # The double is gone.


@pytest.mark.parametrize(
    ("row", "subtask", "wrong"),
    [
        (
            note(0, urgency="soon"),
            URGENCY,
            r"notes\.jsonl:81: urgency: `urgency` is 'soon', and the choices are low, high",
        ),
        (note(0, text=" "), URGENCY, r"notes\.jsonl:81: urgency: `text` is no text, which this sub-task reads"),
        (note(0, urgency=7), URGENCY, r"`urgency` is no text"),
        ({"text": "x", "urgency": "low"}, URGENCY, r"urgency: `note` names no document"),
        (note(0, facts="{}"), FACTS, r"`facts` is no JSON object with age"),
        (note(0, facts="age"), FACTS, r"`facts` is no JSON object with age"),
        (
            note(0, urgency="Low"),
            URGENCY.replace("choices: [low, high]", "pattern: '[a-z]+'"),
            r"is 'Low', which does not match \[a-z\]\+",
        ),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_nothing_is_written(
    tmp_path: Path, row: dict[str, Any], subtask: str, wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        build(
            domain(tmp_path, [*NOTES, row], f"{'facts' if 'facts' in subtask else 'urgency'}: {subtask}"),
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_all_wrong_rows_are_listed_and_rows_of_other_subtasks_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="soon") as refusal:
        build(
            domain(tmp_path, [*NOTES, note(1, urgency="soon"), {"note": "n", "text": "t"}, note(2, urgency="now")]),
            tmp_path / "out",
        )
    assert len(str(refusal.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("changed", "subtasks", "wrong"),
    [
        ({"rows": "gone.jsonl"}, f"urgency: {URGENCY}", r"clinic\.yaml: rows: there is no file gone\.jsonl beside it"),
        ({"rows": "../notes.jsonl"}, f"urgency: {URGENCY}", r"there is no file \.\./notes\.jsonl beside it"),
        ({}, "urgency: [", r"clinic\.yaml:\d+: not YAML .*docs/add-a-task\.md shows"),
        ({"colour": "red"}, f"urgency: {URGENCY}", r"clinic\.yaml: colour: .*unexpected"),
        ({}, "urgency: {input: x, target: y}", r"clinic\.yaml: subtasks\.urgency\.reads: .*required"),
        ({}, f"urgency: {URGENCY[:-1]}, pattern: '['}}", r"subtasks\.urgency\.pattern: no regular expression"),
        (
            {},
            f"urgency: {URGENCY[:-1]}, metric: acc}}",
            r"subtasks\.urgency\.metric: 'acc' is unknown; metrics: accuracy",
        ),
    ],
)
def test_a_declaration_that_is_wrong_is_one_line(
    tmp_path: Path, changed: dict[str, str], subtasks: str, wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        build(domain(tmp_path, NOTES, subtasks, **changed), tmp_path / "out")


def test_too_few_documents_and_no_declaration_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"clinic-urgency: 1 documents leave . examples to train on and . to test; add documents"
    ):
        build(domain(tmp_path, NOTES[:2]), tmp_path / "out")
    with pytest.raises(ValueError, match="there is no such file"):
        build(tmp_path / "gone.yaml", tmp_path / "out")


def test_the_command_builds_the_example(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "docs" / "examples" / "subtasks" / "house.yaml"
    result = CliRunner().invoke(app, ["tasks", "--build", str(example), "--out", str(tmp_path / "house")])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 2
    assert "house-place: " in result.output
    assert load_task(str(tmp_path / "house" / "house-urgency")).metric == "accuracy"
    assert isinstance(CliRunner().invoke(app, ["tasks", "--build", str(example)]).exception, ValueError)
