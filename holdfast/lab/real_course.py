"""The large model's course: real text, few-shot documents of real tasks, and token sequences that repeat."""

import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer

from holdfast.lab import corpus, fewshot
from holdfast.lab.abilities import match
from holdfast.lab.curriculum import rate
from holdfast.lab.settings import LabSettings
from holdfast.tasks.task import Example, Task

TEXT, REPEATED = 0.55, 0.03  # shares of the rows; the rest are few-shot documents
EARLY, REPEATED_EARLY = 0.1, 0.2  # first share of the steps, in which copying is learned
PLAIN = 0.25  # loss weight of running text: about half of the loss is then of answers
SHOTS = (0, 1, 4)
LOOKED_AT = 6  # tasks of a glance
HELD_OUT_ROWS = 64


class Real:
    """Documents of a corpus and of task folders, which `prepare` has tokenised into a folder."""

    def __init__(self, settings: LabSettings, tasks: Path, prepared: Path) -> None:
        self.settings, self.folder = settings, tasks
        self.tokenizer = AutoTokenizer.from_pretrained(prepared)
        self.text, self.held_out = (np.load(prepared / f"{name}.npy") for name in ("text", "held_out"))
        stored = np.load(prepared / "examples.npz")
        about = json.loads((prepared / "prepared.json").read_text(encoding="utf-8"))
        spans = [(a, b) for a, b in about["spans"]]
        self.examples = fewshot.Examples(stored["tokens"], stored["bounds"], stored["labels"], spans, about["choices"])
        self.frequency = self.examples.weights()
        self.encode = lru_cache(maxsize=10_000)(self._encode)

    @cached_property
    def tasks(self) -> list[Task]:
        """Return every task, targets included, to examine."""
        return fewshot.tasks(self.folder)

    def rate(self, step: int) -> float:
        return rate(step, self.settings.steps)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        rng = random.Random(f"{self.settings.seed}/{step}")
        repeated = REPEATED_EARLY if step < EARLY * self.settings.steps else REPEATED
        rows = [self._row(rng, repeated) for _ in range(self.settings.tokens // self.settings.positions)]
        return torch.tensor([row.ids for row in rows]), torch.tensor([row.weights for row in rows])

    def look(self, model: Any) -> dict[str, Any]:
        known = [task for task in self.tasks if "validation" in task.splits and not fewshot.is_target(task)]
        sample = known[:: max(1, len(known) // LOOKED_AT)]
        return {"held_out": self._held_out(model), **self._table(model, sample, 24, "validation", (0, 4))}

    def examine(self, model: Any, limit: int) -> dict[str, Any]:
        targets = [task for task in self.tasks if fewshot.is_target(task)]
        general = [task for task in self.tasks if not fewshot.is_target(task)]
        return {
            "held_out": self._held_out(model),
            "abilities": {
                "general": self._table(model, general, limit, "test", SHOTS),
                "targets": self._table(model, targets, limit, "test", SHOTS),
            },
        }

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _row(self, rng: random.Random, repeated: float) -> fewshot.TokenDocument:
        """Return one row, full to its last token."""
        length, chance = self.settings.positions, rng.random()
        row = fewshot.TokenDocument([], [])
        if chance < TEXT:
            start = rng.randrange(max(1, len(self.text) - length))
            row.add(self.text[start : start + length].tolist(), PLAIN)
            # A start anywhere in the text, also within a document; the first token opens every text that the model reads.
            row.ids[0], row.weights[0] = self.tokenizer.bos_token_id, 0.0
        while len(row.ids) < length:
            document = self._repeats(rng) if chance < TEXT + repeated else self._few_shot(rng)
            row.ids.extend(document.ids)
            row.weights.extend(document.weights)
        return fewshot.TokenDocument(row.ids[:length], row.weights[:length])

    def _few_shot(self, rng: random.Random) -> fewshot.TokenDocument:
        index = rng.choices(range(len(self.frequency)), self.frequency)[0]
        return fewshot.few_shot(rng, self.examples, index, self.encode)

    def _repeats(self, rng: random.Random) -> fewshot.TokenDocument:
        """Return random tokens again and again, which teaches a model to look back."""
        document = fewshot.TokenDocument([], [])
        document.add(self.encode("<s>"), 0.0)
        words = range(len(corpus.SPECIAL), len(self.tokenizer))
        sequence = rng.choices(words, k=rng.randint(8, 48))
        for index in range(rng.randint(2, 4)):
            document.add(sequence, PLAIN * bool(index))  # the first time it is random, and cannot be predicted
            document.add(self.encode("\n"), fewshot.BESIDE)
        return document

    @torch.no_grad()
    def _held_out(self, model: Any) -> dict[str, float]:
        """Return bits a byte and nats a token on the start of the text that is kept out."""
        length = self.settings.positions
        count = min(HELD_OUT_ROWS, len(self.held_out) // length)
        rows = torch.tensor(self.held_out[: count * length].astype(np.int64)).view(count, length)
        rows[:, 0] = self.tokenizer.bos_token_id
        # Bytes of the text that is predicted, so that models with other tokenizers compare; the first token is given.
        total, size = 0.0, sum(len(text.encode()) for text in self.tokenizer.batch_decode(rows[:, 1:]))
        for part in rows.to(model.device).split(8):
            logits = model(input_ids=part, use_cache=False).logits[:, :-1].float()
            total += F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
        tokens = max(1, count * (length - 1))
        return {"bits_a_byte": round(total / math.log(2) / max(1, size), 4), "nats_a_token": round(total / tokens, 4)}

    def _table(self, model: Any, tasks: Iterable[Task], limit: int, split: str, shots: tuple[int, ...]) -> dict:
        """Return, by task, shares of exact answers and of right tokens by number of demonstrations; and the means over tasks."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for task in tasks:
            matches = {k: match(model, self.tokenizer, task, k, limit=limit, split=split) for k in shots}
            table[task.name] = {
                measure: {str(k): round(getattr(value, measure), 4) for k, value in matches.items()}
                for measure in ("exact", "tokens")
            }
        means = {
            measure: {
                str(k): round(sum(row[measure][str(k)] for row in table.values()) / max(1, len(table)), 4)
                for k in shots
            }
            for measure in ("exact", "tokens")
        }
        return {"means": means, "tasks": table}


def prepare(texts: Path, tasks: Path, folder: Path, positions: int) -> None:
    """Train the tokenizer and tokenise everything, once; the folder appears whole or not at all.

    Raises:
        ValueError: a folder holds nothing to read, or `folder` was prepared from other files.
    """
    sources = fingerprint(texts, tasks)
    if (folder / "prepared.json").exists():
        if json.loads((folder / "prepared.json").read_text(encoding="utf-8"))["sources"] != sources:
            raise ValueError(f"{folder} was prepared from other files than {texts} and {tasks}; choose another --out")
        return
    chosen = fewshot.kept(fewshot.tasks(tasks))
    named = dict(corpus.files(texts))
    read = [text for name, text in named.items() if corpus.HELD_OUT not in name]
    kept_out = [text for name, text in named.items() if corpus.HELD_OUT in name] or [read[-1][-200_000:]]
    # Lazily: the texts of all examples at once would be as large as the corpus. Only of what pretraining reads, or the vocabulary
    # would know words of the targets.
    questions = chain.from_iterable(_texts(task, examples) for task, examples in chosen)
    stories = chain.from_iterable(map(corpus.documents, read))
    tokenizer = corpus.train_tokenizer(chain(stories, questions), positions)
    examples = fewshot.prepare(tokenizer, chosen)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    tokenizer.save_pretrained(part)
    for name, several in (("text", read), ("held_out", kept_out)):
        np.save(part / f"{name}.npy", np.concatenate([corpus.stream(tokenizer, text) for text in several]))
    np.savez(part / "examples.npz", tokens=examples.tokens, bounds=examples.bounds, labels=examples.labels)
    about = {"sources": sources, "tasks": [task.name for task, _ in chosen]}
    about |= {"spans": examples.spans, "choices": examples.choices}
    (part / "prepared.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def _texts(task: Task, examples: Iterable[Example]) -> Iterator[str]:
    """Yield each example as one text."""
    return ("".join(fewshot.texts(task, example)) for example in examples)


def fingerprint(*folders: Path) -> str:
    """Return 16 hex digits that change with the names and sizes of the files in folders."""
    # Not the contents: to read a corpus at each start of a run that goes on would take minutes.
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
