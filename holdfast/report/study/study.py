"""A study in a terminal of 80 columns, and the texts that its other tables share."""

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.report import table
from holdfast.results import units
from holdfast.results.study import FEWEST_TARGETS, Cell, Comparison, Prediction, Spread, Study, TaskScore

MEASURED = ("target", "kept", "matched", "area", "format_share", "stage_one", "drift", "transfer")
SHORT = {  # as a terminal has room for
    "target": "target", "kept": "kept", "matched": "matched", "area": "area", "format_share": "form", "stage_one": "stage 1",
    "transfer": "BWT",
}  # fmt: skip


@dataclass(frozen=True)
class StudyTable:
    """What every table of one target is made of: arms by what was measured of them, and the tests against the first arm."""

    cells: list[Cell]
    columns: dict[str, list[Spread | None]]  # a measure that any arm has: an entry for each arm
    measures: list[str]  # of the comparisons
    tests: list[tuple[str, list[Comparison | None]]]  # an arm with its comparison by each measure
    against: str
    answered: list[tuple[str, int, list[TaskScore]]]  # (task, shots, an entry for each arm that was asked)

    @classmethod
    def of(cls, study: Study, task: str) -> "StudyTable":
        """Return the table of one target."""
        cells = [cell for cell in study.cells if cell.task == task]
        columns = {name: [getattr(cell, name) for cell in cells] for name in MEASURED}
        compared = [one for one in study.comparisons if one.task == task]
        measures = list(dict.fromkeys(one.measure for one in compared))
        places = {(one.arm, one.measure): one for one in compared}
        arms = dict.fromkeys(one.arm for one in compared)
        answered = [one for one in study.answered if one.task == task]
        return cls(
            cells,
            {name: column for name, column in columns.items() if any(column)},
            measures,
            [(arm, [places.get((arm, measure)) for measure in measures]) for arm in arms],
            compared[0].against if compared else "",
            [
                (asked, shots, [one for one in answered if (one.asked, one.shots) == (asked, shots)])
                for asked, shots in dict.fromkeys((one.asked, one.shots) for one in answered)
            ],
        )

    def entry(self, name: str, arm: int) -> str:
        """Return an arm's measure as text, with how many of its seeds count where not all do."""
        return shown(self.columns[name][arm], self.cells[arm].seeds if name == "matched" else 0)


def terminal(study: Study) -> RenderableType:
    """Tables that fit 80 columns: each target's arms, the differences to the first arm, and what stage 1 predicts."""
    parts: list[RenderableType] = []
    for task in dict.fromkeys(cell.task for cell in study.cells):
        made = StudyTable.of(study, task)
        level = f", matched at {made.cells[0].level:.1f}" if made.cells[0].level is not None else ""
        parts += [Text(f"{task}{level}", style="bold"), _arms(made), Text()]
        if made.tests:
            parts += [Text(f"Against {made.against}, in points (p over items / over seeds, after Holm)")]
            parts += [_compared(made), Text()]
    parts.append(Text(NOTE, style="dim"))
    parts += [Text(said(one)) for one in study.predictions]
    return Group(*parts)


NOTE = (
    "Means and standard deviations over n seeds. target: points. kept: % of the base's mean on the general tasks. matched: the "
    "same where the target score first reaches the level. area: mean of matched over all target scores. form: general answers in "
    "the target's format, %. stage 1: the prompt's own target score. BWT: earlier targets of a sequence, at its end against right "
    "after their own stages."
)


def said(one: Prediction) -> str:
    """Return a prediction in words."""
    if not one.targets:
        return (
            f"Stage-1 score and {one.measure}: rank correlation {one.correlation:+.2f} over {one.n} runs (an older version, whose "
            "p took runs of one target for independent; it is left out)."
        )
    counted = f"over {one.targets} target{'' if one.targets == 1 else 's'}, {one.n} runs"
    if one.p is None:
        return (
            f"Stage-1 score and {one.measure}: not resolvable {counted}; runs of one target resemble each other, and it takes at least "
            f"{FEWEST_TARGETS} targets to tell."
        )
    p = f"{one.p:.2g}" if one.p >= 0.0001 else "<0.0001"
    return f"Stage-1 score and {one.measure}: rank correlation {one.correlation:+.2f} {counted} (p {p}, of whole targets exchanged)."


def shown(found: Spread | None, seeds: int = 0, plus: bool = False) -> str:
    """`91.0 ± 2.0`, and how many of the seeds where not all count."""
    if found is None:
        return "-"
    text = units.points(found.mean, plus) + ("" if found.sd is None else f" ± {found.sd:.1f}")
    return text if found.n >= seeds else f"{text} ({found.n}/{seeds})"


def _arms(made: StudyTable) -> RenderableType:
    grid = table.plain()
    grid.add_column("arm", overflow="fold", min_width=12)
    names = [name for name in made.columns if name in SHORT]
    for title in ("n", *(SHORT[name] for name in names)):
        grid.add_column(title, justify="right", no_wrap=True)
    spreads = ("target", "kept", "matched")  # of the others the mean alone, for want of room
    for arm, cell in enumerate(made.cells):
        entries = [made.entry(n, arm) if n in spreads else _mean(made.columns[n][arm]) for n in names]
        grid.add_row(brief(cell.arm), str(cell.seeds), *entries)
    return grid


def brief(arm: str) -> str:
    """An arm's name without the stages before its settings, where every setting is then still told from the others; one a line."""
    method, at, rest = arm.partition("@")
    settings = [part.partition(".")[2] or part for part in rest.split(",")]
    names = {part.partition("=")[0] for part in settings}
    return arm if not at or len(names) < len(settings) else "\n ".join([method, *settings])


def _mean(found: Spread | None) -> str:
    return "-" if found is None else units.points(found.mean)


def _compared(made: StudyTable) -> RenderableType:
    grid = table.plain()
    grid.add_column("arm", overflow="fold", min_width=12)
    for measure in made.measures:
        grid.add_column(measure, justify="right", no_wrap=True)
    for arm, row in made.tests:
        grid.add_row(brief(arm), *map(_difference, row))
    return grid


def _difference(one: Comparison | None) -> str:
    if one is None:
        return "-"
    ps = " / ".join(
        "-" if p is None else f"{p:.2f}".lstrip("0") if p >= 0.005 else "<.01" for p in (one.p_items, one.p_seeds)
    )
    return f"{units.points(one.difference, True)}\n({ps})"  # on two lines: four measures fit 80 columns
