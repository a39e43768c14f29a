"""A run as one HTML page: self-contained, readable from disk, on a phone and on paper."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast.atomic_files import write_text
from holdfast.report import judge, sentences
from holdfast.report.chart import line_chart
from holdfast.report.run import analysis_figures, course_figures, disguises, examples, figures, sweep_figure
from holdfast.report.template import render
from holdfast.results import run_folder, units, verdicts
from holdfast.results.evidence import read_evidence, same_model
from holdfast.results.flips import DIRECTIONS, flips
from holdfast.results.judged import read_judge
from holdfast.results.language_grid import read_grids
from holdfast.results.run_folder import Folder
from holdfast.results.scores import ROLES, Score
from holdfast.results.summary import Summary, share
from holdfast.results.sweep import read_sweep

MOST_FLIPS = 2000  # items in the table of those that moved: about 1.5 MB
MOST_ROWS = 4000  # of the table of all scores: about 1.3 MB


def write_page(path: str | Path) -> Path:
    """Write report.html into a run's folder and return its path."""
    run = run_folder.read(path)
    return write_text(run.path / "report.html", page(run))


def page(run: Folder) -> str:
    """Return the page of one run."""
    summary, lives = Summary.of(run.scores), sentences.format_location(run.scores)
    listed, flipped = _listed(run.scores), flips(run.outputs, summary)
    return render(
        "page.html",
        run=run,
        scores=listed,
        left_out=len(run.scores) - len(listed),
        cut=[line.any for line in summary.lines if line.any.truncated and not units.is_symptom(line.metric)],
        corrected=verdicts.corrected(run.scores),
        summary=summary,
        subject=_subject(run, summary),
        lead=sentences.lead(summary),
        lost=sentences.lost(summary),
        same=same_model(read_evidence(run.path), bool(summary.by_own_metric("target"))),
        first_stage=sentences.first_stage(run.scores),
        noise=sentences.noise(summary),
        older=sentences.older(summary),
        chance=sentences.chance(summary),
        unresolved=sentences.plain([*sentences.unresolved(summary), " ", *sentences.floored(summary)]).strip(),
        collapse=share(summary.symptom(summary.collapse)) if summary.collapse else None,
        forest=figures.forest_of_run(summary),
        hidden=[*disguises.pairs(summary), *disguises.erased(summary)],
        probed=any(line.probe for line in summary.lines),
        least=disguises.LEAST,
        diagnostics=figures.forest(disguises.groups(summary)),
        grids=read_grids(run.scores),
        heat=figures.heat(summary),
        symptom=figures.symptom(summary, summary.collapse) if summary.collapse else None,
        signs=figures.signs(summary),
        means=figures.means(summary),
        flipped=flipped,
        flips=flipped.first(MOST_FLIPS),
        directions=DIRECTIONS,
        cut_text=examples.cut,
        examples=examples.choose(run.outputs, summary),
        rule=examples.RULE,
        most_tasks=examples.MOST_TASKS,
        curves=figures.curves(run.log),
        steps=course_figures.of_run(run.scores),
        traded=course_figures.trade_off(run.scores),
        analyses=analysis_figures.panels(run.analysis),
        sweep=sweep_figure.panel(read_sweep(run_folder.RunFolder(run.path).sweep_file)),
        located=sentences.format_sentence(lives),
        lives=analysis_figures.format_panel(lives) if lives else None,
        judged=read_judge(run.path),
        judge=judge,
        figure=line_chart.inline,
        facts=_facts(run),
    )


def _listed(scores: Sequence[Score]) -> list[Score]:
    """Return the scores, target first and diagnostics last, a task's shots together, judgements before symptoms, the base before the tuned.

    Of very many scores the symptoms are left out, to keep the page small.
    """
    if len(scores) > MOST_ROWS:
        scores = [score for score in scores if not units.is_symptom(score.metric)]
    order = {task: index for index, task in enumerate(dict.fromkeys(score.task for score in scores))}
    return sorted(
        scores,
        key=lambda s: (ROLES.index(s.role), order[s.task], s.shots, units.is_symptom(s.metric), s.metric, s.variant),
    )


def _subject(run: Folder, summary: Summary) -> str:
    """Return base model, targets, recipe and seed in a line."""
    targets = list(dict.fromkeys(line.task for line in summary.by_own_metric("target")))
    sample = run.circumstances
    if not sample.recipe and sample.variant == "tuned":  # not of our making
        return f"{sample.model} beside {run.base_model}" + (f", tuned on {', '.join(targets)}" if targets else "")
    of_many = f" and {len(targets) - 2} more" if len(targets) > 2 else ""
    named = f"{', '.join(targets[:2]) or 'no target'}{of_many}"
    return f"{run.base_model} tuned on {named} by {sample.recipe}, seed {sample.seed}"


def _facts(run: Folder) -> list[tuple[str, str]]:
    """Return the circumstances that the scores share, in words, those that are known."""
    # Symptoms are left out: they have no signature, and are read from the same answers as the judgements.
    sample, judged = run.circumstances, [score for score in run.scores if not units.is_symptom(score.metric)]
    facts = [
        ("Base model", run.base_model),
        ("Recipe", sample.recipe),
        ("Seed", str(sample.seed)),
        ("Split", _several(score.split for score in judged)),
        ("Template", _several(score.template for score in judged)),
        ("Demonstrations", _several(score.demonstrations for score in judged)),
        ("Decoding", _several(score.decoding for score in judged)),
        ("Metrics", _several(f"{score.metric}: {score.signature}" for score in judged if score.signature)),
        ("Training rows", "; ".join(run.truncated)),
        ("Precision", f"{sample.dtype} on {sample.device}" if sample.dtype else ""),
        ("Weights kept", "; ".join(run.rules)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sample.versions.items())),
    ]
    return [(name, value) for name, value in facts if value]


def _several(values: Iterable[str], most: int = 6) -> str:
    """Return the different values one after another; of many, the first few and the number of the rest."""
    different = [value for value in dict.fromkeys(values) if value]
    return "; ".join(different[:most]) + (f"; and {len(different) - most} more" if len(different) > most else "")
