"""Compose a run of a technique for each moment: curate the data, train by a recipe, edit the weights, decode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from holdfast.curation.base import Curation
from holdfast.decoding.base import Decoding
from holdfast.edits.base import Edit
from holdfast.plugins import CURATIONS, DECODINGS, EDITS, configure
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.curate import Curate
from holdfast.stages.edit_model import EditModel
from holdfast.stages.measure import last_trained, prompt_owners
from holdfast.stages.stage import Stage
from holdfast.stages.sweep_edit import SweepEdit
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef

SWEEP = "sweep"
SWEPT = {"weight": 2.0, "floor": None, "points": 11, "limit": 100}  # the settings of a sweep, beside those of the edit


@dataclass(frozen=True)
class Techniques:
    """The names of a run's techniques, as the options of `tune` and the arms of a study give them."""

    method: str = "promot"
    curate: str | None = None
    edit: str | None = None
    decode: str | None = None

    @property
    def label(self) -> str:
        """Return all of them in one word: `full|edit=lines`."""
        others = {"curate": self.curate, "edit": self.edit, "decode": self.decode}
        return "|".join([self.method, *(f"{moment}={name}" for moment, name in others.items() if name)])


@dataclass(frozen=True)
class Pipeline:
    """The stages of a run in their order, and how the tuned model is decoded. Nothing has run."""

    stages: tuple[Stage, ...]
    decoding: Decoding | None = None

    def with_curve(self, plan: RecipePlan, points: int) -> "Pipeline":
        """Return the pipeline with so many points kept along its last training stage, where the model itself is trained there."""
        last = last_trained(self.stages)
        # While a prompt alone is trained the model keeps all it had: there is no trade-off to draw.
        if not points or not last.moves_the_model:
            return self
        changed = plan.changed(last, curve=points)
        # Stages name their dependencies by value, so an edit of the last stage has to point to the changed one.
        stages = (_after(stage, last, changed) for stage in self.stages)
        return replace(self, stages=tuple(stages))


def compose(techniques: Techniques, plan: RecipePlan, others: Sequence[TaskRef] = ()) -> Pipeline:
    """Return the pipeline of a run; `plan` is asked for the settings of every stage, and `others` are the tasks beside the targets.

    Raises:
        ValueError: there is no such technique or setting, or the techniques do not fit together.
    """
    general = tuple(ref for ref in others if ref.role == "general")
    if techniques.curate is not None:
        # Before the recipe runs, which then trains on the curated tasks as on any others.
        plan.tasks = _curated(techniques.curate, plan, general)
    stages = find_recipe(techniques.method)(plan)
    if techniques.edit is not None:
        stages.append(_edited(techniques.edit, plan, stages, general))
    decoding = None
    if techniques.decode is not None:
        decoding = configure(DECODINGS, techniques.decode, plan.settings("decode"), "decode")
        plan.resolved["decode"] = _shown(decoding)
    plan.check_all_used()
    return Pipeline(tuple(stages), decoding)


def _curated(name: str, plan: RecipePlan, general: tuple[TaskRef, ...]) -> tuple[Curate, ...]:
    technique: Curation = configure(CURATIONS, name, plan.settings("curate"), "curate")
    plan.resolved["curate"] = _shown(technique)
    # A technique that generates nothing does not depend on the model: its data is shared by runs of other models.
    shared: dict[str, Any] = {"technique": technique, "general": general, "seed": plan.seed}
    if technique.needs_model:
        shared |= {"model": plan.model, "model_version": plan.versions[0] if plan.versions else ""}
        shared |= {"trust_remote_code": plan.trust_remote_code, "date": plan.date}
    return tuple(Curate(f"curate-{ref.file_label}", ref, **shared) for ref in plan.tasks if isinstance(ref, TaskRef))


def _edited(name: str, plan: RecipePlan, stages: Sequence[Stage], general: tuple[TaskRef, ...]) -> EditModel:
    last = last_trained(stages)
    if "model" not in last.leaves:
        why = "leave model.merge on" if "adapter" in last.leaves else "use a method that trains the model"
        raise ValueError(f"edit={name}: the last stage leaves no whole model whose weights could be edited; {why}")
    settings = plan.settings("edit")
    dials = [key for key, value in settings.items() if value == SWEEP]
    if len(dials) > 1:
        raise ValueError(f"edit: {' and '.join(dials)} are both swept; sweep one of them")
    # `SWEPT` are settings of the sweep; without one they reach the edit, which refuses a field that it does not have.
    fixed = {key: value for key, value in settings.items() if value != SWEEP and (not dials or key not in SWEPT)}
    edit: Edit = configure(EDITS, name, fixed, "edit")
    if edit.fewest > 1:
        raise ValueError(
            f"edit={name}: takes {edit.fewest} models after the base, and a run makes one; use `holdfast edit` after it"
        )
    version = plan.versions[0] if plan.versions else ""
    if not dials:
        plan.resolved["edit"] = _shown(edit)
        return EditModel("edit", plan.model, last, edit, version)
    rule = SWEPT | {key: value for key, value in settings.items() if key in SWEPT}
    owners = prompt_owners(stages)
    # A sweep asks all targets behind one prompt (`SweepEdit.prompt`).
    if len(owners) > 1:
        raise ValueError(f"edit.{dials[0]}=sweep: several targets have a prompt each; give edit.{dials[0]} a value")
    grid = _grid(name, fixed, dials[0], int(rule["points"]))
    targets = tuple(task.task if isinstance(task, Curate) else task for task in plan.tasks)
    plan.resolved["edit"] = _shown(edit) | {dials[0]: SWEEP} | rule
    return SweepEdit(
        "edit", plan.model, last, edit, version, dials[0], grid, (*targets, *general), owners[0][0] if owners else None,
        float(rule["weight"]), rule["floor"], int(rule["limit"]), plan.trust_remote_code, plan.date,
    )  # fmt: skip


def _grid(name: str, fixed: Mapping[str, Any], dial: str, points: int) -> tuple[float, ...]:
    """Return the values of the dial, from 1 down to 0, that the edit takes.

    Raises:
        ValueError: fewer than two points are wanted, or the edit takes fewer than two values.
    """
    if points < 2:
        raise ValueError(f"edit.points={points}: a sweep needs two values at least")
    values, wrong = [], ""
    for number in range(points):
        value = round(1 - number / (points - 1), 6)
        # An edit may refuse an end of the scale; the values that it takes are swept.
        try:
            configure(EDITS, name, {**fixed, dial: value}, "edit")
            values.append(value)
        except ValueError as error:
            wrong = str(error)
    if len(values) < 2:
        raise ValueError(f"edit.{dial}=sweep: cannot be swept from 0 to 1 ({wrong})")
    return tuple(values)


def _after(stage: Stage, last: Train, changed: Train) -> Stage:
    """Return a stage of the pipeline where its training stage was exchanged."""
    if stage is last:
        return changed
    return replace(stage, tuned=changed) if isinstance(stage, EditModel) and stage.tuned is last else stage


def _shown(technique: Any) -> dict[str, Any]:
    return {f.name: getattr(technique, f.name) for f in fields(technique)}
