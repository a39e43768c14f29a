"""Several runs as one HTML page: the gain of each against its retention, and their changes task by task."""

from collections.abc import Sequence
from pathlib import Path

from holdfast.atomic_files import write_text
from holdfast.report.chart import line_chart
from holdfast.report.compare import compare_figures
from holdfast.report.compare.compare import missed, side_by_side, unshown
from holdfast.report.template import render
from holdfast.results import run_folder, verdicts
from holdfast.results.run_folder import Folder
from holdfast.results.summary import Summary


def write_comparison(folders: Sequence[str | Path], out: str | Path, floor: float | None = None) -> Path:
    """Write comparison.html, several runs side by side, into the folder `out` and return its path."""
    runs = [run_folder.read(path) for path in folders]
    return write_text(Path(out) / "comparison.html", comparison(runs, floor))


def comparison(runs: Sequence[Folder], floor: float | None = None) -> str:
    """Return the page of several runs: the gain of each against its retention; runs below `floor` (0 to 1) are named."""
    summaries = [Summary.of(run.scores) for run in runs]
    sides = side_by_side(summaries)
    return render(
        "comparison.html",
        runs=list(zip(range(1, len(runs) + 1), runs, summaries, strict=True)),
        missed=missed(runs, summaries, floor) if floor is not None else [],
        unshown=unshown(runs, summaries, floor) if floor is not None else [],
        floor=floor,
        corrected=any(verdicts.corrected(run.scores) for run in runs),
        lead=compare_figures.lead(runs, summaries),
        scatter=compare_figures.trade_off(summaries),
        courses=compare_figures.courses(runs),
        forest=compare_figures.forest(sides),
        heat=compare_figures.heat(sides),
        rows=sides,
        figure=line_chart.inline,
    )
