"""The embedded laboratory: a small world of tasks, and a small model pretrained on it."""

from pathlib import Path


def folder() -> Path:
    """The folder of the shipped model, as `AutoModelForCausalLM.from_pretrained` takes it."""
    return Path(__file__).parent / "model"
