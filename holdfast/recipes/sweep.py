"""Dials: fields of any stage that are set to `sweep`, and the values at which each is tried."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields
from itertools import product
from typing import Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from holdfast.plugins import unknown

SWEEP, SECTION = "sweep", "sweep"
FREE = (
    "edit",
    "decode",
)  # Stages whose dials go from 0 to 1 where no range is written: nothing is trained for a value.
Values = Mapping[str, Any]
"""A value for each dial, by `stage.field`."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SweepRule:
    """The rule of a search, and how much is measured for it: the section `sweep` of `--set`."""

    weight: float = Field(
        default=2.0, ge=0, description="weight of the target beside the general tasks, which count once"
    )
    floor: float | None = Field(
        default=None,
        ge=0,
        description="share of the target to keep: then the best of the general tasks above it is chosen",
    )
    points: int = Field(default=11, ge=2, description="values of a single dial's range")
    trials: int = Field(default=30, ge=2, description="values that are tried where several dials turn")
    limit: int = Field(default=100, ge=1, description="validation examples of each task")

    def reason(self, target: float) -> str:
        """Return why a value is chosen that reached this share of the target: the rule in words."""
        if self.floor is None:
            return f"the largest {self.weight:g} x target + general; sweep.weight and sweep.floor set another rule"
        if target < self.floor:
            return f"none has {100 * self.floor:g} % of the target, so the best on it"
        return f"the most of the general tasks among those with {100 * self.floor:g} % of the target"


@plain_dataclass(frozen=True)
class Dial:
    """A field to search: the listed `values`, or the range from `low` to `high`, on a logarithmic scale or a straight one."""

    name: str
    text: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    @classmethod
    def read(cls, name: str, text: str) -> "Dial":
        """Return the dial that `stage.field=text` sets: `sweep`, `sweep:0..2`, `sweep:1e-5..1e-3:log` or `sweep:0.1,0.5,1`.

        Raises:
            ValueError: it is none of these, or `sweep` alone for a field that has no natural range.
        """
        content = text.removeprefix(SWEEP).removeprefix(":")
        if not content:
            if name.partition(".")[0] not in FREE:
                raise ValueError(
                    f"{name}=sweep: say between which values, or which, such as {name}=sweep:1e-5..1e-3:log or "
                    f"{name}=sweep:1e-5,1e-4; a model is trained for each"
                )
            return cls(name, text)
        wrong = ValueError(f"{name}={text}: write sweep:LOW..HIGH, sweep:LOW..HIGH:log or sweep:VALUE,VALUE,...")
        if ".." not in content:
            values = tuple(_value(part.strip()) for part in content.split(","))
            if len(set(values)) < 2 or "" in values:
                raise wrong
            return cls(name, text, values)
        ends, _, scale = content.partition(":")
        try:
            low, high = map(float, ends.split(".."))
        except ValueError:
            raise wrong from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high) or scale not in ("", "log"):
            raise wrong
        if scale and low <= 0:
            raise ValueError(f"{name}={text}: a logarithmic range begins above 0")
        return cls(name, text, low=low, high=high, log=bool(scale))

    def __contains__(self, value: Any) -> bool:
        if self.values:
            return value in self.values
        return isinstance(value, int | float) and self.low <= value <= self.high

    def grid(self, points: int) -> tuple[Any, ...]:
        """Return the listed values, or so many of the range, from its upper end."""
        if self.values:
            return self.values
        shares = [number / (points - 1) for number in range(points)]
        if self.log:
            return tuple(rounded(self.high * (self.low / self.high) ** share) for share in shares)
        return tuple(rounded(self.high + (self.low - self.high) * share) for share in shares)


@plain_dataclass(frozen=True)
class Sweep:
    """The dials of a run, the rule of their search, and all other settings."""

    dials: tuple[Dial, ...]
    rule: SweepRule
    fixed: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """Return what was written, for messages: `edit.alpha=sweep`."""
        return ", ".join(f"{dial.name}={dial.text}" for dial in self.dials)

    @property
    def trains(self) -> bool:
        """Return whether a model is trained for each value, so that there is no tuned model before the search."""
        return any(dial.name.partition(".")[0] not in FREE for dial in self.dials)

    def grid(self) -> Iterator[Values]:
        """Yield the values of a single dial; of several, three of each, in all their combinations."""
        points = self.rule.points if len(self.dials) == 1 else 3
        for values in product(*(dial.grid(points) for dial in self.dials)):
            yield dict(zip((dial.name for dial in self.dials), values, strict=True))

    def settings(self, values: Values) -> dict[str, dict[str, Any]]:
        """Return the settings of a run with these values."""
        return _joined(self.fixed, values)

    def shown(self, resolved: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return a run's resolved settings with the dials as they were written, and the rule: repeating the run searches again."""
        rule = {f.name: getattr(self.rule, f.name) for f in fields(self.rule)}
        return _joined(resolved, {dial.name: dial.text for dial in self.dials}) | {SECTION: rule}


def find_sweep(settings: Mapping[str, Mapping[str, Any]]) -> Sweep | None:
    """Return the search that settings of stages (`{"edit": {"alpha": "sweep"}}`) ask for; None where none is.

    Raises:
        ValueError: a dial or the rule is written wrongly, or there is a rule and no dial.
    """
    dials: list[Dial] = []
    for stage, values in settings.items():
        texts = {key: value for key, value in values.items() if _is_dial(value)}
        dials += [Dial.read(f"{stage}.{key}", value) for key, value in texts.items()]
    if not dials:
        if SECTION in settings:
            raise ValueError("sweep: nothing is swept; set a field to sweep, such as edit.alpha=sweep")
        return None
    names = {dial.name for dial in dials}
    fixed = {
        stage: {key: value for key, value in values.items() if f"{stage}.{key}" not in names}
        for stage, values in settings.items()
        if stage != SECTION
    }
    return Sweep(tuple(dials), _rule(settings.get(SECTION, {})), fixed)


def rounded(value: float) -> float:
    """Return a number with six digits, as a user would write it."""
    return float(f"{value:.6g}")


def _rule(settings: Mapping[str, Any]) -> SweepRule:
    known = [f.name for f in fields(SweepRule)]
    for key in settings:
        if key not in known:
            raise unknown("field of the search:", f"{SECTION}.{key}", [f"{SECTION}.{name}" for name in known])
    try:
        return SweepRule(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{SECTION}.{first['loc'][0]}={first['input']!r}: {first['msg'].lower()}") from None


def _is_dial(value: Any) -> bool:
    return isinstance(value, str) and (value == SWEEP or value.startswith(f"{SWEEP}:"))


def _value(text: str) -> Any:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _joined(settings: Mapping[str, Mapping[str, Any]], values: Values) -> dict[str, dict[str, Any]]:
    """Return a copy of settings by stage with the values of `stage.field` put in."""
    joined = {stage: dict(content) for stage, content in settings.items()}
    for name, value in values.items():
        stage, _, key = name.partition(".")
        joined.setdefault(stage, {})[key] = value
    return joined
