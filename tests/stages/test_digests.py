"""Folders of finished stages stay valid: their digests are held here, and renamed classes and fields do not change them."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from holdfast import plugins
from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.analyse import Analyse
from holdfast.stages.evaluate import Evaluate, LabelMass
from holdfast.stages.stage import Stage, configuration, digest
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training.settings import TrainSettings

# Name and digest of every stage of a recipe: on one target, and on two. Whoever changes one of these makes every user train that
# recipe again: the changelog must say so.
RECIPES = {
    "fixed_prompt": (
        "prompt-f0db0f40 model-3ee1adb8",
        "prompt-lab-first-target-891c2c2d prompt-lab-second-target-317ed3e5 model-b740f602",
    ),
    "fticl": ("model-1669aa6b", "model-5239826f"),
    "full": ("model-41551213", "model-af3a3b93"),
    "full+kl_base+replay": ("model-101b87d7", "model-0a973367"),
    "full+l2_sp": ("model-61493b11", "model-6d1fa4c8"),
    "full_sequential": ("model-41551213", "model-lab-first-target-a7effb0d model-lab-second-target-a0ebcb10"),
    "half_fine_tuning": ("model-c4c7da23", "model-3b2e9c61"),
    "joined_absorber": ("prompt-25f6e242", "prompt-003a85be"),
    "joint": ("model-01eaa7cc", "model-18e2e114"),
    "lora": ("model-39c5ba48", "model-a204c5c5"),
    "lora_absorber": ("prompt-7cc16302", "prompt-0995505a"),
    "lt_sft": ("dense-bb8320b3 model-d846b738", "dense-fcac09e1 model-75824d6b"),
    "prefix_tuning": ("prompt-d588be8f", "prompt-cb1d48e9"),
    "promot": (
        "prompt-f994c251 model-9c101bbf",
        "prompt-lab-first-target-41a41b4b prompt-lab-second-target-4f245723 model-f2e84f33",
    ),
    "promot_deep": (
        "prompt-d588be8f model-4c8d3cf7",
        "prompt-lab-first-target-724814bc prompt-lab-second-target-d036b3a6 model-02b2ee09",
    ),
    "promot_joined": (
        "prompt-25f6e242 model-78ce45f5",
        "prompt-lab-first-target-2a8bb535 prompt-lab-second-target-df6d9e91 model-269cab4b",
    ),
    "promot_lora": (
        "prompt-f994c251 model-fdcbfb8c",
        "prompt-lab-first-target-41a41b4b prompt-lab-second-target-4f245723 model-53a0def4",
    ),
    "promot_lora_absorber": (
        "prompt-7cc16302 model-acc452a8",
        "prompt-lab-first-target-2d40618d prompt-lab-second-target-96ebbaa3 model-b0d73d20",
    ),
    "promot_one_shot": (
        "prompt-dd4c0a2e model-3dc0700a",
        "prompt-lab-first-target-dcf5ed98 prompt-lab-second-target-dcadfc2e model-29a3769c",
    ),
    "promot_sequential": (
        "prompt-f994c251 model-9c101bbf",
        "prompt-lab-first-target-41a41b4b model-lab-first-target-68d5f5ba prompt-lab-second-target-95658c7d "
        "model-lab-second-target-7b22ab32",
    ),
    "prompt_tuning": ("prompt-f994c251", "prompt-5ffdc555"),
    "sparse_mask": ("model-d780f28e", "model-1dfe77fe"),
}


def plan(targets: int) -> RecipePlan:
    tasks = (TaskRef("lab:first-target"), TaskRef("lab:second-target"))[:targets]
    return RecipePlan("lab", tasks, {}, 3, ("model-hash", "first-hash", "second-hash")[: 1 + targets])


@pytest.mark.parametrize("name", RECIPES)
def test_stages_of_every_recipe_keep_their_folders(name: str) -> None:
    for targets, expected in enumerate(RECIPES[name], 1):
        stages = find_recipe(name)(plan(targets))
        assert " ".join(f"{stage.name}-{digest(stage)}" for stage in stages) == expected


def test_every_recipe_and_method_is_held() -> None:
    single = {name for name, method in plugins.members(plugins.METHODS).items() if method.chooses_parameters}
    assert {*plugins.techniques(plugins.RECIPES), *single} <= RECIPES.keys()


def test_stages_that_measure_keep_their_folders() -> None:
    prompt, model = find_recipe("promot")(plan(1))
    assert isinstance(prompt, Train)
    assert isinstance(model, Train)
    target = TaskRef("lab:first-target", "target", "first-hash")
    general = TaskRef("lab:kind", "general", "general-hash")
    others = (general, TaskRef("probe:a", "diagnostic", "probe-hash"))
    base = Evaluate("evaluate-base", "lab", tasks=others, shots=(0, 1), limit=9, model_version="model-hash")
    assert digest(base) == "4409a96e"
    assert digest(LabelMass("label-mass-base", base, target)) == "f71b73b2"
    along = {"tuned": model, "trained_prompt": prompt, "step": 2, "model_version": "model-hash"}
    assert digest(Evaluate("evaluate-tuned-on", "lab", "tuned", "on", tasks=(target,), **along)) == "98ed9ad3"
    versions = ("model-hash", "general-hash")
    analyse = Analyse("analyse-step-0", model, 0, ("weight_drift",), (general,), versions=versions)
    assert digest(analyse) == "a365cb9e"


def test_kinds_of_methods_are_their_own() -> None:
    """The bug: a subclass that inherits its parent's KIND shares the folders of its parent."""
    kinds = [configuration(kind())["kind"] for kind in plugins.members(plugins.METHODS).values()]
    assert len(set(kinds)) == len(kinds)
    assert all("KIND" in vars(kind) for kind in plugins.members(plugins.METHODS).values())


@dataclass(frozen=True)
class Before(Stage):
    KIND: ClassVar[str] = "Copy"
    amount: int = 3


@dataclass(frozen=True)
class Renamed(Stage):
    KIND: ClassVar[str] = "Copy"
    HASH_KEYS: ClassVar[dict[str, str]] = {"count": "amount"}
    HASH_LATER: ClassVar[dict[str, object]] = {"added": None}
    count: int = 3
    added: int | None = None


def test_renaming_a_class_and_its_fields_keeps_its_folder() -> None:
    assert digest(Renamed("copy")) == digest(Before("copy"))
    assert digest(Renamed("copy", count=4)) == digest(Before("copy", amount=4)) != digest(Before("copy"))


def test_a_field_that_was_added_later_counts_once_it_is_set() -> None:
    assert digest(Renamed("copy", added=1)) != digest(Renamed("copy")) == digest(Before("copy"))


def test_a_stage_of_another_kind_has_another_folder() -> None:
    one = Train("model", methods=(Full(),), settings=TrainSettings(steps=1))
    assert digest(one) != digest(Train("model", methods=(PromptTuning(),), settings=TrainSettings(steps=1)))
