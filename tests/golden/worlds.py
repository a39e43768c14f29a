"""The small world that golden runs live in: models whose weights are the same bits on every machine, and tasks over the same words.

A run names its model and tasks relative to this folder, so that a stage's hash does not depend on where the folder lies.
"""

import hashlib
import json
import random
from pathlib import Path

import torch
from torch import nn

from holdfast import lab
from holdfast.models import loading
from tests import encoder_decoder
from tests.training import tiny

SHARED = Path(__file__).parents[3] / "shared"
LINKS = {"stories": "models/stories260k", "trec": "data/tasks/trec", "copa": "data/tasks/copa"}
WORDS = [f"w{i}" for i in range(10, tiny.VOCABULARY)]
CHOICES = {"pick": ["w3", "w4"], "choose": ["w5", "w6"], "copy": None, "pairs": None}


def write_world(folder: Path) -> Path:
    """Write `model/`, `t5/`, four tasks and the texts to replay; link what lies beside the repository, where it does."""
    decoder, encoder = tiny.pretrained(), encoder_decoder.pretrained("t5")
    for name, pretrained in (("model", decoder), ("t5", encoder)):
        _draw(pretrained.model)
        loading.save(pretrained, folder / name)
    for name, choices in CHOICES.items():
        draw = random.Random(name)
        for split, count in (("train", 24), ("validation", 6), ("test", 10)):
            path = folder / name / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                "".join(json.dumps(_record(draw, choices, pairs=name == "pairs")) + "\n" for _ in range(count))
            )
        (folder / name / "task.yaml").write_text('input: "{{ input }} w8"\n')
    draw = random.Random("texts")
    # A number for every answer, random as the weights are: rules would say 0 of all.
    (folder / "reward.py").write_text("def spread(answer, example):\n    return sum(map(ord, answer)) % 7\n")
    (folder / "texts.txt").write_text("".join(" ".join(draw.choices(WORDS, k=6)) + "\n" for _ in range(12)))
    for name, target in LINKS.items():
        if (SHARED / target).exists():
            (folder / name).symlink_to(SHARED / target)
    return folder


def digest(world: Path, model: str) -> str:
    """Return a hash of every file of a model's folder: other libraries write other configurations beside the same weights."""
    folder = lab.folder() if model == "lab" else world / model
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _draw(model: nn.Module) -> None:
    """Draw every matrix anew, uniformly and as wide as it is: unlike normal draws, that is exact on every processor.

    Both models are wide (0.2 where the libraries' default is 0.02): there, wrong positions and gradients show in the loss.
    """
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                width = round(float(parameter.std()), 2) * 12**0.5
                parameter.copy_((torch.rand(parameter.shape, generator=draw) - 0.5) * width)


def _record(draw: random.Random, choices: list[str] | None, *, pairs: bool) -> dict[str, object]:
    """A word twice and its answer: itself, or a choice that follows from the word; in pairs, with an answer to avoid."""
    word = draw.choice(WORDS)
    record: dict[str, object] = {"input": f"{word} w9 {draw.choice(WORDS)}"}
    if choices is None:
        return record | {"target": word} | ({"rejected": f"{draw.choice(['w3', 'w4'])} w5"} if pairs else {})
    return record | {"target": choices[WORDS.index(word) % 2], "choices": choices}
