"""`holdfast methods NAME` and the early check of `--set` say what the run itself would, without importing a technique."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from holdfast import plugins
from holdfast.plugins import CURATIONS, DECODINGS, EDITS, METHODS
from holdfast.recipes import describe
from holdfast.recipes.assignments import literal
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan, settings_of
from holdfast.recipes.techniques import Techniques
from holdfast.tasks.task_set import TaskRef
from tests.golden import recipes

ROOT = Path(__file__).parents[2]
FAMILIES = {"curate": CURATIONS, "edit": EDITS, "decode": DECODINGS}


@pytest.mark.parametrize("name", recipes.names())
def test_stages_fields_and_defaults_are_those_of_the_run(name: str) -> None:
    plan = RecipePlan("model", (TaskRef("task"),))
    find_recipe(name)(plan)
    described = {stage.name: {s.name: s for s in (*stage.settings, *stage.loop)} for stage in describe.stages(name)}
    assert list(described) == list(plan.resolved)
    for stage, settings in described.items():
        values = {key: literal(s.default) for key, s in settings.items()}
        assert values == plan.resolved[stage]
        assert {f"{stage}.{key}" for key, s in settings.items() if s.fixed} == {
            key for key in plan.pinned if key.startswith(f"{stage}.")
        }


def test_every_field_says_its_meaning() -> None:
    """The run's own settings, and the fields of every technique that is built in."""
    silent = [f"{s.name} of a stage" for s in describe.stages("full")[0].loop if not s.meaning]
    for family in (METHODS, *FAMILIES.values()):
        for technique in plugins.techniques(family).values():
            silent += [f"{technique.name}.{s.name}" for s in describe.settings_of(technique) if not s.meaning]
    assert not silent, "give them Field(..., description=...): " + ", ".join(silent)


def test_a_number_that_is_far_from_usual_is_named_with_what_is_usual_for_its_method() -> None:
    values = {"prompt": {"learning_rate": 3, "length": 5000}, "model": {"learning_rate": 3, "steps": 3, "warmup": 1.0}}
    assert describe.unusual(Techniques("promot"), values) == [
        "prompt.length=5000: far above what is usual for prompt_tuning, 1 to 500 (its default is 50)",
        "model.learning_rate=3: far above what is usual for full, 1e-06 to 0.01 (its default is 0.0001)",
        "model.warmup=1: far above what is usual for full, 0 to 0.5 (its default is 0.05)",
    ]
    assert describe.unusual(Techniques("full"), {"model": {"learning_rate": 1e-9}})[0].startswith(
        "model.learning_rate=1e-09: far below"
    )


def test_what_is_usual_holds_the_default_of_every_field_and_a_search_is_left_alone() -> None:
    """The bug: a warning about what a recipe itself sets."""
    checked = 0
    for name in recipes.names():
        for stage in describe.stages(name):
            for setting in (*stage.settings, *stage.loop):
                if setting.range and not isinstance(value := literal(setting.default), str | None):
                    assert setting.range[0] <= value <= setting.range[1], f"{name} {stage.name}.{setting.name}"
                    checked += 1
    assert checked > 100
    assert not describe.unusual(Techniques("full"), {"model": {"learning_rate": "sweep:1e-3..3", "dropout": None}})
    assert not describe.unusual(Techniques("path/to/file.py:Mine"), {"model": {"learning_rate": 3}})


def test_fields_of_a_method_are_those_that_set_reaches() -> None:
    for name, method in plugins.members(METHODS).items():
        technique = plugins.techniques(METHODS)[name]
        assert [s.name for s in describe.settings_of(technique)] == settings_of(method)
    for family in FAMILIES.values():
        for name, member in plugins.members(family).items():
            assert [s.name for s in describe.settings_of(plugins.techniques(family)[name])] == [
                f.name for f in fields(member)
            ]


def test_set_takes_every_field_that_the_page_of_methods_lists() -> None:
    """The bug: fields that a recipe fills with one of its stages stood there as `dense=None`, and `--set` refused them."""
    rows = [
        line.split(" | ") for line in (ROOT / "docs" / "methods.md").read_text().splitlines() if line.startswith("| `")
    ]
    listed = {row[0].strip("| `+"): re.findall(r"`([a-z]\w*)=", row[2]) for row in rows}
    accepted = {name: settings_of(method) for name, method in plugins.members(METHODS).items()}
    for family in FAMILIES.values():
        accepted |= {name: [f.name for f in fields(member)] for name, member in plugins.members(family).items()}
    refused = {(name, key) for name, keys in listed.items() for key in keys if key not in accepted.get(name, ())}
    assert not refused
    assert sum(map(len, listed.values())) > 150, "the page is not read"


@pytest.mark.parametrize(
    ("techniques", "settings", "message"),
    [
        ({"method": "promto"}, {}, "unknown method 'promto'; did you mean 'promot'"),
        ({"method": "full+l2sp"}, {}, "'full\\+l2sp'; did you mean 'full\\+l2_sp'"),
        ({"method": "promot"}, {"prompt": {"lenght": 3}}, "stage 'prompt': 'prompt.lenght'; did you mean 'prompt.length'"),
        ({"method": "promot"}, {"promt": {"length": 3}}, "unknown stage 'promt'; did you mean 'prompt'"),
        ({"method": "full", "edit": "linse"}, {}, "unknown edit 'linse'; did you mean 'lines'"),
        ({"method": "full", "edit": "lines"}, {"edit": {"alhpa": 1}}, "edit 'lines': 'edit.alhpa'; did you mean 'edit.alpha'"),
        ({"method": "full"}, {"edit": {"alpha": 1}}, "unknown stage 'edit'"),
        ({"method": "full", "edit": "lines"}, {"sweep": {"points": 3}}, "unknown stage 'sweep'"),
        ({"method": "full"}, {"model": {"steps": "sweep:1,2"}, "sweep": {"pionts": 3}}, "'sweep.pionts'; did you mean 'sweep.points'"),
    ],
)  # fmt: skip
def test_a_misspelt_name_is_refused_with_the_nearest(
    techniques: dict[str, str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        describe.check_names(Techniques(**techniques), settings)


def test_what_exists_passes() -> None:
    sweep = {"edit": {"alpha": "sweep"}, "sweep": {"points": 3}, "model": {"steps": 1, "strength": 0.1}}
    describe.check_names(Techniques("full+l2_sp", edit="lines"), sweep)
    # A user's own file may have any field and stage: the run executes it and says so then.
    describe.check_names(Techniques("my.py:Mine"), {"first": {"anything": 1}})
