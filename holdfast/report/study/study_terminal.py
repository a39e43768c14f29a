"""A study in a terminal of 80 columns."""

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.report.console import plain_table
from holdfast.report.study.study_overview import verdict
from holdfast.report.study.study_table import NOTE, StudyTable, brief, prediction_text
from holdfast.results import units
from holdfast.results.study import Comparison, Spread, Study

SHORT = {  # as a terminal has room for
    "target": "target", "kept": "kept", "matched": "matched", "area": "area", "format_share": "form", "stage_one": "stage 1",
    "transfer": "BWT",
}  # fmt: skip


def terminal(study: Study) -> RenderableType:
    """Return the verdict and tables that fit 80 columns: each target's arms, the differences to the first one, what stage 1 predicts."""
    parts: list[RenderableType] = [Text(f"{verdict(study)}."), Text()]
    for task in dict.fromkeys(cell.task for cell in study.cells):
        made = StudyTable.of(study, task)
        level = f", matched at {made.cells[0].level:.1f}" if made.cells[0].level is not None else ""
        parts += [Text(f"{task}{level}", style="bold"), _arms(made), Text()]
        if made.tests:
            parts += [Text(f"Against {made.against}, in points (p over items / over seeds, after Holm)")]
            parts += [_compared(made), Text()]
    parts.append(Text(NOTE, style="dim"))
    parts += [Text(prediction_text(prediction)) for prediction in study.predictions]
    return Group(*parts)


def _arms(made: StudyTable) -> RenderableType:
    grid = plain_table()
    grid.add_column("arm", overflow="fold", min_width=12)
    names = [name for name in made.columns if name in SHORT]
    for title in ("n", *(SHORT[name] for name in names)):
        grid.add_column(title, justify="right", no_wrap=True)
    spreads = ("target", "kept", "matched")  # of the others the mean alone, for want of room
    for arm, cell in enumerate(made.cells):
        entries = [made.entry(n, arm) if n in spreads else _mean(made.columns[n][arm]) for n in names]
        grid.add_row(brief(cell.arm), str(cell.seeds), *entries)
    return grid


def _mean(spread: Spread | None) -> str:
    return "-" if spread is None else units.points(spread.mean)


def _compared(made: StudyTable) -> RenderableType:
    grid = plain_table()
    grid.add_column("arm", overflow="fold", min_width=12)
    for measure in made.measures:
        grid.add_column(measure, justify="right", no_wrap=True)
    for arm, row in made.tests:
        grid.add_row(brief(arm), *map(_difference, row))
    return grid


def _difference(comparison: Comparison | None) -> str:
    if comparison is None:
        return "-"
    ps = " / ".join(
        "-" if p is None else f"{p:.2f}".lstrip("0") if p >= 0.005 else "<.01"
        for p in (comparison.p_items, comparison.p_over_seeds)
    )
    return f"{units.points(comparison.difference, True)}\n({ps})"  # on two lines: four measures fit 80 columns
