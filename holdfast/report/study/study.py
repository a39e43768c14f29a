"""A study in a terminal of 80 columns, and the texts that its other tables share."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.report import table
from holdfast.results import units
from holdfast.results.study import FEWEST_TARGETS, Cell, Comparison, Prediction, Spread, Study


def terminal(study: Study) -> RenderableType:
    """Tables that fit 80 columns: each target's arms, the differences to the first arm, and what stage 1 predicts."""
    parts: list[RenderableType] = []
    for task in dict.fromkeys(cell.task for cell in study.cells):
        cells = [cell for cell in study.cells if cell.task == task]
        level = f", matched at {cells[0].level:.1f}" if cells[0].level is not None else ""
        parts += [Text(f"{task}{level}", style="bold"), _arms(cells), Text()]
        compared = [one for one in study.comparisons if one.task == task]
        if compared:
            parts += [Text(f"Against {compared[0].against}, in points (p over items / over seeds, after Holm)")]
            parts += [_compared(compared), Text()]
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


def _arms(cells: Sequence[Cell]) -> RenderableType:
    grid = table.plain()
    grid.add_column("arm", overflow="fold", min_width=12)
    titles = ("n", "target", "kept", "matched", "area", "form", "stage 1", "BWT")
    columns = [
        [str(c.seeds) for c in cells],
        [shown(c.target) for c in cells],
        [shown(c.kept) for c in cells],
        [shown(c.matched, c.seeds) for c in cells],
        *([_mean(getattr(c, name)) for c in cells] for name in ("area", "format_share", "stage_one", "transfer")),
    ]
    used = [place for place, column in enumerate(columns) if set(column) != {"-"}]
    for place in used:
        grid.add_column(titles[place], justify="right", no_wrap=True)
    for row, cell in enumerate(cells):
        grid.add_row(brief(cell.arm), *[columns[place][row] for place in used])
    return grid


def brief(arm: str) -> str:
    """An arm's name without the stages before its settings, where every setting is then still told from the others; one a line."""
    method, at, rest = arm.partition("@")
    settings = [part.partition(".")[2] or part for part in rest.split(",")]
    names = {part.partition("=")[0] for part in settings}
    return arm if not at or len(names) < len(settings) else "\n ".join([method, *settings])


def _mean(found: Spread | None) -> str:
    return "-" if found is None else units.points(found.mean)


def _compared(found: Sequence[Comparison]) -> RenderableType:
    grid = table.plain()
    grid.add_column("arm", overflow="fold", min_width=12)
    measures = list(dict.fromkeys(one.measure for one in found))
    for measure in measures:
        grid.add_column(measure, justify="right", no_wrap=True)
    places = {(one.arm, one.measure): one for one in found}
    for arm in dict.fromkeys(one.arm for one in found):
        grid.add_row(brief(arm), *[_difference(places.get((arm, measure))) for measure in measures])
    return grid


def _difference(one: Comparison | None) -> str:
    if one is None:
        return "-"
    ps = " / ".join(
        "-" if p is None else f"{p:.2f}".lstrip("0") if p >= 0.005 else "<.01" for p in (one.p_items, one.p_seeds)
    )
    return f"{units.points(one.difference, True)}\n({ps})"  # on two lines: four measures fit 80 columns
