"""Write a pretrained lab model as users load it, with the manifest that says how it was made and what it can do."""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from holdfast.lab.learning import Pretraining

SHARD = "15MB"


def export(training: Pretraining, folder: Path, command: str, *, items: int = 300, commit: str = "") -> None:
    """Write weights in half precision, the tokenizer, and the manifest with what the written weights can do.

    The folder appears whole or not at all. The manifest's table is of `items` test items of each task.
    """
    model = LlamaForCausalLM(training.model.config).eval().to(training.device)  # pyright: ignore[reportArgumentType]
    # Rounded to halves before the exam: the manifest must speak of the weights that are written.
    model.load_state_dict({name: tensor.half() for name, tensor in training.model.state_dict().items()})
    examined = training.course.examine(model, items)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.half().save_pretrained(part, max_shard_size=SHARD)
    training.course.tokenizer.save_pretrained(part)
    config = json.loads((part / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"  # stored in half precision, computed in full: processors are slow at halves
    (part / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    manifest = {
        "command": command,
        "commit": commit or repository(),
        "settings": asdict(training.settings),
        "steps": training.step,
        "tokens": training.step * training.settings.tokens,
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": weights_hash(part),
        "torch": torch.__version__,
        "first_losses": training.first_losses[::10],  # of steps 1, 11, 21, 31 and 41
        **examined,
    }
    (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of the weights' files one after another, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def repository() -> str:
    """Return the repository's commit, or "" outside of one."""
    try:
        completed = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # a machine for training need not have git; `--commit` names it there
        return ""
    return completed.stdout.strip()
