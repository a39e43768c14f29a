"""Compose a run of a technique for each moment: curate the data, train by a recipe, edit the weights, decode."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from holdfast.curation.base import Curation
from holdfast.decoding.base import Decoding
from holdfast.edits.base import Edit
from holdfast.plugins import CURATIONS, DECODINGS, EDITS, METHODS, configure, find
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.sweep import Sweep, Values, find_sweep
from holdfast.recipes.techniques import Techniques
from holdfast.stages.curate import Curate
from holdfast.stages.edit import EditModel
from holdfast.stages.measure import final_weights, last_trained
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef

PROBED = "tuned"  # the field of a probe that holds the stage which left the weights to look into


@dataclass(frozen=True)
class Pipeline:
    """The stages of a run in their order, and how the tuned model is decoded. Nothing has run.

    `probe` trains a prompt that is measured on the general tasks alone. With a `search` all are those of its first values, until the search
    has chosen.
    """

    stages: tuple[Stage, ...]
    decoding: Decoding | None = None
    search: "Search | None" = None
    probe: Train | None = None

    def with_curve(self, plan: RecipePlan, points: int) -> "Pipeline":
        """Return the pipeline with so many points kept along its last training stage, where the model itself is trained there."""
        last = last_trained(self.stages)
        # While a prompt alone is trained the model keeps all it had: there is no trade-off to draw.
        if not points or not last.moves_the_model:
            return self
        changed = plan.changed(last, curve=points)
        # Stages name their dependencies by value, so an edit of the last stage has to point to the changed one.
        stages = tuple(_after(stage, last, changed) for stage in self.stages)
        probe = None if self.probe is None else _probing(self.probe, final_weights(stages))
        return replace(self, stages=stages, probe=probe)


@dataclass(frozen=True)
class Search:
    """A run some of whose fields are searched: `pipeline` makes its stages for given values of them."""

    sweep: Sweep
    techniques: Techniques
    plan: RecipePlan
    others: tuple[TaskRef, ...]

    def pipeline(self, values: Values, curve: int = 0) -> tuple[Pipeline, RecipePlan]:
        """Return the pipeline at these values, with so many points along it, and its plan, which has all settings.

        Raises:
            ValueError: the values do not fit.
        """
        plan = replace(self.plan, set=self.sweep.settings(values), resolved={}, pinned=[])
        pipeline = _composed(self.techniques, plan, self.others)
        return pipeline.with_curve(plan, curve), plan

    @cached_property
    def defaults(self) -> Values | None:
        """Return the values that the dials have where nobody sets them; None where one of these is not searched."""
        resolved = self.pipeline({})[1].resolved
        values: dict[str, Any] = {}
        for dial in self.sweep.dials:
            stage, _, key = dial.name.partition(".")
            values[dial.name] = resolved[stage][key]
        return values if all(values[dial.name] in dial for dial in self.sweep.dials) else None

    @cached_property
    def candidates(self) -> tuple[Values, ...]:
        """Return the values of the grid that fit.

        Raises:
            ValueError: fewer than two do.
        """
        fitting, wrong = [], None
        for values in self.sweep.grid():
            # A technique may refuse an end of the scale; the values that it takes are swept.
            try:
                self.pipeline(values)
                fitting.append(values)
            except ValueError as error:
                wrong = error
        if len(fitting) < 2:
            # Of a field that does not exist, or a technique that does not fit, the reason is the same at every value.
            raise ValueError(f"{self.sweep.name}: {wrong}") from None
        return tuple(fitting)


def compose(techniques: Techniques, plan: RecipePlan, others: Sequence[TaskRef] = ()) -> Pipeline:
    """Return the pipeline of a run; `plan` is asked for the settings of every stage, and `others` are the tasks beside the targets.

    Raises:
        ValueError: there is no such technique or setting, or the techniques do not fit together.
    """
    sweep = find_sweep(plan.set)
    if sweep is None:
        return _composed(techniques, plan, others)
    search = Search(sweep, techniques, replace(plan), tuple(others))
    pipeline, first = search.pipeline(search.candidates[0])
    plan.tasks, plan.resolved, plan.pinned = first.tasks, sweep.shown(first.resolved), first.pinned
    return replace(pipeline, search=search)


def _composed(techniques: Techniques, plan: RecipePlan, others: Sequence[TaskRef]) -> Pipeline:
    general = tuple(ref for ref in others if ref.role == "general")
    plan.general = general
    if techniques.curate is not None:
        # Before the recipe runs, which then trains on the curated tasks as on any others.
        plan.tasks = _curated(techniques.curate, plan)
    stages = find_recipe(techniques.method)(plan)
    for stage in stages:
        if isinstance(stage, Train) and stage.settings.keep_floor is not None and not general:
            floor = f"{stage.name.partition('-')[0]}.keep_floor={stage.settings.keep_floor}"
            raise ValueError(f"{floor}: there is no general task to keep; name some with --general")
    if techniques.edit is not None:
        stages.append(_edited(techniques.edit, plan, stages))
    decoding = None
    if techniques.decode is not None:
        decoding = configure(DECODINGS, techniques.decode, plan.settings("decode"), "decode")
        plan.resolved["decode"] = _shown(decoding)
    probe = None if techniques.probe is None else _probe(techniques.probe, plan, stages, general)
    plan.check_all_used()
    return Pipeline(tuple(stages), decoding, probe=probe)


def _curated(name: str, plan: RecipePlan) -> tuple[Curate, ...]:
    technique: Curation = configure(CURATIONS, name, plan.settings("curate"), "curate")
    plan.resolved["curate"] = _shown(technique)
    return plan.curated(technique)


def _edited(name: str, plan: RecipePlan, stages: Sequence[Stage]) -> EditModel:
    last = last_trained(stages)
    if "model" not in last.leaves:
        why = "leave model.merge on" if "adapter" in last.leaves else "use a method that trains the model"
        raise ValueError(f"edit={name}: the last stage leaves no whole model whose weights could be edited; {why}")
    edit: Edit = configure(EDITS, name, plan.settings("edit"), "edit")
    if edit.fewest > 1:
        raise ValueError(
            f"edit={name}: takes {edit.fewest} models after the base, and a run makes one; use `holdfast edit` after it"
        )
    plan.resolved["edit"] = _shown(edit)
    return EditModel("edit", plan.model, last, edit, plan.versions[0] if plan.versions else "")


def _probe(name: str, plan: RecipePlan, stages: Sequence[Stage], general: tuple[TaskRef, ...]) -> Train:
    method = find(name, METHODS, label="probe")
    # A prompt in front of tuned weights, which a run has and a recipe has not.
    if PROBED not in method.stages or method.moves_the_model:
        raise ValueError(f"probe={name}: is no probe; there is eraser")
    if not general:
        raise ValueError(f"probe={name}: there is no general task on which something could be hidden; add --general")
    last, final = last_trained(stages), final_weights(stages)
    if not last.moves_the_model:
        raise ValueError(f"probe={name}: the run leaves the model as it was, so that nothing is hidden in it")
    if "model" not in last.leaves:
        raise ValueError(f"probe={name}: the last stage leaves no whole model to look into; leave model.merge on")
    return plan.train("probe", method, stages={PROBED: final}, pinned={"validation_limit": 0})


def _probing(probe: Train, tuned: Stage) -> Train:
    """Return the probe of other weights."""
    return replace(probe, methods=tuple(replace(method, **{PROBED: tuned}) for method in probe.methods))  # pyright: ignore[reportCallIssue, reportArgumentType]


def _after(stage: Stage, last: Train, changed: Train) -> Stage:
    """Return a stage of the pipeline where its training stage was exchanged."""
    if stage is last:
        return changed
    return replace(stage, tuned=changed) if isinstance(stage, EditModel) and stage.tuned is last else stage


def _shown(technique: Any) -> dict[str, Any]:
    return {f.name: getattr(technique, f.name) for f in fields(technique)}
