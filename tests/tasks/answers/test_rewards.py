"""Rewards by rule: the tables of the papers."""

import json

import pytest

from holdfast.tasks.answers.rewards import RULES, find_rewards
from holdfast.tasks.task import Example

TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"properties": {k: {} for k in ("city", "day", "unit")}}},
    }
    for name in ("weather", "news")
]


def call(name: str, **arguments: object) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        (call("weather", city="Ulm", day="Monday"), 1.0),
        (call("weather", day="Monday", city="Ulm"), 1.0),
        ("I do not know.", -2.0),
        ('{"name": "weather", "argum', -2.0),
        (call("traffic", city="Ulm", day="Monday"), -2.0),
        (call("news", city="Ulm", day="Monday"), -1.5),
        (call("weather", colour="red", unit="K"), -1.8),
        (call("weather", colour="red", city="Ulm"), -1.3),
        (call("weather", colour="red", unit="K", city="Ulm", day="Monday"), -1.3),
        (call("weather", unit="K", city="Ulm"), -1.0),
        (call("weather", colour="red", city="Ulm", day="Monday"), -0.8),
        (call("weather", unit="K", city="Ulm", day="Monday"), -0.5),
        (call("weather", city="Ulm"), -0.5),
        (call("weather", city="Bonn", day="Monday"), -0.25),
    ],
)  # fmt: skip
def test_a_tool_call_is_rewarded_by_the_table_of_tl_training(answer: str, reward: float) -> None:
    example = Example({"tools": TOOLS}, call("weather", city="Ulm", day="Monday"))
    assert RULES["tool_call"](answer, example) == reward


@pytest.mark.parametrize(
    ("answer", "form", "right"),
    [
        ("<think>a bird</think>\n<answer>robin</answer>", 1, 1),
        ("<think>a bird</think><answer> Robin </answer>", 1, 1),
        ("<think>a bird</think><answer>wren</answer>", 1, 0),
        ("so: <think>a bird</think><answer>robin</answer>", 0, 1),
        ("<answer>robin</answer>", 0, 1),
        ("<think>a bird</think>robin", 0, 0),
        ("robin", 0, 0),
    ],
)
def test_thinking_is_rewarded_for_its_form_and_for_the_answer(answer: str, form: int, right: int) -> None:
    example = Example({}, "robin")
    assert (RULES["thinking_format"](answer, example), RULES["thinking_answer"](answer, example)) == (form, right)
    assert find_rewards("thinking_format, thinking_answer")(answer, example) == form + right


def test_numbers_in_an_answer_are_compared_as_numbers() -> None:
    assert RULES["thinking_answer"]("<answer>1,200.0</answer>", Example({}, "1200")) == 1.0
    assert RULES["thinking_answer"]("<answer>nan</answer>", Example({}, "inf")) == 0.0


@pytest.mark.parametrize(
    ("answer", "reward"), [("robin", 1), (" robin\n", 1), ("Robin", 0), ("robin.", 0), ("a robin", 0)]
)
def test_without_thinking_the_whole_answer_is_the_target(answer: str, reward: int) -> None:
    assert RULES["exact"](answer, Example({}, "robin")) == reward


def test_where_tools_are_there_and_none_is_right_a_call_is_the_mistake() -> None:
    """A chat between calls, as data of tools have it: the rewards of such a question differ, and do not end the run."""
    example = Example({"tools": TOOLS}, "You are welcome.")
    assert [RULES["tool_call"](answer, example) for answer in ("Good bye.", call("news"), "I call {")] == [1, -2, 1]


def test_a_target_without_a_call_cannot_be_rewarded() -> None:
    with pytest.raises(
        ValueError, match=r"^reward=tool_call: the target 'robin' calls no tool, and no `tools` are there; give another"
    ):
        find_rewards("tool_call")("robin", Example({}, "robin"))
    with pytest.raises(ValueError, match=r"reward='': names none; give exact, "):
        find_rewards("")
