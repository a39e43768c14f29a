"""LoRA adapts the modules that its setting names, all of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

import holdfast
from tests.recipes.worlds import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), echo=None)


@pytest.mark.parametrize("target", ["q_proj,v_proj", "q_proj, v_proj", " q_proj ,v_proj, "])
def test_every_named_module_is_adapted(world: Path, tmp_path: Path, target: str) -> None:
    """The bug: after `q_proj, ` the name ` v_proj`, with its space, fitted no module, and PEFT passed over it."""
    fields: dict[str, Any] = {"model.target": target, "model.steps": 1}
    run = holdfast.tune(world / "model", world / "echo", "lora", shots=(0,), out=tmp_path / "run", **fields)
    with safe_open(run.folder / "adapter" / "adapter_model.safetensors", "pt") as file:
        adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in file.keys()}  # noqa: SIM118, no mapping
    assert adapted == {"q_proj", "v_proj"}
    assert sorted(json.loads((run.folder / "adapter" / "adapter_config.json").read_text())["target_modules"]) == [
        "q_proj",
        "v_proj",
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("q_proj,v_prj", "unknown module in `target` 'v_prj'; did you mean 'v_proj'"),
        ("self_attn", "unknown module in `target` 'self_attn'; "),
        (" , ", "names no module"),
    ],
)
def test_a_module_that_the_model_does_not_have_is_refused(
    world: Path, tmp_path: Path, target: str, message: str
) -> None:
    fields: dict[str, Any] = {"model.target": target}
    with pytest.raises(ValueError, match=message):
        holdfast.tune(world / "model", world / "echo", "lora", shots=(0,), out=tmp_path, **fields)
