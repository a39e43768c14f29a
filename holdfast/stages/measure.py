"""Plan the evaluations of a run: the base, the weights it keeps, and the points along the way; then run them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from holdfast.atomic_files import write_text
from holdfast.decoding.base import Decoding
from holdfast.models.precision import FP32, Loading
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Output, StreamedOutputs
from holdfast.stages.analyse import Analyse
from holdfast.stages.edit import EditModel
from holdfast.stages.evaluate import Evaluate, LabelMass
from holdfast.stages.loader import Loader
from holdfast.stages.stage import Stage, dependencies, execute, folder_of
from holdfast.stages.train import Train
from holdfast.tasks.task import SHOTS
from holdfast.tasks.task_set import TaskRef, TaskSet
from holdfast.training import checkpoint
from holdfast.training.processes import processes

Owners = list[tuple[Train, tuple[TaskRef, ...]]]  # each stage that trained a prompt, with the targets that it is for


@dataclass(frozen=True)
class EvaluationSettings:
    """Questions that every variant of a run is asked.

    With `twice` the base is measured a second time; with `probe` the general tasks are asked behind its prompt too;
    with `decoding` the weights that the run keeps answer through it, and nothing else does.

    Which items `limit` draws does not depend on the run's seed: runs that differ by their seed are asked the same, and share the base.
    """

    model: str
    model_version: str
    tasks: TaskSet
    shots: tuple[int, ...] = SHOTS
    limit: int | None = None
    twice: bool = False
    trust_remote_code: bool = False
    date: str | None = None
    decoding: Decoding | None = None
    loading: Loading = FP32
    probe: Train | None = None
    demonstrations: str = "first"

    @property
    def others(self) -> tuple[TaskRef, ...]:
        """Return all tasks but the targets."""
        return (*self.tasks.general, *self.tasks.diagnostics)

    @property
    def fewest(self) -> tuple[int, ...]:
        """Return the fewest shots alone, which is what is asked along the way."""
        return (min(self.shots),)

    def ask(self, name: str = "", tasks: tuple[TaskRef, ...] = ()) -> Evaluate:
        """Return the evaluation of the base on some of the tasks; `dataclasses.replace` makes one of another variant of it."""
        return Evaluate(
            name,
            self.model,
            tasks=tasks,
            shots=self.shots,
            demonstrations=self.demonstrations,
            limit=self.limit,
            model_version=self.model_version,
            trust_remote_code=self.trust_remote_code,
            date=self.date,
            loading=self.loading,
        )


def plan_measurements(pipeline: Sequence[Stage], questions: EvaluationSettings) -> list[Evaluate | LabelMass]:
    """Return every evaluation of a run, in the order of its answers. Nothing is run: a plan can be printed and counted.

    Of several prompts each is measured on its own targets only: the general tasks belong to none of them. A prompt alone leaves the
    model as it is, and without it there is nothing to measure but the base.
    """
    last, tasks, owners = last_trained(pipeline), questions.tasks, prompt_owners(pipeline)
    along = _plan_along(last, owners, questions)
    plan = _plan_base(questions) + _plan_after_own_stages(pipeline, owners, questions)
    tuned = replace(questions.ask(), variant="tuned", tuned=final_weights(pipeline), decoding=questions.decoding)
    everything = replace(tuned, tasks=tasks.refs, toward=tasks.targets[0])
    if questions.probe is not None:
        probed = {"tasks": tasks.general, "prompt": "probe", "trained_prompt": questions.probe}
        along = [*along, replace(tuned, name="evaluate-probe", **probed)]
    if not owners:
        return [*plan, replace(everything, name="evaluate-tuned-plain"), *along]
    # Behind another target's prompt a task would be read in a format that it does not have.
    for stage, targets in owners:
        if len(owners) == 1:
            plan.append(replace(everything, name="evaluate-tuned-on", prompt="on", trained_prompt=stage))
        else:
            name = f"evaluate-tuned-on-{targets[0].file_name}"
            plan.append(replace(tuned, name=name, tasks=targets, prompt="on", trained_prompt=stage))
    if last.moves_the_model:
        plan.append(replace(everything, name="evaluate-tuned-off", prompt="off"))
    return plan + along


def last_trained(pipeline: Sequence[Stage]) -> Train:
    """Return the last training stage: the trade-off is followed along it."""
    trained = [stage for stage in pipeline if isinstance(stage, Train)]
    if not trained:
        raise ValueError("a recipe needs a stage that trains, so that there is something to measure")
    return trained[-1]


def final_weights(pipeline: Sequence[Stage]) -> Train | EditModel:
    """Return the stage whose weights a run keeps: the edit of the last training stage, where there is one."""
    return next(stage for stage in reversed(pipeline) if isinstance(stage, Train | EditModel))


def prompt_owners(pipeline: Sequence[Stage]) -> Owners:
    """Return each stage that trained a prompt, with the targets whose last prompt that is."""
    # A prompt that a later stage's method goes on from is a start, and stands before no task that is measured.
    starts = list(chain.from_iterable(map(_starts, pipeline)))
    trained = [
        stage for stage in pipeline if isinstance(stage, Train) and "prompt" in stage.leaves and stage not in starts
    ]
    numbers: dict[TaskRef, int] = {}
    # A later stage that trains a prompt for the same target takes it over.
    for number, stage in enumerate(trained):
        numbers |= dict.fromkeys(stage.targets, number)
    ordered = dict.fromkeys(numbers.values())
    return [(trained[number], tuple(ref for ref in numbers if numbers[ref] == number)) for number in ordered]


def _starts(stage: Stage) -> list[Stage]:
    """Return the stages in the fields of a stage's methods."""
    return [before for field, before in dependencies(stage).items() if field.startswith("methods.")]


def _plan_base(questions: EvaluationSettings) -> list[Evaluate | LabelMass]:
    """Plan the evaluations of the base.

    The tasks beside the targets are asked once for all targets and seeds that share a folder of stages, because nothing in these
    evaluations depends on them: how probable a target's labels are there is a stage of its own.
    """
    tasks, plan = questions.tasks, []
    plan.append(questions.ask("evaluate-base", tasks.targets))
    if questions.others:
        others = questions.ask("evaluate-base", questions.others)
        plan.append(LabelMass("label-mass-base", others, tasks.targets[0]) if tasks.general else others)
    # Other demonstrations and other batches: what may change a number while model and questions stay.
    if questions.twice:
        again = questions.ask("evaluate-base-again", tasks.targets)
        other = "sampled" if questions.demonstrations == "first" else questions.demonstrations
        again = replace(again, variant="base-again", demonstrations=other, batch_tokens=4096)
        plan.append(again)
        plan += [replace(again, tasks=questions.others)] if questions.others else []
    return plan


def _plan_after_own_stages(
    pipeline: Sequence[Stage], owners: Owners, questions: EvaluationSettings
) -> list[Evaluate | LabelMass]:
    """Plan the evaluation of each target right after the last stage that trained the model on it, where later stages moved the model on.

    What was measured last needs no measurement of its own: it is the tuned model.
    """
    moving: dict[TaskRef, Train] = {}
    for stage in pipeline:
        if isinstance(stage, Train) and stage.moves_the_model:
            # A stage may train on other tasks than the run's, to start from: those are nobody's question.
            moving |= dict.fromkeys((ref for ref in stage.targets if ref in questions.tasks.targets), stage)
    plan: list[Evaluate | LabelMass] = []
    for ref, stage in moving.items():
        if stage != last_trained(pipeline):
            prompt = next((owner for owner, targets in owners if ref in targets), None)
            own_stage = questions.ask(f"evaluate-own-{ref.file_name}", (ref,))
            state = None if prompt is None else "on"
            plan.append(replace(own_stage, variant="own-stage", tuned=stage, prompt=state, trained_prompt=prompt))
    return plan


def _plan_along(last: Train, owners: Owners, questions: EvaluationSettings) -> list[Evaluate | LabelMass]:
    """Plan the targets behind their prompts, at the fewest shots, and the general tasks without, at each step whose weights are kept.

    Where prompts were trained before the last stage, step 0 says what each reaches alone; a single one is also asked the general
    tasks there, which it should be removed for: where the format lives.
    """
    tasks, plan = questions.tasks, []
    for stage, targets in owners:
        if stage in last.prompts:
            alone = replace(questions.ask("evaluate-prompt", targets), variant="tuned", tuned=last.start, step=0)
            alone = replace(alone, prompt="on", trained_prompt=stage, shots=questions.fewest)
            plan.append(alone)
            if tasks.general and len(owners) == 1:  # Is it the prompt that carries the format to other tasks?
                elsewhere = replace(alone, name="evaluate-prompt-general", tasks=tasks.general)
                plan.append(replace(elsewhere, toward=targets[0]))
    rounds = earlier_rounds(last)
    total = sum(stage.settings.steps for stage in rounds)
    # The last round's end belongs to the same course; where points along it are measured, they lead there.
    ends = [*rounds, last] if rounds and not last.settings.points else rounds
    done = 0
    for number, stage in enumerate(ends, 1):
        done += stage.settings.steps
        at_end = questions.ask(f"evaluate-round-{number}", (*tasks.targets, *tasks.general))
        plan.append(replace(at_end, variant="tuned", tuned=stage, before=done, shots=questions.fewest))
    for step in last.settings.points if last.moves_the_model else ():
        at_step = replace(questions.ask(f"evaluate-step-{step}"), variant="tuned", tuned=last, step=step)
        at_step = replace(at_step, before=total if rounds else None)
        few = replace(at_step, shots=questions.fewest)
        for stage, targets in owners:
            plan.append(replace(few, tasks=targets, prompt="on", trained_prompt=stage))
        if not owners:
            plan.append(replace(few, tasks=tasks.targets))
        if tasks.general:
            plan.append(replace(at_step, tasks=tasks.general, prompt="off" if owners else None))
    return plan


def earlier_rounds(last: Train) -> list[Train]:
    """Return the rounds before a stage, the first one first: stages of its section that trained on the same tasks, each from the last."""
    rounds: list[Train] = []
    stage = last.start
    while stage is not None and (stage.name, stage.targets) == (last.name, last.targets):
        rounds.insert(0, stage)
        stage = stage.start
    return rounds


def measure_untrained(
    pipeline: Sequence[Stage], done: int, questions: EvaluationSettings, root: Path, loader: Loader
) -> None:
    """Run the evaluations of the untrained weights, alone or behind a prompt of the first `done` stages."""
    # Before the next stage trains: it changes the loaded model in place, and the untrained one would have to be loaded once more.
    for stage in plan_measurements(pipeline, questions):
        evaluation = stage.evaluated if isinstance(stage, LabelMass) else stage
        if evaluation.tuned is None and evaluation.trained_prompt in (None, *pipeline[:done]):
            execute(stage, root, loader)


def measure(pipeline: Sequence[Stage], questions: EvaluationSettings, root: Path, loader: Loader) -> StreamedOutputs:
    """Run the evaluations of a run whose stages are done, and return their answers, which stay on the disk.

    What is there already is not evaluated again.
    """
    last = last_trained(pipeline)
    reached = steps_reached(last, root)
    planned = plan_measurements(pipeline, questions)
    # Training may have ended early, and the plan was made before it began.
    stages = [stage for stage in planned if not isinstance(stage, Evaluate) or (stage.step or 0) <= reached]
    # By weights, so that each are loaded once; the answers below keep the order of the plan.
    groups = list(dict.fromkeys(stage.weights(root) for stage in stages))
    for stage in sorted(stages, key=lambda stage: groups.index(stage.weights(root))):
        execute(stage, root, loader)
    answers = [stage.outputs(root) for stage in stages]
    unmoved = bool(prompt_owners(pipeline)) and not last.moves_the_model

    def made() -> Iterator[Output]:
        yield from chain.from_iterable(answers)
        if unmoved:  # Without its prompt, the tuned model is the base.
            base = (output for output in chain.from_iterable(answers) if output.variant == "base")
            yield from (replace(output, variant="tuned", prompt="off") for output in base)

    return StreamedOutputs(made)


def steps_reached(stage: Train, root: Path) -> int:
    """Return the steps that a finished stage took: fewer than planned where `stop_at` ended it."""
    return json.loads((folder_of(stage, root) / "result.json").read_text(encoding="utf-8"))["step"]


def explain(
    pipeline: Sequence[Stage],
    questions: EvaluationSettings,
    analyses: Sequence[str],
    root: Path,
    out: Path,
    loader: Loader,
) -> None:
    """Write `analysis.jsonl` below `out`: the findings at step 0 of the last stage and at each step whose weights were kept."""
    last = last_trained(pipeline)
    # A prompt alone leaves the weights as they were: there is nothing to explain.
    if not analyses or not last.moves_the_model:
        return
    reached = steps_reached(last, root)
    steps = [0, *(step for step in last.settings.points if step <= reached)]
    versions = (questions.model_version, *(ref.version for ref in questions.tasks.refs))
    first = Analyse("", last, 0, tuple(analyses), questions.tasks.general, versions=versions)
    folders = [execute(replace(first, name=f"analyse-step-{step}", step=step), root, loader) for step in steps]
    if not processes().is_main_process:
        return
    findings = [RunFolder(folder).analysis_file.read_text(encoding="utf-8") for folder in folders]
    write_text(RunFolder(out).analysis_file, "".join(findings))


def delete_snapshots(folders: Sequence[Path]) -> None:
    """Remove the weights along the way; their scores are what is kept."""
    # Each may be as large as the model, and a curve may have dozens.
    for folder in folders:
        for step in checkpoint.snapshot_steps(folder):
            # Another run on the same stage may be removing them too.
            checkpoint.snapshot_path(folder, step).unlink(missing_ok=True)
