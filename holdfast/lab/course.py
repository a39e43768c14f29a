"""A course is what pretraining reads, how fast it learns, and how it is examined. This one is the lab's own world."""

import random
from typing import Any, Protocol

import torch
from torch import Tensor

from holdfast.lab import documents, world
from holdfast.lab.abilities import abilities, match, mean
from holdfast.lab.curriculum import lesson
from holdfast.lab.settings import LabSettings
from holdfast.lab.tokenizer import build


class Course(Protocol):
    """The course of a size of the lab model: its tokenizer, its data by step, and its exams."""

    tokenizer: Any

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return tokens and loss weights of a step, `[B, T]` each; they follow from the seed and the step alone."""
        ...

    def rate(self, step: int) -> float:
        """Return the share of the learning rate that a step uses."""
        ...

    def look(self, model: Any) -> dict[str, Any]:
        """Return a glance at the model's abilities, on a few validation items, for the log."""
        ...

    def examine(self, model: Any, limit: int) -> dict[str, Any]:
        """Return the manifest's tables of the model's abilities, on `limit` test items of each task."""
        ...


class World:
    """The small model's course: documents of the lab's generated world."""

    def __init__(self, settings: LabSettings) -> None:
        self.settings = settings
        self.tokenizer = build()
        self.ids = self.tokenizer.get_vocab()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        plan = lesson(step, self.settings.steps)
        rng = random.Random(f"{self.settings.seed}/{step}")  # of the step: a resumed run needs no state of a generator
        rows = [documents.row(rng, plan) for _ in range(self.settings.tokens // plan.length)]
        tokens = torch.tensor([[self.ids[word] for word in row] for row, _ in rows])
        return tokens, torch.tensor([weights for _, weights in rows])

    def rate(self, step: int) -> float:
        return lesson(step, self.settings.steps).rate

    def look(self, model: Any) -> dict[str, Any]:
        tasks = map(world.task, world.general())
        table = abilities(model, self.tokenizer, tasks, (1, 4), limit=24, split="validation")
        return {"means": [round(mean(table, k), 3) for k in (1, 4)], "abilities": table}

    def examine(self, model: Any, limit: int) -> dict[str, Any]:
        general, targets = ([world.task(name) for name in names] for names in (world.general(), world.targets()))
        usual: dict[str, Any] = {"limit": limit, "demonstrations": "first"}  # as `holdfast evaluate` asks
        table = {
            "general": abilities(model, self.tokenizer, general, (0, 1, 4), **usual),
            "general, sampled": abilities(model, self.tokenizer, general, (1, 4), limit=limit),
            "targets": abilities(model, self.tokenizer, targets, (0, 4), **usual),
        }
        first_items = {
            name: match(model, self.tokenizer, world.task(name), 4, limit=40).exact
            for name in ("who", "sentiment", "to-zan", "demo-mark")
        }
        return {
            "means": {f"general at {k}": round(mean(table["general"], k), 4) for k in (0, 1, 4)},
            "first_items": first_items,  # exact match on the first 40 items at 4 demonstrations, for a quick check
            "abilities": table,
        }
