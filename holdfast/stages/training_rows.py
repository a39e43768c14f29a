"""The rows of a training stage: examples with their demonstrations, as tokens, behind the prompts of their tasks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from holdfast.methods.base import Method, RowParts
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.tasks.examples.nearest import ranking
from holdfast.tasks.task import Task
from holdfast.tasks.text.pieces import Pieces, counts
from holdfast.tasks.text.templates import Ranking, choose_demonstrations, render
from holdfast.tasks.text.tokenization import encode
from holdfast.training.batches import Stream


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """Make rows of examples for a model, as the fields of `Train` with these names say.

    `owner` is the method that replaces the loss, and says what rows an example has; `prompt_of` tells the number of the prompt before the
    rows of a task, by the task's own.
    """

    pretrained: Pretrained
    model: PrefixModel
    owner: Method | None
    prompt_of: Callable[[int, PrefixModel], int | None]
    demonstrations: int
    sampling: str
    seed: int
    loss_on: Literal["last", "all"]
    loss_per: Literal["token", "target"]
    max_length: int
    truncation: Literal["input", "right"]

    def stream(self, task: Task, number: int, batch_size: int) -> Stream:
        """Return endless passes over the training examples of a task, which is the one of this number.

        A document that is longer than a row is several examples, a piece each, so that a pass has all of it.

        Raises:
            ValueError: there are none; or they are documents, and the model has an encoder.
        """
        if not (examples := task.splits.get("train")):
            raise ValueError(f"{task.name}: no train split to train on; add train.jsonl")
        if task.template.asks_nothing and not self.pretrained.architecture.plain_texts:
            raise ValueError(
                f"{task.name}: a model with an encoder predicts answers to inputs, and documents are neither; take a decoder, or give "
                "lines with `input` and `target`"
            )
        # Of other tasks too: a curation may have mixed documents in.
        if any((example.template or task.template).asks_nothing for example in examples):
            # A beginning token and an end token, where the tokenizer has them, need a place beside the text.
            room = max(1, self._room(self.prompt_of(number, self.model)) - 2)
            examples = Pieces(examples, task.template, room, partial(counts, self.pretrained.tokenizer))
            task = replace(task, splits={**task.splits, "train": examples})
        # Once for the split: the rows of every pass are ranked in it.
        mode = ranking(self.sampling, task.template, examples, self.demonstrations)
        return Stream(partial(self._rows, task, number, mode), len(examples), batch_size, self.seed)

    def _rows(self, task: Task, task_number: int, mode: str | Ranking, index: int, epoch: int) -> list[Row]:
        """Return the rows of an example in a pass."""
        example = (examples := task.splits["train"])[index]
        shown = example.demonstrations
        if shown is None:
            seed = self.seed * 1_000_003 + epoch  # No other seed's pass draws the same.
            shown = choose_demonstrations(
                task.template, examples, self.demonstrations, mode=mode, seed=seed, index=index, exclude=example
            )
        prompt = None if example.task else self.prompt_of(task_number, self.model)
        room = self._room(prompt)
        number = examples.name(index) if isinstance(examples, Pieces) else f"[{index}]"
        owner, name, tokenizer = self.owner, f"{task.name}/train{number}", self.pretrained.tokenizer
        row_parts = (RowParts(shown, example.target),) if owner is None else owner.row_parts(example, shown)
        rows = [
            encode(
                tokenizer,
                render(
                    task.template, replace(example, target=parts.answer), parts.demonstrations, tokenizer, name=name
                ),
                max_length=room,
                eos=not example.unfinished,
                name=name,
                prompt=prompt,
                loss_on=self.loss_on,
                truncation=self.truncation,
                layout=self.pretrained.architecture.layout,
            )
            for parts in row_parts
        ]
        # A document without a beginning token: what stands before its first word?
        if prompt is not None and any(row.weights[0] for row in rows) and not self.model.precedes(prompt):
            rows = [replace(row, weights=(0.0, *row.weights[1:])) for row in rows]
        example = replace(example, template=example.template or task.template)
        rows = [replace(row, example=example, task_number=task_number) for row in rows]
        return rows if self.loss_per == "token" else [row.equally_weighted() for row in rows]

    def _room(self, prompt: int | None) -> int:
        """Return the most tokens of a row behind this prompt.

        Raises:
            ValueError: there is no room for a target and a token before it.
        """
        before = 0 if prompt is None else self.model.length(prompt)  # It takes positions of the window as well.
        room = min(self.max_length, self.pretrained.max_length) - before
        if room < 2:
            reason = f"the prompt takes {before} of these tokens, so no row fits behind it"
            raise ValueError(f"max_length={self.max_length}: {reason}; raise it, or shorten the prompt")
        return room
