"""`--set` reaches any field of any stage, and refuses what does not exist with the nearest name."""

import pytest

from holdfast.methods.dpo import Dpo
from holdfast.methods.full import Full
from holdfast.methods.l2_sp import L2Sp
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.plugins import METHODS, members
from holdfast.recipes.assignments import literal, nested, parse
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.promot import promot
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef


def fields(*assignments: str) -> RecipePlan:
    return RecipePlan("model", (TaskRef("task"),), parse(list(assignments)), seed=7)


def test_an_assignment_reaches_stage_method_and_training_settings() -> None:
    stage = fields("prompt.steps=12", "prompt.length=9", "prompt.demonstrations=2", "prompt.init=text:a b=c").train(
        "prompt", PromptTuning
    )
    method = stage.methods[0]
    assert isinstance(method, PromptTuning)
    assert (stage.settings.steps, method.length, method.init, stage.demonstrations) == (12, 9, "text:a b=c", 2)


def test_defaults_come_from_the_method_and_the_seed_from_the_run() -> None:
    stage = fields().train("model", Full)
    assert (stage.settings.learning_rate, stage.settings.seed) == (Full.defaults["learning_rate"], 7)


def test_a_recipe_shows_its_whole_configuration() -> None:
    given = fields("prompt.length=20")
    stages = promot(given)
    assert [stage.name for stage in stages] == ["prompt", "model"]
    assert isinstance(stages[1], Train)
    assert stages[1].prompts == (stages[0],)
    assert given.resolved["prompt"]["length"] == 20
    assert set(given.resolved["model"]) >= {
        "steps",
        "learning_rate",
        "batch_size",
        "optimizer",
        "warmup",
        "schedule",
        "save_every",
    }
    assert set(given.resolved["model"]) >= {"loss_on", "demonstrations"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "model.learning_rat=1",
            "unknown field of stage 'model': 'model.learning_rat'; did you mean 'model.learning_rate'",
        ),
        ("model.steps=-3", r"model.steps=-3: input should be greater than or equal to 0"),
        ("model.steps=many", "model.steps='many': input should be a valid integer"),
        ("model.rank=0", "model.rank=0: input should be greater than or equal to 1"),
        ("model.sampling=best", "model.sampling='best'.*write first, sampled, nearest"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fields(assignment).train("model", Lora)


def test_settings_for_a_stage_that_is_not_there_are_refused() -> None:
    given = fields("promt.steps=3")
    promot(given)
    with pytest.raises(ValueError, match="unknown stage 'promt'; did you mean 'prompt'"):
        given.check_all_used()


def test_an_assignment_without_its_stage_is_told_where_the_stage_belongs() -> None:
    with pytest.raises(ValueError, match=r"--set steps=3: name the stage too, such as model\.steps=3"):
        parse(["steps=3"])


@pytest.mark.parametrize("text", ["prompt.steps", "3"])
def test_an_assignment_without_stage_or_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write stage\.field=value"):
        parse([text])


def test_values_are_read_as_literals_or_text() -> None:
    assert [literal(text) for text in ("3", "1e-4", "true", "None", "text:x", "[1, 2]")] == [
        3,
        1e-4,
        True,
        None,
        "text:x",
        [1, 2],
    ]


def test_a_loss_per_target_is_refused_beside_a_method_with_a_loss_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"model.loss_per=target: Dpo replaces the token loss"):
        fields("model.loss_per=target").train("model", Full, Dpo)


JOINING = {
    name: method for name, method in members(METHODS).items() if not (method.chooses_parameters or method.replaces_loss)
}


@pytest.mark.parametrize("name", sorted(JOINING))
def test_what_takes_part_beside_a_lora_leaves_it_its_learning_rate(name: str) -> None:
    """The bug: `lora+l2_sp` trained at the rate of full fine-tuning, because the last method's defaults won."""
    assert not JOINING[name].defaults


def test_a_penalty_beside_a_lora_trains_at_the_rate_of_lora() -> None:
    stage = fields().train("model", Lora, L2Sp)
    assert stage.settings.learning_rate == Lora.defaults["learning_rate"]


def test_an_entry_of_a_field_is_set_by_its_name_behind_a_second_point() -> None:
    assert parse(["model.config.r=8", "model.config.lora_alpha=16", "model.steps=3"]) == {
        "model": {"config": {"r": 8, "lora_alpha": 16}, "steps": 3}
    }
    assert nested({"model.config": {"r": 4, "bias": "none"}, "model.config.r": 8}) == {
        "model": {"config": {"r": 8, "bias": "none"}}
    }
    with pytest.raises(ValueError, match="only a whole field is swept"):
        parse(["model.config.r=sweep:2,4"])
