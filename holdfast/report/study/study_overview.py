"""A study at a glance: its verdict in one sentence, a map of arms and targets, and where each arm of a target ends."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from markupsafe import Markup

from holdfast.report.chart import svg
from holdfast.report.sentences import Number, Piece
from holdfast.results import units
from holdfast.results.study import FEWEST_SEEDS, Cell, Spread, Study

CLOSE = 0.05  # points of area: less is the same on the page
GENERIC = "What each method keeps of the general tasks, where it has learned the target equally well."


@dataclass(frozen=True)
class ArmOverview:
    """A row of the map: the area on each target (None where the arm was not tried), its tint, and the mean where all are there."""

    name: str
    areas: list[tuple[Spread | None, int]]
    mean: float | None


@dataclass(frozen=True)
class End:
    """A row of a target's plot: an arm's gain on the target and its change on the general tasks, with intervals over seeds."""

    number: int
    arm: str
    drawing: Markup
    measured: list[tuple[str, str, Spread]]  # (what it is, shape of its mark, value)


def lead(study: Study) -> list[Piece]:
    """Return the arm that keeps most at equal target scores over all targets, and the one that comes next; of one target a heading."""
    arms, targets = overview(study)
    # Only arms with every target: a mean over the easier ones would win.
    whole = sorted(((arm.mean, arm.name) for arm in arms if arm.mean is not None), key=lambda pair: -pair[0])
    if len(targets) < 2 or len(whole) < 2:
        return [GENERIC]
    (most, best), (less, next_one) = whole[:2]
    start: list[Piece] = [
        "Averaged over ",
        Number(str(len(targets)), "targets"),
        " targets and the target scores that can be reached, ",
    ]
    start += [
        f"{best} keeps most of the general tasks, ",
        _percent(most),
        f", and is best or as good on {_wins(arms, best)}; ",
    ]
    return [*start, f"{next_one} comes next with ", _percent(less), "."]


def verdict(study: Study) -> str:
    """Return the outcome in a few words: whether an arm has a better trade-off of what is learned and kept (area) than the first one.

    An arm is called better only where a target resolves it: p below 0.05 by Student's t over `FEWEST_SEEDS` (3) seeds or more, after Holm
    over all arms and targets of the study. Two seeds give that t one degree of freedom, and equal scores give it a width of zero.
    """
    if not study.cells:
        return "No arm has a finished run"
    first = study.cells[0].arm
    targets = list(dict.fromkeys(cell.task for cell in study.cells))
    areas: dict[str, list[float]] = {}
    for cell in study.cells:
        if cell.area:
            areas.setdefault(cell.arm, []).append(cell.area.mean)
    # Only arms with every target, as in the lead: a mean over the easier ones would win.
    means = {arm: fmean(values) for arm, values in areas.items() if len(values) == len(targets)}
    arms = len({cell.arm for cell in study.cells})
    if arms == 1:
        return f"{first} on {_count(len(targets), 'target')}, beside no other arm"
    if len(means) < 2 or first not in means:
        return f"{arms} arms on {_count(len(targets), 'target')}, of which no target score lets any be compared with {first}"
    best = max(means, key=lambda arm: means[arm])
    tests = [test for test in study.comparisons if test.measure == "area" and test.arm in means]
    # As many as an arm shares with the first one: a seed that failed in one of them tells nothing.
    shared = {test.arm: test.n_seeds for test in sorted(tests, key=lambda test: test.n_seeds, reverse=True)}
    seeds = shared.get(best, max(shared.values(), default=max(cell.seeds for cell in study.cells)))
    better = f"a better trade-off of learned and kept than {first}"
    if means[best] <= means[first] + CLOSE:
        if seeds >= FEWEST_SEEDS:
            return f"No arm has {better}"
        no_one = f"no arm is ahead of {first} in learned and kept"
        return f"Unclear with {_count(seeds, 'seed')}: {no_one}; it takes at least {FEWEST_SEEDS} to tell"
    won = Counter(test.arm for test in tests if test.resolved and test.difference > 0)
    ahead = [arm for arm in won if means[arm] > means[first] + CLOSE]
    doubt = f"nclear with {_count(seeds, 'seed')}: whether {best} has"
    if not ahead:
        takes = (
            f"at least {FEWEST_SEEDS} seeds, and more test items,"
            if seeds < FEWEST_SEEDS
            else "more seeds or test items"
        )
        return f"U{doubt} {better}; it takes {takes} to tell"
    top = max(ahead, key=lambda arm: means[arm])
    where = "" if len(targets) == 1 else f" on {won[top]} of {len(targets)} targets"
    return f"{top} has {better}{where}" + ("" if top == best else f"; u{doubt} one too")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def overview(study: Study) -> tuple[list[ArmOverview], list[str]]:
    """Return (arms, targets): the area of every arm on every target, tinted by its distance to 100 as a share of the largest."""
    targets = list(dict.fromkeys(cell.task for cell in study.cells))
    places = {(cell.arm, cell.task): cell.area for cell in study.cells}
    lacks = [100 - area.mean for area in places.values() if area]
    most = max([*lacks, 1.0])  # 1.0: where nothing is lost, a tenth of a point must not be tinted as the worst
    arms = []
    for name in dict.fromkeys(cell.arm for cell in study.cells):
        areas = [places.get((name, target)) for target in targets]
        values = [area.mean for area in areas if area]
        tints = [round(100 * max(0.0, 100 - area.mean) / most) if area else 0 for area in areas]
        mean = fmean(values) if len(values) == len(targets) else None  # of all targets or none, for means to compare
        arms.append(ArmOverview(name, list(zip(areas, tints, strict=True)), mean))
    return (arms, targets) if lacks else ([], targets)


def ends(cells: Sequence[Cell]) -> tuple[list[End], Markup] | None:
    """Return (rows, axis) of one target's arms; None where no change was measured."""
    measures = (("gain on the target", "filled", "gain"), ("general change", "open", "change"))
    entries = [
        [(what, shape, value) for what, shape, name in measures if (value := getattr(cell, name)) is not None]
        for cell in cells
    ]
    values = [value for _, _, value in chain.from_iterable(entries)]
    if not values:
        return None
    # With 0, the line of no change, in the picture: without it a reader cannot see what is a gain and what a loss.
    scale = svg.Scale.around([0.0, *chain.from_iterable(map(_limits, values))])
    rows = [
        End(number, cell.arm, svg.track([_mark(shape, value) for _, shape, value in row], scale), row)
        for number, (cell, row) in enumerate(zip(cells, entries, strict=True), 1)
        if row
    ]
    return rows, svg.axis(scale)


def _limits(value: Spread) -> tuple[float, float]:
    """Return the interval over seeds, within what a change of points can be; of one seed the value itself."""
    return value.limits("change") or (value.mean, value.mean)


def _mark(shape: str, value: Spread) -> svg.Mark:
    low, high = _limits(value)
    css_class = "neutral" if value.interval is None else "gained" if low > 0 else "lost" if high < 0 else "unclear"
    return svg.Mark(value.mean, low, high, "filled" if shape == "filled" else "open", css_class)


def _wins(arms: Sequence[ArmOverview], name: str) -> str:
    """Return the number of targets on which an arm's area is the largest, or as large, as text."""
    row = next(arm for arm in arms if arm.name == name)
    columns = [[arm.areas[column][0] for arm in arms] for column in range(len(row.areas))]
    best = [max(area.mean for area in column if area) for column in columns]
    # With a tolerance: arms that are equal on the page share a win, or rounding would decide it.
    won = sum(area is not None and area.mean >= top - CLOSE for (area, _), top in zip(row.areas, best, strict=True))
    return f"{won} of them"


def _percent(value: float) -> Number:
    return Number(f"{units.points(value)} %", "area")
