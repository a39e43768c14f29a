"""A model followed through dialogues: right calls give 1, errors stay in the state, and its own calls stand in its prompts."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast.evaluation.matrix import Asking, evaluate
from holdfast.results.compute_scores import score
from holdfast.results.metrics import metric
from holdfast.results.scores import Output
from holdfast.tasks.formats.dialogue_states import write_states
from holdfast.tasks.formats.dialogues import _first_values  # pyright: ignore[reportPrivateUsage]
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Example, Task
from tests.inference.table import TableModel
from tests.tasks.formats.test_dialogues import HOTEL, folder

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "dialogues"
TRAIN = {"service_name": "train", "description": "Find a train.", "slots": [{"name": "to", "description": "where to"}]}


@dataclass
class Knowing(TableModel):
    """A model that knows the states of a task's test dialogues, but for the answers that it is told."""

    task: Task | None = None
    told: dict[str, str] = field(default_factory=dict)  # by the last user's message: an answer of the first step
    arguments: dict[str, str] = field(default_factory=dict)  # the same: what is written behind `"arguments":`
    prompts: list[str] = field(default_factory=list)

    def generate(self, texts: Any, sampling: Any = None, *, progress: Any = None) -> list[str]:
        self.prompts += list(texts)
        return [self.answer(text) for text in texts]

    def answer(self, text: str) -> str:
        # Behind the demonstrations, each of which begins with a system message of its own.
        said = re.findall(r"^User: (.*)$", text.rpartition("System: ")[2], re.MULTILINE)
        before, after = self.states(said)
        if text.endswith('"arguments":'):
            name = re.findall(r'\{"name": "(\w+)", "arguments":$', text)[0]
            return self.arguments.get(said[-1], f" {json.dumps(after[name])}}}\n")
        calls = [{"arguments": after[n], "name": n} for n in reversed(after) if after[n] != before.get(n)]
        return self.told.get(
            said[-1], "\n".join(f"<tool_call>{json.dumps(call)}</tool_call>" for call in calls) or " Ok."
        )

    def states(self, said: list[str]) -> tuple[Any, Any]:
        assert self.task is not None
        for example in self.task.splits["test"]:
            turns: Any = example.fields["turns"]
            if [turn["user"] for turn in turns[: len(said)]] == said:
                states = [{}, *({n: _first_values(slots) for n, slots in turn["state"].items()} for turn in turns)]
                return states[len(said) - 1], states[len(said)]
        raise AssertionError(said)


def knowing(task: Task, **more: Any) -> Knowing:
    return Knowing({}, task=task, **more)


def changed(task: Task, steps: int) -> Task:
    examples = [Example({**e.fields, "call_steps": steps}, e.target) for e in task.splits["test"]]
    return Task(task.name, {**task.splits, "test": tuple(examples)}, task.template, task.metric)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("shots", [0, 1])
def test_the_right_calls_give_a_joint_goal_accuracy_of_one(steps: int, shots: int) -> None:
    task = changed(load_task(str(EXAMPLE)), steps)
    outputs = evaluate(knowing(task), task, Asking(shots=shots))
    assert metric("joint_goal_accuracy").value(outputs) == 1
    assert [output.index for output in outputs] == [0, 1, 2]


def test_the_first_step_shows_all_functions_and_the_second_the_called_one() -> None:
    task = load_task(str(EXAMPLE))
    model = knowing(task)
    evaluate(model, task)
    second = [prompt for prompt in model.prompts if prompt.endswith('"arguments":')]
    first = [prompt for prompt in model.prompts if prompt not in second]
    assert len(first) == 4 + 2 + 5  # One for each turn.
    assert len(second) == 3 + 2 + 5  # One for each turn that changes the state, and none for thanks.
    assert all('"name": "hotel", "desc' in prompt and '"name": "train", "desc' in prompt for prompt in first)
    for prompt in second:
        called = prompt.rpartition('{"name": "')[2].partition('"')[0]
        assert re.findall(r'"name": "(\w+)", "desc', prompt) == [called]
        assert set(re.findall(r'\{"name": "(\w+)", "arg', prompt)) == {called}


def test_an_error_stays_in_the_state_and_in_the_prompt_of_every_later_turn(tmp_path: Path) -> None:
    """The first of three calls names another area; with the right calls in the prompt the later ones would be right."""
    turns = [
        {"user": "North?", "state": {"hotel": {"area": "north"}}, "system": "Which name?"},
        {"user": "Inn 3.", "state": {"hotel": {"area": "north", "name": "Inn 3"}}, "system": "Stars?"},
        {"user": "Four.", "state": {"hotel": {"area": "north", "name": "Inn 3", "stars": "4"}}, "system": "Booked."},
    ]
    task = load_task(str(folder(tmp_path, turns)))
    wrong = {"North?": ' {"area": "south"}}', "Inn 3.": ' {"name": "Inn 3"}}', "Four.": ' {"stars": 4}}'}
    model = knowing(task, arguments=wrong)
    [output] = evaluate(model, task)
    assert metric("joint_goal_accuracy").value([output]) == 0
    assert json.loads(output.output.split("\n")[-1]) == {"hotel": {"area": "south", "name": "inn 3", "stars": "4"}}
    assert '{"name": "hotel", "arguments": {"area": "south", "name": "inn 3"}}' in model.prompts[-1]
    assert (
        metric("joint_goal_accuracy").value(evaluate(knowing(task, arguments={"Four.": ' {"stars": 1}}'}), task))
        == 2 / 3
    )


@pytest.mark.parametrize(
    ("told", "arguments"),
    [
        ({"North?": '<tool_call>{"arguments": {"area'}, {}),
        ({"North?": '{"name": "motel", "arguments": {"area": "north"}}'}, {}),
        ({}, {"North?": ' {"area": "north"'}),
        ({}, {"North?": ' "north"}'}),
    ],
)
def test_a_call_that_cannot_be_read_is_marked_and_changes_nothing(tmp_path: Path, told: Any, arguments: Any) -> None:
    task = load_task(str(folder(tmp_path)))
    [output] = evaluate(knowing(task, told=told, arguments=arguments), task)
    lines = output.output.split("\n")
    assert lines[0] == "{} # unreadable call"
    # The second turn only says thanks, and the third is heard: its call holds all that is known.
    assert [line.endswith("unreadable call") for line in lines] == [True, False, False]
    assert metric("joint_goal_accuracy").value([output]) == 1 / 3


def test_braces_in_a_text_are_no_call(tmp_path: Path) -> None:
    task = load_task(str(folder(tmp_path)))
    [output] = evaluate(knowing(task, told={"North?": 'Use this:\n{"name": 1}'}), task)
    assert "unreadable" not in output.output


def test_the_first_step_need_only_name_the_function(tmp_path: Path) -> None:
    """In one step the same answer is a call that cannot be read."""
    task = load_task(str(folder(tmp_path)))
    told = {"North?": '<tool_call>{"name": "hotel", "argum'}
    values = [metric("joint_goal_accuracy").value(evaluate(knowing(t, told=told), t)) for t in (task, changed(task, 1))]
    assert values == [1, 1 / 3]


@pytest.mark.parametrize("steps", [1, 2])
def test_what_stands_behind_the_calls_of_an_answer_does_not_count(tmp_path: Path, steps: int) -> None:
    """As text without a chat template is written on: another call of the schema, in a block behind words or in none."""
    turns = [
        {"user": "North?", "state": {"hotel": {"area": "north"}}, "system": "Which name?"},
        {"user": "Both.", "state": {"hotel": {"area": "south"}, "train": {"to": "Ely"}}, "system": "Booked."},
    ]
    task = changed(load_task(str(folder(tmp_path, turns, (HOTEL, TRAIN)))), steps)
    north, south, train, other = (
        f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
        for name, arguments in (
            ("hotel", {"area": "north"}),
            ("hotel", {"area": "south"}),
            ("train", {"to": "Ely"}),
            ("train", {"to": "Cam"}),
        )
    )
    bare = other.removeprefix("<tool_call>\n")
    # Two domains in one turn are two blocks, one behind the other, and both count.
    told = {"North?": f"{north}\n{bare}", "Both.": f"{south}\n{train}\ntool: recorded\nassistant: {other}"}
    [output] = evaluate(knowing(task, told=told), task)
    assert metric("joint_goal_accuracy").value([output]) == 1
    assert "unreadable" not in output.output
    assert bare in str(output.generated)  # Read as it was written.


def test_two_models_that_call_otherwise_are_compared(tmp_path: Path) -> None:
    """Their prompts differ by their own calls, and an item's `input` must not: else base and tuned count as asked in other words."""
    task = load_task(str(folder(tmp_path)))
    base = evaluate(knowing(task, arguments={"North?": ' {"area": "south"}}'}), task, Asking(role="target"))
    tuned = evaluate(knowing(task), task, Asking(role="target", variant="tuned"))
    assert base[0].input == tuned[0].input
    assert '{"name": "hotel", "arguments": {"area": "north"}}' in base[0].input
    scores = score([*base, *tuned], [task])
    assert [(s.variant, s.value) for s in scores] == [("base", 1 / 3), ("tuned", 1)]
    assert scores[1].delta == pytest.approx(2 / 3)


def test_turns_count_alike_however_many_a_dialogue_has() -> None:
    """3 of 4 turns and 1 of 2 are 4 of 6; the mean of the dialogues would be 0.625."""
    state, other = {"hotel": {"area": "north"}}, {"hotel": {"area": "south"}}
    texts = [
        (write_states([state] * 4), write_states([state] * 3 + [other])),
        (write_states([state] * 2), write_states([{}, state])),
    ]
    outputs = [Output("base", None, "t", "general", 0, i, "", gold, own) for i, (gold, own) in enumerate(texts)]
    assert metric("joint_goal_accuracy").value(outputs) == 4 / 6


def test_the_metric_is_for_dialogues_alone() -> None:
    task = Task("plain", {"test": (Example({"input": "a"}, "b"),)}, metric="joint_goal_accuracy")
    with pytest.raises(ValueError, match=r"plain/test\[0\]: joint_goal_accuracy needs dialogues: lines with `turns`"):
        evaluate(TableModel({}), task)
    with pytest.raises(ValueError, match=r"t\[0\]: `joint_goal_accuracy` needs dialogues"):
        metric("joint_goal_accuracy").value([Output("base", None, "t", "general", 0, 0, "", "Bonn", "Ulm")])
