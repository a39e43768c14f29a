"""The command line: parse, call, print. Results go to stdout, progress and warnings to stderr."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import compare, doctor, generate, listings, options, output, playground, report, serve, wordings
from holdfast.cli.help_types import in_words
from holdfast.cli.options import (
    DEFAULT_SHOTS,
    Curve,
    General,
    Json,
    Limit,
    Model,
    Overwrite,
    Prompt,
    Seed,
    Set,
    Shots,
    Trust,
    TrustCode,
)
from holdfast.recipes import describe
from holdfast.recipes.assignments import parse
from holdfast.recipes.techniques import Techniques

# Panels of `holdfast --help`, in the order in which a newcomer needs them.
START, USE, MORE, LISTS = "Start here", "Use what a run left", "Further experiments", "What there is to choose from"

app = typer.Typer(
    help="Fine-tune a language model on your task without destroying what it could already do, and prove it.",
    epilog="A first run: `holdfast demo`, then `holdfast tune MODEL TASK --plan`. Options of a command: `holdfast tune --help`. Fields "
    "that --set reaches: `holdfast methods promot`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # `output.guarded` prints errors, in one line.
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from holdfast.api.versions import library_versions

        print(f"holdfast {library_versions()['holdfast']}")
        raise typer.Exit


@app.callback()
def options_of_all(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Fine-tune a language model on your task without destroying what it could already do, and prove it."""


@app.command(rich_help_panel=START)
def demo(
    model: Annotated[
        str,
        typer.Option(
            help="lab: offline, a minute. smollm2: a real model with 135 million parameters, about 93 MB (270 from the hub), "
            "downloaded the first time. Or a MODEL of yours, which takes as much longer as it is larger."
        ),
    ] = "lab",
    out: options.DemoOut = None,
    json_: Json = False,
) -> None:
    """See it work, offline and in a minute: full fine-tuning beside ProMoT on a small model that is built in."""
    from holdfast.cli import demo  # In the function, here and below: `--help` need not wait for torch.

    folder = out or Path("runs/demo" if model == "lab" else "runs/demo-real")
    compare.comparison(demo.demo(folder, model), None, folder, json_)


@app.command(
    rich_help_panel=START,
    epilog="For example: `holdfast tune lab lab:elicit-sentiment --limit 100` (offline, a few minutes), or "
    "`holdfast tune path/to/model path/to/task --method full --set model.learning_rate=3e-5 --out runs/full`.",
)
def tune(
    model: options.TunedModel,
    task: Annotated[
        list[str],
        typer.Argument(
            help="A folder with train.jsonl and test.jsonl, a .jsonl file, a catalogue name, lab:NAME, hf:DATASET[:CONFIG] or "
            "harness:NAME (of the lm-evaluation-harness); several are tuned on together.",
            metavar="TASK",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            help="Way to train: a name of `holdfast methods`, several joined by +, or path/to/file.py:MyMethod.",
            metavar="NAME",
        ),
    ] = "promot",
    general: General = None,
    curate: options.Curate = None,
    edit: options.EditOf = None,
    decode: options.Decode = None,
    probe: options.Probe = None,
    shots: Shots = DEFAULT_SHOTS,
    limit: Limit = None,
    seed: Seed = 0,
    curve: Curve = 0,
    analyse: options.Analyse = None,
    out: options.TuneOut = None,
    set_: Set = None,
    demonstrations: options.MeasuredBehind = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would run, with the time and memory that it takes, and stop.")
    ] = False,
    noise_floor: Annotated[
        bool, typer.Option("--noise-floor", help="Measure the base twice; no smaller change is called gained or lost.")
    ] = False,
    overwrite: Overwrite = False,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: Trust = False,
    json_: Json = False,
) -> None:
    """Fine-tune on a task; measure, before and after, what was gained there and kept elsewhere."""
    from holdfast.tasks import sources

    settings = parse(set_ or [])
    # Before torch is imported, which takes seconds.
    techniques = Techniques(method, curate, edit, decode, probe)
    describe.check_names(techniques, settings)
    sources.check_named([*task, *(general or ())])
    if plan:
        from holdfast.api.request import Request
        from holdfast.cli.plan import show_plan
        from holdfast.models.precision import Loading

        request = Request(
            model, tuple(task), techniques, None if general is None else tuple(general),
            output.numbers(shots), limit, seed, curve, tuple(analyse or ()), noise_floor, trust_remote_code, None, settings,
            Loading(dtype, device), demonstrations or "first",
        )  # fmt: skip
        show_plan(request, json_)
        return
    from holdfast.api import tune as runs

    # With an underscore, as the Python function takes them: `model` and `prompt` are arguments of their own.
    fields: dict[str, Any] = {f"{stage}_": values for stage, values in settings.items()}
    run = runs.tune(
        model, task, method, general, curate=curate, edit=edit, decode=decode, probe=probe, shots=output.numbers(shots),
        limit=limit, seed=seed,
        curve=curve, analyses=analyse or (), out=out, noise_floor=noise_floor, overwrite=overwrite, dtype=dtype, device=device,
        trust_remote_code=trust_remote_code, demonstrations=demonstrations or "first", **fields,
    )  # fmt: skip
    # torchrun and accelerate start this command once a process, and one report is enough.
    if os.environ.get("RANK", "0") == "0":
        output.scores(run.scores, json_, lambda: output.run(run.folder))


@app.command(
    rich_help_panel=START,
    epilog="For example: `holdfast evaluate path/to/base --against path/to/tuned --out runs/check`, or `holdfast evaluate lab --task "
    "lab:kind`.",
)
def evaluate(
    model: Model,
    prompt: Prompt = None,
    base: options.Base = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task or a suite; repeat it. Default for a run: its targets; for a model: everyday, or the lab's for 'lab'.",
            metavar="TASK",
        ),
    ] = None,
    shots: Shots = DEFAULT_SHOTS,
    limit: Limit = None,
    seed: Seed = 0,
    demonstrations: options.Demonstrations = "first",
    sets: options.Sets = 1,
    metric: options.ChoiceMetric = None,
    analyse: options.AnalyseRun = None,
    decode: options.Decode = None,
    set_: options.DecodeSet = None,
    out: options.EvaluateOut = None,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    engine: options.Engine = "transformers",
    trust_remote_code: Trust = False,
    trust_code: TrustCode = False,
    json_: Json = False,
    against: options.Against = None,
    target: options.AgainstTarget = None,
    overwrite: Overwrite = False,
    judge: options.Judge = None,
    judge_labels: options.JudgeLabels = None,
) -> None:
    """Measure a model on tasks; with --against, what models that were tuned from it have lost."""
    from holdfast.tasks import sources

    if against:
        others = {"--analyse": analyse, "--decode": decode, "--set": set_, "--base": base, "--metric": metric}
        others |= {"--engine": engine != "transformers"}
        others |= {"--demonstrations": demonstrations != "first", "--seed": seed}
        if wrong := [name for name, value in others.items() if value]:
            raise ValueError(f"{', '.join(wrong)}: not with --against, which asks all models alike; leave it out")
        if judge_labels and not judge:
            raise ValueError("--judge-labels: are what a judge is measured on; name one with --judge MODEL")
        sources.check_named([*(task or ()), *(target or ())])  # Before torch is imported.
        from holdfast.api.against import against as measure_against

        folders = measure_against(
            model, against, task or (), target or (), prompt=prompt, shots=output.numbers(shots), limit=limit, out=out, dtype=dtype,
            device=device, trust_remote_code=trust_remote_code, overwrite=overwrite, judge=judge, judge_labels=judge_labels,
        )  # fmt: skip
        compare.against(folders, json_)
        return
    if judge or judge_labels:
        raise ValueError("--judge: compares the answers of two models; name the other one with --against TUNED")
    if target:
        raise ValueError("--target: names what a model was tuned on, beside --against TUNED; use --task")
    technique = output.decoding(decode, set_)  # Before torch is imported, as the tasks' names.
    sources.check_named(task or ())
    from holdfast.api.analyse import analyse_run
    from holdfast.api.evaluate import default_tasks
    from holdfast.api.evaluate import evaluate as evaluate_model

    counts = output.numbers(shots)
    tasks = task or default_tasks(model, trust_code=trust_code, trust_remote_code=trust_remote_code)
    findings = []
    # First, because an analysis that is not for this run is refused at once, and an evaluation may take an hour.
    if analyse:
        findings = analyse_run(
            model, analyse, task or (), shots=min(counts), limit=limit, out=out, dtype=dtype, device=device,
            trust_remote_code=trust_remote_code, trust_code=trust_code,
        )  # fmt: skip
    scores = evaluate_model(
        model, tasks, prompt=prompt, base=base, shots=counts, limit=limit, seed=seed, demonstrations=demonstrations, sets=sets,
        metric=metric, decode=technique, out=out, dtype=dtype, device=device,
        trust_remote_code=trust_remote_code, overwrite=overwrite, engine=engine,
    )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":  # the processes of a launch have one answer between them
        output.scores(scores, json_, lambda: output.table(scores))
        output.findings(findings, json_)


app.command(rich_help_panel=USE)(playground.playground)


app.command(rich_help_panel=USE)(serve.serve)


app.command(rich_help_panel=USE)(generate.generate)


@app.command(rich_help_panel=MORE)
def edit(
    base: Annotated[str, typer.Argument(help="The model before fine-tuning.", callback=options.named_models)],
    tuned: Annotated[
        list[str],
        typer.Argument(
            help="The model after fine-tuning, or a run's folder; several where the edit takes several.",
            callback=options.named_models,
        ),
    ],
    edit: Annotated[str, typer.Option("--edit", help="See `holdfast edits`.")],
    out: Annotated[Path, typer.Option(help="Folder of the edited model.")],
    set_: options.EditSet = None,
) -> None:
    """Take back, scale or merge what tuning changed (tuned minus base), tensor by tensor."""
    from holdfast.api.edit import edit_model

    print(edit_model(base, tuned, edit, out, **dict(output.assignment(text) for text in set_ or [])))


app.command(rich_help_panel=START)(compare.compare)


@app.command(rich_help_panel=MORE)
def study(
    model: options.StudyModel,
    out: options.StudyOut,
    method: options.Arms = None,
    target: options.Targets = None,
    general: General = None,
    seeds: options.Seeds = None,
    shots: options.StudyShots = None,
    limit: Limit = None,
    curve: options.StudyCurve = None,
    analyse: options.Analyse = None,
    match: options.Match = None,
    demonstrations: options.MeasuredBehind = None,
    jobs: options.Jobs = 1,
    executor: options.Executor = "local",
    dtype: options.StudyDtype = None,
    device: options.StudyDevice = None,
    drop_weights: options.DropWeights = False,
    set_: options.StudySet = None,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Compare methods over targets and seeds, at the same target score; the same command resumes."""
    from holdfast.tasks import sources

    in_file = model.endswith((".yaml", ".yml"))
    # Before torch is imported. A target may be several tasks, joined by +.
    targets = " + ".join(target).split(" + ") if target else []
    sources.check_named([*targets, *(general or ())])
    for option, values in {"--method": method, "--target": target}.items():
        if not (in_file or values):
            raise ValueError(f"a study needs at least one {option}, or a file with its plan in the place of MODEL")
    from holdfast.report.study.study_terminal import terminal
    from holdfast.studies import plan, runner

    settings: dict[str, Any] = {"targets": target, "general": general, "seeds": seeds, "limit": limit, "curve": curve}
    settings |= {"match": match, "shots": output.numbers(shots) if shots else None}
    settings |= {"arms": plan.arms_of(method) if method else None}
    settings |= {"analyses": analyse, "dtype": dtype, "device": device, "demonstrations": demonstrations}
    settings |= {"set": dict(output.assignment(text) for text in set_) if set_ else None}
    settings |= {"keep_weights": False if drop_weights else None}
    start = plan.read(Path(model), trust_code=trust_code) if in_file else {"model": model}
    # What is not on the command line is left to the file, and then to the defaults of a plan.
    chosen = {name: value for name, value in settings.items() if value is not None}
    result = runner.run(plan.make(start | chosen, model), out, jobs, executor)
    if json_:
        output.lines(result.records())
    else:
        output.show(terminal(result))
        print(f"Page: {out / 'study.html'}")
    # After the table: the runs that went well are shown all the same, and the exit code says that others did not.
    for name, wrong in result.failed:
        print(f"holdfast: {name}: {wrong}", file=sys.stderr)
    if result.failed:
        raise typer.Exit(1)


app.command(rich_help_panel=USE)(report.report)


@app.command(rich_help_panel=USE)
def push(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    repo: Annotated[str, typer.Argument(help="Where to on the hub: OWNER/NAME.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private otherwise.")] = False,
    with_report: Annotated[
        bool, typer.Option("--with-report", help="The page too, which shows items of your data.")
    ] = False,
) -> None:
    """Upload a run's weights, model card and scores to the Hugging Face hub."""
    from holdfast.api.push import push as upload

    print(upload(run, repo, public=public, report=with_report))


app.command(rich_help_panel=MORE)(wordings.wordings)


@app.command(rich_help_panel=USE)
def run(
    config: Annotated[Path, typer.Argument(help="The config.yaml of a run, or the run's folder.")],
    out: options.RepeatOut = None,
    device: options.Device = "auto",
    trust_remote_code: Trust = False,
    trust_code: TrustCode = False,
    json_: Json = False,
) -> None:
    """Repeat a run exactly, from its config.yaml."""
    from holdfast.api.config_file import read_config

    config = config / "config.yaml" if config.is_dir() else config
    read_config(config, trust_code=trust_code)  # Before torch is imported.
    from holdfast.api import tune as runs

    finished = runs.repeat(config, out=out, device=device, trust_remote_code=trust_remote_code, trust_code=trust_code)
    output.scores(finished.scores, json_, lambda: output.run(finished.folder))


for command in listings.COMMANDS:
    app.command(rich_help_panel=LISTS)(command)


app.command(rich_help_panel=LISTS)(doctor.doctor)


def main() -> None:
    """Entry point. Exit 0 done, 1 error or mistyped command, 2 something was lost, 3 unclear, 130 stopped by Ctrl-C."""
    # Named, because with `python -m holdfast` the help would tell of another command than every page does.
    try:
        output.guarded(lambda: in_words(typer.main.get_command(app))(prog_name="holdfast"))
    finally:
        # Python looks at every object of torch once more when it ends, a quarter of a short command's time; none is needed again.
        gc.freeze()
