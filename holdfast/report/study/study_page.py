"""A study as one HTML page: for each target the trade-off of every arm, the table behind it, and the tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from holdfast.atomic_files import write_text
from holdfast.report.chart import line_chart
from holdfast.report.run import analysis_figures, course_figures
from holdfast.report.run.page import minus, render
from holdfast.report.study import study_overview
from holdfast.report.study.study import StudyTable, said, shown
from holdfast.report.study.study_markdown import markdown
from holdfast.results import units
from holdfast.results.study import Cell, Comparison, Spread, Study, read

COLUMNS = {
    "target": "Target",
    "kept": "Kept, %",
    "matched": "Kept at {}, %",
    "area": "Area, %",
    "format_share": "Format share, %",
    "stage_one": "Stage 1",
    "drift": "Weight drift, %",
    "transfer": "BWT",
}
SIGNED = ("transfer",)
MEASURES = {"target": "target score", "change": "general change", "matched": "kept at a score", "area": "area"}


def write_study_page(folder: str | Path) -> Path:
    """Write study.html into a study's folder, its tables as study.md and each figure as an SVG file; returns the page's path."""
    folder = Path(folder)
    study = read(folder)
    for name, drawing in files(study).items():
        write_text(folder / name, drawing)
    write_text(folder / "study.md", markdown(study, folder.resolve().name))
    return write_text(folder / "study.html", page(study, folder.resolve().name))


def page(study: Study, name: str) -> str:
    """The page of one study."""
    return render(
        "study.html",
        name=name,
        lead=study_overview.lead(study),
        overview=study_overview.overview(study)[0],
        targets=[_target(study, task) for task in _targets(study)],
        predictions=[said(one) for one in study.predictions],
        figure=line_chart.inline,
        spread=spread,
        p=p,
        measures=MEASURES,
    )


def files(study: Study) -> dict[str, str]:
    """`study-steps-TARGET.svg`, `study-why-TARGET.svg` and `study-tradeoff-TARGET.svg` for each target that has them: the page's
    figures on their own.
    """
    found = {}
    for task in _targets(study):
        own = _target(study, task)
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in task.rstrip("/").rpartition("/")[2])
        if own["steps"]:
            found[f"study-steps-{safe}.svg"] = line_chart.file(f"{task}: over training", own["steps"], own["key"])
        if own["why"]:
            found[f"study-why-{safe}.svg"] = line_chart.file(f"{task}: why", own["why"], own["key"])
        if own["figure"]:
            title = f"{task}: kept against learned"
            found[f"study-tradeoff-{safe}.svg"] = line_chart.file(title, [own["figure"]], own["key"])
    return found


def _targets(study: Study) -> list[str]:
    return list(dict.fromkeys(cell.task for cell in study.cells))


def _target(study: Study, task: str) -> dict[str, Any]:
    """What is shown of one target."""
    made = StudyTable.of(study, task)
    cells = made.cells
    courses = [course for course in study.courses if course.task == task]
    arms = [cell.arm for cell in cells]
    compared = [one for one in study.comparisons if one.task == task]
    return {
        "task": task,
        "finding": finding(cells, compared),
        "columns": _columns(made),
        "cells": list(enumerate(cells, 1)),
        "level": cells[0].level,
        "figure": course_figures.against(arms, courses),
        "steps": course_figures.over_steps(arms, courses),
        "why": analysis_figures.of_arms(arms, [look for look in study.looks if look.task == task]),
        "table": course_figures.table(arms, courses),
        "key": course_figures.key(arms),
        "asked": made.answered,
        "against": made.against,
        "compared": (made.measures, made.tests),
        "ends": study_overview.ends(cells),
    }


def finding(cells: Sequence[Cell], compared: Sequence[Comparison]) -> str:
    """What a target's arms come to: of those whose seeds all reach the score where arms are matched, the one that keeps most there,
    beside the first arm. Empty where none does.
    """
    first, level = cells[0], cells[0].level
    reached = [(cell.matched.mean, cell.arm) for cell in cells if cell.matched and cell.matched.n == cell.seeds]
    if level is None or not reached:
        return ""
    kept, best = max(reached, key=lambda pair: pair[0])
    said = f"At {units.points(level)} points on the target, {best} keeps {units.points(kept)} % of the base’s mean on the general tasks"
    if best == first.arm:
        return f"{said}: no arm keeps more." if len(cells) > 1 else f"{said}."
    said += (
        f", {first.arm} {units.points(first.matched.mean)} %" if first.matched else f"; {first.arm} does not get there"
    )
    test = next((one for one in compared if (one.arm, one.measure) == (best, "matched")), None)
    if test and test.low is not None and test.high is not None:
        limits = f"[{units.points(test.low, True)}, {units.points(test.high, True)}]"
        said += f" (difference {units.points(test.difference, True)} {limits}, 95 % over {test.n_seeds} seeds)"
    return f"{said}."


def _columns(made: StudyTable) -> list[tuple[str, str, list[Markup]]]:
    """(title, name, an entry for each arm) of the measures that any arm has."""
    level = "–" if made.cells[0].level is None else units.points(made.cells[0].level)
    return [
        (
            COLUMNS[name].format(level),
            name,
            [
                spread(value, cell.seeds if name == "matched" else 0, name in SIGNED)
                for value, cell in zip(column, made.cells, strict=True)
            ],
        )
        for name, column in made.columns.items()
    ]


def spread(found: Spread | None, seeds: int = 0, plus: bool = False) -> Markup:
    """A mean with its standard deviation, and below it its interval over seeds in brackets."""
    if found is None:
        return Markup("–")
    text = Markup("{}").format(minus(shown(found, seeds, plus)))
    if found.interval is not None:
        limits = ", ".join(units.points(value, plus) for value in found.interval)
        text += Markup(' <span class="interval">[{}]</span>').format(minus(limits))
    return text


def p(value: float | None) -> str:
    """A probability."""
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
