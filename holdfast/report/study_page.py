"""A study as one HTML page: for each target the trade-off of every arm, the table behind it, and the tests."""

from pathlib import Path
from typing import Any

from holdfast.report import course_figures, lines, units
from holdfast.report import folder as folders
from holdfast.report import study as records
from holdfast.report.page import minus, render
from holdfast.report.study import Spread, Study
from holdfast.report.study_markdown import markdown


def write_study_page(folder: str | Path) -> Path:
    """Write study.html into a study's folder, its tables as study.md and each figure as an SVG file; returns the page's path."""
    folder = Path(folder)
    study = records.read(folder)
    for name, drawing in files(study).items():
        folders.write_text(folder / name, drawing)
    folders.write_text(folder / "study.md", markdown(study, folder.resolve().name))
    return folders.write_text(folder / "study.html", page(study, folder.resolve().name))


def page(study: Study, name: str) -> str:
    """The page of one study."""
    return render(
        "study.html",
        name=name,
        targets=[_target(study, task) for task in _targets(study)],
        predictions=[records.said(one) for one in study.predictions],
        figure=lines.inline,
        spread=spread,
        p=p,
    )


def files(study: Study) -> dict[str, str]:
    """`study-steps-TARGET.svg` and `study-tradeoff-TARGET.svg` for each target that has them: the page's figures on their own."""
    found = {}
    for task in _targets(study):
        own = _target(study, task)
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in task.rstrip("/").rpartition("/")[2])
        if own["steps"]:
            found[f"study-steps-{safe}.svg"] = lines.file(f"{task}: over training", own["steps"], own["key"])
        if own["figure"]:
            title = f"{task}: kept against learned"
            found[f"study-tradeoff-{safe}.svg"] = lines.file(title, [own["figure"]], own["key"])
    return found


def _targets(study: Study) -> list[str]:
    return list(dict.fromkeys(cell.task for cell in study.cells))


def _target(study: Study, task: str) -> dict[str, Any]:
    """What is shown of one target."""
    cells = [cell for cell in study.cells if cell.task == task]
    answered = [one for one in study.answered if one.task == task]
    courses = [course for course in study.courses if course.task == task]
    arms = [cell.arm for cell in cells]
    return {
        "task": task,
        "cells": list(enumerate(cells, 1)),
        "level": cells[0].level,
        "figure": course_figures.against(arms, courses),
        "steps": course_figures.over_steps(arms, courses),
        "table": course_figures.table(arms, courses),
        "key": course_figures.key(arms),
        "asked": [
            (asked, shots, [one for one in answered if (one.asked, one.shots) == (asked, shots)])
            for asked, shots in dict.fromkeys((one.asked, one.shots) for one in answered)
        ],
        "compared": [one for one in study.comparisons if one.task == task],
    }


def spread(found: Spread | None, seeds: int = 0, plus: bool = False) -> str:
    """A mean with its standard deviation, and its interval over seeds in brackets."""
    if found is None:
        return "–"
    text = records.shown(found, seeds, plus)
    if found.interval is not None:
        low, high = (units.points(value) for value in found.interval)
        text += f" [{low}, {high}]"
    return minus(text)


def p(value: float | None) -> str:
    """A probability."""
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
