"""The one training loop, on Accelerate. It owns zero_grad, backward, clipping and the step; methods hang on its hooks."""

import contextlib
import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file

from holdfast.methods.base import Method
from holdfast.models import describe
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.training import checkpoint, memory
from holdfast.training.batches import Mixture, Stream, through_methods, whole_groups
from holdfast.training.forwards import Forwards
from holdfast.training.interrupt import Interrupt
from holdfast.training.log import Log
from holdfast.training.look import Measure, Progress, Unit, look
from holdfast.training.loss import Divisors, StepLoss
from holdfast.training.placement import Replicas, Shards
from holdfast.training.preparation import contexts_of, prepare, set_dropout
from holdfast.training.processes import noticing_lost_processes, on_cpu, processes, shards_weights
from holdfast.training.settings import TrainSettings


@dataclass
class Trainer:
    """One training stage: a model, its rows, its methods and its settings; `train` runs it in `folder`.

    `validate` scores the model on the target's own validation examples, higher is better; the weights with the best score are kept (of
    equal ones the earliest, which have moved least). Without it, the last weights are. With `retention`, only weights that keep
    `settings.keep_floor` of the general tasks may be kept. `unit` is that of the validation score.
    """

    pretrained: Pretrained
    model: PrefixModel
    stream: Stream | Mixture
    methods: Sequence[Method]
    settings: TrainSettings
    folder: Path
    validate: Measure | None = None
    stage: str = "model"
    quiet: bool = False
    inputs: Sequence[Mapping[str, Path]] = ()
    retention: Measure | None = None
    unit: Unit = field(default_factory=Unit)

    def train(self) -> Progress:
        """Train, or go on from the last checkpoint; leave the best weights in the model and return the progress."""
        return Training(self).run()

    def setting(self, name: str) -> str:
        """Return a setting as `--set` calls it: the stages of several targets share theirs."""
        return f"{self.stage.partition('-')[0]}.{name}"


class Training:
    """A training stage while it runs: the methods have prepared, and Accelerate has wrapped what moves and its optimizer.

    Attributes:
        moving: The parameters that move, by name.
        forwards: The forwards of a step, with the token budget that they keep to.
        checkpoints: The checkpoints on the disk that are whole, oldest first.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.settings, self.stage, self.folder = trainer, trainer.settings, trainer.stage, trainer.folder
        self.model, self.methods, self.device = trainer.model, trainer.methods, trainer.model.model.device
        processes()  # First, because the processes then wait for each other with our patience and not with Accelerate's.
        # It moves nothing, for the model is where it was loaded, and rounds nothing, whatever its launcher says (`StepLoss` does).
        exact = {"device_placement": False, "mixed_precision": "no"}
        self.accelerator = Accelerator(
            cpu=on_cpu(), log_with=self.settings.trackers or None, project_dir=str(self.folder), **exact
        )
        world = self.accelerator.num_processes
        if self.settings.batch_size < world:
            raise ValueError(f"batch_size={self.settings.batch_size} is smaller than the {world} processes; raise it")
        inputs = trainer.inputs or [{} for _ in self.methods]
        self.model.prompts.to(self.device)  # Methods may compute with them when they prepare.
        self.contexts = contexts_of(self.model, trainer.pretrained, trainer.stream, inputs, self.settings.steps)
        groups, self.moving = prepare(self.contexts, self.methods, self.settings.seed)
        set_dropout(self.model.model, self.settings.dropout)
        self.model.prompts.to(self.device)  # what methods added
        self.placement = (
            Shards(self.accelerator, self.moving, self.methods)
            if shards_weights() and world > 1
            else Replicas(self.accelerator, self.moving)
        )
        called, self.optimizer = self.placement.prepare(self.model, groups, self.settings.make_optimizer)
        # In bfloat16 where that is asked for, or where weights of that type are held in float32 to be trained.
        loading = trainer.pretrained.loading
        low = self.settings.precision == "bf16" or (loading.trained and loading.dtype == "bf16")
        self.loss = StepLoss(self.model, self.methods, self.settings.label_smoothing, low)
        self.log = Log(self.folder / "log.jsonl", self.stage, self.settings, self.accelerator, quiet=trainer.quiet)
        self.forwards = Forwards(called, self.loss, self.placement, self.optimizer, self.log)
        self.checkpoints: list[Path] = []

    def run(self) -> Progress:
        """Train, or go on from the last checkpoint; leave the best weights in the model and return the progress.

        Raises:
            KeyboardInterrupt: Ctrl-C, once the step is taken and its checkpoint written.
        """
        settings, log = self.settings, self.log
        with contextlib.closing(log), noticing_lost_processes(self.stage):
            progress = self._resume()
            log.start(progress.step)
            self.forwards.budget = progress.token_budget = progress.token_budget or self._budget()
            self._recompute_layers()  # Only now: the memory of a token was measured without it.
            if settings.keep_floor is not None and not progress.step:
                self._keep_if_best(0, progress)  # Where no later weights keep enough, these are the ones to keep.
            with Interrupt() as interrupt:
                for step in range(progress.step, settings.steps):
                    if progress.ended(settings):
                        break
                    log.step(step + 1, **self.step(step))
                    last = step + 1 == settings.steps
                    look_due = last or (step + 1) % settings.save_every == 0
                    interrupted = self._any_process(interrupt.requested)
                    if look_due or step + 1 in settings.points or interrupted:
                        # Before anything is written: a checkpoint with NaN in it would be resumed from again and again.
                        self._check_weights(step + 1)
                    if step + 1 in settings.points:
                        self._write_weights(checkpoint.snapshot_path(self.folder, step + 1))
                    # Interrupted or not: a run that goes on from here would never look at these weights again.
                    if look_due:
                        self._keep_if_best(step + 1, progress)
                    if look_due or interrupted:
                        # The budget may have been halved; another split into forwards would sum in another order after a resume.
                        progress.token_budget = self.forwards.budget
                        self._save(step + 1, progress)
                    if interrupted and not last:
                        stopped = (
                            f"stopped after step {step + 1} of {settings.steps}; the same command goes on from there"
                        )
                        log.say(stopped)
                        raise KeyboardInterrupt(stopped)
        if progress.best_step is not None:
            self.placement.load(load_file(checkpoint.best_path(self.folder, progress.best_step)))
        self.placement.finish()
        self.model.eval()
        return progress

    def _any_process(self, interrupted: bool) -> bool:
        """Return whether any process was interrupted; `interrupted` is this one."""
        if self.accelerator.num_processes == 1:
            return interrupted
        # All must stop after the same step: those that went on would wait for the others in the next gradient's exchange.
        return bool(self.accelerator.reduce(torch.tensor(float(interrupted), device=self.accelerator.device), "sum"))  # pyright: ignore[reportArgumentType]

    def _budget(self) -> int:
        """Return the token budget: that of the settings, or what the memory of the process with least of it allows."""
        settings = self.settings
        if settings.token_budget != "auto":
            return settings.token_budget
        sample = [row for row in self.trainer.stream.sample(16) if row.labels]
        if not sample:
            return memory.MOST["cpu"]  # The first step says what is wrong with the rows.
        with self.placement.looking():  # Whole weights can be told from what a forward keeps.
            kept = self.kept_per_token(sample)
        if settings.gradient_checkpointing:
            kept = memory.recomputed(kept, *describe.layers_and_width(self.model.model))
        tokens, why = memory.token_budget(self.device, kept, self.moving.values(), self.accelerator.num_processes)
        if tokens < memory.MOST["cpu"] or self.device.type == "cuda":
            self.log.note(why)
        # The least of all, because the checkpoint holds one budget, and every process must split its rows as before a resume.
        return min(gather_object([tokens]))

    def kept_per_token(self, sample: list[Row]) -> float:
        """Return the bytes that a token of a step costs, penalties included: of the data's rows or of methods', whichever cost more."""
        # Put back below: a run whose budget is set in the settings measures nothing, and must draw the same numbers.
        state, states = checkpoint.random_state(), copy.deepcopy([method.state_dict() for method in self.methods])
        rows = through_methods(sample, self.methods, self.contexts)
        rows = [row for row in rows if row.labels]
        loss = partial(self.loss, self.model.train(), divisors=Divisors.of(rows, self.methods))
        # What methods add stands last, and may fill forwards of its own.
        backwards = list(chain.from_iterable(whole_groups(rows)[::-1]))
        kept = max(memory.kept_per_token(self.model, loss, order) for order in (rows, backwards))
        checkpoint.restore_random_state(state)
        for method, before in zip(self.methods, states, strict=True):
            method.load_state_dict(before)
        return kept

    def _recompute_layers(self) -> None:
        """Switch on that layers are computed again in the backward pass, where the settings ask for it."""
        if self.settings.gradient_checkpointing:
            body = self.model.model
            # transformers 5 renamed it on the way; use_reentrant=False passes gradients on to a prompt in front of frozen layers.
            enable = getattr(body, "activation_checkpointing_enable", None) or body.gradient_checkpointing_enable
            enable({"use_reentrant": False})

    def step(self, step: int) -> dict[str, Any]:
        """Take one optimizer step; return its record for the log."""
        began = time.perf_counter()
        self.model.train()
        rate = self.settings.set_rate(self.optimizer, step)
        rows = through_methods(self.trainer.stream.batch(step), self.methods, self.contexts, step)
        rows = self._with_labels(step, rows)
        loss = self.forwards.run(rows, Divisors.of(rows, self.methods))
        total = float(self.accelerator.reduce(loss, "sum"))  # pyright: ignore[reportArgumentType]
        if not math.isfinite(total):
            raise ValueError(
                f"{self.stage}: the loss of step {step + 1} is {total}, so training stopped before the step was taken; the batch was "
                f"{_names(rows)}. Try a smaller {self.trainer.setting('learning_rate')} (it was {rate:g}), or look at these rows"
            )
        # Before clipping, so that gradients which a method removes do not shorten those that it keeps.
        for method in self.methods:
            method.after_backward(self.model)
        norm = self.placement.clip(self.settings.clip)
        if not math.isfinite(norm):  # The loss can be finite all the same: the root of zero has no slope, say.
            raise ValueError(
                f"{self.stage}: the gradient of step {step + 1} is not finite (its norm is {norm}), so training stopped before the step "
                f"was taken; the batch was {_names(rows)}. Try a smaller {self.trainer.setting('learning_rate')} (it was {rate:g}), "
                "or look at these rows and at the methods' penalties"
            )
        self.optimizer.step()
        for method in self.methods:
            method.after_step(self.model)
        self.optimizer.zero_grad(set_to_none=True)  # Only now: a method may look at what the step was taken with.
        tokens = sum(len(row.labels) for row in rows)
        record = {"loss": total, "learning_rate": rate, "gradient_norm": norm, "target_tokens": tokens}
        for method in self.methods:
            record |= method.figures()
        return record | {"tokens_per_second": round(tokens / (time.perf_counter() - began), 1)}

    def _check_weights(self, step: int) -> None:
        """Raise a ValueError where a parameter holds NaN or an infinity."""
        for name, parameter in self.moving.items():
            if not self.placement.finite(parameter):
                raise ValueError(
                    f"{self.stage}: after step {step} the weights of {name} are not finite, so nothing was written of them; "
                    f"try a smaller {self.trainer.setting('learning_rate')} (it is {self.settings.learning_rate:g})"
                )

    def _with_labels(self, step: int, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that have a token to predict, or raise a ValueError where they are fewer than the processes."""
        taught = [row for row in rows if row.labels]
        # A process without a row would have no gradient, and the others would wait for it.
        if len(whole_groups(taught)) < (processes := self.accelerator.num_processes):
            few = f"only {len(taught)} rows of the batch have" if taught else "no row of the batch has"
            enough = f", and there are {processes} processes" if taught else ""
            raise ValueError(
                f"step {step + 1}: {few} a token to learn from ({_names(rows)}){enough}; if truncation cut them, raise "
                f"{self.trainer.setting('max_length')}"
            )
        return taught

    def _keep_if_best(self, step: int, progress: Progress) -> None:
        """Look at the weights after `step`, and keep them where they are the best so far; nothing without a validation score."""
        trainer = self.trainer
        if trainer.validate is None:
            return
        with self.placement.looking():
            seen = look(self.model, trainer.validate, trainer.retention, self.accelerator)
        if not math.isfinite(seen.value):
            raise ValueError(
                f"{self.stage}: the validation score after step {step} is {seen.value}, so no weights can be chosen by it; look at the "
                f"validation examples, or try a smaller {self.trainer.setting('learning_rate')} (it is {self.settings.learning_rate:g})"
            )
        self.log.validation(step, seen.value, trainer.unit, seen.retention)
        if progress.best_yet(step, seen, self.settings.keep_floor):
            self._write_weights(checkpoint.best_path(self.folder, step))

    def _write_weights(self, path: Path) -> None:
        """Write the parameters that move; every process comes here."""
        tensors = self.placement.whole()
        if self.accelerator.is_main_process:
            checkpoint.write_file(tensors, path)

    def _save(self, step: int, progress: Progress) -> None:
        """Write the checkpoint of `step`."""
        progress.step = step
        states = gather_object([checkpoint.random_state()])
        parameters, moments = self.placement.whole(), self.placement.optimizer_state(self.optimizer)
        if self.accelerator.is_main_process:
            methods = [method.state_dict() for method in self.methods]
            path = checkpoint.path_of(self.folder, step)
            before = [other for other in self.checkpoints if other != path]
            # The newest of those before, so that with this one there are `keep_checkpoints`.
            kept = before[max(0, len(before) + 1 - self.settings.keep_checkpoints) :]
            checkpoint.write(self.folder, checkpoint.Saved(parameters, moments, methods, states, vars(progress)), kept)
            self.checkpoints = [*kept, path]
        # Only the main process writes, and at the end of training all read the best weights.
        self.accelerator.wait_for_everyone()

    def _resume(self) -> Progress:
        """Go on from the newest checkpoint that is whole, or begin; return the progress."""
        shapes = {name: parameter.shape for name, parameter in self.moving.items()}
        for path in checkpoint.checkpoints(self.folder):
            try:
                saved = checkpoint.read(path, shapes)
            except checkpoint.Damaged as error:
                self.log.note(f"{error}; goes on from the one before it, or begins again")
                continue
            world = self.accelerator.num_processes
            if len(saved.random) != world:
                self.log.note(
                    f"{path.name} was written by {len(saved.random)} processes and is continued by {world}: every step has the same rows, "
                    "but dropout draws other numbers, and sums are rounded otherwise"
                )
            self.checkpoints = [path]  # A damaged one is not counted among those that are kept.
            self.placement.load(saved.parameters)
            self.placement.load_optimizer(self.optimizer, saved.optimizer)
            for method, state in zip(self.methods, saved.methods, strict=True):
                method.load_state_dict(state)
            checkpoint.restore_random_state_of(self.accelerator.process_index, saved.random)
            # Those of earlier versions counted fewer things.
            return Progress(**{name: saved.progress[name] for name in vars(Progress()) if name in saved.progress})
        return Progress()


def _names(rows: Sequence[Row]) -> str:
    names = [row.name or "?" for row in rows]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
