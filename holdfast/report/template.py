"""The templates of the pages, with the functions that they may call: a page is self-contained, and every text in it is escaped.

Model output is text: Jinja escapes everything, and a page's content security policy allows no script but its own (by hash) and no request
at all. Every number carries the key of the score it shows, or the name of what was derived.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from holdfast.report import sentences
from holdfast.report.chart import line_chart
from holdfast.results import units, verdicts
from holdfast.results.scores import Score
from holdfast.results.summary import STATE, Estimate, change
from holdfast.results.visible import visible

ASSETS = Path(__file__).parent / "assets"


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
    environment.filters.update(minus=minus, breakable=breakable, code=code)
    return environment


def key(score: Score) -> str:
    """Return a score's key as one string, for `data-score`."""
    return "|".join(str(part) for part in score.key)


def minus(text: str) -> str:
    """Return numbers with a true minus sign; the hyphens of names (`0-shot`, `pig-latin`) stay."""
    return re.sub(r"(?<![\w)])-(?=[\d.])", "−", text)


def code(text: str) -> Markup:
    """Return a sentence with what stands between backticks, as a terminal shows it, set as code."""
    # Every second part was between two of them; `format` escapes it all the same.
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


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
