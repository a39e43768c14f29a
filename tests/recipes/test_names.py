"""`--method NAME`: recipes and methods are found by their folder, and a user's own by its file."""

import io
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.methods.base import Context, Method
from holdfast.methods.full import Full
from holdfast.methods.self_replay import SelfReplay
from holdfast.plugins import METHODS, RECIPES, members, records, snake
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import digest
from holdfast.stages.train import Train
from holdfast.tasks.task import Example, Template
from holdfast.tasks.task_set import TaskRef
from holdfast.training.batches import Stream, through_methods
from holdfast.training.loop import Trainer, Training
from tests.training import tiny

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
    given = RecipePlan(*GIVEN)
    recipe = find_recipe(f"full{name}" if name.startswith("+") else name)
    if getattr(members(METHODS).get(name), "stages", ()):
        with pytest.raises(ValueError, match=r"needs a stage before it|no tuned model to start from"):
            recipe(given)
        return
    stages = recipe(given)
    assert isinstance(stages[-1], Train)
    # A section for each stage; rounds of one recipe share theirs.
    assert list(given.resolved) == list(dict.fromkeys(stage.name for stage in stages))


def made(kind: type[Method], folder: Path) -> Method:
    """A method with its defaults, but for what a model this small, or texts to replay, make necessary."""
    names = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    if "self_texts" in names:
        return kind(self_texts=6, self_length=8, self_batch=2)  # pyright: ignore[reportCallIssue]
    if "taps" in names:
        return kind(taps=2)  # pyright: ignore[reportCallIssue]  # of the model's two blocks
    if "texts" not in names:
        return kind()
    path = folder / "texts.txt"
    path.write_text("".join(f"w{10 + i} w{30 - i} w5 w6\n" for i in range(12)))
    return kind(texts=str(path), rate=0.5)  # pyright: ignore[reportCallIssue]


def trainer(folder: Path, method: Method) -> Trainer:
    """Six steps with it, beside full fine-tuning where it leaves the choice of parameters to another."""
    made = tiny.trainer(folder, *([method] if method.chooses_parameters else [Full(), method]))
    if method.replaces_loss:  # of pairs of answers, here
        example = Example({"input": ""}, "w7", template=Template(stop=()))  # for those that reward answers
        rows = [replace(row, example=example) for row in tiny.rows()]
        pairs = [[row, replace(row, tokens=(*row.tokens[:-1], 7))] for row in rows]
        made.stream = Stream(lambda index, epoch: pairs[index], 8, 4)
    return made


def check_its_state_goes_over(kind: type[Method], folder: Path) -> None:
    """Train; then a fresh method over the trained weights, with the state loaded, must go on as the trained one would."""
    method, fresh = made(kind, folder), made(kind, folder)
    run, other = trainer(folder / "run", method), trainer(folder / "other", fresh)
    run.train()
    Training(other)
    saved = io.BytesIO()
    torch.save(method.state_dict(), saved)
    saved.seek(0)
    fresh.load_state_dict(torch.load(saved, weights_only=True))
    other.model.load_state_dict(run.model.state_dict())
    assert_equal(fresh.state_dict(), method.state_dict())
    for _ in range(2):
        rows, again = (
            through_methods(t.stream.batch(6), [m], [Context(t.model, t.pretrained)])
            for m, t in ((method, run), (fresh, other))
        )
        assert again == rows
        penalties = [m.penalty(t.model.eval(), rows, t.model(rows)) for m, t in ((method, run), (fresh, other))]
        assert_equal(penalties[1], penalties[0])
    assert_equal(fresh.state_dict(), method.state_dict())
    chosen = [
        [p for g in m.parameters(t.model) or () for p in g.parameters] for m, t in ((method, run), (fresh, other))
    ]
    assert_equal(chosen[1], chosen[0])


def assert_equal(one: Any, other: Any) -> None:
    """Equal bit by bit: tensors, and whatever holds some."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        assert_equal(list(one.values()), [other[key] for key in one])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for inside, beside in zip(one, other, strict=True):
            assert_equal(inside, beside)
    else:
        assert one == other


@pytest.mark.parametrize("kind", members(METHODS).values(), ids=lambda kind: kind.__name__)
def test_the_state_of_every_method_goes_over_to_a_fresh_one(kind: type[Method], tmp_path: Path) -> None:
    if kind.stages:
        pytest.skip(f"it needs the stages {', '.join(kind.stages)} before it, so its own tests hold its state")
    check_its_state_goes_over(kind, tmp_path)


@pytest.mark.parametrize(
    ("hook", "wrong"), [("state_dict", lambda self: {"texts": []}), ("load_state_dict", lambda self, state: None)]
)
def test_a_method_that_forgets_its_state_is_noticed(
    hook: str, wrong: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Self-replay keeps the texts of the start: a fresh one would have the trained model write them."""
    monkeypatch.setattr(SelfReplay, hook, wrong)
    with pytest.raises(AssertionError):
        check_its_state_goes_over(SelfReplay, tmp_path)


def test_a_joining_method_takes_part_where_the_model_trains_and_its_fields_can_be_set() -> None:
    given = RecipePlan(*GIVEN, {"model": {"strength": 0.5}})
    prompt, model = find_recipe("promot+l2_sp")(given)
    assert isinstance(prompt, Train)
    assert isinstance(model, Train)
    assert [type(m).__name__ for m in prompt.methods] == ["PromptTuning"]
    assert [type(m).__name__ for m in model.methods] == ["Full", "L2Sp"]
    assert given.resolved["model"]["strength"] == 0.5
    given.check_all_used()


def test_behind_a_recipe_a_method_that_chooses_parameters_takes_the_place_of_its_choice() -> None:
    for name, settings in (("promot+corda+l2_sp", {"rank": 3}), ("fticl+osf", {"keep": 0.3})):
        given = RecipePlan(*GIVEN, {"model": settings})
        *before, model = find_recipe(name)(given)
        assert isinstance(model, Train)
        assert [snake(type(m).__name__) for m in model.methods] == name.split("+")[1:]
        assert {type(m).__name__ for stage in before for m in stage.methods} <= {"PromptTuning"}  # pyright: ignore[reportAttributeAccessIssue]
        assert given.resolved["model"].items() >= settings.items()
        assert given.resolved["model"]["weight_decay"] == 0.0  # the tuner's default, and not full fine-tuning's
    assert model.demonstrations == 2  # fticl's own, whatever is trained


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lt_sft+corda", "Corda cannot stand in for SparseMask, which this recipe is about"),
        ("promot+corda+osf", "both choose which parameters move"),
        ("promot+prompt_tuning", "both choose which parameters move"),
        ("promot+head_bias", "both choose which parameters move"),
        ("l2_sp", "chooses no parameters; add one"),
        ("full+lora", "both choose which parameters move"),
        ("prompt_tuning+prompt_tuning", "both choose which parameters move"),
        ("prompt_tuning+l2_sp", "prompt_tuning trains no model that l2_sp could take part in"),
        ("full+l2sp", "unknown method to join another: 'l2sp'; did you mean 'l2_sp'"),
    ],
)
def test_compositions_that_cannot_train_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_recipe(name)(RecipePlan(*GIVEN))


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
    strength: float = 1.0

    def parameters(self, model):
        yield ParameterGroup([p for p in model.model.parameters() if p.ndim == 1])
'''


def test_a_users_own_method_is_a_class_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    (stage,) = find_recipe(f"{path}:Mine")(RecipePlan(*GIVEN, {"model": {"strength": 2.0}}))
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
    given = RecipePlan(*GIVEN, {"model": {"strength": 3}})
    (stage,) = find_recipe(f"{tmp_path}/random.py:Mine")(given)
    assert isinstance(stage, Train)
    assert getattr(stage.methods[0], "strength", None) == 3.0
    import random

    assert random.random() < 1


@pytest.mark.parametrize(
    ("method", "field"),
    [("full+replay", "texts"), ("full+replay", "replay_tasks"), ("full+ewc", "calibrate"), ("corda", "calibrate")],
)
def test_changed_content_behind_a_name_trains_anew(tmp_path: Path, method: str, field: str) -> None:
    """The bug: the path alone was hashed, so that a run with other texts reused the stage that was trained on the first ones."""
    path = tmp_path / ("general.jsonl" if field == "replay_tasks" else "general.txt")

    def named(word: str) -> str:
        lines = [f'{{"input": "{word} {i}", "target": "{i}"}}' for i in range(20)]
        path.write_text("\n".join(lines if field == "replay_tasks" else [f"{word} and others"]) + "\n")
        plan = RecipePlan("model", (TaskRef("task"),), {"model": {field: str(path)}})
        return digest(find_recipe(method)(plan)[-1])

    first = named("rain")
    assert named("snow") != first
    assert named("rain") == first
