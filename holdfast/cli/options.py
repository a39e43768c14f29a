"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from holdfast.models import hub
from holdfast.tasks.task import SHOTS

# Panels of a command's help, behind the options that a first run needs.
MOMENTS = "Techniques of the other moments"
MEASURING = "More to measure"
JUDGING = "A judge of written answers"
MACHINE = "Machine and trust"


def named_models(value: str | list[str] | None) -> str | list[str] | None:
    """Return MODEL arguments once each of them names something: before torch is imported, which takes seconds."""
    hub.check_named([value] if isinstance(value, str) else value or ())
    return value


def named_plan(value: str) -> str:
    """Return the first argument of `study` once it names a file or a model."""
    if value.endswith((".yaml", ".yml")):
        if not Path(value).is_file():
            raise ValueError(f"{value}: there is no such file; docs/study.md shows one, and options do without")
    else:
        hub.check_named([value])
    return value


def named_prompt(value: str | None) -> str | None:
    """Return `--prompt` once it is a folder that is there, or a word: on, off, or the name of a run's target."""
    if value and ("/" in value or "\\" in value) and not Path(value).expanduser().is_dir():
        raise ValueError(f"--prompt {value}: there is no such folder")
    return value


Model = Annotated[
    str,
    typer.Argument(
        help="A model folder, a hub id, a .gguf file, a PEFT adapter's folder, 'lab' or 'smollm2'; to be asked, also openai:URL#NAME.",
        metavar="MODEL",
        callback=named_models,
    ),
]
# `tune` needs the weights.
TunedModel = Annotated[
    str,
    typer.Argument(
        help="A model folder, a hub id, a .gguf file, a PEFT adapter's folder, 'lab' or 'smollm2'.",
        metavar="MODEL",
        callback=named_models,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        help="Of an adapter's folder: its base, where that is not the one its configuration names.",
        metavar="MODEL",
        callback=named_models,
    ),
]
TuneOut = Annotated[Path | None, typer.Option(help="Folder of the results. Default: runs/TASK-METHOD.", metavar="DIR")]
RepeatOut = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the results. Default: that of the old ones, with -repeat behind its name.", metavar="DIR"
    ),
]
DemoOut = Annotated[Path | None, typer.Option(help="Folder of the results. Default: runs/demo.", metavar="DIR")]
EvaluateOut = Annotated[
    Path | None,
    typer.Option(
        help="Folder of scores and answers. Default: printed only; with --against runs/MODEL-against-TUNED.",
        metavar="DIR",
    ),
]
CompareOut = Annotated[
    Path | None, typer.Option(help="Folder of a page of the comparison. Default: printed only.", metavar="DIR")
]
DEFAULT_SHOTS = ",".join(map(str, SHOTS))
Shots = Annotated[str, typer.Option(help="Numbers of demonstrations, such as 0,1,4.", metavar="N,N")]
General = Annotated[
    list[str] | None,
    typer.Option(
        help="A task or a suite whose abilities should be kept; --general for each. Default: everyday (for 'lab' its own); none: nothing.",
        metavar="TASK",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any field of any stage: prompt.steps=200; `holdfast methods NAME` lists them.",
        metavar="FIELD=VALUE",
    ),
]
Decode = Annotated[
    str | None,
    typer.Option(
        help="See `holdfast decodings`, or path/to/file.py:MyDecoding.", metavar="NAME", rich_help_panel=MOMENTS
    ),
]
DecodeSet = Annotated[
    list[str] | None, typer.Option("--set", help="A field of the decoding: decode.small=MODEL.", metavar="FIELD=VALUE")
]
EditSet = Annotated[
    list[str] | None, typer.Option("--set", help="A field of the edit: alpha=0.5.", metavar="FIELD=VALUE")
]
Curate = Annotated[
    str | None,
    typer.Option(
        help="Before training: see `holdfast curations`, or path/to/file.py:MyCuration.",
        metavar="NAME",
        rich_help_panel=MOMENTS,
    ),
]
EditOf = Annotated[
    str | None,
    typer.Option(
        help="After training: see `holdfast edits`. --set edit.alpha=sweep chooses a field on validation examples (or sweep:0..2).",
        metavar="NAME",
        rich_help_panel=MOMENTS,
    ),
]
Probe = Annotated[
    str | None,
    typer.Option(
        help="Afterwards: eraser, a prompt that looks for what is hidden on the general tasks.",
        metavar="NAME",
        rich_help_panel=MOMENTS,
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many test items of each task.", metavar="N")]
Demonstrations = Annotated[
    str,
    typer.Option(
        help="first: those of the train split for all items; sampled for each; nearest: most like each item, by words, or nearest:FOLDER "
        "by a sentence-embedding model.",
        metavar="MODE",
        rich_help_panel=MEASURING,
    ),
]
ChoiceMetric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="Pick among a task's choices by this rule: accuracy, accuracy_norm (per byte), accuracy_letter (listed, answered by a "
        "letter), accuracy_calibrated, accuracy_letter_calibrated (less what is said without the question). Default: the task's.",
        metavar="NAME",
        rich_help_panel=MEASURING,
    ),
]
MeasuredBehind = Annotated[
    str | None,
    typer.Option(
        help="Before each measured question: first (those of its train split), nearest (most like it, by words), or nearest:FOLDER of a "
        "sentence-embedding model. Of training: --set model.sampling.",
        metavar="MODE",
        rich_help_panel=MEASURING,
    ),
]
Sets = Annotated[
    int,
    typer.Option(
        "--demonstration-sets",
        min=1,
        help="Sets of sampled or nearest demonstrations: the spread between them is shown.",
        metavar="N",
        rich_help_panel=MEASURING,
    ),
]
# One seed for all of it: two runs that differ only by this number are two draws of everything that is drawn.
Seed = Annotated[int, typer.Option(help="Seed of data order, initial values and sampling.", metavar="N")]
# `json_` in Python, where `json` is a module.
Json = Annotated[bool, typer.Option("--json", help="Print records, one JSON object a line.")]
# Off by default: a folder with another configuration holds results that took hours.
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what another configuration left in the same folder.")
]
Dtype = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8", "int4"],
    typer.Option(
        help="Precision of frozen weights, of asking and of what is written: fp32, bf16, fp16, int8, int4, or auto, the checkpoint's own.",
        metavar="NAME",
        rich_help_panel=MACHINE,
    ),
]
Engine = Annotated[
    Literal["transformers", "vllm"],
    typer.Option(
        help="Computes the answers; vllm needs a GPU and holdfast's extra `vllm`, and has no beams and no --decode.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where the model is computed: auto (a GPU, where there is one), cpu, cuda, mps, spread (over all devices and the disk), "
        "or a JSON file that maps its parts to devices.",
        metavar="NAME",
        rich_help_panel=MACHINE,
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let code that comes with a hub model run.", rich_help_panel=MACHINE)
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Let code on this machine run that the file names, such as x.py:MyMethod.",
        rich_help_panel=MACHINE,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help="Folder of a soft prompt to attach; of a run: on (the default), off, or a target's name.",
        metavar="DIR",
        callback=named_prompt,
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        help="A model that was tuned from MODEL, with whatever tool: both are asked the same; repeat it.",
        metavar="MODEL",
        callback=named_models,
    ),
]
AgainstTarget = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="With --against: a task that the model was tuned on, where that is known; repeat it.",
        metavar="TASK",
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        help="With --against: a third model that says which of two written answers is better, with what its word is worth (docs/judge.md).",
        metavar="MODEL",
        callback=named_models,
        rich_help_panel=JUDGING,
    ),
]
JudgeLabels = Annotated[
    Path | None,
    typer.Option(
        help="With --judge: pairs of answers that you labelled, to measure the judge on, instead of ours.",
        metavar="FILE",
        rich_help_panel=JUDGING,
    ),
]
Curve = Annotated[
    int,
    typer.Option(
        min=0,
        help="Measure this many points along training: what target and general tasks do over steps.",
        metavar="N",
        rich_help_panel=MEASURING,
    ),
]
Analyse = Annotated[
    list[str] | None,
    typer.Option(
        help="Look inside at the points of --curve; `holdfast analyses` lists the names; repeat it.",
        metavar="NAME",
        rich_help_panel=MEASURING,
    ),
]
AnalyseRun = Annotated[
    list[str] | None,
    typer.Option(
        "--analyse",
        help="Look inside a run's folder: weight_drift, ffn_concepts, head_word_pairs, label_mass or format_share; repeat it.",
        metavar="NAME",
        rich_help_panel=MEASURING,
    ),
]

# Of a study; what is not given is left to its file, or to the defaults of a plan.
StudyModel = Annotated[
    str, typer.Argument(help="A model folder, a hub id or 'lab'; or a study as a YAML file.", callback=named_plan)
]
StudyOut = Annotated[
    Path, typer.Option(help="Folder of the study; the same command goes on where it stopped.", metavar="DIR")
]
Arms = Annotated[
    list[str] | None,
    typer.Option(
        help="A method, or one with settings: full@model.learning_rate=1e-3, or full|edit=lines. Repeat it; the first is compared with.",
        metavar="METHOD",
    ),
]
Targets = Annotated[
    list[str] | None, typer.Option(help="A target task, or several joined by ' + '; repeat it.", metavar="TASK")
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Training seeds 0 to N-1; default 3.", metavar="N")]
StudyShots = Annotated[
    str | None, typer.Option(help=f"Numbers of demonstrations; default {DEFAULT_SHOTS}.", metavar="N,N")
]
StudyCurve = Annotated[
    int | None, typer.Option(min=0, help="Points measured along each run.", metavar="N", rich_help_panel=MEASURING)
]
StudyDtype = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8", "int4"] | None,
    typer.Option(
        "--dtype",
        help="Precision of every run: fp32, bf16, fp16, int8, int4; default auto, the checkpoint's own.",
        metavar="NAME",
        rich_help_panel=MACHINE,
    ),
]
StudyDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where every run computes, as in `tune`; default auto.",
        metavar="NAME",
        rich_help_panel=MACHINE,
    ),
]
Match = Annotated[
    float | None,
    typer.Option(
        help="Target score in points at which to compare; default: 90 % of the way to the best.", metavar="SCORE"
    ),
]
Jobs = Annotated[
    int, typer.Option(min=1, help="Runs at a time, one thread each.", metavar="N", rich_help_panel=MACHINE)
]
DropWeights = Annotated[
    bool,
    typer.Option(
        "--drop-weights",
        help="Remove the runs' models once all arms of a target and seed are finished; scores, answers and pages stay.",
    ),
]
Executor = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="local: processes of this machine; ray: tasks of the Ray cluster that RAY_ADDRESS names.",
        rich_help_panel=MACHINE,
    ),
]
StudySet = Annotated[
    list[str] | None,
    typer.Option("--set", help="A field of every method that has it: model.steps=200.", metavar="FIELD=VALUE"),
]
