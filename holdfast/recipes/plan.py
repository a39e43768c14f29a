"""`--set stage.field=value`: one generic way to set any field of any stage or method, checked and never forgotten."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from holdfast.curation.base import Curation
from holdfast.methods.base import Method
from holdfast.methods.combinations import check_combination, loss_owner
from holdfast.models.precision import FP32, Loading
from holdfast.plugins import unknown
from holdfast.stages.curate import Curate
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train
from holdfast.tasks.sources import expand
from holdfast.tasks.task_set import TaskRef
from holdfast.training.settings import TrainSettings

ROW_SETTINGS = (
    "demonstrations",
    "sampling",
    "loss_on",
    "max_length",
    "truncation",
    "validation_limit",
    "loss_per",
    "train_limit",
    "train_share",
)
"""Fields of `Train` that say how rows are made, and stand in one section with the settings of the loop."""


@dataclass
class RecipePlan:
    """The material of a recipe: the model, the target tasks, and what the user set (`{"prompt": {"steps": 200}}`).

    `joining` are the methods behind a plus sign (`promot+l2_sp`): they take part where the model is trained, not where a prompt is.
    `tuner`, where one is given (`promot+corda`), chooses the parameters there in the place of the recipe's own choice. `versions` are the
    fingerprints of the model (first) and of the targets; `general` are the tasks that should be kept.

    What the recipe asks of the plan is noted for `config.yaml` and for checks: `resolved` has the values of each section's fields,
    `pinned` the fields that the recipe fixes, `sourced` the tasks that the user named for a section.
    """

    model: str
    tasks: tuple[TaskRef | Curate, ...]
    set: dict[str, dict[str, Any]] = field(default_factory=dict)
    seed: int = 0
    versions: tuple[str, ...] = ()
    trust_remote_code: bool = False
    joining: tuple[type[Method], ...] = ()
    tuner: type[Method] | None = None
    date: str | None = None
    loading: Loading = FP32
    general: tuple[TaskRef, ...] = ()
    resolved: dict[str, dict[str, Any]] = field(default_factory=dict)
    pinned: list[str] = field(default_factory=list)
    sourced: dict[str, str] = field(default_factory=dict)

    def each(self, name: str, *methods: type[Method], **recipe_defaults: Any) -> tuple[Train, ...]:
        """Return a training stage for each target task, all with the settings of `name`."""
        return tuple(self.train(name, *methods, tasks=(task,), **recipe_defaults) for task in self.tasks)

    def train(
        self,
        name: str,
        *methods: type[Method],
        tasks: tuple[TaskRef | Curate, ...] = (),
        prompts: Sequence[Train] = (),
        start: Train | None = None,
        pinned: Mapping[str, Any] = MappingProxyType({}),
        stages: Mapping[str, Stage] = MappingProxyType({}),
        **recipe_defaults: Any,
    ) -> Train:
        """Return a training stage with the settings of `name`: the methods' defaults, then the recipe's, then what the user set.

        It trains on `tasks` (every target task, if none is named), behind the frozen prompts that the stages `prompts` trained (one
        for each task), from the weights that the stage `start` left (the model's own, without it). `pinned` are the settings that
        make the recipe what it is: nobody can set them to anything else. `stages` are those in the methods' own fields (`Method.stages`).

        Raises:
            ValueError: there is no such field, a value does not fit, or the methods make no sense together.
        """
        methods = self._joined(methods)
        user_settings = self.settings(name)
        defaults: dict[str, Any] = {}
        known = [f.name for f in fields(TrainSettings)] + list(ROW_SETTINGS) + ["tasks"] * (name in self.sourced)
        for method in methods:
            defaults |= method.defaults
            known += settings_of(method)
        defaults |= recipe_defaults
        for key in user_settings:
            if key not in known:
                raise unknown(f"field of stage {name!r}:", f"{name}.{key}", [f"{name}.{k}" for k in known])
        for key, value in pinned.items():
            # The same value is no contradiction: `repeat` passes all that config.yaml shows, pinned fields too.
            if user_settings.get(key, value) != value:
                raise ValueError(
                    f"{name}.{key}={user_settings[key]!r}: is {value!r} in this recipe; leave it out, or use another recipe"
                )
        self.pinned += [f"{name}.{key}" for key in pinned]
        options = {"seed": self.seed, **defaults, **user_settings, **pinned, **stages}
        configured = tuple(_make(name, method, options) for method in methods)
        check_combination(configured)
        contents = [*chain.from_iterable(method.versions() for method in configured)]
        settings = _make(name, TrainSettings, options)
        row_settings = {key: _check(name, key, options[key]) for key in ROW_SETTINGS if key in options}
        if row_settings.get("loss_per") == "target" and (owner := loss_owner(configured)):
            raise ValueError(
                f"{name}.loss_per=target: {type(owner).__name__} replaces the token loss whose labels it would weigh; leave it out"
            )
        shown = {f.name: getattr(settings, f.name) for f in fields(settings)}
        for method in configured:
            shown |= {key: getattr(method, key) for key in settings_of(type(method))}
        before, earlier = 0, start
        while earlier is not None:
            before, earlier = before + 1, earlier.start
        kept = self.general if settings.keep_floor is not None else ()
        others = [task for task in tasks if isinstance(task, TaskRef) and task not in self.tasks]
        stage = Train(
            f"{name}-{tasks[0].file_label}" if tasks and len(self.tasks) > 1 else name,
            self.model,
            tasks or self.tasks,
            tuple(method.in_sequence(before) for method in configured),
            settings,
            tuple(prompts),
            start,
            versions=(*self.versions, *(ref.version for ref in (*kept, *others)), *contents),
            kept=kept,
            trust_remote_code=self.trust_remote_code,
            date=self.date,
            loading=self.loading,
            **row_settings,
        )
        self.resolved[name] = shown | {key: getattr(stage, key) for key in ROW_SETTINGS}
        if name in self.sourced:
            self.resolved[name]["tasks"] = self.sourced[name]
        return stage

    def curated(self, technique: Curation, start: Train | None = None) -> tuple[Curate, ...]:
        """Return a stage for each target that curates its training examples, by the model that `start` left where one is needed."""
        # A technique that generates nothing does not depend on the model: its data is shared by runs of other models.
        shared: dict[str, Any] = {"technique": technique, "general": self.general, "seed": self.seed}
        if technique.needs_model:
            shared |= {"model": self.model, "model_version": self.versions[0] if self.versions else "", "start": start}
            shared |= {"trust_remote_code": self.trust_remote_code, "date": self.date, "loading": self.loading}
        if technique.tasks():
            shared["others"] = tuple(TaskRef.read(argument, "general") for argument in technique.tasks())
        return tuple(Curate(f"curate-{ref.file_label}", ref, **shared) for ref in self.targets)

    @property
    def targets(self) -> tuple[TaskRef, ...]:
        """Return the target tasks as they are, whatever was curated."""
        return tuple(task.task if isinstance(task, Curate) else task for task in self.tasks)

    def _joined(self, methods: tuple[type[Method], ...]) -> tuple[type[Method], ...]:
        """Return the methods of a stage with those that join them, and with the tuner in the place of that which chooses parameters."""
        # A penalty on weights has nothing to hold where a prompt alone is trained.
        if not any(method.moves_the_model for method in methods):
            return methods
        if self.tuner is not None:
            for method in methods:
                if method.stages:  # It stands on what another phase of the recipe found for it.
                    raise ValueError(
                        f"methods: {self.tuner.__name__} cannot stand in for {method.__name__}, which this recipe is about; leave it out"
                    )
            methods = (self.tuner, *(method for method in methods if not method.chooses_parameters))
        return methods + self.joining

    def changed(self, stage: Train, **settings: Any) -> Train:
        """Return a stage of the plan with other settings, which the configuration then shows."""
        # Stages of several targets are named by target too; they share one section of the configuration.
        self.resolved[stage.name.removesuffix(f"-{stage.tasks[0].file_label}")] |= settings
        return replace(stage, settings=replace(stage.settings, **settings))

    def sources(self, name: str) -> tuple[TaskRef | Curate, ...]:
        """Return the tasks that the user named for a stage (`--set NAME.tasks=a,b`), to be trained on there; else the targets.

        Raises:
            ValueError: one cannot be read, or has no train split.
        """
        self.sourced[name] = arguments = str(self.set.get(name, {}).get("tasks", ""))
        refs: list[TaskRef] = []
        for argument in filter(None, (part.strip() for part in arguments.split(","))):
            refs += map(TaskRef.read, expand(argument))
        for ref in refs:
            if not ref.task.splits.get("train"):
                raise ValueError(
                    f"{name}.tasks: {ref.argument} has no train split to train on; add train.jsonl, or leave it out"
                )
        return tuple(refs) or self.tasks

    def settings(self, name: str) -> dict[str, Any]:
        """Return what the user set of a stage."""
        return dict(self.set.get(name, {}))

    def check_all_used(self) -> None:
        """Refuse settings for a stage that the recipe does not have."""
        # Only once the recipe has run: it is the recipe that says which stages there are.
        for name in self.set:
            if name not in self.resolved:
                raise unknown("stage", name, list(self.resolved))


def settings_of(method: type[Method]) -> list[str]:
    """Return the fields of a method that a user may set: all but those that hold a stage."""
    return [f.name for f in fields(method) if f.name not in method.stages]  # pyright: ignore[reportArgumentType]


def _make(stage: str, dataclass_type: type, options: Mapping[str, Any]) -> Any:
    # Methods and settings of a stage share one section, so each takes the fields that it has.
    known = {f.name for f in fields(dataclass_type)}
    try:
        return dataclass_type(**{k: v for k, v in options.items() if k in known})
    except ValidationError as error:
        raise _one_line(stage, error) from None


def _check(stage: str, key: str, value: Any) -> Any:
    # `Train` is a plain dataclass, which checks no types: stages are built from finished parts everywhere else.
    annotation: Any = next(f.type for f in fields(Train) if f.name == key)
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise _one_line(stage, error, key) from None


def _one_line(stage: str, error: ValidationError, key: str = "") -> ValueError:
    """Return the first of pydantic's errors as `stage.key=value: what is wrong`; of a whole technique, without key and value."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    # An error of the whole technique, and not of a field, has no location.
    if not (key := key or ".".join(str(part) for part in first["loc"])):
        return ValueError(f"{stage}: {message}")
    return ValueError(f"{stage}.{key}={first['input']!r}: {message[0].lower()}{message[1:]}")
