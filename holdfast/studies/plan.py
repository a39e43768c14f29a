"""What a study is to run: arms (a method with settings) x targets x seeds, from options or from a YAML file."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from holdfast.plugins import refuse_code, unknown
from holdfast.recipes.pipeline import Techniques, compose
from holdfast.recipes.plan import Fields, literal, nested
from holdfast.tasks import sources
from holdfast.tasks.task_set import TaskRef

Settings = dict[str, Any]
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
    """A study. `arms` maps names to settings; a name is the method itself, or the settings hold `method`, and also `curate`, `edit` and
    `decode`, where the arm has such techniques; a setting that is a list
    makes one arm for each of its values. `set` holds settings for every arm that has them; an arm's own go before. The first arm is
    what the others are compared with. Tasks joined by ` + ` are one target of several tasks. `match` is the target score, in points,
    at which retention is compared; None: 90 % of the way from the base to the best arm. `limit` is items of each task, `curve` points
    along each run, `jobs` runs at a time. `date` is what chat templates that write today's date write; None: that of the day on which
    the study began.
    """

    model: str
    arms: dict[str, Settings | None]
    targets: list[str]
    general: list[str] = Field(default_factory=list)
    seeds: int = Field(default=3, ge=1)
    shots: tuple[int, ...] = (0, 1)
    limit: int | None = Field(default=None, ge=1)
    curve: int = Field(default=0, ge=0)
    match: float | None = None
    analyses: list[str] = Field(default_factory=list)
    set: Settings = Field(default_factory=dict)
    date: Annotated[str | None, BeforeValidator(lambda date: date if date is None else str(date))] = (
        None  # YAML has dates
    )

    def resolved(self) -> list[Arm]:
        """Every arm with all of its settings.

        Raises:
            ValueError: there is no such method or field, two arms are alike, or a setting of `set` fits no arm.
        """
        arms = [arm for name, given in self.arms.items() for arm in _arms(name, given or {})]
        taken: set[str] = set()
        found = []
        for arm in arms:
            fields = Fields("", (TaskRef(""),), nested(arm.settings))
            compose(arm.techniques, fields)
            known = {f"{stage}.{key}" for stage, values in fields.resolved.items() for key in values} - {*fields.pinned}
            shared = {key: value for key, value in self.set.items() if key in known}
            taken |= shared.keys()
            found.append(replace(arm, settings={key: literal_of(v) for key, v in {**shared, **arm.settings}.items()}))
        if missing := sorted(self.set.keys() - taken):
            raise unknown("setting of any arm:", missing[0], sorted({key for arm in found for key in arm.settings}))
        names = [arm.name for arm in found]
        if len(set(names)) < len(names):
            raise ValueError(f"two arms are called {max(names, key=names.count)}; give each a name of its own")
        return found

    def check(self) -> None:
        """Refuse, before anything runs, arms and tasks that do not exist."""
        self.resolved()
        for name in (*(task for target in self.targets for task in tasks_of(target)), *self.general):
            sources.load_tasks(name)
        if both := [task for target in self.targets for task in tasks_of(target) if task in self.general]:
            raise ValueError(f"{both[0]}: a target, and among the general tasks; leave it out of one of the two")


def tasks_of(target: str) -> tuple[str, ...]:
    """The tasks that a study trains together, or one after another, as one target: `lab:a + lab:b`."""
    return tuple(task.strip() for task in target.split(" + "))


def read(path: Path, *, trust_code: bool = False) -> dict[str, Any]:
    """Return the fields of a plan as a YAML file gives them.

    Raises:
        ValueError: the file is not YAML, has fields that a plan has not, or names code and `trust_code` is off.
    """
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; docs/study.md shows one, and options do without") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    known = list(Plan.__dataclass_fields__)
    if not isinstance(given, dict):
        raise ValueError(f"{path}: not a study; it needs {', '.join(known[:3])}")
    for key in given:
        if key not in known:
            raise unknown(f"{path}: field of a study:", str(key), known)
    refuse_code(given, path, trust_code=trust_code)
    return given


def make(given: Mapping[str, Any], where: str = "study") -> Plan:
    """A checked plan.

    Raises:
        ValueError: a field is missing or of the wrong kind.
    """
    for missing, option in (("arms", "--method"), ("targets", "--target")):
        if not given.get(missing):
            raise ValueError(f"a study without {missing}; name at least one (`{missing}` in its file, or {option})")
    try:
        plan = TypeAdapter(Plan).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {place}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
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
    """YAML 1.1 reads 1e-3 as text; here it is the number that it looks like."""
    return literal(value) if isinstance(value, str) else value


def _arms(name: str, given: Settings) -> list[Arm]:
    """One arm, or one for each combination of the settings that are lists, named by them."""
    method, others = str(given.get("method", name)), {moment: given.get(moment) for moment in MOMENTS}
    settings = {key: literal_of(value) for key, value in given.items() if key not in ("method", *MOMENTS)}
    swept = {key: [literal_of(v) for v in value] for key, value in settings.items() if isinstance(value, list)}
    found = []
    for values in itertools.product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        suffix = ",".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in chosen.items()
        )
        found.append(Arm(f"{name}@{suffix}" if suffix else name, method, {**settings, **chosen}, **others))
    return found
