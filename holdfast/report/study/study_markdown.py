"""A study as tables in Markdown, to put beside words of one's own."""

from collections.abc import Sequence

from holdfast.report.study.study import NOTE, brief, said, shown
from holdfast.results.study import Answered, Cell, Comparison, Study


def markdown(study: Study, name: str) -> str:
    """`study.md`: for each target its arms, every task that they were asked, and the tests against the first arm."""
    parts = [f"# {name}"]
    for task in dict.fromkeys(cell.task for cell in study.cells):
        cells = [cell for cell in study.cells if cell.task == task]
        parts += [f"## {task}", _arms(cells)]
        if answered := [one for one in study.answered if one.task == task]:
            parts += ["Each task, in points (target with the prompt, others without):", _answered(answered)]
        if compared := [one for one in study.comparisons if one.task == task]:
            against = _name(compared[0].against)
            caption = (
                f"Difference to {against}, in points, with its 95 % interval over seeds (p over items, over seeds):"
            )
            parts += [caption, _compared(compared)]
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


def _arms(cells: Sequence[Cell]) -> str:
    level = "" if cells[0].level is None else f" at {cells[0].level:.1f}"
    head = ["arm", "seeds", "target", "kept, %", f"kept{level}, %", "area, %"]
    head += ["format share, %", "stage 1", "drift, %", "BWT"]
    rows = []
    for cell in cells:
        values = [shown(cell.target), shown(cell.kept), shown(cell.matched, cell.seeds), shown(cell.area)]
        values += [shown(one) for one in (cell.format_share, cell.stage_one, cell.drift, cell.transfer)]
        rows.append([_name(cell.arm), str(cell.seeds), *values])
    return _table(head, rows)


def _answered(answered: Sequence[Answered]) -> str:
    """A row for each task and number of demonstrations, a column for each arm."""
    arms = list(dict.fromkeys(one.arm for one in answered))
    places = {(one.asked, one.shots, one.arm): one for one in answered}
    rows = []
    for asked, shots in dict.fromkeys((one.asked, one.shots) for one in answered):
        own = [places.get((asked, shots, arm)) for arm in arms]
        base = next((one.base for one in own if one and one.base is not None), None)
        scores = [shown(one.score) if one else "-" for one in own]
        rows.append(
            [f"{asked}, {shots} shot{'' if shots == 1 else 's'}", "-" if base is None else f"{base:.1f}", *scores]
        )
    return _table(("task", "base", *map(_name, arms)), rows)


def _compared(compared: Sequence[Comparison]) -> str:
    measures = list(dict.fromkeys(one.measure for one in compared))
    places = {(one.arm, one.measure): one for one in compared}
    arms = dict.fromkeys(one.arm for one in compared)
    rows = [[_name(arm), *(_difference(places.get((arm, measure))) for measure in measures)] for arm in arms]
    return _table(("arm", *measures), rows)


def _difference(one: Comparison | None) -> str:
    if one is None:
        return "-"
    interval = "" if one.low is None or one.high is None else f" [{one.low:+.1f}, {one.high:+.1f}]"
    p_items, p_seeds = ("-" if p is None else "<.01" if p < 0.005 else f"{p:.2f}" for p in (one.p_items, one.p_seeds))
    return f"{one.difference:+.1f}{interval} ({p_items}, {p_seeds})"
