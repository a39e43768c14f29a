"""Dialogues as conversations that call functions: what of a schema becomes of a function, what is trained, and which lines are refused."""

import contextlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.tasks.formats.dialogue_schema import function_of
from holdfast.tasks.formats.dialogue_states import after_calls, normal, same, turns_right, write_states
from holdfast.tasks.formats.dialogues import to_dialogue
from holdfast.tasks.sources import load_task
from holdfast.tasks.text.templates import render
from tests.tasks.text.test_chat import QWEN, tokenizer

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "dialogues"
HOTEL = {
    "service_name": "hotel",
    "description": "Find a hotel.",
    "slots": [
        {"name": "hotel-area", "description": "where", "is_categorical": True, "possible_values": ["north", "south"]},
        {"name": "hotel-stars", "description": "stars", "possible_values": ["1", "4"], "is_categorical": True},
        {"name": "hotel-parking", "possible_values": ["yes", "no"]},
        {"name": "hotel-name", "description": "name", "possible_values": [f"Inn {i}" for i in range(12)]},
        {"name": "hotel-time", "description": "arrival"},
        {"name": "hotel-phone", "description": "number", "is_informable": False},
    ],
    "intents": [{"required_slots": ["hotel-area", "hotel-phone"]}, {"required_slots": ["hotel-name"]}],
}
TURNS = [
    {"user": "North?", "state": {"hotel": {"area": "north"}}, "system": "Which name?"},
    {"user": "Thanks.", "state": {"hotel": {"area": "north"}}, "system": "Anything else?"},
    {
        "user": "Inn 3.",
        "state": {"hotel": {"hotel-area": "north", "name": ["Inn 3", "Inn Three"]}},
        "system": "Booked.",
    },
]


def folder(path: Path, turns: Any = TURNS, schema: Any = (HOTEL,), **settings: Any) -> Path:
    for split in ("train", "test"):
        (path / f"{split}.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    if schema is not None:
        (path / "schema.json").write_text(json.dumps(schema, indent=1))
    if settings:
        (path / "task.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    return path


def test_a_service_becomes_the_function_of_the_paper() -> None:
    function = function_of(HOTEL)
    parameters = function["parameters"]["properties"]
    assert list(parameters) == ["area", "stars", "parking", "name", "time"]  # What is only asked for is no parameter.
    assert {name: p["type"] for name, p in parameters.items()} == {
        "area": "string", "stars": "integer", "parking": "boolean", "name": "string", "time": "string"
    }  # fmt: skip
    assert parameters["area"]["enum"] == ["north", "south"]
    assert parameters["name"]["description"].endswith("Inn 8, Inn 9")  # The first ten.
    assert parameters["time"]["description"].endswith("(HH:mm)")
    assert function["parameters"]["required"] == ["area"]  # Of the first intent, and among the parameters.
    assert [word in function["description"] for word in ("dontcare", "exactly")] == [True, True]
    assert function_of(function) == function == function_of(HOTEL)


def test_only_the_calls_are_trained_and_each_holds_all_that_is_known(tmp_path: Path) -> None:
    """Of a turn that changes nothing, and of every reply, no token carries weight."""
    task = load_task(str(folder(tmp_path)))
    assert task.metric == "joint_goal_accuracy"
    rendered = render(task.template, task.splits["train"][0], (), tokenizer(QWEN))
    trained = [rendered.prompt[a:b] for a, b in rendered.turns]
    calls = [json.loads(text.partition("<tool_call>\n")[2].partition("\n</tool_call>")[0]) for text in trained]
    assert calls == [
        {"name": "hotel", "arguments": {"area": "north"}},
        {"name": "hotel", "arguments": {"area": "north", "name": "Inn 3"}},
    ]
    assert rendered.skip == len(rendered.target + rendered.end)
    assert "Booked." in rendered.target


def test_replies_are_trained_too_where_task_yaml_says_so(tmp_path: Path) -> None:
    task = load_task(str(folder(tmp_path, loss="all")))
    rendered = render(task.template, task.splits["train"][0])
    assert rendered.skip == 0
    assert [rendered.prompt[a:b].strip() for a, b in rendered.turns][1:3] == ["Which name?", "Anything else?"]


def test_two_steps_show_the_called_functions_and_one_step_all(tmp_path: Path) -> None:
    taxi = {"service_name": "taxi", "slots": [{"name": "to"}]}
    (tmp_path / "one").mkdir()
    two, one = folder(tmp_path, schema=[HOTEL, taxi]), folder(tmp_path / "one", schema=[HOTEL, taxi], call_steps=1)
    shown = [load_task(str(path)).splits["train"][0].fields["messages"][0]["content"] for path in (two, one)]  # type: ignore[index]
    assert ['"name": "taxi"' in text for text in shown] == [False, True]


def test_multiwoz_turns_of_one_speaker_each_are_the_same_dialogue(tmp_path: Path) -> None:
    """Frames name only the services at hand: what an earlier one holds stays in the state."""

    def frame(service: str, slots: Mapping[str, Any]) -> dict[str, Any]:
        return {"service": service, "state": {"slot_values": {f"{service}-{k}": [v] for k, v in slots.items()}}}

    taxi = {"service_name": "taxi", "slots": [{"name": "taxi-to"}]}
    turns = [
        {"speaker": "USER", "utterance": "North?", "frames": [frame("hotel", {"area": "north"})]},
        {"speaker": "SYSTEM", "utterance": "Fine."},
        {"speaker": "USER", "utterance": "A taxi to Ulm.", "frames": [frame("taxi", {"to": "Ulm"})]},
        {"speaker": "SYSTEM", "utterance": "Yes."},
    ]
    task = load_task(str(folder(tmp_path, turns, [HOTEL, taxi])))
    read: Any = task.splits["test"][0].fields["turns"]
    assert [(turn["user"], turn["system"], turn["state"]) for turn in read] == [
        ("North?", "Fine.", {"hotel": {"area": ["north"]}}),
        ("A taxi to Ulm.", "Yes.", {"hotel": {"area": ["north"]}, "taxi": {"to": ["Ulm"]}}),
    ]


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([{"user": "North?", "system": "Ok."}], r"test\.jsonl:1: turn 1 has no `state`; write all .* \{\} where"),
        ([{"user": "North?", "state": '{"hotel"', "system": "Ok."}], r"`state` of turn 1 is not JSON \(.*column \d"),
        ([{"user": "", "state": {}, "system": "Ok."}], r"turn 1 has no text in `user`"),
        ([{"user": "a", "state": {}}, *TURNS], r"turn 1 has no text in `system`"),
        ([{"user": "a", "state": {"hotels": {}}, "system": "b"}], r"`hotels` is no service .*did you mean `?'?hotel"),
        ([{"user": "a", "state": {"hotel": {"aera": "x"}}, "system": "b"}], r"no slot `aera`; did you mean .?area"),
        ([{"user": "a", "state": {"hotel": "north"}, "system": "b"}], r"the state of `hotel` is text"),
        ([{"user": "a", "state": {"hotel": {"area": {}}}, "system": "b"}], r"`area` of `hotel` is an object"),
        ([{"user": "bye", "state": {}}], r"turn 1 has no reply and changes nothing"),
        ([], r"`turns` is no list of turns"),
    ],
)
def test_a_dialogue_that_cannot_be_tracked_is_one_line_with_its_place(tmp_path: Path, turns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_task(str(folder(tmp_path, turns)))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([HOTEL, {"service_name": "taxi", "slots": []}], r"schema\.json:\d\d+: the service `taxi` has no slots"),
        ([{"service_name": "taxi", "slots": [{"name": "n", "is_informable": False}]}], r"schema\.json:3: .*no slots"),
        ([HOTEL, HOTEL], r"the function `hotel` is there already"),
        ([{"slots": []}], r"schema\.json: service 1: `service_name`: field required"),
        ([{"service_name": "taxi", "slots": ["to"]}], r"schema\.json:3: `slots\.0` of `taxi`: "),
        ([], r"schema\.json: is a list without entries"),
        ({}, r"schema\.json: is an object"),
        # Said once, however many lines of however many files have no functions.
        (
            None,
            r"^\S+train\.jsonl:1: no schema: write the services and their slots in schema\.json beside it, or `functions` in each line$",
        ),
        ([{"service_name": "taxi"}], r"schema\.json:3: the service `taxi` has no slots, .* list them in `slots`$"),
    ],
)
def test_a_schema_that_says_nothing_is_refused(tmp_path: Path, schema: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_task(str(folder(tmp_path, schema=schema)))


def test_call_steps_are_for_dialogues_alone(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"input": "a", "target": "b"}) + "\n")
    (tmp_path / "task.yaml").write_text("call_steps: 2\n")
    with pytest.raises(ValueError, match=r"`call_steps` is for lines with `turns`"):
        load_task(str(tmp_path))
    with pytest.raises(ValueError, match=r"`call_steps` 3 is unknown; write 1 or 2"):
        load_task(str(folder(tmp_path, call_steps=3)))


def test_states_add_up_by_slot_and_only_what_the_function_has_counts() -> None:
    functions = [function_of(HOTEL)]
    calls = [
        ("hotel", {"area": " North", "stars": 4, "fax": "1", "name": None}),
        ("hotel", {"area": "west", "parking": True}),
    ]
    state, readable = after_calls({"hotel": {"name": "inn 1"}}, calls, functions)
    # `west` is none of the closed values of area, `fax` no slot, and a name that is null stays what it was.
    assert state == {"hotel": {"name": "inn 1", "area": "north", "stars": "4", "parking": "yes"}}
    assert readable
    assert after_calls({}, [("hotel", {"area": "dontcare"})], functions)[0] == {"hotel": {"area": "dontcare"}}
    assert after_calls(state, [("taxi", {"to": "x"})], functions) == (state, False)
    assert after_calls(state, [("hotel", None)], functions) == (state, False)


def test_a_state_is_right_where_every_slot_is_and_none_is_too_many() -> None:
    gold = {"hotel": {"area": "North", "name": ["Inn 3", "Inn Three"]}}
    assert same(gold, {"hotel": {"name": "inn  three", "area": "north"}})
    assert not same(gold, {"hotel": {"area": "north"}})
    assert not same(gold, {"hotel": {"area": "north", "name": "inn 3", "stars": "4"}})
    assert not same(gold, {"hotel": {"area": "south", "name": "inn 3"}})
    assert same({}, {})
    assert [normal(value) for value in (4.0, " 4 ", False)] == ["4", "4", "no"]
    assert turns_right(write_states([{}, gold]), write_states([{}, {}], [True, False])) == (1, 2)


def spoiled(value: Any, rng: random.Random) -> Any:
    """The value with one of its parts, however deep, replaced by something else or left out."""
    parts = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    if not parts or rng.random() < 0.15:
        return rng.choice([None, 3, "", "x", [], {}, True, [1], {"a": 1}])
    key, part = rng.choice(parts)
    if isinstance(value, dict):
        rest = {k: v for k, v in value.items() if k != key}
        return rest if rng.random() < 0.2 else {**rest, key: spoiled(part, rng)}
    return [spoiled(part, rng) if i == key else v for i, v in enumerate(value)]


def test_what_is_spoiled_anywhere_is_read_or_refused_and_never_a_crash() -> None:
    """600 schemas and dialogues with one part spoiled: a stack trace would tell a user nothing."""
    frames = [{"service": "hotel", "state": {"slot_values": {"hotel-area": ["north"]}}}]
    speakers = [{"speaker": "USER", "utterance": "North?", "frames": frames}, {"speaker": "SYSTEM", "utterance": "Ok."}]
    for seed in range(600):
        rng = random.Random(seed)
        line = {"functions": [HOTEL], "turns": rng.choice([TURNS, speakers])}
        part = rng.choice(list(line))
        with contextlib.suppress(ValueError):
            to_dialogue({**line, part: spoiled(line[part], rng)}, 2)


def test_the_example_of_the_documentation_is_a_task() -> None:
    task = load_task(str(EXAMPLE))
    assert {split: len(examples) for split, examples in task.splits.items()} == {
        "train": 12,
        "validation": 2,
        "test": 3,
    }
