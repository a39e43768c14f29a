"""A task that was written is the task: read back exactly, and readable as any other folder."""

from pathlib import Path
from typing import Any

import pytest

from holdfast.tasks.formats.record_formats import CONVERSATION
from holdfast.tasks.formats.write import read_rows, write_task
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.templates import render

EXAMPLES = (
    Example({"input": "one\u2028two", "n": 3}, "yes", ("yes", "no"), origin="own: pick/train[0]"),
    Example({"input": 'ä\n"quoted"', "n": None}, "no", ("yes", "no"), ("no", "nope")),
    Example({"input": "", "n": [1, {"a": 2}]}, "yes", ("yes", "no"), rejected="maybe"),
)
OTHER = Example({"input": "test", "n": 0}, "no", ("yes", "no"))


def task(examples: tuple[Example, ...] = EXAMPLES, **template: Any) -> Task:
    return Task("pick", {"train": examples, "test": (OTHER,)}, Template(**template), "accuracy", "v", "memory")


def test_rows_come_back_as_they_were_with_their_origin(tmp_path: Path) -> None:
    write_task(task(), tmp_path)
    rows = read_rows(tmp_path, "train")
    assert rows == EXAMPLES
    assert [row.origin for row in rows] == ["own: pick/train[0]", "", ""]


def test_a_written_task_is_read_as_any_other_folder(tmp_path: Path) -> None:
    template = {"input": "{{ input }}?", "instruction": "Say: ", "stop": ("\n", "###"), "chat": "auto"}
    write_task(task(**template), tmp_path / "data")
    read = load_task(str(tmp_path / "data"))
    assert (read.name, read.metric, read.template) == ("pick", "accuracy", Template(**template))
    # A validation split is held out of the train split, which is all that differs.
    rows = (*read.splits["train"], *read.splits["validation"])
    found = sorted((str(e.fields["input"]), e.target, e.choices, e.accepted, e.rejected or "") for e in rows)
    assert found == sorted(
        (str(e.fields["input"]), e.target, e.choices, e.accepted, e.rejected or "") for e in EXAMPLES
    )
    assert read.splits["test"][0].target == "no"


def test_a_field_that_is_called_like_a_column_stays_what_it_is(tmp_path: Path) -> None:
    examples = tuple(Example({"target": f"goal {i}", "choices": "a or b"}, "a", ("a", "b")) for i in range(3))
    write_task(Task("t", {"train": examples, "test": examples}, Template("{{ target }} {{ choices }}")), tmp_path)
    assert read_rows(tmp_path, "train") == examples
    read = load_task(str(tmp_path))
    assert [(e.fields["target"], e.target, e.choices) for e in read.splits["test"]] == [
        (f"goal {i}", "a", ("a", "b")) for i in range(3)
    ]


def test_what_has_no_form_in_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"t/train\[0\]: cannot be written as JSON"):
        write_task(Task("t", {"train": (Example({"input": object()}, "a"),)}), tmp_path)


def test_checks_come_back_and_are_read_as_those_of_any_folder(tmp_path: Path) -> None:
    examples = tuple(
        Example({"input": word}, word.upper(), checks=("upper", f"contains {word}")) for word in ("a", "b", "c")
    )
    write_task(Task("t", {"train": examples, "test": examples}, metric="checked"), tmp_path)
    assert read_rows(tmp_path, "train") == examples
    assert [e.checks for e in load_task(str(tmp_path)).splits["test"]] == [e.checks for e in examples]


def test_a_target_that_does_not_pass_its_checks_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("target: answer\ninput: '{{ q }}'\nchecks: checks\nmetric: checked\n")
    (tmp_path / "test.jsonl").write_text(
        '{"q": "Say A", "answer": "A", "checks": ["upper"]}\n{"q": "Say B", "answer": "b", "checks": ["upper"]}\n'
        '{"q": "Say C", "answer": "C", "checks": ["uper"]}\n'
    )
    with pytest.raises(
        ValueError, match=r"test.jsonl:2: the target 'b' does not pass its own checks.*\n.*:3: .*did you mean `upper`"
    ):
        load_task(str(tmp_path))


def test_an_example_with_a_template_of_its_own_comes_back_with_it(tmp_path: Path) -> None:
    asked = Template("{{ q }}", "Say:", chat="auto", stop=("\n", "#"))
    mixed = Example({"q": "?", "template": "x", "task": "y"}, "a", template=asked, task="other")
    write_task(task((*EXAMPLES, mixed)), tmp_path)
    assert read_rows(tmp_path, "train") == (*EXAMPLES, mixed)
    # One without choices is no reason to leave them out for the task's own examples.
    assert "choices: choices" in (tmp_path / "task.yaml").read_text()


def test_a_written_chat_task_is_trained_on_the_same_answers(tmp_path: Path) -> None:
    turns = [{"role": role, "content": role[0]} for role in ("user", "assistant", "user")]
    example = Example({"messages": tuple(turns), "tools": [{"name": "f"}]}, "yes")
    chat = Task("talk", {"train": (example,), "test": (example,)}, Template(CONVERSATION, chat="auto", loss="all"))
    write_task(chat, tmp_path)
    read = load_task(str(tmp_path))
    assert read.template == chat.template
    (row,) = read.splits["train"]
    assert row.fields == {"messages": turns, "tools": [{"name": "f"}]}
    plain = Example({"messages": row.fields["messages"]}, row.target)
    rendered = render(read.template, plain, (), None)
    assert [rendered.prompt[slice(*span)] for span in rendered.turns] == [" a"]
