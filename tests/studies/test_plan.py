"""What a study is to run, from options and from YAML."""

from pathlib import Path

import pytest

from holdfast.recipes.techniques import Techniques
from holdfast.studies import plan


def resolved(arms: dict, **fields) -> list[plan.Arm]:
    return plan.Plan("lab", arms, ["lab:elicit-sentiment"], **fields).resolved()


def test_a_list_makes_an_arm_for_each_value() -> None:
    found = resolved({"full": {"model.learning_rate": ["1e-4", 1e-3]}, "promot": {"prompt.length": [4, 16]}})
    assert [(arm.name, arm.settings) for arm in found] == [
        ("full@model.learning_rate=0.0001", {"model.learning_rate": 1e-4}),
        ("full@model.learning_rate=0.001", {"model.learning_rate": 1e-3}),
        ("promot@prompt.length=4", {"prompt.length": 4}),
        ("promot@prompt.length=16", {"prompt.length": 16}),
    ]


def test_settings_of_all_reach_the_arms_that_have_them_and_an_arms_own_go_before() -> None:
    shared = {"prompt.length": 8, "model.steps": 5}
    found = resolved({"full": None, "promot": {"model.steps": 7}, "prompt_tuning": None}, set=shared)
    assert [arm.settings for arm in found] == [
        {"model.steps": 5},
        {"prompt.length": 8, "model.steps": 7},
        {"prompt.length": 8},
    ]


def test_settings_of_all_leave_alone_what_makes_a_recipe() -> None:
    """An untrained prompt stays untrained, whatever the others do; asked for by name it is refused."""
    found = resolved({"promot": None, "fixed_prompt": None}, set={"prompt.steps": 5, "prompt.length": 8})
    assert [arm.settings for arm in found] == [{"prompt.steps": 5, "prompt.length": 8}, {"prompt.length": 8}]
    with pytest.raises(ValueError, match=r"prompt\.steps=5: is 0 in this recipe"):
        resolved({"fixed_prompt": {"prompt.steps": 5}})


def test_options_name_arms_too() -> None:
    found = resolved(plan.arms_of(["full@model.learning_rate=1e-3,model.steps=9", "lora"]))
    assert found[0] == plan.Arm(
        "full@model.learning_rate=1e-3,model.steps=9",
        "full",
        {"model.learning_rate": 1e-3, "model.steps": 9},
    )
    assert found[1] == plan.Arm("lora", "lora", {})


def test_options_name_the_techniques_of_other_moments() -> None:
    text = "full+l2_sp|edit=lines@edit.alpha=0.7,model.steps=9"
    (arm, swept) = resolved(plan.arms_of([text, "full|edit=lines@edit.alpha=sweep"]), set={"edit.beta": 0.1})
    assert arm.techniques == Techniques("full+l2_sp", edit="lines")
    assert arm.techniques.label == "full+l2_sp|edit=lines"
    assert arm.settings == {"edit.beta": 0.1, "edit.alpha": 0.7, "model.steps": 9}
    assert swept.settings["edit.alpha"] == "sweep"
    by_file = resolved({"mine": {"method": "full", "edit": "lines", "edit.alpha": [0.2, 0.4]}})
    assert [(a.name, a.techniques.edit) for a in by_file] == [
        ("mine@edit.alpha=0.2", "lines"),
        ("mine@edit.alpha=0.4", "lines"),
    ]
    with pytest.raises(ValueError, match=r"write method\|edit=NAME, also with curate, edit, decode"):
        plan.arms_of(["full|lines"])


@pytest.mark.parametrize(
    ("arms", "fields", "said"),
    [
        ({"ful": None}, {}, "unknown method 'ful'; did you mean 'full'"),
        ({"full": {"prompt.length": 4}}, {}, "unknown stage 'prompt'"),
        ({"full": {"model.learning": 4}}, {}, "did you mean 'model.learning_rate'"),
        ({"full": None}, {"set": {"prompt.length": 4}}, "unknown setting of any arm: 'prompt.length'"),
        ({"full": {"lr": 1}}, {}, "name the stage too, such as model.lr"),
    ],
)
def test_what_is_wrong_is_said(arms: dict, fields: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        resolved(arms, **fields)


def test_a_file_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("model: lab\nmethods: {full: }\n")
    with pytest.raises(ValueError, match=r"study.yaml: unknown field of a study: 'methods'"):
        plan.read(tmp_path / "study.yaml")
    with pytest.raises(ValueError, match=r"x.yaml: seeds: input should be greater"):
        plan.make({"model": "lab", "arms": {"full": None}, "targets": ["lab:elicit-sentiment"], "seeds": 0}, "x.yaml")


@pytest.mark.parametrize("moment", ["method", "curate", "edit", "decode"])
def test_a_technique_that_is_no_name_is_refused(moment: str) -> None:
    with pytest.raises(ValueError, match=rf"arm a: {moment} is \['x'\]"):
        plan.Plan("lab", {"a": {"method": "full", moment: ["x"]}}, ["lab:count"]).resolved()
