"""A pretrained model and text of real tasks, in the place of random weights and words: what `--model FOLDER` measures."""

import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.harness import quietly

TASKS = Path(__file__).resolve().parents[2] / "shared/data/tasks"


def load(folder: Path) -> tuple[Any, Any]:
    """Return the model in float32, frozen, and its tokenizer."""
    from holdfast.models import loading

    with quietly():
        pretrained = loading.load(folder)
    return pretrained.model, pretrained.tokenizer


def records(task: str, count: int, split: str = "train") -> list[dict[str, Any]]:
    """Return the first records of a task.

    Raises:
        SystemExit: the data is not beside the repository.
    """
    path = TASKS / task / f"{split}.jsonl"
    if not path.is_file():
        raise SystemExit(f"--model measures on real rows, and there is no {path}")
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, count)]


def choices(items: int, shots: int, *, same: bool) -> list[tuple[str, str]]:
    """Return (context, choice) pairs: CommonsenseQA questions of five choices behind solved ones, the same for all or drawn for each."""
    solved = [f"Question: {r['input']}\nAnswer: {r['target']}\n\n" for r in records("commonsense_qa", 200)]
    draw = random.Random(1)
    shown, pairs = "".join(solved[:shots]), []
    for record in records("commonsense_qa", items, "test"):
        context = shown if same else "".join(draw.sample(solved, shots))
        pairs += [(f"{context}Question: {record['input']}\nAnswer:", f" {choice}") for choice in record["choices"]]
    return pairs


def translations(tokenizer: Any, count: int, shots: int) -> list[tuple[int, ...]]:
    """Return the tokens of prompts that ask for French sentences, behind the same solved ones."""
    shown = "".join(f"English: {r['input']}\nFrench: {r['target']}\n\n" for r in records("multi30k_en_fr", shots))
    asked = records("multi30k_en_fr", count, "test")
    return [tuple(tokenizer(f"{shown}English: {record['input']}\nFrench:")["input_ids"]) for record in asked]
