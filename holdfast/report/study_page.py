"""A study as one HTML page: for each target the trade-off of every arm, the table behind it, and the tests."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from holdfast.report import folder as folders
from holdfast.report import study as records
from holdfast.report import svg, units
from holdfast.report.page import minus, render
from holdfast.report.study import Cell, Course, Spread, Study


def write_study_page(folder: str | Path) -> Path:
    """Write study.html into a study's folder and return its path."""
    folder = Path(folder)
    return folders.write_text(folder / "study.html", page(records.read(folder), folder.resolve().name))


def page(study: Study, name: str) -> str:
    """The page of one study."""
    targets = list(dict.fromkeys(cell.task for cell in study.cells))
    return render(
        "study.html",
        name=name,
        targets=[
            {
                "task": task,
                "cells": list(enumerate((own := [cell for cell in study.cells if cell.task == task]), 1)),
                "level": own[0].level,
                "figure": trade_off(own, [course for course in study.courses if course.task == task]),
                "compared": [one for one in study.comparisons if one.task == task],
            }
            for task in targets
        ],
        predictions=[records.said(one) for one in study.predictions],
        spread=spread,
        p=p,
    )


def trade_off(cells: Sequence[Cell], courses: Sequence[Course]) -> Markup | None:
    """Retention against target score along training, a line for each arm (means over seeds at each step); None without retention."""
    lines = []
    for number, cell in enumerate(cells, 1):
        own = [course.points for course in courses if course.arm == cell.arm]
        places = []
        for step in sorted({point.step for points in own for point in points}):
            there = [p for points in own for p in points if p.step == step]
            kept = [p.retention for p in there if p.retention is not None]
            if kept:
                places.append((statistics.fmean(p.target for p in there), statistics.fmean(kept)))
        if places:
            lines.append((str(number), places))
    if not lines:
        return None
    described = "; ".join(
        f"arm {label}: target {units.points(places[-1][0])}, keeps {units.points(places[-1][1])} %"
        for label, places in lines
    )
    return svg.courses(lines, title="Retention against target score along training", description=described + ".")


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
