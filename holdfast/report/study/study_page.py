"""A study as one HTML page: for each target the trade-off of every arm, the table behind it, and the tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from holdfast.atomic_files import write_text
from holdfast.report.chart import line_chart
from holdfast.report.run import analysis_figures, course_figures
from holdfast.report.study import learning_curve, study_overview
from holdfast.report.study.study_markdown import markdown
from holdfast.report.study.study_table import StudyTable, prediction_text, shown, unresolved
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


@dataclass(frozen=True)
class TargetSection:
    """One target of a study: its figures, and the tables behind them."""

    task: str
    finding: str
    table: StudyTable
    columns: list[tuple[str, str, list[Markup]]]  # (title, name, an entry for each arm)
    courses: list[tuple[str, int, list[course_figures.Moment | None]]]  # (arm, step, a moment of each measure)
    ends: tuple[list[study_overview.End], Markup] | None
    steps: list[line_chart.Panel]
    learning: list[line_chart.Panel]
    learned: tuple[list[str], list[list[str]]]
    why: list[line_chart.Panel]
    tradeoff: line_chart.Panel | None
    key: list[line_chart.Curve]

    @classmethod
    def of(cls, study: Study, task: str) -> "TargetSection":
        """Return the section of one target."""
        table = StudyTable.of(study, task)
        arms = [cell.arm for cell in table.cells]
        courses = [course for course in study.courses if course.task == task]
        compared = [comparison for comparison in study.comparisons if comparison.task == task]
        curves = learning_curve.learning_curves(table.cells)
        return cls(
            task,
            finding(table.cells, compared),
            table,
            _columns(table),
            course_figures.table(arms, courses),
            study_overview.ends(table.cells),
            course_figures.over_steps(arms, courses),
            learning_curve.panels(curves),
            learning_curve.rows(curves),
            analysis_figures.of_arms(arms, [look for look in study.looks if look.task == task]),
            course_figures.against(arms, courses),
            course_figures.key(arms),
        )


def sections(study: Study) -> list[TargetSection]:
    """Return a section for each target."""
    return [TargetSection.of(study, task) for task in dict.fromkeys(cell.task for cell in study.cells)]


def page(study: Study, name: str) -> str:
    """Return the page of one study."""
    return render(
        "study.html",
        name=name,
        verdict=study_overview.verdict(study),
        lead=study_overview.lead(study),
        overview=study_overview.overview(study)[0],
        targets=sections(study),
        predictions=[prediction_text(prediction) for prediction in study.predictions],
        figure=line_chart.inline,
        spread=spread,
        p=p,
        unresolved=unresolved,
        measures=MEASURES,
    )


def files(study: Study) -> dict[str, str]:
    """Return the page's figures as SVG files of their own, {name: text}, for each target that has them.

    The names are `study-steps-TARGET.svg`, `study-examples-TARGET.svg`, `study-why-TARGET.svg` and `study-tradeoff-TARGET.svg`.
    """
    drawings = {}
    for target in sections(study):
        # A target may be a path, or several joined by " + ".
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in target.task.rstrip("/").rpartition("/")[2])
        tradeoff = [target.tradeoff] if target.tradeoff else []
        for name, title, panels, key in (
            ("steps", "over training", target.steps, target.key),
            ("examples", "learning curve", target.learning, ()),
            ("why", "why", target.why, target.key),
            ("tradeoff", "kept against learned", tradeoff, target.key),
        ):
            if panels:
                drawings[f"study-{name}-{safe}.svg"] = line_chart.file(f"{target.task}: {title}", panels, key)
    return drawings


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
    if test and test.limits is None:
        sentence += f" (difference {units.points(test.difference, True)}, {unresolved(test)})"
    elif test and test.limits is not None:
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
