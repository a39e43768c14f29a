"""Runs: tune a model, measure it before and after, and leave a standard folder. The command line is a thin caller."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast.api.versions import library_versions
from holdfast.evaluation.ask import check_askable
from holdfast.evaluation.harness_samples import write_samples
from holdfast.models import chat_date, resolve
from holdfast.models.architecture import of_run
from holdfast.models.fingerprint import fingerprint
from holdfast.models.loading import load_tokenizer
from holdfast.plugins import refuse_code
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import Fields
from holdfast.report.card import write_card
from holdfast.report.run.page import write_page
from holdfast.results.run_folder import RunFolder, write_results
from holdfast.results.score import score
from holdfast.results.scores import Circumstances, Output, Score, read_scores
from holdfast.stages import assemble
from holdfast.stages.analyse import check_known
from holdfast.stages.measure import Questions, clear_points, explain, last_trained, measure, prompt_owners
from holdfast.stages.stage import alone, execute, folder_of, processes
from holdfast.tasks import sources
from holdfast.tasks.task import Task
from holdfast.tasks.task_set import TaskSet

OPTIONAL = (
    "general",
    "shots",
    "limit",
    "seed",
    "date",
    "noise_floor",
    "analyses",
)  # of `tune`, as config.yaml has them


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what lies there."""

    folder: Path

    @property
    def scores(self) -> list[Score]:
        """Every number, with its circumstances."""
        return read_scores(self.folder)

    @property
    def page(self) -> Path:
        """The report to open in a browser."""
        return RunFolder(self.folder).page

    @property
    def config(self) -> dict[str, Any]:
        """The full configuration; `holdfast run config.yaml` repeats it."""
        return RunFolder(self.folder).config


def tune(
    model: str | Path,
    task: str | Path | Sequence[str | Path],
    method: str = "promot",
    general: str | Path | Sequence[str | Path] = (),
    *,
    shots: Sequence[int] = (0, 1),
    limit: int | None = None,
    seed: int = 0,
    curve: int = 0,
    analyses: Sequence[str] = (),
    out: str | Path | None = None,
    noise_floor: bool = False,
    stage_root: str | Path | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    date: str | None = None,
    **fields: Any,
) -> Run:
    """Fine-tune `model` on `task` and measure what it gained there and kept on the `general` tasks. Tasks in disguise
    and probes among these are diagnostics: they say whether what was lost is only hidden, and count in no mean.

    Several tasks are targets together: mixed, or one after another where the recipe says so; each is measured behind its own prompt.
    `fields` sets any field of any stage: `prompt={"steps": 200}`, `model_={"learning_rate": 1e-4}` (the underscore keeps it apart
    from the argument) or `**{"prompt.steps": 200}`. The same call on the same `out` goes on where it was stopped. With `curve`, that
    many points along the last stage are measured too: what the trade-off is made of. `analyses` run at the same points and at step 0.
    Runs with one `stage_root` share equal stages. `date` (YYYY-MM-DD) is what a chat template that writes today's date writes, in
    training and in every question: by default the day on which the run began. With `noise_floor` the base is measured twice
    (`Score.again`).

    Raises:
        ValueError: anything about the input is wrong; nothing was written then.
    """
    model, general = str(model), sources.arguments(general)
    tasks = TaskSet.read(sources.arguments(task), general)
    check_askable([ref.task for ref in tasks.refs], max(shots), trained=[ref.task for ref in tasks.targets])
    model_version = fingerprint(resolve.resolve(model))
    versions = (model_version, *(ref.version for ref in tasks.targets))
    targets = [ref.argument for ref in tasks.targets]
    config: dict[str, Any] = {"command": "tune", "model": model, "task": targets[0] if len(targets) == 1 else targets}
    config |= {"method": method, "general": list(general), "shots": list(shots), "limit": limit, "seed": seed}
    names = "+".join(ref.file_name for ref in tasks.targets)
    folder = Path(out or f"runs/{names}-{method.rpartition(':')[2]}")
    if any(ref.task.template.chat for ref in tasks.refs) and chat_date.writes_date(
        load_tokenizer(resolve.resolve(model), trust_remote_code=trust_remote_code)
    ):
        config["date"] = date = str(date or _begun(folder, config) or chat_date.today())
    else:
        date = None
    plan = Fields(model, tasks.targets, _nested(fields), seed, versions, trust_remote_code, date=date)
    stages = find_recipe(method)(plan)
    plan.check_all_used()
    if (curve or analyses) and last_trained(stages).moves_the_model:
        last = last_trained(stages)
        stages = [plan.changed(last, curve=curve or 1) if stage is last else stage for stage in stages]
    check_known(analyses)
    config |= ({"noise_floor": True} if noise_floor else {}) | ({"analyses": list(analyses)} if analyses else {})
    config |= {"stages": plan.resolved, "versions": library_versions()}
    questions = Questions(model, model_version, tasks, tuple(shots), limit, noise_floor, trust_remote_code, date)
    with _claimed(folder, config, overwrite):
        root = Path(stage_root or RunFolder(folder).stages)
        trained = [execute(stage, root) for stage in stages]
        outputs = measure(stages, questions, root)
        explain(stages, questions, analyses, root, folder)
        if processes().is_main_process:
            prompts = {r.file_name: folder_of(stage, root) for stage, own in prompt_owners(stages) for r in own}
            assemble.collect(trained, folder, prompts)
            made = Circumstances(
                model=model, model_hash=model_version, recipe=method, seed=seed, versions=library_versions()
            )
            _write_scores(folder, outputs, [ref.task for ref in tasks.refs], made)
            clear_points(trained)
    return Run(folder)


def _begun(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The date of the run in a folder, where it is the run that this call goes on with."""
    before = assemble.recorded(folder)
    return before.get("date") if all(before.get(key) == value for key, value in config.items()) else None


@contextmanager
def _claimed(folder: Path, config: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
    """The run's folder, made its own by one process before the others look; another command on it waits until this one is done."""
    assemble.check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder, "another command works here; waiting for it to end"):
        with processes().main_process_first():
            assemble.claim(folder, config, overwrite=overwrite)
        yield
        processes().wait_for_everyone()


def _write_scores(folder: Path, outputs: Sequence[Output], tasks: Sequence[Task], circumstances: Circumstances) -> None:
    """Write scores of everything; the answers only of the base and of the weights that are kept."""
    scores = score(outputs, tasks, circumstances=circumstances)
    write_samples(folder, write_results(folder, outputs, scores, tasks), tasks)
    write_page(folder)
    write_card(folder, of_run(folder))


def _nested(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in fields.items():
        stage, dot, name = key.partition(".")
        if dot:
            nested.setdefault(stage, {})[name] = value
        elif isinstance(value, Mapping):
            nested.setdefault(stage.rstrip("_"), {}).update(value)
        else:
            raise ValueError(f"{key}={value!r}: name the stage too, such as **{{'model.{key}': {value!r}}}")
    return nested


def repeat(
    config: str | Path, out: str | Path | None = None, *, trust_remote_code: bool = False, trust_code: bool = False
) -> Run:
    """Run what a `config.yaml` says again, in a new folder: by default beside the old one, with `-repeat` behind its name.

    A configuration never says that code may run, neither a hub's (`trust_remote_code`) nor that of a file which it names
    (`trust_code`): both are asked for each time.

    Raises:
        ValueError: this is not the config.yaml of a run, or it names code that is not trusted.
    """
    path = Path(config)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; every run's folder holds its config.yaml") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    needed = ("model", "task", "method", "stages")
    if not isinstance(given, dict) or any(key not in given for key in needed):
        raise ValueError(f"{path}: not the config.yaml of a run; it needs {', '.join(needed)}")
    refuse_code(given, path, trust_code=trust_code)
    fields = {f"{stage}.{key}": value for stage, values in given["stages"].items() for key, value in values.items()}
    options = {key: given[key] for key in OPTIONAL if key in given}
    folder = Path(out) if out else path.resolve().parent.with_name(path.resolve().parent.name + "-repeat")
    options["trust_remote_code"] = trust_remote_code
    return tune(given["model"], given["task"], given["method"], out=folder, **options, **fields)
