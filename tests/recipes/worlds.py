"""A model folder and small tasks over the same words: what the tests of whole runs share."""

import json
from pathlib import Path
from typing import Any

from holdfast.models import loading
from tests.training import tiny

WORDS = [f"w{i}" for i in range(3, tiny.VOCABULARY)]
QUICK: dict[str, Any] = {
    "prompt.steps": 4,
    "prompt.length": 3,
    "model.steps": 4,
    "model.save_every": 2,
    "prompt.save_every": 2,
    "model.learning_rate": 1e-2,
}


def write_world(folder: Path, **tasks: list[str] | None) -> Path:
    """`model/`, and a folder for each task: its choices, or None for one whose answer is to be generated."""
    loading.save(tiny.pretrained(), folder / "model")
    for name, choices in tasks.items():
        for split, count in (("train", 24), ("validation", 8), ("test", 8)):
            lines = []
            for i in range(count):
                word = WORDS[(7 * i + len(split)) % len(WORDS)]
                record = {"input": f"{word} w9", "target": choices[i % 2] if choices else word}
                lines.append(json.dumps(record | ({"choices": choices} if choices else {})))
            path = folder / name / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(lines) + "\n")
        (folder / name / "task.yaml").write_text('input: "{{ input }} w8"\n')
    return folder
