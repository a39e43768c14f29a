"""A study as tables in Markdown, to put beside words of one's own."""

from collections.abc import Sequence
from itertools import chain

from holdfast.report.study import learning_curve
from holdfast.report.study.study_overview import verdict
from holdfast.report.study.study_table import NOTE, StudyTable, brief, prediction_text, shown, unresolved
from holdfast.results.study import Comparison, Study
from holdfast.results.visible import escaped

TITLES = {
    "target": "target", "kept": "kept, %", "matched": "kept{}, %", "area": "area, %", "format_share": "format share, %",
    "stage_one": "stage 1", "drift": "drift, %", "transfer": "BWT",
}  # fmt: skip


def markdown(study: Study, name: str) -> str:
    """Return `study.md`: for each target its arms, every task that they were asked, and the tests against the first arm."""
    parts = [f"# {escaped(name)}", f"{escaped(verdict(study))}."]
    for task in dict.fromkeys(cell.task for cell in study.cells):
        made = StudyTable.of(study, task)
        parts += [f"## {escaped(task)}", _arms(made)]
        if made.answered:
            note = "Each task, in points (target with the prompt, others without; f: the base is not above chance, in no mean):"
            parts += [note, _answered(made)]
        if curves := learning_curve.learning_curves(made.cells):
            head, rows = learning_curve.rows(curves)
            caption = "Score on the target over the training examples, with its 95 % interval over seeds:"
            parts += [caption, _table([*map(_name, head)], rows)]
        if made.tests:
            caption = f"Difference to {_name(made.against)}, in points, with its 95 % interval over seeds (p over items, over seeds):"
            tests = [[_name(arm), *map(_difference, row)] for arm, row in made.tests]
            parts += [caption, _table(("arm", *made.measures), tests)]
    parts.append(NOTE)
    parts += [f"- {escaped(prediction_text(prediction))}" for prediction in study.predictions]
    return "\n\n".join(parts) + "\n"


def _name(arm: str) -> str:
    return escaped(brief(arm).replace("\n ", ", "))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table without the columns that hold nothing but dashes; the first always stays."""
    used = [column for column in range(len(head)) if column == 0 or any(row[column] != "-" for row in rows)]
    lines = [[head[column] for column in used], ["---", *["---:"] * (len(used) - 1)]]
    lines += [[row[column] for column in used] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _arms(made: StudyTable) -> str:
    level = "" if made.cells[0].level is None else f" at {made.cells[0].level:.1f}"
    rows = [
        [_name(cell.arm), str(cell.seeds), *(made.entry(name, arm) for name in made.columns)]
        for arm, cell in enumerate(made.cells)
    ]
    return _table(("arm", "seeds", *(TITLES[name].format(level) for name in made.columns)), rows)


def _answered(made: StudyTable) -> str:
    """Return a table with a row for each task and number of demonstrations, and a column for each arm."""
    # From all rows: an arm whose runs failed on one task is missing there and must keep its column.
    arms = list(dict.fromkeys(score.arm for score in chain.from_iterable(scores for _, _, scores in made.answered)))
    rows = []
    for task, shots, scores in made.answered:
        by_arm = {score.arm: score for score in scores}
        base = next((score.base for score in scores if score.base is not None), None)
        entries = [shown(by_arm[arm].score) if arm in by_arm else "-" for arm in arms]
        mark = " f" if any(score.floored for score in scores) else ""
        rows.append(
            [
                f"{escaped(task)}, {shots} shot{'' if shots == 1 else 's'}",
                "-" if base is None else f"{base:.1f}{mark}",
                *entries,
            ]
        )
    return _table(("task", "base", *map(_name, arms)), rows)


def _difference(comparison: Comparison | None) -> str:
    if comparison is None:
        return "-"
    limits = comparison.limits
    interval = f", {unresolved(comparison)}" if limits is None else " [{:+.1f}, {:+.1f}]".format(*limits)
    p_items, p_seeds = (
        "-" if p is None else "<.01" if p < 0.005 else f"{p:.2f}" for p in (comparison.p_items, comparison.p_over_seeds)
    )
    return f"{comparison.difference:+.1f}{interval} ({p_items}, {p_seeds})"
