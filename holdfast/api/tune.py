"""Tune a model, measure it before and after, and leave a standard folder. The command line is a thin caller."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.api.cautions import cautions
from holdfast.api.config_file import OPTIONAL, read_config
from holdfast.api.request import Request, RunPlan, plan_run
from holdfast.api.versions import library_versions
from holdfast.atomic_files import write_text
from holdfast.evaluation.harness_samples import write_samples
from holdfast.models.architecture import of_run
from holdfast.models.fingerprint import fingerprint
from holdfast.models.precision import Loading
from holdfast.recipes.assignments import nested
from holdfast.recipes.techniques import Techniques
from holdfast.report.card import write_card
from holdfast.report.run.page import write_page
from holdfast.results.compute_scores import score
from holdfast.results.evidence import Evidence, Fingerprint, write_evidence
from holdfast.results.run_folder import RunFolder, write_results
from holdfast.results.scores import Circumstances, Output, Score, read_scores
from holdfast.results.visible import one_line
from holdfast.stages import assemble
from holdfast.stages.curate import Curate
from holdfast.stages.loader import Loader
from holdfast.stages.measure import delete_snapshots, explain, measure, measure_untrained, prompt_owners
from holdfast.stages.stage import dependencies, exclusive, execute, folder_of
from holdfast.tasks import sources
from holdfast.tasks.task import SHOTS
from holdfast.training.processes import processes


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what lies there."""

    folder: Path

    def __fspath__(self) -> str:
        """Return the folder: what takes a path or a MODEL takes a run."""
        return str(self.folder)

    @property
    def scores(self) -> list[Score]:
        """Return every number, with its circumstances."""
        return read_scores(self.folder)

    @property
    def page(self) -> Path:
        """Return the path of the report to open in a browser."""
        return RunFolder(self.folder).page

    @property
    def config(self) -> dict[str, Any]:
        """Return the full configuration; `holdfast run config.yaml` repeats it."""
        return RunFolder(self.folder).config


def tune(
    model: str | Path,
    task: str | Path | Sequence[str | Path],
    method: str = "promot",
    general: str | Path | Sequence[str | Path] | None = None,
    *,
    curate: str | None = None,
    edit: str | None = None,
    decode: str | None = None,
    probe: str | None = None,
    shots: Sequence[int] = SHOTS,
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
    dtype: str = "auto",
    device: str = "auto",
    demonstrations: str = "first",
    **fields: Any,
) -> Run:
    """Fine-tune `model` on `task` and measure what it gained there and kept on the `general` tasks.

    Without `general` these are the everyday suite, or the lab's tasks for a lab model (`holdfast.models.reading`); "none" measures none.
    Tasks in disguise and probes among them are diagnostics: they say whether what was lost is only hidden, and count in no mean.

    Several tasks are targets together: mixed, or one after another where the recipe says so; each is measured behind its own prompt.
    A technique for each moment may be named: `curate` acts on the training data, `method` trains, `edit` acts on the weights
    afterwards, `decode` on the answers; the run is measured alike whatever they are. `probe="eraser"` also looks for what is hidden.

    `fields` sets any field of any stage: `prompt={"steps": 200}`, `model_={"learning_rate": 1e-4}` (the underscore keeps it apart
    from the argument) or `**{"prompt.steps": 200}`. The same call on the same `out` goes on where it was stopped. With `curve`, that
    many points along the last stage are measured too: what the trade-off is made of. `analyses` run at the same points and at step 0.
    Runs with one `stage_root` share equal stages. `date` (YYYY-MM-DD) is what a chat template that writes today's date writes, in
    training and in every question: by default the day on which the run began. With `noise_floor` the base is measured twice
    (`Score.again`). `dtype` (auto, fp32, bf16, fp16, int8, int4) is the precision in which frozen weights are held and everything is
    asked and written, by default the checkpoint's own; `device` is auto, cpu, cuda or mps. `demonstrations` before every measured
    question are the `first` ones or the `nearest` to it (as in `evaluate`); those of training are the field `model.sampling`.

    Raises:
        ValueError: anything about the input is wrong; nothing was written then.
    """
    kept = None if general is None else sources.arguments(general)
    request, tasks = Request(
        str(model), sources.arguments(task), Techniques(method, curate, edit, decode, probe), kept, tuple(shots), limit, seed, curve,
        tuple(analyses), noise_floor, trust_remote_code, date, nested(fields), Loading(dtype, device), demonstrations,
    ).read()  # fmt: skip
    folder = Path(out) if out is not None else Path("runs") / request.folder_name(tasks)
    plan = plan_run(request, tasks, folder)
    if processes().is_main_process:
        for sentence in cautions(plan):
            print(f"holdfast: {sentence}", file=sys.stderr, flush=True)
        # A task that was meant to be kept and stands among the targets would be trained on, and nothing else would say so.
        targets, kept = ([one_line(ref.task.name) for ref in refs] for refs in (tasks.targets, tasks.general))
        measured = f"is measured on {_few(kept)}" if kept else "is not measured"
        print(f"holdfast: tunes on {_few(targets)}; what is kept {measured}", file=sys.stderr, flush=True)
    # Nothing was written until here: whatever is wrong with the input leaves no folder behind.
    with _claimed(folder, plan.config, overwrite):
        root = Path(stage_root or RunFolder(folder).stages)
        loader, trained = Loader(), []
        if RunFolder(folder).scores_file.exists() and processes().is_main_process:
            # Seconds later the same table stands there: as the numbers of a new training it would be taken for a repetition.
            print(f"holdfast: {folder}: this run was finished before, and is shown again", file=sys.stderr, flush=True)
        plan = plan.searched(root, folder, loader)
        for number, stage in enumerate(plan.pipeline.stages):
            measure_untrained(plan.pipeline.stages, number, plan.questions, root, loader)
            trained.append(execute(stage, root, loader))
        outputs = measure(plan.pipeline.stages, plan.questions, root, loader)
        explain(plan.pipeline.stages, plan.questions, analyses, root, folder, loader)
        # The points go last: a run that is killed before its scores stand measures them again.
        if processes().is_main_process:
            _write_run(folder, root, plan, outputs)
            delete_snapshots(trained)
    return Run(folder)


def _few(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


@contextmanager
def _claimed(folder: Path, config: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
    """Claim the run's folder by one process before the others look; another command on it waits until this one is done."""
    assemble.check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, "another command works here; waiting for it to end"):
        with processes().main_process_first():
            assemble.claim(folder, config, overwrite=overwrite)
        yield
        # No process leaves while the first still writes, or a next command would find half a run.
        processes().wait_for_everyone()


def _write_run(folder: Path, root: Path, plan: RunPlan, outputs: Iterable[Output]) -> None:
    """Write the run's folder: what the stages left, the answers of the base and of the weights that are kept, scores, page and card."""
    stages, request = plan.pipeline.stages, plan.request
    folders = [folder_of(stage, root) for stage in stages]
    prompts: dict[str, Path] = {}
    for stage, targets in prompt_owners(stages):
        prompts |= dict.fromkeys((ref.file_name for ref in targets), folder_of(stage, root))
    # Curations are no stages of the pipeline: the training stages hold them in the place of tasks.
    curates: list[Curate] = []
    for stage in stages:
        curates += [before for before in dependencies(stage).values() if isinstance(before, Curate)]
    assemble.collect(folders, folder, prompts, {c.task.file_name: folder_of(c, root) for c in curates})
    if root != RunFolder(folder).stages:  # A study's, which has to know whose they are before it drops any.
        write_text(RunFolder(folder).stage_names_file, json.dumps([made.name for made in folders]))
    tasks = [ref.task for ref in plan.tasks.refs]
    made = Circumstances(
        model=request.model,
        model_hash=plan.questions.model_version,
        recipe=request.techniques.label,
        seed=request.seed,
        versions=library_versions(request.model),
        dtype=plan.questions.loading.dtype,
        device=plan.questions.loading.device,
    )
    scores = score(outputs, tasks, circumstances=made)
    write_samples(folder, write_results(folder, outputs, scores, tasks), tasks)
    layout, questions = RunFolder(folder), plan.questions
    parts = [path for path in (layout.model, layout.adapter, *layout.prompts.values()) if path.is_dir()]
    tuned = tuple(Fingerprint(path.relative_to(folder).as_posix(), fingerprint(str(path))) for path in parts)
    measured = tuple(Fingerprint(ref.argument, ref.version) for ref in plan.tasks.refs)
    base = Fingerprint(request.model, questions.model_version)
    write_evidence(folder, Evidence(base, tuned, measured, questions.shots, questions.limit, made.versions))
    write_page(folder)
    write_card(folder, of_run(folder))


def repeat(
    config: str | Path,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    trust_remote_code: bool = False,
    trust_code: bool = False,
) -> Run:
    """Run what a `config.yaml` says again, in a new folder: by default beside the old one, with `-repeat` behind its name.

    A configuration never says that code may run, neither a hub's (`trust_remote_code`) nor that of a file which it names
    (`trust_code`): both are asked for each time.

    Raises:
        ValueError: this is not the config.yaml of a run, or it names code that is not trusted.
    """
    path = Path(config)
    config_values = read_config(path, trust_code=trust_code)
    fields = {f"{stage}_": values for stage, values in config_values["stages"].items()}
    # As arguments and not as a file: the repeated run passes every check of a new one.
    options = {"dtype": "fp32"} | {key: config_values[key] for key in OPTIONAL if key in config_values}
    folder = Path(out) if out else path.resolve().parent.with_name(path.resolve().parent.name + "-repeat")
    # From the caller alone: a file that somebody sends cannot grant it.
    options["trust_remote_code"] = trust_remote_code
    return tune(
        config_values["model"],
        config_values["task"],
        config_values["method"],
        out=folder,
        device=device,
        **options,
        **fields,
    )
