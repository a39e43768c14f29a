"""`--set stage.field=value`: one generic way to set any field of any stage or method, checked and never forgotten."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from holdfast.methods.base import Method, chooser
from holdfast.plugins import unknown
from holdfast.stages.curate import Curate
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training.settings import Settings

OWN = ("demonstrations", "sampling", "loss_on", "max_length", "truncation", "validation_limit")


@dataclass
class Fields:
    """What a recipe makes its stages from: the model, the target tasks, and what the user set (`{"prompt": {"steps": 200}}`).

    `joining` are the methods behind a plus sign (`promot+l2_sp`): they take part where the model is trained, not where a prompt is.
    """

    model: str
    tasks: tuple[TaskRef | Curate, ...]
    set: dict[str, dict[str, Any]] = field(default_factory=dict)
    seed: int = 0
    versions: tuple[str, ...] = ()
    trust_remote_code: bool = False
    joining: tuple[type[Method], ...] = ()
    date: str | None = None
    resolved: dict[str, dict[str, Any]] = field(default_factory=dict)
    pinned: list[str] = field(default_factory=list)

    def each(self, name: str, *kinds: type[Method], **own_defaults: Any) -> tuple[Train, ...]:
        """A training stage for each target task, all with the settings of `name`."""
        return tuple(self.train(name, *kinds, tasks=(task,), **own_defaults) for task in self.tasks)

    def train(
        self,
        name: str,
        *kinds: type[Method],
        tasks: tuple[TaskRef | Curate, ...] = (),
        prompts: Sequence[Train] = (),
        start: Train | None = None,
        pinned: Mapping[str, Any] = MappingProxyType({}),
        stages: Mapping[str, Stage] = MappingProxyType({}),
        **own_defaults: Any,
    ) -> Train:
        """A training stage with the settings of `name`: the methods' defaults, then the recipe's own, then what the user set.

        It trains on `tasks` (every target task, if none is named), behind the frozen prompts that the stages `prompts` trained (one
        for each task), from the weights that the stage `start` left (the model's own, without it). `pinned` are the settings that
        make the recipe what it is: nobody can set them to anything else. `stages` are those in the methods' own fields (`Method.stages`).
        """
        if any(kind.moves_the_model for kind in kinds):
            kinds += self.joining
        given = dict(self.set.get(name, {}))
        defaults = {k: v for kind in kinds for k, v in kind.defaults.items()} | own_defaults
        known = [f.name for f in fields(Settings)] + list(OWN) + [key for kind in kinds for key in settings_of(kind)]
        for key in given:
            if key not in known:
                raise unknown(f"field of stage {name!r}:", f"{name}.{key}", [f"{name}.{k}" for k in known])
        for key, value in pinned.items():
            if given.get(key, value) != value:
                raise ValueError(
                    f"{name}.{key}={given[key]!r}: is {value!r} in this recipe; leave it out, or use another recipe"
                )
        self.pinned += [f"{name}.{key}" for key in pinned]
        options = {"seed": self.seed, **defaults, **given, **pinned, **stages}
        methods = tuple(_make(name, kind, options) for kind in kinds)
        chooser(methods)
        settings = _make(name, Settings, options)
        own = {k: _check(name, k, options[k]) for k in OWN if k in options}
        shown = {f.name: getattr(settings, f.name) for f in fields(settings)}
        for method in methods:
            shown |= {key: getattr(method, key) for key in settings_of(type(method))}
        stage = Train(
            f"{name}-{tasks[0].file_label}" if tasks and len(self.tasks) > 1 else name,
            self.model,
            tasks or self.tasks,
            methods,
            settings,
            tuple(prompts),
            start,
            versions=self.versions,
            trust_remote_code=self.trust_remote_code,
            date=self.date,
            **own,
        )
        self.resolved[name] = shown | {k: getattr(stage, k) for k in OWN}
        return stage

    def changed(self, stage: Train, **settings: Any) -> Train:
        """A stage of the plan with other settings, which the configuration then shows."""
        self.resolved[stage.name.removesuffix(f"-{stage.tasks[0].file_label}")] |= settings
        return replace(stage, settings=replace(stage.settings, **settings))

    def settings(self, name: str) -> dict[str, Any]:
        """Return what the user set of a stage."""
        return dict(self.set.get(name, {}))

    def check_all_used(self) -> None:
        """Refuse settings for a stage that the recipe does not have."""
        for name in self.set:
            if name not in self.resolved:
                raise unknown("stage", name, list(self.resolved))


def settings_of(method: type[Method]) -> list[str]:
    """Return the fields of a method that a user may set: all but those that hold a stage."""
    return [f.name for f in fields(method) if f.name not in method.stages]  # pyright: ignore[reportArgumentType]


def _make(stage: str, kind: type, options: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(kind)}
    try:
        return kind(**{k: v for k, v in options.items() if k in known})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise ValueError(f"{stage}.{place}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _check(stage: str, key: str, value: Any) -> Any:
    kind: Any = next(f.type for f in fields(Train) if f.name == key)
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{stage}.{key}={value!r}: {error.errors()[0]['msg'].lower()}") from None


def parse(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """`["prompt.steps=200"]` -> `{"prompt": {"steps": 200}}`; a value is a Python literal where it can be, else text."""
    found: dict[str, dict[str, Any]] = {}
    for text in assignments:
        place, equals, value = text.partition("=")
        stage, dot, key = place.strip().partition(".")
        if not equals or not dot:
            raise ValueError(f"--set {text}: write stage.field=value, such as prompt.steps=200")
        found.setdefault(stage, {})[key] = literal(value)
    return found


def literal(text: str) -> Any:
    """A value as the command line writes it: a Python or YAML-like literal where it is one, else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def nested(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return fields of stages by stage: of `{"prompt.steps": 200}` or `{"prompt": {"steps": 200}}` (`prompt_` does as well).

    Raises:
        ValueError: a field names no stage.
    """
    stages: dict[str, dict[str, Any]] = {}
    for key, value in fields.items():
        stage, dot, name = key.partition(".")
        if dot:
            stages.setdefault(stage, {})[name] = value
        elif isinstance(value, Mapping):
            stages.setdefault(stage.rstrip("_"), {}).update(value)
        else:
            raise ValueError(
                f"{key}={value!r}: name the stage too, such as model.{key} (in Python, **{{'model.{key}': {value!r}}})"
            )
    return stages
