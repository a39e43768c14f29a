"""A study as tables in Markdown, to put beside words of one's own."""

from collections.abc import Sequence

from holdfast.report.study.study import NOTE, StudyTable, brief, said, shown
from holdfast.results.study import Comparison, Study

TITLES = {
    "target": "target", "kept": "kept, %", "matched": "kept{}, %", "area": "area, %", "format_share": "format share, %",
    "stage_one": "stage 1", "drift": "drift, %", "transfer": "BWT",
}  # fmt: skip


def markdown(study: Study, name: str) -> str:
    """`study.md`: for each target its arms, every task that they were asked, and the tests against the first arm."""
    parts = [f"# {name}"]
    for task in dict.fromkeys(cell.task for cell in study.cells):
        made = StudyTable.of(study, task)
        parts += [f"## {task}", _arms(made)]
        if made.answered:
            parts += ["Each task, in points (target with the prompt, others without):", _answered(made)]
        if made.tests:
            caption = f"Difference to {_name(made.against)}, in points, with its 95 % interval over seeds (p over items, over seeds):"
            tests = [[_name(arm), *map(_difference, row)] for arm, row in made.tests]
            parts += [caption, _table(("arm", *made.measures), tests)]
    parts.append(NOTE)
    parts += [f"- {said(one)}" for one in study.predictions]
    return "\n\n".join(parts) + "\n"


def _name(arm: str) -> str:
    return brief(arm).replace("\n ", ", ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without the columns in which nothing stands."""
    used = [place for place in range(len(head)) if place == 0 or any(row[place] != "-" for row in rows)]
    lines = [[head[place] for place in used], ["---", *["---:"] * (len(used) - 1)]]
    lines += [[row[place] for place in used] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _arms(made: StudyTable) -> str:
    level = "" if made.cells[0].level is None else f" at {made.cells[0].level:.1f}"
    rows = [
        [_name(cell.arm), str(cell.seeds), *(made.entry(name, arm) for name in made.columns)]
        for arm, cell in enumerate(made.cells)
    ]
    return _table(("arm", "seeds", *(TITLES[name].format(level) for name in made.columns)), rows)


def _answered(made: StudyTable) -> str:
    """A row for each task and number of demonstrations, a column for each arm."""
    arms = list(dict.fromkeys(score.arm for _, _, scores in made.answered for score in scores))
    rows = []
    for task, shots, scores in made.answered:
        by_arm = {score.arm: score for score in scores}
        base = next((score.base for score in scores if score.base is not None), None)
        entries = [shown(by_arm[arm].score) if arm in by_arm else "-" for arm in arms]
        rows.append(
            [f"{task}, {shots} shot{'' if shots == 1 else 's'}", "-" if base is None else f"{base:.1f}", *entries]
        )
    return _table(("task", "base", *map(_name, arms)), rows)


def _difference(one: Comparison | None) -> str:
    if one is None:
        return "-"
    interval = "" if one.low is None or one.high is None else f" [{one.low:+.1f}, {one.high:+.1f}]"
    p_items, p_seeds = ("-" if p is None else "<.01" if p < 0.005 else f"{p:.2f}" for p in (one.p_items, one.p_seeds))
    return f"{one.difference:+.1f}{interval} ({p_items}, {p_seeds})"
