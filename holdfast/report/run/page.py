"""The report as one HTML page: self-contained, readable from disk, on a phone and on paper.

Model output is text: Jinja escapes everything, and the page's content security policy allows no script but its own (by
hash) and no request at all. Every number carries the key of the score it shows, or the name of what was derived.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from holdfast.atomic_files import write_text
from holdfast.report import judge, sentences
from holdfast.report.chart import line_chart
from holdfast.report.compare import compare_figures
from holdfast.report.compare.compare import missed, side_by_side, trade_off
from holdfast.report.run import analysis_figures, course_figures, disguises, examples, figures, sweep_figure
from holdfast.results import run_folder, units, verdicts
from holdfast.results.flips import DIRECTIONS, flips
from holdfast.results.judged import read_judge
from holdfast.results.language_grid import read_grids
from holdfast.results.run_folder import Folder
from holdfast.results.scores import ROLES, Score
from holdfast.results.summary import STATE, Estimate, Summary, change, share
from holdfast.results.sweep import read_sweep
from holdfast.results.visible import visible

ASSETS = Path(__file__).parents[1] / "assets"
MOST_FLIPS = 500  # items in the table of those that moved: about 0.4 MB
MOST_ROWS = 4000  # of the table of all scores: about 1.3 MB


def write_page(path: str | Path) -> Path:
    """Write report.html into a run's folder and return its path."""
    run = run_folder.read(path)
    return write_text(run.path / "report.html", page(run))


def page(run: Folder) -> str:
    """Return the page of one run."""
    summary, lives = Summary.of(run.scores), sentences.format_location(run.scores)
    states, shots, heat = figures.heat(summary)
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
        heat={"states": states, "shots": shots, "rows": heat},
        symptom=figures.symptom(summary, summary.collapse) if summary.collapse else None,
        signs=figures.signs(summary),
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
        floor=floor,
        corrected=any(verdicts.corrected(run.scores) for run in runs),
        lead=compare_figures.lead(runs, summaries),
        scatter=trade_off(summaries),
        courses=compare_figures.courses(runs),
        forest=compare_figures.forest(sides),
        heat=compare_figures.heat(sides),
        rows=sides,
        figure=line_chart.inline,
    )


def render(template: str, **values: Any) -> str:
    """Return a template of `report/assets` with its values."""
    # Escaping leaves what is no markup: a mark of writing from right to left could turn a sentence of ours round.
    return visible(_environment().get_template(template).render(**values))


@cache
def _environment() -> Environment:
    """Return the templates with the functions that they may call; everything they print is escaped."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name is an error and not an empty place on the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _asset("page.js")
    environment.globals.update(
        style=_asset("style.css") + Markup(line_chart.style()),
        script=script,
        script_hash=_hash(script),
        verdict=verdicts,
    )
    environment.globals.update(shown=shown, cell=cell, interval=interval, estimate=estimate, key=key, state=state)
    environment.globals.update(
        points=units.points,
        meaning=units.meaning,
        interval_text=sentences.interval,
        word_of=verdicts.of_score,
        changed=change,
    )
    environment.globals.update(is_number=lambda piece: isinstance(piece, sentences.Number))
    environment.filters.update(minus=minus, breakable=breakable)
    return environment


def key(score: Score) -> str:
    """Return a score's key as one string, for `data-score`."""
    return "|".join(str(part) for part in score.key)


def minus(text: str) -> str:
    """Return numbers with a true minus sign; the hyphens of names (`0-shot`, `pig-latin`) stay."""
    return re.sub(r"(?<![\w)])-(?=[\d.])", "−", text)


def breakable(name: str) -> Markup:
    """Return a name that may break after a slash, a colon, a dot, a dash or an underscore, where it has no spaces to break at."""
    # `join` of Markup escapes each part: only the breaks are markup.
    return Markup("<wbr>").join(re.split(r"(?<=[/:_.-])", name))


def shown(score: Score, name: str = "value") -> Markup:
    """Return a score's number, marked with the score and the field that it comes from."""
    return Markup('<span class="num" data-score="{}" data-field="{}">{}</span>').format(
        key(score), name, minus(units.shown(score, name))
    )


def interval(score: Score, name: str = "value") -> Markup:
    """Return a score's interval, or that of a change, both ends marked."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return Markup('<span class="interval">[{}, {}]</span>').format(shown(score, low), shown(score, high))


def cell(score: Score, name: str) -> str:
    """Return a score's number for a table cell, which carries the mark itself; empty where there is none."""
    return minus(units.shown(score, name)) if getattr(score, name) is not None else ""


def state(score: Score) -> str:
    """Return the name of the model that answered: the base, or the tuned one with its prompt's state, and the step on the way."""
    words = STATE[score.prompt]
    if score.step is not None:
        return f"{words}, step {score.step}"
    return words if score.variant == "tuned" else "base" if score.prompt is None else f"base, {words}"


def estimate(derived: Estimate, name: str, plus: bool = False) -> Markup:
    """Return a derived number with its interval, both marked with the name of what was derived."""
    return Markup(
        '<span class="num" data-derived="{0}">{1}</span> <span class="interval" data-derived="{0}">{2}</span>'
    ).format(name, minus(units.points(derived.value, plus)), minus(sentences.interval(derived)))


def _asset(name: str) -> Markup:
    # Put into the page unescaped: these files are ours, and the page must work without any other file.
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def _hash(script: str) -> str:
    """Return the script's hash as a content security policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


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
    targets = list(dict.fromkeys(line.task for line in summary.first_metric("target")))
    if not run.one.recipe and run.one.variant == "tuned":  # not of our making
        return f"{run.one.model} beside {run.base_model}" + (f", tuned on {', '.join(targets)}" if targets else "")
    of_many = f" and {len(targets) - 2} more" if len(targets) > 2 else ""
    return f"{run.base_model} tuned on {', '.join(targets[:2]) or 'no target'}{of_many} by {run.one.recipe}, seed {run.one.seed}"


def _facts(run: Folder) -> list[tuple[str, str]]:
    """Return the circumstances that the scores share, in words, those that are known."""
    # Symptoms are left out: they have no signature, and are read from the same answers as the judgements.
    sample, judged = run.one, [score for score in run.scores if not units.is_symptom(score.metric)]
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
