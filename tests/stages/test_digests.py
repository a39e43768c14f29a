"""Folders of finished stages stay valid: their digests are held here, and renamed classes and fields do not change them."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from holdfast import plugins
from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.find import find_recipe
from holdfast.stages.analyse import Analyse
from holdfast.stages.evaluate import Evaluate, LabelMass
from holdfast.stages.stage import Stage, configuration, digest
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training.settings import TrainSettings
from tests.golden import recipes
from tests.golden.record import read

# Of what has no golden record of its own, because it only exists beside another method.
TOGETHER = {
    "full+kl_base+replay": ["model-101b87d7", "model-0a973367"],
}


@pytest.mark.parametrize("name", recipes.names())
def test_stages_of_every_recipe_keep_their_folders(name: str) -> None:
    """Whoever changes one of these names makes every user train that recipe again: the changelog must say so."""
    record = read(recipes.HERE / f"{name}.json")
    assert "folders" in record, f"{name} holds no folders: `python -m tests.golden.record {name}` writes them"
    assert recipes.folders(name) == record["folders"]


@pytest.mark.parametrize("name", TOGETHER)
def test_methods_that_stand_together_keep_their_folders(name: str) -> None:
    assert recipes.folders(name) == TOGETHER[name]


def test_every_recipe_and_method_that_chooses_parameters_is_held() -> None:
    # One that needs a stage before it is held by the recipe that has both.
    methods = plugins.members(plugins.METHODS).items()
    single = {name for name, method in methods if method.chooses_parameters and not method.stages}
    assert {*plugins.techniques(plugins.RECIPES), *single} <= {*recipes.names(), *TOGETHER}


def test_stages_that_measure_keep_their_folders() -> None:
    prompt, model = find_recipe("promot")(recipes.lab_plan(1))
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


@pytest.mark.parametrize("value", [{"a", "b"}, object(), len], ids=["set", "object", "function"])
def test_a_value_whose_text_changes_from_process_to_process_is_refused(value: object) -> None:
    """The bug: its text, in which the order of a set or an address stands, so that a run that goes on begins again in another folder."""
    with pytest.raises(ValueError, match=r"Copy\.added: a \w+ is no part of a configuration"):
        digest(Renamed("copy", added=value))  # pyright: ignore[reportArgumentType]
    assert configuration(Path("a")) == "a"


def test_a_stage_of_another_kind_has_another_folder() -> None:
    one = Train("model", methods=(Full(),), settings=TrainSettings(steps=1))
    assert digest(one) != digest(Train("model", methods=(PromptTuning(),), settings=TrainSettings(steps=1)))
