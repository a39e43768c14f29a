"""The model card: README.md with a hub's metadata, the numbers before and after, and how to load each piece."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, ClassVar, Protocol

import yaml

from holdfast.atomic_files import write_text
from holdfast.report import sentences
from holdfast.report.run import disguises
from holdfast.results import run_folder, units, verdicts
from holdfast.results.run_folder import Folder
from holdfast.results.summary import STATE, Summary, TaskResult, change
from holdfast.results.visible import escaped, one_line, visible

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")  # owner/name; anything else is a path or a local name
MANY = {
    True: "Verdicts are corrected for the number of tasks; the intervals are each task's own.",
    False: "Each verdict is about one line of the table; over many lines about one interval in twenty misses the truth.",
}
KINDS = {"model": "the trained model", "adapter": "a PEFT adapter"}
OWN_ADAPTERS = {
    "LEVI": "a network beside the model"
}  # of types that PEFT does not have: this library alone attaches them
PROMPTS = {
    "PROMPT_TUNING": "a soft prompt",
    "PREFIX_TUNING": "a deep prefix (keys and values in every layer)",
    "LORA": "a LoRA that stands in for the prompt and comes off",
    "JOINED": "several parts that are attached together (each a PEFT adapter in a folder of its own)",
}


class LoadedAs(Protocol):
    """The part of a model's architecture that a card needs: its class in transformers, and whether a batch is padded on the left."""

    auto_class: ClassVar[str]
    left_padding: ClassVar[bool]


def write_card(path: str | Path, architecture: LoadedAs) -> Path:
    """Write README.md into a run's folder and return its path. Works with any of `model/`, `prompt/` and `adapter/`."""
    run = run_folder.read(path)
    return write_text(run.path / "README.md", card(run, architecture))


def card(run: Folder, architecture: LoadedAs, repo: str | None = None) -> str:
    """Return the card as Markdown with its YAML head; its code loads from the run's folder, or from `repo` (owner/name) on a hub."""
    summary = Summary.of(run.scores)
    head = yaml.safe_dump(_metadata(run, summary), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---",
        f"# {escaped(run.name)}",
        escaped(sentences.verdict_on(summary)),
        _trained(run, summary),
        "## Before and after\n\n" + _table(summary),
        escaped(sentences.transfer(summary)),
        "## Loading\n\n" + _loading(run, architecture, repo),
        "## Limits\n\n" + _limits(run, summary),
        "## Repeating this run\n\n" + _repeat(run),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _metadata(run: Folder, summary: Summary) -> dict[str, Any]:
    metadata: dict[str, Any] = {"library_name": "transformers" if "model" in run.pieces or not run.pieces else "peft"}
    if _own_adapter(run):
        metadata["library_name"] = "holdfast"
    # A hub refuses a card whose base_model is no id; a relative path such as runs/a looks like one, so the disk is asked too.
    if HUB_ID.fullmatch(run.base_model) and not Path(run.base_model).exists():
        metadata["base_model"] = run.base_model
    metadata["tags"] = ["holdfast", *filter(None, [run.circumstances.recipe])]
    results = []
    for line in [*summary.by_own_metric("target"), *summary.by_own_metric("general")]:
        pairs = [("base", line.base), *((STATE[state], score) for state, score in line.tuned.items())]
        metrics = [
            # Six digits: a hub shows the value as it stands, and further ones are rounding noise.
            {"type": line.metric, "value": round(score.value, 6), "name": f"{line.metric}, {line.shots}-shot, {state}"}
            for state, score in pairs
            if score
        ]
        results.append(
            {
                "task": {"type": "text-generation", "name": "Text generation"},
                "dataset": {"type": line.task, "name": line.task, "split": line.any.split},
                "metrics": metrics,
            }
        )
    metadata["model-index"] = [{"name": run.name, "results": results}]
    return metadata


def _trained(run: Folder, summary: Summary) -> str:
    """Return the list of circumstances: base model, recipe, targets, pieces, seed and versions, those that are known."""
    circumstances = run.circumstances
    targets = list(dict.fromkeys(_code(line.task) for line in summary.by_own_metric("target")))
    rows = [
        ("Base model", _code(run.base_model) if run.base_model else ""),
        ("Tuned model", _code(circumstances.model) if circumstances.model not in ("", run.base_model) else ""),
        ("Recipe", _code(circumstances.recipe) if circumstances.recipe else ""),
        ("Tuned on", ", ".join(targets)),
        ("In this folder", ", ".join(_pieces(run)) or "scores only"),
        ("Seed", str(circumstances.seed)),
        ("Precision", escaped(f"{circumstances.dtype} on {circumstances.device}") if circumstances.dtype else ""),
        ("Versions", escaped(", ".join(f"{name} {version}" for name, version in circumstances.versions.items()))),
    ]
    return "\n".join(f"- {name}: {value}" for name, value in rows if value)


def _pieces(run: Folder) -> list[str]:
    """Return the weights in the folder, each in words with its path; a prompt for each target where there are several."""
    attached = _own_adapter(run)
    kinds = KINDS | ({"adapter": attached} if attached else {})
    pieces = [f"{kinds[piece]} (`{piece}/`)" for piece in run.pieces if piece in kinds]
    return pieces + [f"{PROMPTS.get(run.adapter_type(path), 'a prompt')} ({_code(path + '/')})" for path in run.prompts]


def _table(summary: Summary) -> str:
    # A hub's reader takes every row for a benchmark; diagnostics and symptoms need words beside them, which the page has.
    judged = [line for line in summary.lines if line.role != "diagnostic" and not units.is_symptom(line.metric)]
    states = [state for state in STATE if any(state in line.tuned for line in judged)]
    heads = ["task", "shots", "metric", "base", *(STATE[state] for state in states), "change", "n", "verdict"]
    rows = [heads, ["---" if column in (0, 2, len(heads) - 1) else "---:" for column in range(len(heads))]]
    rows += [_row(line, states) for line in judged]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return (
        f"{table}\n\nPoints of 100 (metrics without an upper end in their own unit), each with its 95 % interval. "
        "The change is tuned minus base on the same items; for a run with a soft prompt it is read with the prompt "
        "attached on the target and removed on general tasks. "
        f"*Kept*: the interval of the change excludes a loss of {verdicts.POINTS:.0f} points."
    )


def _row(line: TaskResult, states: list[str | None]) -> list[str]:
    score = line.headline
    moved = units.with_interval(score, "delta") if score and score.delta is not None else "–"
    values = [units.with_interval(score) if score else "–" for score in (line.base, *map(line.tuned.get, states))]
    start = [escaped(line.task), str(line.shots), escaped(line.metric)]
    word = _beside_chance(line) if line.floored else verdicts.long(score) if score else ""
    return [*start, *values, moved, str(line.any.n), word or "–"]


def _beside_chance(line: TaskResult) -> str:
    """Return where the base of a line stands beside chance, and how many items would tell where these do not."""
    assert line.chance is not None
    return f"base {line.chance.phrase.removeprefix('is ')}" + (f" ({line.chance.more})" if line.chance.more else "")


def _loading(run: Folder, architecture: LoadedAs, repo: str | None) -> str:
    """Return code that loads what exists: the base or the trained model, then the adapter, then the prompt on top."""
    has = set(run.pieces)
    if not has:
        return "This folder holds scores and no weights."
    if attached := _own_adapter(run):
        code = f"import holdfast\n\nmodel = holdfast.load({_quoted(run.name)})"
        return f"{_fenced(code, 'python')}\n\nIt is {attached} and no adapter of PEFT's: holdfast alone attaches it."
    start = (repo or f"{run.name}/model") if "model" in has else run.base_model or "BASE MODEL"
    code = [
        f"from transformers import {architecture.auto_class}, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(start)})",
        f"model = {architecture.auto_class}.from_pretrained({_quoted(start)})",
    ]
    joined = "prompt" in has and run.adapter_type(run.prompts[0]) == "JOINED"  # which PEFT can not attach at once
    # The import stands first in the code, but only PEFT's pieces need it: a reader without PEFT can load the model.
    if "adapter" in has or ("prompt" in has and not joined):
        code.insert(0, "from peft import PeftModel")
    if "adapter" in has:
        # PEFT attaches one adapter: with a prompt on top, the LoRA has to be part of the weights.
        merge = ".merge_and_unload()" if "prompt" in has else ""
        code.append(f"model = PeftModel.from_pretrained(model, {_piece(run, 'adapter', repo)}){merge}")
    if "prompt" in has:
        code[-1] += "  # the prompt is not attached: use this for everything else"
        note = "the prompt is attached: use this for"
        for path in [] if joined else run.prompts:
            task = path.rpartition("/")[2] if len(run.prompts) > 1 else "the task"
            code.append(
                f"tuned = PeftModel.from_pretrained(model, {_piece(run, path, repo)})  # {note} {one_line(task)}"
            )
        if len(run.prompts) > 1 and not joined:
            code.append("# one of them at a time: load the model anew for another")
    text = _fenced("\n".join(code), "python")
    return text + (_removable(run, architecture, repo) if "prompt" in has else "")


def _own_adapter(run: Folder) -> str:
    """Return what the adapter is, in words, where it is of a type of this library; else nothing."""
    return OWN_ADAPTERS.get(run.adapter_type("adapter"), "") if "adapter" in run.pieces else ""


def _piece(run: Folder, path: str, repo: str | None) -> str:
    """Return the arguments of `from_pretrained` for a piece at a path of the folder or the repository."""
    return f"{_quoted(repo)}, subfolder={_quoted(path)}" if repo else _quoted(f"{run.name}/{path}")


def _quoted(text: str) -> str:
    """Return a text as Python code has it: people copy this code, and a quote in a name must not end the string."""
    return json.dumps(one_line(text), ensure_ascii=False)


def _removable(run: Folder, architecture: LoadedAs, repo: str | None) -> str:
    """Return the text on taking the prompt off, and on batches with a soft prompt in PEFT."""
    text = (
        "\n\nThe prompt is a separate file that changes no weight. Leave it off and it is as if it had never been there"
    )
    prompt_type = run.adapter_type(run.prompts[0])
    text += (
        ".\n\n"
        if prompt_type == "JOINED"
        else "; inside PEFT, `with tuned.disable_adapter():` takes it off for a while.\n\n"
    )
    if prompt_type == "PROMPT_TUNING" and architecture.left_padding:
        text += (
            "With PEFT, generate one text at a time: it places a soft prompt before the padding on the left of a batch, "
            "which changes the answers. "
        )
    # The prompt's name in `holdfast.load`: the target's, where there are several.
    name = run.prompts[0].rpartition("/")[2] if len(run.prompts) > 1 else "on"
    local = f"{_code(f'holdfast.load({_quoted(run.name)}, prompt={_quoted(name)}).generate(texts)')} batches correctly."
    return (text + ("" if repo else local)).rstrip()


def _limits(run: Folder, summary: Summary) -> str:
    limits = [
        "Every number holds for the tasks, templates, shots and items measured, and says nothing about others.",
        "Intervals cover the choice of items, not the seed of training: this is one run.",
        MANY[verdicts.corrected(run.scores)],
    ]
    limits += [escaped(sentence) for sentence in (sentences.chance(summary), sentences.older(summary)) if sentence]
    by_verdict = summary.by_verdict("general")
    for start, group in (
        ("Lost", by_verdict.get("lost", [])),
        ("Unclear, with too few items to tell kept from lost", by_verdict.get("unclear", [])),
    ):
        tasks = [f"{escaped(line.task)} ({line.shots}-shot)" for line in group]
        if tasks:
            limits.append(f"{start}: {', '.join(tasks)}.")
    limits += [escaped(pair.sentence()) for pair in disguises.pairs(summary)]
    if summary.floored:
        limits.append(
            f"In no mean: the base {escaped(sentences.beside_chance(summary.floored, len(summary.floored)))}."
        )
    if not [line for line in summary.by_own_metric("general") if change(line.headline)]:
        limits.append("No general task was compared, so forgetting is unknown.")
    limits += [escaped(f"{sentence[0].upper()}{sentence[1:]}.") for sentence in run.truncated]
    limits += [f"Absent from the folder: {sentence}" for sentence in run.absent]
    return "\n".join(f"- {sentence}" for sentence in limits)


def _repeat(run: Folder) -> str:
    if not run.is_run:
        return (
            _fenced(run.config.strip(), "json")
            if run.config
            else "The configuration is not in this folder, so the run cannot be repeated from it alone."
        )
    command = f"holdfast run {shlex.quote(one_line(f'{run.name}/config.yaml'))}"
    return f"{_fenced(command)}\n\n{_fenced(run.config.strip(), 'yaml')}"


def _code(text: object) -> str:
    """Return text in backticks, which no text of its own can end."""
    # GitHub and hubs end a code span at as many backticks as began it, and HTML in it is shown; a bar would part a table's cell.
    plain = one_line(str(text)).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"


def _fenced(text: str, language: str = "") -> str:
    """Return text as a block of code, behind a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(text)}\n{fence}"
