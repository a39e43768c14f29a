"""`--method NAME`: recipes and methods are found by their folder, and a user's own by its file."""

from dataclasses import fields
from pathlib import Path

import pytest

from holdfast.plugins import METHODS, RECIPES, members, records
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import Fields
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef

GIVEN = ("model", (TaskRef("task"),))


def test_the_first_methods_are_there() -> None:
    assert {"full", "lora", "prompt_tuning", "promot", "promot_lora"} <= {
        record["name"] for record in records(RECIPES, METHODS)
    }


def test_every_method_and_recipe_says_what_it_is_and_where_it_comes_from() -> None:
    for record in records(RECIPES, METHODS):
        assert record["summary"].endswith((".", ")")), record
        assert record["source"], f"{record['name']}: the docstring needs a line `Source: ...`"


@pytest.mark.parametrize("name", sorted(record["name"] for record in records(RECIPES, METHODS)))
def test_every_name_makes_stages_with_its_defaults(name: str) -> None:
    """`+name` marks a method that joins another."""
    given = Fields(*GIVEN)
    stages = find_recipe(f"full{name}" if name.startswith("+") else name)(given)
    assert isinstance(stages[-1], Train)
    assert list(given.resolved) == [stage.name for stage in stages]


@pytest.mark.parametrize("kind", members(METHODS).values(), ids=lambda kind: kind.__name__)
def test_every_method_survives_a_state_round_trip(kind: type) -> None:
    method = kind()
    again = kind(**{f.name: getattr(method, f.name) for f in fields(method)})
    again.load_state_dict(method.state_dict())
    assert again == method


def test_a_joining_method_takes_part_where_the_model_trains_and_its_fields_can_be_set() -> None:
    given = Fields(*GIVEN, {"model": {"strength": 0.5}})
    prompt, model = find_recipe("promot+l2_sp")(given)
    assert isinstance(prompt, Train)
    assert isinstance(model, Train)
    assert [type(m).__name__ for m in prompt.methods] == ["PromptTuning"]
    assert [type(m).__name__ for m in model.methods] == ["Full", "L2Sp"]
    assert given.resolved["model"]["strength"] == 0.5
    given.check_all_used()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("l2_sp", "chooses no parameters; add one"),
        ("full+lora", "both choose which parameters move"),
        ("prompt_tuning+l2_sp", "prompt_tuning trains no model that l2_sp could take part in"),
        ("full+l2sp", "unknown method to join another: 'l2sp'; did you mean 'l2_sp'"),
    ],
)
def test_compositions_that_cannot_train_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_recipe(name)(Fields(*GIVEN))


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown method 'promott'; did you mean 'promot'"):
        find_recipe("promott")


OWN = '''
from typing import ClassVar
from pydantic.dataclasses import dataclass
from holdfast.methods.base import Method, ParameterGroup

@dataclass
class Mine(Method):
    """Only the norms move."""
    chooses_parameters: ClassVar = True
    strength: float = 1.0

    def parameters(self, model):
        yield ParameterGroup([p for p in model.model.parameters() if p.ndim == 1])
'''


def test_a_users_own_method_is_a_class_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    (stage,) = find_recipe(f"{path}:Mine")(Fields(*GIVEN, {"model": {"strength": 2.0}}))
    assert isinstance(stage, Train)
    assert stage.methods[0].strength == 2.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("argument", "message"),
    [("none.py:Mine", "there is no file none.py"), ("{}:Other", "defines no method or recipe called Other")],
)
def test_a_file_or_class_that_is_not_there_is_named(tmp_path: Path, argument: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    with pytest.raises(ValueError, match=message):
        find_recipe(argument.format(path))


def test_an_own_method_may_have_annotations_that_are_strings_and_the_name_of_a_module(tmp_path: Path) -> None:
    lines = [
        "from __future__ import annotations",
        "from pydantic import Field",
        "from pydantic.dataclasses import dataclass",
        "from holdfast.methods.full import Full",
        "@dataclass",
        "class Mine(Full):",
        "    strength: float = Field(default=1.0, ge=0)",
    ]
    (tmp_path / "random.py").write_text("\n".join(lines))
    given = Fields(*GIVEN, {"model": {"strength": 3}})
    (stage,) = find_recipe(f"{tmp_path}/random.py:Mine")(given)
    assert isinstance(stage, Train)
    assert getattr(stage.methods[0], "strength", None) == 3.0
    import random

    assert random.random() < 1
