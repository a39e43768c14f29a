"""A study as one HTML page: for each target the trade-off of every arm, the table behind it, and the tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from holdfast.atomic_files import write_text
from holdfast.report.chart import line_chart
from holdfast.report.run import analysis_figures, course_figures
from holdfast.report.study import learning_curve, study_overview
from holdfast.report.study.study import StudyTable, prediction_text, shown
from holdfast.report.study.study_markdown import markdown
from holdfast.report.template import minus, render
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
    study = read(folder)  # from the file and not from memory: all that the page shows follows from the folder
    for name, drawing in files(study).items():
        write_text(folder / name, drawing)
    write_text(folder / "study.md", markdown(study, folder.resolve().name))
    return write_text(folder / "study.html", page(study, folder.resolve().name))


def page(study: Study, name: str) -> str:
    """Return the page of one study."""
    return render(
        "study.html",
        name=name,
        verdict=study_overview.verdict(study),
        lead=study_overview.lead(study),
        overview=study_overview.overview(study)[0],
        targets=[_target(study, task) for task in _targets(study)],
        predictions=[prediction_text(prediction) for prediction in study.predictions],
        figure=line_chart.inline,
        spread=spread,
        p=p,
        measures=MEASURES,
    )


def files(study: Study) -> dict[str, str]:
    """Return the page's figures as SVG files of their own, {name: text}, for each target that has them.

    The names are `study-steps-TARGET.svg`, `study-examples-TARGET.svg`, `study-why-TARGET.svg` and `study-tradeoff-TARGET.svg`.
    """
    drawings = {}
    for task in _targets(study):
        figures = _target(study, task)
        # A target may be a path, or several joined by " + ".
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in task.rstrip("/").rpartition("/")[2])
        if figures["steps"]:
            drawings[f"study-steps-{safe}.svg"] = line_chart.file(
                f"{task}: over training", figures["steps"], figures["key"]
            )
        if figures["learning"]:
            drawings[f"study-examples-{safe}.svg"] = line_chart.file(f"{task}: learning curve", figures["learning"])
        if figures["why"]:
            drawings[f"study-why-{safe}.svg"] = line_chart.file(f"{task}: why", figures["why"], figures["key"])
        if figures["figure"]:
            title = f"{task}: kept against learned"
            drawings[f"study-tradeoff-{safe}.svg"] = line_chart.file(title, [figures["figure"]], figures["key"])
    return drawings


def _targets(study: Study) -> list[str]:
    return list(dict.fromkeys(cell.task for cell in study.cells))


def _target(study: Study, task: str) -> dict[str, Any]:
    """Return the figures and tables of one target, by the names that the template knows."""
    made = StudyTable.of(study, task)
    cells = made.cells
    courses = [course for course in study.courses if course.task == task]
    arms = [cell.arm for cell in cells]
    compared = [comparison for comparison in study.comparisons if comparison.task == task]
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
        "learning": learning_curve.panels(curves := learning_curve.learning_curves(cells)),
        "learnt": learning_curve.rows(curves),
    }


def finding(cells: Sequence[Cell], compared: Sequence[Comparison]) -> str:
    """Return the sentence on one target's arms: the one that keeps most at the matched score, beside the first arm.

    Only arms whose seeds all reach that score count; empty where none does.
    """
    first, level = cells[0], cells[0].level
    reached = [(cell.matched.mean, cell.arm) for cell in cells if cell.matched and cell.matched.n == cell.seeds]
    if level is None or not reached:
        return ""
    kept, best = max(reached, key=lambda pair: pair[0])
    sentence = f"At {units.points(level)} points on the target, {best} keeps {units.points(kept)} % of the base’s mean on the general tasks"
    if best == first.arm:
        return f"{sentence}: no arm keeps more." if len(cells) > 1 else f"{sentence}."
    sentence += (
        f", {first.arm} {units.points(first.matched.mean)} %" if first.matched else f"; {first.arm} does not get there"
    )
    test = next((test for test in compared if (test.arm, test.measure) == (best, "matched")), None)
    if test and test.limits is not None:
        limits = f"[{', '.join(units.points(limit, True) for limit in test.limits)}]"
        sentence += f" (difference {units.points(test.difference, True)} {limits}, 95 % over {test.n_seeds} seeds)"
    return f"{sentence}."


def _columns(made: StudyTable) -> list[tuple[str, str, list[Markup]]]:
    """Return (title, name, an entry for each arm) of the measures that any arm has."""
    level = "–" if made.cells[0].level is None else units.points(made.cells[0].level)
    return [
        (
            COLUMNS[name].format(level),
            name,
            [
                spread(value, cell.seeds if name == "matched" else 0, name)
                for value, cell in zip(column, made.cells, strict=True)
            ],
        )
        for name, column in made.columns.items()
    ]


def spread(entry: Spread | None, seeds: int = 0, measure: str = "target") -> Markup:
    """Return a mean with its standard deviation, and below it its interval over seeds in brackets, cut where the measure ends."""
    if entry is None:
        return Markup("–")
    plus = measure in SIGNED
    text = Markup("{}").format(minus(shown(entry, seeds, plus)))
    if (interval := entry.limits(measure)) is not None:
        limits = ", ".join(units.points(limit, plus) for limit in interval)
        text += Markup(' <span class="interval">[{}]</span>').format(minus(limits))
    return text


def p(value: float | None) -> str:
    """Return a probability as text, to three decimals."""
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
