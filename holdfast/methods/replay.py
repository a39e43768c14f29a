"""Replay of general text and general tasks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods._named_content import read, side_of, text_rows
from holdfast.methods.base import Context, Method
from holdfast.models.fingerprint import file_fingerprint
from holdfast.row import Row, total_weight
from holdfast.tasks.examples.splits import evenly
from holdfast.tasks.sources import expand, load_task
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.templates import render
from holdfast.tasks.text.tokenization import encode

TASK_LENGTH = 1024  # Tokens of a task's row; a longer input is cut.


@dataclass
class Replay(Method):
    """Mix general texts or tasks into every step, as `rate` of its loss, however long the texts and short the answers.

    Beside a method that chooses the parameters, such as `Full`. `texts` is a file: one text a line, or JSON lines with a
    `text`, of which every token is predicted. `replay_tasks` are TASK arguments with a train split, written by their templates, of which
    the answers are predicted: `a,b`, or `{"a": 2, "b": 1}` where a's loss should count twice as much; the texts, if there are any too,
    count 1. A step gets rate / (1 - rate) times as many texts and examples as rows, at least one; they stand behind no soft prompt.

    Source: Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal" (Connection Science 7)
    """

    KIND: ClassVar[str] = "Replay"
    HASH_LATER: ClassVar[dict[str, object]] = {"replay_tasks": "", "replay_cap": 0}

    texts: str = Field(default="", description="file of texts, one a line, or JSON lines with a `text`")
    rate: float = Field(default=0.1, ge=0, lt=1, description="share of the loss that is replayed")
    text_length: int = Field(default=256, ge=2, description="tokens of a text that are used")
    seed: int = Field(default=0, description="seed of the draws")
    replay_tasks: str | list[str] | dict[str, float] = Field(
        default="", description="TASK arguments, separated by commas, or a weight for each"
    )
    replay_cap: int = Field(default=0, ge=0, description="examples of each task at most, evenly spaced; 0 is all")

    def __post_init__(self) -> None:
        names = self.replay_tasks.split(",") if isinstance(self.replay_tasks, str) else self.replay_tasks
        weights = names if isinstance(names, Mapping) else {name.strip(): 1.0 for name in names if name.strip()}
        # One form of all three: how a task was written must not change the run's folder.
        self._weights = {name: float(weight) for name, weight in weights.items()}
        self.replay_tasks = self._weights or ""
        for name, weight in self._weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"replay_tasks: the weight of {name} is {weight:g}; give a number above 0")

    def versions(self) -> tuple[str, ...]:
        """Return the fingerprints of the texts and the tasks.

        Raises:
            ValueError: there is no such file, or a task cannot be read or has no train split.
        """
        if self.texts and not Path(self.texts).is_file():
            raise ValueError(
                f"replay.texts={self.texts!r}: there is no such file; give one text a line, or JSON lines with a `text`, or replay_tasks"
            )
        texts = (file_fingerprint(Path(self.texts)),) if self.texts else ()
        return (*texts, *(task.version for task, _ in self._tasks()))

    def check_content(self) -> None:
        """Refuse a run without texts and tasks.

        Raises:
            ValueError: neither is named.
        """
        if self.rate and not self.texts and not self.replay_tasks:
            raise ValueError(
                "replay: there is nothing to replay; name tasks (--set model.replay_tasks=TASK,TASK) or a file of texts "
                "(--set model.texts=FILE), or take self_replay, which needs neither"
            )

    def prepare(self, context: Context) -> None:
        """Read the texts and tasks.

        Raises:
            ValueError: no file and no task; no text of two tokens; a task that cannot be read or has no train split; or texts, and the
                model has an encoder.
        """
        self._sources: list[_Source] = []
        if self.rate == 0:
            return
        if self.texts or not self.replay_tasks:
            self._sources.append(_Source(1.0, self._texts(context)))
        for task, weight in self._tasks():
            train = task.splits["train"]
            chosen = evenly(len(train), self.replay_cap or None)
            examples = [(f"replay of {task.name}/train[{i}]", train[i]) for i in chosen]
            self._sources.append(_Source(weight, [], examples, task.template))

    def _tasks(self) -> Iterator[tuple[Task, float]]:
        """Yield the tasks, each with its weight."""
        for argument, weight in self._weights.items():
            names = expand(argument)
            for name in names:
                task = load_task(name)
                if not task.splits.get("train"):
                    raise ValueError(f"replay: {name} has no train split to replay; add train.jsonl, or leave it out")
                # A suite has its weight once, whatever the number of its tasks.
                yield task, weight / len(names)

    def added_rows(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        """Return drawn texts and examples, weighted so that they are `rate` of the total weight."""
        if self.rate == 0:
            return ()
        random = np.random.default_rng([self.seed, context.step])
        many = max(1, round(self.rate / (1 - self.rate) * len(rows)))
        shares = np.array([source.weight for source in self._sources])
        # Nothing is drawn for one source, so that texts alone are drawn as before there were tasks.
        counts = random.multinomial(many, shares / shares.sum()) if len(shares) > 1 else [many]
        added: list[Row] = []
        for source, count in zip(self._sources, counts, strict=True):
            if count:
                chosen = [source.row(i, context) for i in random.integers(source.size, size=count)]
                # By weight and not by number: a text has hundreds of tokens to predict and an answer one or two.
                weight = count / many * self.rate / (1 - self.rate) * total_weight(rows) / total_weight(chosen)
                added += [Row(r.tokens, tuple(w * weight for w in r.weights), None, r.name) for r in chosen]
        return added

    def _texts(self, context: Context) -> list[Row]:
        """Return the texts as rows."""
        if not context.pretrained.architecture.plain_texts:
            raise ValueError(
                "replay: a model with an encoder predicts answers to inputs, and plain texts are neither; replay tasks "
                "(model.replay_tasks), tune on a general task beside the target (holdfast tune MODEL TARGET GENERAL), or use kl_base "
                "or l2_sp"
            )
        length = min(self.text_length, context.pretrained.max_length)
        rows = text_rows(read(self.texts), context.pretrained.tokenizer, length)
        if not rows:
            raise ValueError(f"replay: {self.texts} holds no text of two tokens or more")
        return rows


@plain_dataclass
class _Source:
    """The texts, or the examples of one task, with the weight of their loss beside other sources."""

    weight: float
    rows: list[Row]
    examples: list[tuple[str, Example]] | None = None
    template: Template | None = None

    @property
    def size(self) -> int:
        return len(self.rows if self.examples is None else self.examples)

    def row(self, index: int, context: Context) -> Row:
        if self.examples is None or self.template is None:
            return self.rows[index]
        # Only now, and of examples that are drawn: a task may have more than a run ever sees.
        (name, example), pretrained = self.examples[index], context.pretrained
        return encode(
            pretrained.tokenizer,
            render(self.template, example, (), pretrained.tokenizer),
            max_length=min(TASK_LENGTH, pretrained.max_length),
            eos=True,
            name=name,
            truncation=side_of(self.template),
            layout=pretrained.architecture.layout,
        )
