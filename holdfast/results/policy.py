"""A policy for a gate: floors and margins that a tuned model must be shown to keep, and what the measured intervals say of each."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from holdfast.results import verdicts
from holdfast.results.metric_facts import facts
from holdfast.results.statistics import Estimate, items_to_tell, widened
from holdfast.results.summary import Summary, TaskResult
from holdfast.tasks.error_list import nearest, short_repr
from holdfast.tasks.yaml_files import read_yaml

Outcome = Literal["kept", "lost", "unclear"]
EXIT: dict[Outcome, int] = {"kept": 0, "lost": 2, "unclear": 3}


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class TaskPolicy:
    """The rules for one task; what is not said is as in the policy's own fields."""

    margin: float | None = Field(
        default=None, gt=0, le=1, description="loss of score that is accepted, as a share of the scale"
    )
    floor: float | None = Field(
        default=None, ge=0, le=1, description="least score of the tuned model, as a share of the scale"
    )
    items: int | None = Field(default=None, ge=1, description="fewest items that may decide")


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Policy:
    """The rules that a tuned model must keep. All shares are from 0 to 1: a margin of 0.05 is five points of 100."""

    margin: float = Field(
        default=verdicts.MARGIN, gt=0, le=1, description="loss of score that each general task may have"
    )
    retention: float | None = Field(
        default=None, ge=0, description="least share of the base's mean over the general tasks"
    )
    gain: float | None = Field(default=None, description="least gain on the targets, as a share of the scale")
    items: int = Field(default=1, ge=1, description="fewest items of a task that may decide")
    tasks: dict[str, TaskPolicy] = Field(default_factory=dict, description="by task, what is different there")


def read_policy(path: Path) -> Policy:
    """Return the policy that a YAML file holds.

    Raises:
        ValueError: there is no such file, or it is no policy; the message names the field and the nearest that there is.
    """
    try:
        content = read_yaml(path, "a policy is YAML such as `retention: 0.95`")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; a policy is YAML such as `retention: 0.95`") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a policy; write fields such as `retention: 0.95`, one a line")
    try:
        return TypeAdapter(Policy).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            known = [f.name for f in fields(TaskPolicy if len(first["loc"]) > 1 else Policy)]
            near = difflib.get_close_matches(str((first["loc"] or ("",))[-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise ValueError(f"{path}: unknown field {name!r}; {hint}") from None
        raise ValueError(
            f"{path}: {name}: {first['msg'][0].lower()}{first['msg'][1:]}, not {short_repr(first['input'])}"
        ) from None


@dataclass(frozen=True)
class Check:
    """One rule of a policy and what the numbers say of it: the measured value with its 95 % interval, in points or per cent.

    `kept` is decided by that interval, `lost` by `widened`, which holds together with those of all rules. `needed` is about how many
    items of the task (of each task, for the retention) would tell, where these do not, and `reason` says why none would. `bound` is the
    least value that keeps the rule, in the unit of `measured`.
    """

    rule: str
    outcome: Outcome
    measured: Estimate | None
    items: int
    needed: int | None = None
    reason: str = ""
    widened: Estimate | None = None
    is_change: bool = False  # What was measured is a change of the score, and not the score.
    bound: float | None = None

    @property
    def slack(self) -> float:
        """Return how far the measured value is above the bound; below zero where it breaks it, zero where either is not known."""
        return 0.0 if self.measured is None or self.bound is None else self.measured.value - self.bound


def judge(summary: Summary, policy: Policy) -> list[Check]:
    """Return every rule of the policy with its outcome for one run.

    A rule is kept where the whole 95 % interval keeps it, lost where none of it does, and unclear between. Losses are called by
    intervals that are widened for the number of rules (Bonferroni), so that one false alarm in all stays as rare as one in twenty; that
    all is kept needs no such care, because every rule must hold. A general task on which the base is not shown to be above chance has no
    rule, unless the policy names it.

    Raises:
        ValueError: the policy names a task that was not measured, or nothing was compared.
    """
    measured = [*summary.by_own_metric("general"), *summary.by_own_metric("target")]
    lines = [line for line in measured if line.base and line.headline]
    unknown = policy.tasks.keys() - {line.task for line in lines}
    if unknown or not lines:
        names = ", ".join(sorted(unknown)) or "no task"
        # As an argument a task may have more before its name: `lab:kind` is called `kind`.
        near = "".join(nearest(name, {line.task for line in lines}, cutoff=0.5) for name in sorted(unknown)[:1])
        raise ValueError(
            f"{names}: asked for by the policy and not measured on both models; {near}measure with --task NAME"
        )
    # Counted first, because the number of rules widens each.
    planned = list(chain.from_iterable(_rules(line, policy) for line in lines))
    if not planned and policy.retention is None and policy.gain is None:
        raise ValueError(
            "the base is shown to be above chance on none of the tasks, so that no rule is left; measure others with --task NAME"
        )
    count = len(planned) + (policy.retention is not None) + (policy.gain is not None)
    checks = [_check(line, sort, bound, fewest, count) for line, sort, bound, fewest in planned]
    if policy.retention is not None:
        checks.append(_of_mean("retention", summary.retention, 100 * policy.retention, lines, "general", count))
    if policy.gain is not None:
        checks.append(_of_mean("gain", summary.gain, 100 * policy.gain, lines, "target", count))
    return checks


def outcome(checks: Sequence[Check]) -> Outcome:
    """Return the outcome of all rules: lost where one is lost, else unclear where one is, else kept."""
    words = [check.outcome for check in checks]
    return "lost" if "lost" in words else "unclear" if "unclear" in words else "kept"


Rule = tuple[
    TaskResult, Literal["margin", "floor"], float, int
]  # line, sort, bound as a share of the scale, fewest items


def _rules(line: TaskResult, policy: Policy) -> list[Rule]:
    # Counted in no mean either: nothing is there that could be kept. A task that the policy names has to be shown.
    if line.floored and line.task not in policy.tasks:
        return []
    task = policy.tasks.get(line.task, TaskPolicy())
    fewest, rules = task.items or policy.items, list[Rule]()
    # What a target must keep is said for it by name: it was tuned to change.
    if line.role == "general" or task.margin is not None:
        # One that is set for a task is meant in its metric's own points.
        margin = task.margin / facts(line.metric).step if task.margin else policy.margin
        rules.append((line, "margin", margin, fewest))
    if task.floor is not None:
        rules.append((line, "floor", task.floor, fewest))
    return rules


def _check(line: TaskResult, sort: str, bound: float, fewest: int, count: int) -> Check:
    score = line.headline
    assert score is not None
    scale = facts(score.metric).scale
    points = 100 / scale if scale else 1.0
    name = f"{line.task} ({line.shots}-shot)"
    if sort == "floor":
        least = bound * (scale or 1.0)
        value, rule = Estimate(score.value, score.low, score.high, n=score.n), f"{name}: at least {100 * bound:g}"
    elif score.delta is None:
        return Check(
            f"{name}: keeps within {100 * bound:g} points",
            "unclear",
            None,
            score.n,
            reason="no change was measured",
        )
    else:
        least, value = -verdicts.margin_of(score, bound), verdicts.change_of(score)
        rule = f"{name}: loses less than {-least * points if least < 0 else 100 * bound:.3g} points"
        if least >= 0:
            beside = line.chance
            reason = f"the base {beside.phrase if beside else 'has no score'}, so nothing can be seen to be lost"
            needed = beside.needed if beside else None
            return Check(rule, "unclear", value.scaled(points), score.n, needed, reason, is_change=True)
    check = _decided(rule, value.scaled(points), least * points, score.n, fewest, count)
    return replace(check, is_change=sort != "floor")


def _of_mean(
    name: str, value: Estimate | None, least: float, lines: Sequence[TaskResult], role: str, count: int
) -> Check:
    items = [line.any.n for line in lines if line.role == role]
    unit = "% of the base's mean" if name == "retention" else "points"
    rule = f"{name}: at least {least:g} {unit}"
    if value is None:
        reason = (
            "the base is not shown to be above chance on general tasks" if items else f"no {role} task was measured"
        )
        return Check(rule, "unclear", None, min(items, default=0), reason=reason)
    return _decided(rule, value, least, min(items), 1, count)


def _decided(rule: str, value: Estimate, least: float, items: int, fewest: int, count: int) -> Check:
    wide = widened(value, count)
    if items < fewest:
        reason = f"the policy wants {fewest} items"
        return Check(rule, "unclear", value, items, fewest, reason, widened=wide, bound=least)
    if value.low >= least and value.low > -math.inf:
        return Check(rule, "kept", value, items, widened=wide, bound=least)
    if wide.high < least:
        return Check(rule, "lost", value, items, widened=wide, bound=least)
    # Of a mean, `n` counts tasks; and `p`, where there is one, tests a change of zero and not this bound.
    needed = items_to_tell(replace(value, n=items, p=None), kept=least, lost=least, tests=count)
    reason = "" if needed else "the value is the bound itself, so that no number of items would tell"
    return Check(rule, "unclear", value, items, needed, reason, widened=wide, bound=least)
