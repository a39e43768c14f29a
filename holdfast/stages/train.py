"""A training stage: one model, one task or several mixed, some methods, one run of the loop."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from torch import nn

from holdfast.atomic_files import write_text, writing
from holdfast.methods.base import Method
from holdfast.methods.combinations import check_examples, loss_owner, parameter_choosing_method
from holdfast.models.loading import Pretrained
from holdfast.models.precision import FP32, Loading
from holdfast.plugins import name_of
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.results.run_folder import RunFolder
from holdfast.row import Row
from holdfast.stages.curate import Curate
from holdfast.stages.looks import Looks
from holdfast.stages.stage import Inputs, Stage
from holdfast.stages.training_rows import TrainingRows
from holdfast.tasks.examples.nearest import check_mode
from holdfast.tasks.examples.splits import subset
from holdfast.tasks.task import Task
from holdfast.tasks.task_set import TaskRef
from holdfast.training import checkpoint
from holdfast.training.batches import Mixture, Stream
from holdfast.training.log import append
from holdfast.training.loop import Trainer
from holdfast.training.preparation import SAMPLE, contexts_of, prepare
from holdfast.training.processes import processes
from holdfast.training.settings import TrainSettings


@dataclass(frozen=True)
class Beginning:
    """A model before its first step, behind the prompts of earlier stages, and the rows that it will see; `give_back` as `Loader.lend`."""

    pretrained: Pretrained
    model: PrefixModel
    stream: Stream | Mixture
    give_back: Callable[[], None]


@dataclass(frozen=True)
class Train(Stage):
    """Train `methods` on the train splits of tasks, each behind the frozen prompt that a stage trained for it, if any.

    `prompts` holds these stages in the order of `tasks`, or nothing. Several tasks have equal parts of every batch. `start` is the
    stage whose `model/` training starts from; without it, that is `model` itself.

    `demonstrations` of the train split stand before each input: the first ones always (`sampling="first"`, as FTICL does), drawn
    anew for each example and pass (`"sampled"`, as ProMoT+1-shot does) or those whose questions are most like its own (`"nearest"`); an
    example's own demonstrations go before. `loss_on` is `last` (the row's own answer) or `all` (the demonstrations' too). `max_length`
    is in tokens, prompt included; longer inputs are cut, targets never (`truncation="right"` cuts rows at their end, and so their
    targets, as the code of the FTICL paper does). `loss_per` is `token` (each predicted token counts the same) or `target` (each row).
    `train_limit` and `train_share` take a nested part of the training examples (`holdfast.tasks.examples.splits.subset`).
    `versions` are the fingerprints of the model, the run's targets and what the methods' fields name: changed content means a new folder.
    `date` is what the chat template writes as today's; None where it writes none. `loading` is the precision of the frozen weights, and
    of what is written, and the device. `kept` are the general tasks of `keep_floor`.
    """

    KIND: ClassVar[str] = "Train"
    HASH_LATER: ClassVar[dict[str, object]] = {
        "date": None, "loss_per": "token", "loading": FP32, "kept": (), "train_limit": None, "train_share": 1.0,
    }  # fmt: skip

    model: str = ""
    tasks: tuple[TaskRef | Curate, ...] = ()
    methods: tuple[Method, ...] = ()
    settings: TrainSettings = field(default_factory=TrainSettings)
    prompts: "tuple[Train, ...]" = ()
    start: "Train | None" = None
    demonstrations: Annotated[int, Field(ge=0, description="demonstrations before each training input")] = 0
    sampling: Annotated[
        str,
        AfterValidator(check_mode),
        Field(
            description="first ones, sampled for each row, nearest by words, or nearest:FOLDER of an embedding model"
        ),
    ] = "sampled"
    loss_on: Annotated[
        Literal["last", "all"], Field(description="the row's own answer, or those of its demonstrations too")
    ] = "last"
    max_length: Annotated[
        int,
        Field(
            ge=1,
            description="tokens of a row, prompt included; longer inputs are cut",
            json_schema_extra={"usual": [32, 131072]},
        ),
    ] = 1024
    truncation: Annotated[Literal["input", "right"], Field(description="side that is cut where a row is too long")] = (
        "input"
    )
    validation_limit: Annotated[int, Field(ge=0, description="validation examples of each task that a look asks")] = 100
    versions: tuple[str, ...] = ()
    kept: tuple[TaskRef, ...] = ()
    trust_remote_code: bool = False
    date: str | None = None
    loss_per: Annotated[
        Literal["token", "target"], Field(description="each predicted token counts the same, or each row does")
    ] = "token"
    loading: Loading = FP32
    train_limit: Annotated[int | None, Field(ge=1, description="training examples of each task, nested; none: all")] = (
        None
    )
    train_share: Annotated[float, Field(gt=0, le=1, description="the same as a share of them, at least one")] = 1.0

    def __post_init__(self) -> None:
        """Refuse a precision that these methods cannot train in; before anything is loaded or written.

        Raises:
            ValueError: as `Loading.check_trains` says.
        """
        name = name_of(parameter_choosing_method(self.methods)) if self.methods else self.name
        self.loading.check_trains(name, base=self.trains_base)

    @property
    def trains_base(self) -> bool:
        """Return whether the model's own weights move, and not an adapter or a prompt in front of frozen ones."""
        return bool(self.methods) and "model" in self.leaves and "adapter" not in self.leaves

    @property
    def targets(self) -> tuple[TaskRef, ...]:
        """Return the tasks as they are measured: of curated data, the task that it was made from."""
        return tuple(task.task if isinstance(task, Curate) else task for task in self.tasks)

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folders that the stage leaves: of `model`, `prompt` and `adapter`."""
        return parameter_choosing_method(self.methods).leaves

    @property
    def moves_the_model(self) -> bool:
        """Return whether the model itself is trained, so that there is a trade-off to follow, and not a prompt alone."""
        return self.leaves != ("prompt",)

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Train, then write `model/`, `prompt/` or `adapter/`, and `result.json`."""
        tasks = self.read_tasks(inputs)
        # Steps of a small learning rate are lost in bfloat16: what moves is held in float32.
        loading = replace(self.loading, trained=self.trains_base and self.loading.dtype != "fp32")
        begun = self._begin(tasks, inputs, loading)
        pretrained, model, stream = begun.pretrained, begun.model, begun.stream
        looks = Looks(
            self.name,
            pretrained,
            self._prompt_of,
            limit=self.validation_limit,
            shots=self.demonstrations,
            demonstrations=self.sampling,
            seed=self.settings.seed,
        )
        floor, score = self.settings.keep_floor, looks.score(tasks)
        rules = [rule for rule in ("stop_at", "keep_floor") if getattr(self.settings, rule) is not None]
        # Before the first step: without a metric the stage would run to its end as if nothing had been asked for.
        if score is None and rules:
            raise ValueError(
                f"{self.name}.{rules[0]}: {', '.join(ref.argument for ref in self.targets)} has no validation examples to measure on; add "
                "validation.jsonl, and leave validation_limit above 0"
            )
        progress = Trainer(
            pretrained,
            model,
            stream,
            self.methods,
            self.settings,
            folder,
            validate=score,
            stage=self.name,
            inputs=self._method_inputs(inputs),
            quiet=inputs.quiet,
            retention=None if floor is None else looks.retention([ref.task for ref in self.kept], model),
            unit=looks.unit(tasks),
        ).train()
        if processes().is_main_process:
            with writing(folder):
                parameter_choosing_method(self.methods).export(model, pretrained, folder)
            self._check_left(folder)
            cut = self._log_truncation(stream.sample(SAMPLE), folder)
            if floor is not None:
                text = f"stage {self.name}: {progress.rule(floor)}"
                append(folder / "log.jsonl", {"stage": self.name, "step": progress.step, "kept_by": text})
                print(text, file=sys.stderr, flush=True)
            write_text(folder / "result.json", json.dumps(vars(progress) | cut, indent=1))
        # Dropout and the recomputation of layers are switched on in the model itself, and stay there.
        if not (self.moves_the_model or self.settings.gradient_checkpointing or self.settings.dropout is not None):
            begun.give_back()

    def clear(self, folder: Path) -> None:
        """Remove checkpoints."""
        checkpoint.clear(folder)

    def _check_left(self, folder: Path) -> None:
        """Refuse a method that leaves something else than it says: the evaluations of a run are planned before it trains."""
        left = tuple(RunFolder(folder).pieces)
        if set(left) != set(self.leaves):
            name = type(parameter_choosing_method(self.methods)).__name__
            raise ValueError(
                f"{name}: its export wrote {', '.join(left) or 'nothing'} and `leaves` says {', '.join(self.leaves)}; make them agree"
            )

    def _log_truncation(self, rows: Sequence[Row], folder: Path) -> dict[str, float]:
        """Log and return the shares of the rows that were cut, lost some of what is predicted, or all of it; print them where any is."""
        shares = {
            "truncated_share": fmean(row.cut > 0 for row in rows),
            "target_cut_share": fmean(row.lost > 0 for row in rows),
            "target_lost_share": fmean(not row.labels for row in rows),
        }
        append(folder / "log.jsonl", {"stage": self.name, "step": self.settings.steps, "rows": len(rows), **shares})
        if shares["truncated_share"]:
            room = max(len(row.tokens) for row in rows if row.cut)
            side = "end" if self.truncation == "right" else "beginning"
            message = f"{self.name}: {100 * shares['truncated_share']:.0f} % of {len(rows)} rows were cut to fit {room} tokens"
            message += f"; the longest lost {max(row.cut for row in rows):,} tokens of its {side}"
            message += f" ({self.name}.max_length={self.max_length}; the model's own room may be smaller)"
            lost = (
                f"; {100 * shares['target_cut_share']:.0f} % lost tokens of their target"
                if self.truncation == "right" or shares["target_cut_share"]  # earlier answers of a conversation, say
                else ""
            )
            print(message + lost, file=sys.stderr, flush=True)
        return shares

    def read_tasks(self, inputs: Inputs) -> list[Task]:
        """Return the tasks that are trained on; of curated data, with the rows that a stage before wrote."""
        part = (self.train_limit, self.train_share, self.settings.seed)
        tasks = [
            subset(task.task if isinstance(task, TaskRef) else task.read(inputs[f"tasks.{number}"]), *part)
            for number, task in enumerate(self.tasks)
        ]
        for task in tasks:
            check_examples(self.methods, task)
        return tasks

    def check_examples(self) -> None:
        """Refuse training examples that the methods cannot use, of the tasks that no stage before this one curates, and missing content.

        Raises:
            ValueError: as above, all of them at once.
        """
        for method in self.methods:
            method.check_content()
        for task in self.tasks:
            if isinstance(task, TaskRef):
                self._check_questions(task.task)
                check_examples(self.methods, task.task)
            else:
                task.check_examples()

    def _check_questions(self, task: Task) -> None:
        if not task.template.asks_nothing:
            return
        if self.demonstrations:
            raise ValueError(
                f"{self.name}.demonstrations={self.demonstrations}: {task.name} has documents, which answer no question, so none can be "
                "shown before them; take a method without demonstrations, such as full or promot"
            )
        if asking := next((method for method in self.methods if method.asks_questions), None):
            raise ValueError(
                f"{name_of(asking)}: learns from the model's answers to questions, and {task.name} has documents, which ask none; take "
                "another method, or lines with `input` and `target`"
            )

    def at(self, step: int, folder: Path, inputs: Inputs) -> tuple[Pretrained, PrefixModel]:
        """Return the model as it was after `step` steps in this finished stage's folder, behind its prompts; `TrainSettings.curve` kept it.

        Step 0 is where the stage started. A later call for another step changes the model that an earlier one returned.
        """
        # Step 0 has no file of its own, so what it starts from may not be a model that was moved on.
        key = ("rebuilt", folder, *((step,) if step == 0 else ()))
        pretrained, model, moving = inputs.loader.shared(key, lambda: self._rebuilt(inputs))
        if step:
            checkpoint.read_into(moving, checkpoint.snapshot_path(folder, step))
        return pretrained, model

    def _rebuilt(self, inputs: Inputs) -> tuple[Pretrained, PrefixModel, dict[str, nn.Parameter]]:
        """Return the model as training starts it, with all that moves by name: a file of a step fills every one of these."""
        # In the precision that the model is kept and asked in, to which the values of a step are rounded as they are read.
        begun = self._begin(self.read_tasks(inputs), inputs, self.loading)
        model, folders = begun.model, self._method_inputs(inputs)
        contexts = contexts_of(model, begun.pretrained, begun.stream, folders, self.settings.steps)
        # The methods build what they train, prompts and adapters too.
        _, moving = prepare(contexts, self.methods, self.settings.seed)
        model.requires_grad_(False).eval()
        return replace(begun.pretrained, model=model.model), model, moving

    def sample(self, tasks: Sequence[Task], pretrained: Pretrained, model: PrefixModel, count: int) -> list[Row]:
        """Return the first `count` training rows of the tasks, as this stage makes them."""
        return self._stream(tasks, pretrained, model).sample(count)

    def _method_inputs(self, inputs: Inputs) -> list[dict[str, Path]]:
        return [inputs.within(f"methods.{number}") for number in range(len(self.methods))]

    def _begin(self, tasks: Sequence[Task], inputs: Inputs, loading: Loading) -> Beginning:
        """Return what training starts from."""
        start = inputs["start"].weights().parent if "start" in inputs else None
        pretrained = inputs.loader.load(
            self.model, start, loading=loading, trust_remote_code=self.trust_remote_code, date=self.date
        )
        if self.moves_the_model:
            pretrained.check_plain(self.model)
        give_back = inputs.loader.lend(pretrained)
        model = PrefixModel(pretrained.model)
        for number in range(len(self.prompts)):
            model.prompts.append(load.load_prompt(inputs[f"prompts.{number}"].prompt(), pretrained))
        return Beginning(pretrained, model, self._stream(tasks, pretrained, model), give_back)

    def _stream(self, tasks: Sequence[Task], pretrained: Pretrained, model: PrefixModel) -> Stream | Mixture:
        rows = TrainingRows(
            pretrained=pretrained, model=model, owner=loss_owner(self.methods), prompt_of=self._prompt_of,
            demonstrations=self.demonstrations, sampling=self.sampling, seed=self.settings.seed, loss_on=self.loss_on,
            loss_per=self.loss_per, max_length=self.max_length, truncation=self.truncation,
        )  # fmt: skip
        size, streams = self.settings.batch_size, []
        for number, task in enumerate(tasks):
            examples = task.splits.get("train", ())
            if any(example.task for example in examples) and not self.moves_the_model:
                # Examples of other tasks stand behind no prompt, so that a prompt alone has nothing to learn from them.
                task = replace(task, splits={**task.splits, "train": tuple(e for e in examples if not e.task)})
            streams.append(rows.stream(task, number, size))
        return streams[0] if len(streams) == 1 else Mixture(streams, size)

    def _prompt_of(self, task_number: int, model: PrefixModel) -> int | None:
        """Return the number of the prompt before the rows of a task: its own, or that which all share."""
        if not len(model.prompts):
            return None
        # A prompt that this stage trains was appended last, and every task stands behind it.
        return task_number if self.prompts else len(model.prompts) - 1
