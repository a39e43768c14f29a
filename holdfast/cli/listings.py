"""The commands that list what there is, and explain one of it: techniques of every moment, and tasks. None imports torch."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from holdfast import plugins
from holdfast.cli import output
from holdfast.cli.options import Json
from holdfast.plugins import ANALYSES, CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, Family, Technique
from holdfast.recipes import describe
from holdfast.recipes.describe import Setting, StageSettings

WIDTH = 100
Name = Annotated[str | None, typer.Argument(help="One of them, to explain: every field, and an example.")]


def methods(name: Name = None, json_: Json = False) -> None:
    """Training methods and recipes, for `--method`."""
    if name is None:
        output.listing(plugins.records(RECIPES, METHODS), json_)
        return
    stages = describe.stages(name if "+" in name or not _joins(name) else f"full+{name}")
    technique = {**plugins.techniques(METHODS), **plugins.techniques(RECIPES)}[name.split("+")[0]]
    option = f"--method {name if not technique.joins else f'full+{name}'}"
    _explain(technique, stages, f"holdfast tune MODEL TASK {option} {_sets(stages)}", json_)


def curations(name: Name = None, json_: Json = False) -> None:
    """Curations of the training data, for `--curate`."""
    _moment(CURATIONS, name, "curate", "holdfast tune MODEL TASK --curate {} {}", json_)


def edits(name: Name = None, json_: Json = False) -> None:
    """Edits of a tuned model, for `--edit`."""
    _moment(EDITS, name, "edit", "holdfast tune MODEL TASK --edit {} {}", json_)


def decodings(name: Name = None, json_: Json = False) -> None:
    """Decodings: techniques at inference, for `--decode`."""
    _moment(DECODINGS, name, "decode", "holdfast evaluate MODEL --task TASK --decode {} {}", json_)


def analyses(name: Name = None, json_: Json = False) -> None:
    """Analyses of a tuned model, for `--analyse`."""
    _moment(ANALYSES, name, "", "holdfast tune MODEL TASK --analyse {} {}", json_)


def tasks(json_: Json = False) -> None:
    """Tasks of the catalogue and the lab."""
    from holdfast.tasks.sources import listing

    output.listing(listing(), json_)


COMMANDS: tuple[Callable[..., None], ...] = (methods, curations, edits, decodings, analyses, tasks)


@dataclass(frozen=True)
class Explained:
    """One technique as `--json` prints it."""

    name: str
    summary: str
    about: str
    source: str
    example: str
    stages: list[StageSettings]


def _joins(name: str) -> bool:
    known = plugins.techniques(METHODS)
    return name in known and known[name].joins


def _moment(family: Family, name: str | None, section: str, command: str, json_: bool) -> None:
    """List a family, or explain one technique of it."""
    if name is None:
        output.listing(plugins.records(family), json_)
        return
    technique = describe.technique(family, name)
    settings = describe.settings_of(technique)
    stages = [StageSettings(section, (), settings)] if settings else []
    _explain(technique, stages, command.format(name, _sets(stages)).strip(), json_)


def _sets(stages: Sequence[StageSettings]) -> str:
    """Return `--set` with the first field of each stage that has one of its own."""
    first = [(stage.name, stage.settings[0]) for stage in stages if stage.settings]
    chosen = first or [(stage.name, stage.loop[0]) for stage in stages[-1:] if stage.loop]
    return " ".join(f"--set {name}.{s.name}={s.default.strip(chr(39)) or 'VALUE'}" for name, s in chosen)


def _explain(technique: Technique, stages: list[StageSettings], example: str, json_: bool) -> None:
    if json_:
        record = Explained(technique.name, technique.summary, technique.about, technique.source, example, stages)
        output.lines([asdict(record)])
        return
    print(f"{technique.name}: {technique.summary}")
    for paragraph in filter(None, technique.about.split("\n\n")):
        print("\n" + textwrap.fill(" ".join(paragraph.split()), WIDTH))
    if technique.source:
        print("\n" + textwrap.fill(f"Source: {technique.source}", WIDTH))
    for stage in stages:
        if stage.settings or stage.methods:
            print(f"\n{stage.name}" + (f" (trains with {' and '.join(stage.methods)})" if stage.methods else ""))
        for setting in stage.settings:
            _line(f"{stage.name}.{setting.name}", setting.default, setting)
    shared: dict[str, dict[str, Setting]] = {}
    for stage in stages:
        for setting in stage.loop:
            shared.setdefault(setting.name, {})[stage.name] = setting
    if shared:
        print("\nEvery training stage has these too:")
    for name, by_stage in shared.items():
        # Each stage by itself where they differ: one line could not say which default is whose.
        alike = len({(s.default, s.fixed) for s in by_stage.values()}) == 1
        for section, setting in ({"|".join(by_stage): next(iter(by_stage.values()))} if alike else by_stage).items():
            _line(f"{section}.{name}", setting.default, setting)
    print(f"\nExample: {example}")


def _line(name: str, default: str, setting: Setting) -> None:
    """Print a field, its default, its meaning and its values."""
    values = "fixed by the recipe" if setting.fixed else setting.values
    text = f"{setting.meaning} ({values})" if setting.meaning else values
    start = f"  {name}={default}"
    print(textwrap.fill(text, WIDTH, initial_indent=f"{start:<38}  ", subsequent_indent=" " * 40))
