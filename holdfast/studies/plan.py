"""The plan of a study: arms (a method with settings) x targets x seeds, from options or from a YAML file."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from holdfast.models.precision import Device, Dtype
from holdfast.plugins import refuse_code, unknown
from holdfast.recipes.assignments import literal, nested
from holdfast.recipes.pipeline import compose
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.techniques import Techniques
from holdfast.tasks import sources
from holdfast.tasks.error_list import short_repr
from holdfast.tasks.task import SHOTS
from holdfast.tasks.task_set import TaskRef
from holdfast.tasks.yaml_files import read_yaml

Settings = dict[str, Any]
MOST_ARMS = 1000  # of one entry of `arms`
MOMENTS = ("curate", "edit", "decode")  # beside the method


@dataclass(frozen=True)
class Arm:
    """The techniques of an arm with their own settings (`{"model.learning_rate": 1e-3}`), and the name that the study gives it."""

    name: str
    method: str
    settings: Settings = field(default_factory=dict)
    curate: str | None = None
    edit: str | None = None
    decode: str | None = None

    @property
    def techniques(self) -> Techniques:
        """The technique of each moment."""
        return Techniques(self.method, self.curate, self.edit, self.decode)


@checked
class Plan:
    """The fields of a study, checked when it is made.

    `arms` maps names to settings; a name is the method itself, or the settings hold `method`, and also `curate`, `edit` and `decode`,
    where the arm has such techniques; a setting that is a list makes one arm for each of its values. `set` holds settings for every arm
    that has them; an arm's own go before. The first arm is what the others are compared with. Tasks joined by ` + ` are one target of
    several tasks. `general` are the tasks to keep; None: those that suit the model, ["none"]: nothing. `match` is the target score, in
    points, at which retention is compared; None: 90 % of the way from the base to the best arm. `limit` is items of each task, `curve`
    points along each run. `date` is what chat templates that write today's date write; None: that of the day on which the study began.
    `dtype`, `device` and `demonstrations` are as in `tune`. Without `keep_weights` the models of the runs are removed once all arms of a
    target and seed are finished; scores, answers and pages stay.
    """

    model: str
    arms: dict[str, Settings | None]
    targets: list[str]
    general: list[str] | None = None
    seeds: int = Field(default=3, ge=1)
    shots: tuple[int, ...] = SHOTS
    limit: int | None = Field(default=None, ge=1)
    curve: int = Field(default=0, ge=0)
    match: float | None = None
    analyses: list[str] = Field(default_factory=list)
    set: Settings = Field(default_factory=dict)
    dtype: Dtype = "auto"
    device: Device | Annotated[str, Field(pattern=r"\.json$")] = "auto"
    demonstrations: str = "first"
    keep_weights: bool = True
    # YAML reads 2026-01-31 as a date; templates and the hash of a run want its text.
    date: Annotated[str | None, BeforeValidator(lambda date: date if date is None else str(date))] = None

    def resolved(self) -> list[Arm]:
        """Return every arm with all of its settings.

        Raises:
            ValueError: there is no such method or field, two arms are alike, or a setting of `set` fits no arm.
        """
        arms: list[Arm] = []
        for name, settings in self.arms.items():
            arms += _arms(name, settings or {})
        taken: set[str] = set()
        complete = []
        for arm in arms:
            fields = RecipePlan("", (TaskRef(""),), nested(arm.settings))
            # The recipe itself is asked which fields it has, so that a setting is refused here and not an hour into the study.
            compose(arm.techniques, fields)
            known: set[str] = set()
            for stage, values in fields.resolved.items():
                known |= {f"{stage}.{key}" for key in values}
            known -= {*fields.pinned}
            # `model.config.r` is an entry of the field `model.config`.
            shared = {key: value for key, value in self.set.items() if ".".join(key.split(".")[:2]) in known}
            taken |= shared.keys()
            complete.append(
                replace(arm, settings={key: literal_of(v) for key, v in {**shared, **arm.settings}.items()})
            )
        if missing := sorted(self.set.keys() - taken):
            raise unknown("setting of any arm:", missing[0], sorted(set().union(*(arm.settings for arm in complete))))
        names = [arm.name for arm in complete]
        # The name is part of a run's folder: two arms of one name would take each other's results for their own.
        if len(set(names)) < len(names):
            raise ValueError(f"two arms are called {max(names, key=names.count)}; give each a name of its own")
        return complete

    def check(self) -> None:
        """Refuse, before anything runs, arms and tasks that do not exist."""
        self.resolved()
        targets = list(itertools.chain.from_iterable(map(tasks_of, self.targets)))
        general = [name for name in self.general or () if name != sources.NONE]
        for name in (*targets, *general):
            sources.load_tasks(name)
        if both := [task for task in targets if task in general]:
            raise ValueError(f"{both[0]}: a target, and among the general tasks; leave it out of one of the two")


def tasks_of(target: str) -> tuple[str, ...]:
    """Return the tasks that a study trains together, or one after another, as one target: `lab:a + lab:b`."""
    return tuple(task.strip() for task in target.split(" + "))


def read(path: Path, *, trust_code: bool = False) -> dict[str, Any]:
    """Return the fields of a plan as a YAML file gives them.

    Raises:
        ValueError: the file is not YAML, has fields that a plan has not, or names code and `trust_code` is off.
    """
    plan_fields = read_yaml(path, "docs/study.md shows one")
    known = list(Plan.__dataclass_fields__)
    if not isinstance(plan_fields, dict):
        raise ValueError(f"{path}: not a study; it needs {', '.join(known[:3])}")
    for key in plan_fields:
        if key not in known:
            raise ValueError(f"{path}: {unknown('field of a study:', str(key), known)}")
    refuse_code(plan_fields, path, trust_code=trust_code)
    return plan_fields


def make(plan_fields: Mapping[str, Any], where: str = "study") -> Plan:
    """Return a checked plan; `where` opens its error messages (a file's name).

    Raises:
        ValueError: a field is missing or of the wrong type, or an arm or a task does not exist.
    """
    for missing, option in (("arms", "--method"), ("targets", "--target")):
        if not plan_fields.get(missing):
            raise ValueError(f"a study without {missing}; name at least one (`{missing}` in its file, or {option})")
    try:
        plan = TypeAdapter(Plan).validate_python(dict(plan_fields))
    except ValidationError as error:
        first = error.errors()[0]  # one clear line; pydantic's whole message names its own types and a web address
        location = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {location}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    plan.check()
    return plan


def arms_of(methods: Sequence[str]) -> dict[str, Settings | None]:
    """Return the `arms` of a plan: of `full@model.learning_rate=1e-3`, `promot`, or `full|edit=lines@edit.alpha=0.7`.

    Behind bars stand the techniques of other moments, behind the at sign settings, parted by commas.

    Raises:
        ValueError: an arm is not of this form.
    """
    arms: dict[str, Settings | None] = {}
    for text in methods:
        head, at, rest = text.partition("@")
        method, *others = head.split("|")
        settings: Settings = {"method": method} if at or others else {}
        for other in others:
            moment, equals, name = other.partition("=")
            if not equals or moment not in MOMENTS:
                raise ValueError(
                    f"--method {text}: write method|edit=NAME, also with {', '.join(MOMENTS)}, such as full|edit=lines"
                )
            settings[moment] = name
        for part in rest.split(",") if at else ():
            key, equals, value = part.partition("=")
            if not equals or "." not in key:
                raise ValueError(
                    f"--method {text}: write method@stage.field=value, such as full@model.learning_rate=1e-3"
                )
            settings[key.strip()] = literal(value)
        arms[text] = settings
    return arms


def literal_of(value: Any) -> Any:
    """Return the number that a text looks like, else the value as it is."""
    # YAML 1.1 reads 1e-3, without a dot, as text.
    return literal(value) if isinstance(value, str) else value


def _arms(name: str, settings_of_arm: Settings) -> list[Arm]:
    """Return one arm, or one for each combination of the settings that are lists, named by them."""
    for moment in ("method", *MOMENTS):
        if not isinstance(settings_of_arm.get(moment, ""), str | None):
            raise ValueError(f"arm {name}: {moment} is {short_repr(settings_of_arm[moment])}; write the name of one")
    method, others = (
        str(settings_of_arm.get("method", name)),
        {moment: settings_of_arm.get(moment) for moment in MOMENTS},
    )
    settings = {key: literal_of(value) for key, value in settings_of_arm.items() if key not in ("method", *MOMENTS)}
    swept = {key: [literal_of(v) for v in value] for key, value in settings.items() if isinstance(value, list)}
    if (count := math.prod(map(len, swept.values()))) > MOST_ARMS:
        raise ValueError(
            f"arm {name}: its lists make {count:,} arms; at most {MOST_ARMS:,} can be compared, so shorten them"
        )
    arms = []
    for values in itertools.product(*swept.values()):  # without a list: once, with no values, which is the one arm
        chosen = dict(zip(swept, values, strict=True))
        suffix = ",".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in chosen.items()
        )
        arms.append(Arm(f"{name}@{suffix}" if suffix else name, method, {**settings, **chosen}, **others))
    return arms
