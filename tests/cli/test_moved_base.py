"""`evaluate BASE --against ADAPTER` where the adapter's configuration names a base that was moved or renamed."""

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from holdfast.models import loading
from holdfast.prompts.deep_prefix import of_words
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.results.scores import read_scores
from tests.cli.commands import Commands
from tests.recipes.worlds import write_world


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """`base` with a `lora`, a soft `prompt` and a `deep` prefix made for it."""
    write_world(tmp_path, pick=["w3", "w4"], copy=None)
    (tmp_path / "model").rename(tmp_path / "base")
    base = str(tmp_path / "base")
    model = loading.load(base).model
    torch.manual_seed(0)
    SoftPrompt(torch.randn(3, 32)).save(tmp_path / "prompt", base=base)
    of_words(model, [1, 2]).save(tmp_path / "deep", base=base)
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    peft.get_peft_model(model, config).save_pretrained(str(tmp_path / "lora"))
    return tmp_path


def measured(holdfast: Commands, world: Path, base: str, tuned: str, out: str) -> tuple[str, dict[Any, Any]]:
    tasks = ("--task", world / "copy", "--target", world / "pick", "--shots", "0")
    done = holdfast("evaluate", world / base, "--against", world / tuned, *tasks, "--out", world / out)
    assert done.code == 0, done.err
    return done.err, {s.key: (s.value, s.delta) for s in read_scores(world / out)}


@pytest.mark.parametrize("tuned", ["lora", "prompt", "deep"])
def test_the_base_of_the_command_stands_in_for_one_that_was_moved(tuned: str, world: Path, holdfast: Commands) -> None:
    said, before = measured(holdfast, world, "base", tuned, "before")
    assert "is not here" not in said
    (world / "base").rename(world / "moved")
    said, after = measured(holdfast, world, "moved", tuned, "after")
    line = (
        f"{world / tuned}: its own base {world / 'base'} is not here; it is taken on {world / 'moved'}, which it fits"
    )
    assert line in said
    assert after == before
    (world / "holdfast.yaml").write_text("gain: -1.0\n")
    gate = holdfast("compare", world / "after", "--policy", world / "holdfast.yaml")
    assert gate.code in (0, 2, 3), gate.err
    assert "not compared with what was measured" not in gate.out
    # The evidence covers the weights behind the adapter too: another base there, and the numbers are stale.
    config = world / "moved" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert (
        "changed since it was measured" in holdfast("compare", world / "after", "--policy", world / "holdfast.yaml").err
    )


@pytest.mark.parametrize(
    ("tuned", "reason"),
    [
        ("lora", "it changes matrices of"),
        ("prompt", "this prompt is 32 wide, and the model needs 128"),
        ("deep", "this deep prefix has"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_with_the_reason_before_anything_is_asked(
    tuned: str, reason: str, world: Path, holdfast: Commands
) -> None:
    shutil.rmtree(world / "base")
    out = world / "out"
    done = holdfast("evaluate", "lab", "--against", world / tuned, "--task", world / "copy", "--out", out)
    assert reason in done.error
    assert f"its own base {world / 'base'} is not here, and it does not fit lab" in done.error
    assert not out.exists()


def test_the_own_base_is_used_where_it_is_here(world: Path, holdfast: Commands) -> None:
    """Beside another model, an adapter is still what it was trained as."""
    shutil.copytree(world / "base", world / "other")
    config = world / "other" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rope_theta": 77.0}))
    said, _ = measured(holdfast, world, "other", "lora", "out")
    assert "is not here" not in said
    own = {s.key: s.value for s in read_scores(world / "out") if s.variant == "tuned"}
    measured(holdfast, world, "base", "lora", "plain")
    assert own == {s.key: s.value for s in read_scores(world / "plain") if s.variant == "tuned"}
