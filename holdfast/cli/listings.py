"""The commands that list what there is, and explain one of it: techniques of every moment, and tasks. None imports torch."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast import plugins
from holdfast.cli import output
from holdfast.cli.options import Json
from holdfast.plugins import ANALYSES, CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, Family, Technique
from holdfast.recipes import describe
from holdfast.recipes.assignments import split_choice
from holdfast.recipes.describe import Setting, StageSettings

MEASURED = "Measured best here, for what is written beside each (docs/questions/choosing-a-method.md)"
GROUPS = {
    "recipe": "Recipes: several stages, each with a method of its own",
    "method": "Methods: what trains, and by which loss",
    "joining": "Methods that join another: --method full+kl_base",
}
# The target's score and what is kept of the base's mean on general tasks, in per cent, on SmolLM2-
# 135M (docs/studies/real-first.md) where it was measured there, else on the lab's model.
RECOMMENDED = {
    "promot_deep": "answers in a new form: target 97, kept 102",
    "promot": "answers in a new form, with the smallest prompt (the default): target 89, kept 102 at 3e-5; 93 and 88 at 1e-4",
    "promot_lora": "little memory: target 94, kept 99 (lora alone: 91, kept 58)",
    "full": "at a small rate, the first thing to try: target 93, kept 91 at 3e-5 (89 and 56 at 1e-4)",
    "fticl": "prompts with demonstrations where it is used: lab, target 95 to 97 behind 1, 2 and 4 with --set model.sampling=sampled",
    "+replay": "where data of the other tasks is at hand: target 91, kept 98",
    "+self_replay": "without such data: target 93, kept 98",
    "+kl_base": "without such data: target 92, kept 95",
}
Name = Annotated[str | None, typer.Argument(help="One of them, to explain: every field, and an example.")]


def methods(name: Name = None, json_: Json = False) -> None:
    """List training methods and recipes, for `--method`; NAME explains one."""
    if name is None:
        output.listing(method_records(), json_, "holdfast methods")
    else:
        _listing_or("methods", name, explained_method, json_, RECIPES, METHODS)


def method_records() -> Sequence[dict[str, Any]]:
    """Return the records of all recipes and methods, each with its group: first those that were measured best, then by what they are."""
    recipes = plugins.techniques(RECIPES)
    records = plugins.records(RECIPES, METHODS)
    by_name = {record["name"]: record for record in records}
    listed = [
        by_name[name] | {"group": MEASURED, "measured": f"measured: {text}"} for name, text in RECOMMENDED.items()
    ]
    rest = [record for record in records if record["name"] not in RECOMMENDED]
    for record in rest:
        name = record["name"]
        record["group"] = GROUPS["joining" if name.startswith("+") else "recipe" if name in recipes else "method"]
    # Stable: by name within a group.
    return listed + sorted(rest, key=lambda record: list(GROUPS.values()).index(record["group"]))


def curations(name: Name = None, json_: Json = False) -> None:
    """List curations of the training data, for `--curate`."""
    _listing_or("curations", name, explained_curation, json_, CURATIONS)


def edits(name: Name = None, json_: Json = False) -> None:
    """List edits of a tuned model, for `--edit`."""
    _listing_or("edits", name, explained_edit, json_, EDITS)


def decodings(name: Name = None, json_: Json = False) -> None:
    """List techniques at inference, for `--decode`."""
    _listing_or("decodings", name, explained_decoding, json_, DECODINGS)


def analyses(name: Name = None, json_: Json = False) -> None:
    """List analyses of a tuned model, for `--analyse`."""
    _listing_or("analyses", name, explained_analysis, json_, ANALYSES)


def tasks(
    build: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file that declares sub-tasks of a domain: check its rows and write a folder for each."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --build: the folder of the sub-tasks.")] = None,
    json_: Json = False,
) -> None:
    """List tasks of the catalogue and the lab; or build the sub-tasks of a domain."""
    if build is not None:
        from holdfast.tasks.loaders.subtasks import build as build_subtasks

        if out is None:
            raise ValueError("--build: name the folder of the sub-tasks with --out")
        written = build_subtasks(build, out)
        if json_:
            output.lines(asdict(task) for task in written)
            return
        for task in written:
            parts = f"{task.train} train, {task.validation} validation, {task.test} test"
            print(f"{task.folder}: {parts}; {task.documents} documents, {task.doubles} doubles left out")
        return
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


def explained_method(name: str) -> Explained:
    """Describe `--method NAME`: a recipe, a method, or several joined by `+`.

    Raises:
        ValueError: there is no such recipe or method; the nearest name is suggested.
    """
    alone = None if "+" in name else plugins.known(name, METHODS, RECIPES).get(name)
    joins = alone is not None and alone.joins
    whole = f"full+{name}" if joins else name
    stages = describe.stages(whole)
    first, _ = split_choice(name.split("+")[0], METHODS)
    technique = alone or plugins.known(first, METHODS, RECIPES)[first]
    return _explained(technique, f"holdfast tune MODEL TASK --method {whole} {_sets(stages)}", stages)


def explained_curation(name: str) -> Explained:
    """Describe `--curate NAME`."""
    return _of_one_stage(CURATIONS, name, "curate", "holdfast tune MODEL TASK --curate {} {}")


def explained_edit(name: str) -> Explained:
    """Describe `--edit NAME`, or the command that takes several models where the edit wants them."""
    explained = _of_one_stage(EDITS, name, "edit", "holdfast tune MODEL TASK --edit {} {}")
    fewest = int(describe.technique(EDITS, name).attributes["fewest"])
    if fewest == 1:
        return explained
    # A run makes one model, and is refused with such an edit.
    sets = _sets(explained.stages).replace("--set edit.", "--set ")
    example = f"holdfast edit BASE {' '.join(['TUNED'] * fewest)} --edit {name} {sets} --out edited/"
    return replace(explained, example=" ".join(example.split()))


def explained_decoding(name: str) -> Explained:
    """Describe `--decode NAME`."""
    return _of_one_stage(DECODINGS, name, "decode", "holdfast evaluate MODEL --task TASK --decode {} {}")


def explained_analysis(name: str) -> Explained:
    """Describe `--analyse NAME`."""
    return _of_one_stage(ANALYSES, name, "", "holdfast tune MODEL TASK --analyse {} {}")


def _listing_or(
    command: str, name: str | None, explained: Callable[[str], Explained], json_: bool, *families: Family
) -> None:
    """List families, or print what is known of one technique of them."""
    if name is None:
        output.listing(plugins.records(*families), json_, f"holdfast {command}")
    elif json_:
        output.lines([asdict(explained(name))])
    else:
        _print(explained(name))


def _of_one_stage(family: Family, name: str, section: str, command: str) -> Explained:
    technique = describe.technique(family, name)
    settings = describe.settings_of(technique)
    stages = [StageSettings(section, (), settings)] if settings else []
    needed = ast.literal_eval(technique.attributes.get("needs", "()"))
    sets = [_set(section, setting) for setting in settings if setting.name in needed]
    return _explained(technique, command.format(name, " ".join(sets) or _sets(stages)), stages)


def _explained(technique: Technique, example: str, stages: list[StageSettings]) -> Explained:
    return Explained(technique.name, technique.summary, technique.about, technique.source, example.strip(), stages)


def _sets(stages: Sequence[StageSettings]) -> str:
    """Return `--set` with the first field of each stage that has one of its own."""
    first = [(stage.name, stage.settings[0]) for stage in stages if stage.settings]
    chosen = first or [(stage.name, stage.loop[0]) for stage in stages[-1:] if stage.loop]
    return " ".join(_set(name, setting) for name, setting in chosen)


def _set(section: str, setting: Setting) -> str:
    return f"--set {section}.{setting.name}={setting.default.strip(chr(39)) or 'VALUE'}"


def shared_settings(stages: Sequence[StageSettings]) -> list[tuple[str, Setting]]:
    """Return what every training stage has, as (`prompt|model.steps`, setting); one for each stage where the defaults differ."""
    shared: dict[str, dict[str, Setting]] = {}
    for stage in stages:
        for setting in stage.loop:
            shared.setdefault(setting.name, {})[stage.name] = setting
    named: list[tuple[str, Setting]] = []
    for name, by_stage in shared.items():
        alike = len({(s.default, s.fixed) for s in by_stage.values()}) == 1
        sections = {"|".join(by_stage): next(iter(by_stage.values()))} if alike else by_stage
        named += [(f"{section}.{name}", setting) for section, setting in sections.items()]
    return named


def _print(explained: Explained) -> None:
    print(output.fill(f"{explained.name}: {explained.summary}"))
    if measured := RECOMMENDED.get(explained.name) or RECOMMENDED.get(f"+{explained.name}"):
        print("\n" + output.fill(f"Measured: {measured} (docs/questions/choosing-a-method.md)"))
    for paragraph in filter(None, explained.about.split("\n\n")):
        print("\n" + output.fill(" ".join(paragraph.split())))
    if explained.source:
        print("\n" + output.fill(f"Source: {explained.source}"))
    for stage in explained.stages:
        if stage.settings or stage.methods:
            print(f"\n{stage.name}" + (f" (trains with {' and '.join(stage.methods)})" if stage.methods else ""))
        for setting in stage.settings:
            _line(f"{stage.name}.{setting.name}", setting.default, setting)
    shared = shared_settings(explained.stages)
    if shared:
        print("\nEvery training stage has these too:")
    for name, setting in shared:
        _line(name, setting.default, setting)
    print(f"\nExample: {explained.example}")


def _line(name: str, default: str, setting: Setting) -> None:
    """Print a field, its default, its meaning and its values."""
    values = "fixed by the recipe" if setting.fixed else "; ".join(filter(None, (setting.values, setting.usually)))
    text = f"{setting.meaning} ({values})" if setting.meaning else values
    start = f"  {name}={default}"
    print(output.fill(text, f"{start:<38}  ", " " * 40))
