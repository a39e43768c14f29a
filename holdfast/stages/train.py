"""A training stage: one model, one task, some methods, one run of the loop."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from accelerate import PartialState

from holdfast.evaluation.matrix import evaluate
from holdfast.evaluation.metrics import metric
from holdfast.evaluation.model import Model
from holdfast.methods.base import Method, chooser
from holdfast.models import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.rows import Row
from holdfast.stages import pretrained as source
from holdfast.stages.base import Stage, write_text
from holdfast.stages.sources import load_task
from holdfast.tasks.task import Task
from holdfast.templates import choose_demonstrations, render
from holdfast.tokenization import encode
from holdfast.training import checkpoint
from holdfast.training.batches import Stream
from holdfast.training.loop import Trainer
from holdfast.training.settings import Settings


@dataclass(frozen=True)
class Train(Stage):
    """Train `methods` on a task's train split, behind the frozen prompt of an earlier stage where `prompt` is given.

    `demonstrations` of the train split stand before each input: the first ones always (`sampling="first"`, as FTICL does) or drawn
    anew for each example and pass (`"sampled"`, as ProMoT+1-shot does). `loss_on` is `last` (the row's own answer) or
    `all` (the demonstrations' answers too). `max_length` is in tokens, prompt included; longer inputs are cut, targets never.
    `versions` is the fingerprint of model and task, so that changed content means a new folder.
    """

    model: str = ""
    task: str = ""
    methods: tuple[Method, ...] = ()
    settings: Settings = field(default_factory=Settings)
    prompt: "Train | None" = None
    demonstrations: int = 0
    sampling: Literal["first", "sampled"] = "sampled"
    loss_on: Literal["last", "all"] = "last"
    max_length: int = 1024
    validation_limit: int = 100
    versions: tuple[str, ...] = ()
    trust_remote_code: bool = False

    def run(self, folder: Path, inputs: dict[str, Path]) -> None:
        """Train, then write `model/`, `prompt/` or `adapter/`, and `result.json`."""
        pretrained = source.load(self.model, trust_remote_code=self.trust_remote_code)
        task = load_task(self.task)
        model = PrefixModel(pretrained.model)
        if "prompt" in inputs:
            model.prompts.append(source.load_prompt(inputs["prompt"] / "prompt", pretrained))
        for method in self.methods:
            source.check_length(getattr(method, "length", 0), pretrained)
        stream = self._stream(task, pretrained, model)
        trainer = Trainer(
            pretrained,
            model,
            stream,
            self.methods,
            self.settings,
            folder,
            validate=self._validation(task, pretrained),
            stage=self.name,
        )
        result = trainer.train()
        if PartialState().is_main_process:
            chooser(self.methods).export(model, pretrained, folder)
            cut = [row.cut for row in stream.sample(512)]
            result |= {"truncated_share": sum(c > 0 for c in cut) / max(1, len(cut))}
            write_text(folder / "result.json", json.dumps(result, indent=1))
            checkpoint.clear(folder)

    def _stream(self, task: Task, pretrained: Pretrained, model: PrefixModel) -> Stream:
        examples = task.splits.get("train", ())
        if not examples:
            raise ValueError(f"{self.task}: no train split to train on; add train.jsonl")
        row = partial(self._row, task, pretrained, model)
        return Stream(row, len(examples), self.settings.batch_size, self.settings.seed)

    def _row(self, task: Task, pretrained: Pretrained, model: PrefixModel, index: int, epoch: int) -> Row:
        examples = task.splits["train"]
        example = examples[index]
        shown = choose_demonstrations(
            examples,
            self.demonstrations,
            mode=self.sampling,
            seed=self.settings.seed * 1_000_003 + epoch,  # no other seed's pass draws the same
            index=index,
            exclude=example,
        )
        prompts = model.prompts
        room = min(self.max_length, pretrained.max_length) - sum(len(p.get_parameter("vectors")) for p in prompts)
        return encode(
            pretrained.tokenizer,
            render(task.template, example, shown, pretrained.tokenizer),
            max_length=room,
            eos=True,
            name=f"{task.name}/train[{index}]",
            prompt=len(prompts) - 1 if len(prompts) else None,
            loss_on=self.loss_on,
        )

    def _validation(self, task: Task, pretrained: Pretrained) -> Callable[[PrefixModel], float] | None:
        held_out = task.splits.get("validation")
        if not held_out or self.validation_limit == 0:
            return None
        asked = replace(task, splits={**task.splits, "test": held_out})

        def validate(model: PrefixModel) -> float:
            vectors = model.prompts[-1].get_parameter("vectors").detach() if len(model.prompts) else None
            measured = Model(replace(pretrained, model=model.model), vectors)
            outputs = evaluate(
                measured,
                asked,
                role="target",
                variant="tuned",
                shots=self.demonstrations,
                limit=self.validation_limit,
                seed=self.settings.seed,
                demonstrations=self.sampling,
            )
            return metric(task.metric).value(outputs)

        return validate
