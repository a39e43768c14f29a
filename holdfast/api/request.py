"""Plan a run from the arguments of `tune`: everything that is checked before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holdfast.api.search import load_optuna, search
from holdfast.api.versions import library_versions
from holdfast.evaluation.ask import check_askable
from holdfast.models import chat_date, reading, resolve
from holdfast.models.loading import load_tokenizer
from holdfast.models.precision import AUTO, Loading
from holdfast.recipes.pipeline import Pipeline, compose
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.techniques import Techniques
from holdfast.stages import assemble
from holdfast.stages.analyse import check_known
from holdfast.stages.loader import Loader
from holdfast.stages.measure import EvaluationSettings
from holdfast.stages.train import Train
from holdfast.stages.validation import Validation
from holdfast.tasks import sources
from holdfast.tasks.task import SHOTS
from holdfast.tasks.task_set import TaskSet
from holdfast.tasks.text.templates import check_chat
from holdfast.training.processes import check_device


def general_of(
    model: str,
    targets: Sequence[str],
    general: str | Path | Sequence[str | Path] | None,
    *,
    trust_remote_code: bool = False,
) -> tuple[str, ...]:
    """Return the general tasks as TASK arguments: those that are named, nothing for "none", and by default those that suit the model.

    Raises:
        ValueError: "none" stands beside other tasks, or the model's tokenizer cannot be loaded.
    """
    if general is None:
        return reading.default_general(model, targets, trust_remote_code=trust_remote_code)
    names = sources.arguments(general)
    if sources.NONE in names and len(names) > 1:
        raise ValueError(f"general: {', '.join(names)}; {sources.NONE} stands alone")
    return () if names == (sources.NONE,) else names


@dataclass(frozen=True)
class Request:
    """The arguments of `tune`; `settings` has the fields of stages by the stage's name (`{"prompt": {"steps": 200}}`).

    `general` are TASK arguments; None: those that suit the model, which `read` names.
    """

    model: str
    targets: tuple[str, ...]
    techniques: Techniques
    general: tuple[str, ...] | None = None
    shots: tuple[int, ...] = SHOTS
    limit: int | None = None
    seed: int = 0
    curve: int = 0
    analyses: tuple[str, ...] = ()
    noise_floor: bool = False
    trust_remote_code: bool = False
    date: str | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    loading: Loading = AUTO
    demonstrations: str = "first"

    def read(self) -> tuple["Request", TaskSet]:
        """Return the request with its general tasks by name, and all tasks, each read once.

        Raises:
            ValueError: a task cannot be read, trained on or measured, or the model's tokenizer cannot be loaded.
        """
        # First, so that a mistyped target is named before a model is looked for.
        trained = TaskSet.read(self.targets)
        general = general_of(self.model, self.targets, self.general, trust_remote_code=self.trust_remote_code)
        request = replace(self, general=general)
        return request, request.read_tasks(trained)

    def read_tasks(self, trained: TaskSet | None = None) -> TaskSet:
        """Return the tasks, each read once; `trained` are the targets, where they were read already.

        Raises:
            ValueError: a task cannot be read, trained on or measured.
        """
        tasks = (trained or TaskSet.read(self.targets)).beside(self.general or ())
        targets = [ref.task for ref in tasks.targets]
        check_askable([ref.task for ref in tasks.refs], max(self.shots), targets, self.demonstrations)
        return tasks

    def folder_name(self, tasks: TaskSet) -> str:
        """Return the name of the run's folder, where none is given."""
        names = (self.techniques.method, self.techniques.curate, self.techniques.edit, self.techniques.decode)
        used = [name.rpartition(":")[2] for name in names if name]
        return "-".join(["+".join(ref.file_name for ref in tasks.targets), *used])

    @property
    def config(self) -> dict[str, Any]:
        """Return the beginning of `config.yaml`. Options that are not used are left out, as older versions wrote it."""
        # A single target is plain text and no list, as it is written on the command line.
        task = self.targets[0] if len(self.targets) == 1 else list(self.targets)
        config: dict[str, Any] = {"command": "tune", "model": self.model}
        config |= {"task": task, "method": self.techniques.method}
        moments = {"curate": self.techniques.curate, "edit": self.techniques.edit, "decode": self.techniques.decode}
        moments |= {"probe": self.techniques.probe}
        config |= {moment: name for moment, name in moments.items() if name}
        config |= {
            "general": list(self.general or ()),
            "shots": list(self.shots),
            "limit": self.limit,
            "seed": self.seed,
        }
        return config | ({} if self.demonstrations == "first" else {"demonstrations": self.demonstrations})


@dataclass(frozen=True)
class RunPlan:
    """A run before it begins: the request, its tasks, the stages that train, the questions to every variant, and its `config.yaml`."""

    request: Request
    tasks: TaskSet
    pipeline: Pipeline
    questions: EvaluationSettings
    config: dict[str, Any]
    curve: int
    validation: Validation | None = None

    def searched(self, root: Path, folder: Path, loader: Loader) -> "RunPlan":
        """Return the plan with the values that the search of its dials chooses; the plan itself where it has none."""
        if self.pipeline.search is None or self.validation is None:
            return self
        validation = replace(self.validation, loader=loader)
        values = search(self.pipeline.search, validation, self.curve, root, folder)
        pipeline, _ = self.pipeline.search.pipeline(values, self.curve)
        return replace(
            self, pipeline=pipeline, questions=replace(self.questions, decoding=pipeline.decoding, probe=pipeline.probe)
        )


def plan_run(request: Request, tasks: TaskSet, folder: Path) -> RunPlan:
    """Return the plan of a run in a folder; a run that goes on keeps the date on which it began.

    Raises:
        ValueError: there is no such technique or setting, or techniques do not fit together.
    """
    model, trust = request.model, request.trust_remote_code
    version, config, date = resolve.version(model), request.config, None
    loading = request.loading.resolved(resolve.resolve(model))
    check_device(loading.device)
    # The date stands in the prompts of chat templates only; other runs stay equal from day to day.
    chats = [ref.task for ref in tasks.refs if ref.task.template.chat]
    tokenizer = load_tokenizer(resolve.resolve(model), trust_remote_code=trust) if chats else None
    for task in chats:
        # Before the model is loaded and the base is asked for an hour.
        check_chat(task, tokenizer)
    if chats and chat_date.writes_date(tokenizer):
        config["date"] = date = str(request.date or _begun(folder, config) or chat_date.today())
    versions = (version, *(ref.version for ref in tasks.targets))
    recipe_plan = RecipePlan(
        model, tasks.targets, request.settings, request.seed, versions, trust, date=date, loading=loading
    )
    pipeline = compose(request.techniques, recipe_plan, (*tasks.general, *tasks.diagnostics))
    for stage in pipeline.stages:
        # Now, and not in the step that draws the example; what a stage curates first is checked once it is there.
        if isinstance(stage, Train):
            stage.check_examples()
    check_known(request.analyses)
    curve = request.curve or int(bool(request.analyses))
    validation = None
    if pipeline.search is not None:
        sweep = pipeline.search.sweep
        validation = Validation(model, (*tasks.targets, *tasks.general), sweep.rule.limit, trust, date, loading)
        # Now, and not hours later when the search begins.
        validation.check(sweep.name)
        if len(sweep.dials) > 1:
            load_optuna()
    pipeline = pipeline.with_curve(recipe_plan, curve)
    config |= {"noise_floor": True} if request.noise_floor else {}
    config |= {"analyses": list(request.analyses)} if request.analyses else {}
    # What `auto` came to. The device changes rounding alone, so that a run may go on with another.
    config |= {"dtype": loading.dtype, "device": loading.device}
    config |= {"stages": recipe_plan.resolved, "versions": library_versions()}
    questions = EvaluationSettings(
        model, version, tasks, request.shots, request.limit, request.noise_floor, trust, date, pipeline.decoding,
        loading, pipeline.probe, request.demonstrations,
    )  # fmt: skip
    return RunPlan(request, tasks, pipeline, questions, config, curve, validation)


def _begun(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the date of the run in a folder, where it is the run that this call goes on with."""
    before = assemble.recorded(folder)
    # By the configuration as far as it is known here; another run in the folder has another beginning.
    return before.get("date") if all(before.get(key) == value for key, value in config.items()) else None
