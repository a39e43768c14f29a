"""Runs side by side, and which of them fell below a floor."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.report import folder, table
from holdfast.report.summary import Summary


def compare(folders: Sequence[str | Path], floor: float | None = None) -> tuple[RenderableType, list[str]]:
    """A table of several runs, and the folders whose retention is below `floor` (0 to 1).

    The retention itself is compared and not the end of its interval. A run without general tasks has no retention: a
    floor cannot be shown to hold for it, so it counts as missed.
    """
    runs = [folder.read(path) for path in folders]
    if not runs:
        raise ValueError("nothing to compare; name at least one run folder")
    if floor is None:
        return table.comparison(runs), []
    kept = [Summary.of(run.scores).retention for run in runs]
    missed = [
        str(run.path)
        for run, estimate in zip(runs, kept, strict=True)
        if estimate is None or estimate.value < 100 * floor
    ]
    said = (
        f"Below the floor of {100 * floor:g} % retention: {', '.join(missed)}"
        if missed
        else f"All keep at least {100 * floor:g} %."
    )
    return Group(table.comparison(runs), Text(said, style="bold")), missed
