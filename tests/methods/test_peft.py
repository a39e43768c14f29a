"""Any adapter of PEFT: each of PEFT's own list trains two steps and leaves what it says, or is refused with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.methods.peft import Peft
from holdfast.plugins import METHODS
from holdfast.recipes.assignments import split_choice
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from tests.recipes.worlds import write_world
from tests.training import tiny

TYPES = sorted(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING)
# PEFT's defaults are for matrices of thousands of rows; those of the tiny model have 16.
SMALL: dict[str, dict[str, Any]] = {
    "C3A": {"block_size": 8}, "FOURIERFT": {"n_frequency": 16}, "MISS": {"r": 4}, "PSOFT": {"r": 4}, "ROAD": {"group_size": 8},
    "SHIRA": {"r": 2}, "WAVEFT": {"n_frequency": 16}, "VBLORA": {"vector_length": 8, "num_vectors": 16},
    "TRAINABLE_TOKENS": {"token_indices": [5, 7, 8, 9]},
    "RANDLORA": {"r": 4}, "GRALORA": {"r": 8},
}  # fmt: skip
REFUSED = {
    "ADALORA": "PEFT's own training loop",
    "ADAPTION_PROMPT": "PEFT refuses it for this model",
    "BEFT": "PEFT cannot merge it into this model: Base layer has no bias",
    "LILY": "computes rows side by side otherwise than alone",
    "POLY": "takes more than tokens: task_ids should not be None",
    "SHADOW": "PEFT computes it beside the model, in a forward of its own",
    "XLORA": "PEFT refuses it",
    **dict.fromkeys(("CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING"), "is a prompt in front of the model"),
    **dict.fromkeys(("PROMPT_TUNING", "P_TUNING"), "is a prompt in front of the model"),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("peft"), goal=None)


# In the default suite a few that end in different ways; all of them take more than a minute.
QUICK = ("IA3", "LILY", "BEFT", "SHADOW", "ADALORA", "P_TUNING")


@pytest.mark.parametrize("kind", [pytest.param(t, marks=[] if t in QUICK else pytest.mark.slow) for t in TYPES])
def test_every_adapter_of_pefts_list_trains_or_is_refused(
    world: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {
        "model.steps": 2,
        "model.learning_rate": 1e-2,
        "model.save_every": 2,
        "model.config": SMALL.get(kind, {}),
        "model.validation_limit": 0,
    }

    def run() -> Any:
        return tune(
            str(world / "model"),
            str(world / "goal"),
            f"peft:{kind}",
            "none",
            shots=(0,),
            limit=2,
            out=tmp_path / "run",
            **fields,
        )

    if kind in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[kind]) as refusal:
            run()
        assert "\n" not in str(refusal.value)
        assert f"peft:{kind}" in str(refusal.value)
        return
    finished = run()
    merged = "PEFT cannot merge it" not in capsys.readouterr().err
    assert (finished.folder / "model").is_dir() is merged
    assert json.loads((finished.folder / "adapter" / "adapter_config.json").read_text())["peft_type"] == kind
    # What the run measured is what its folder gives again: the adapter on the base, and where there is one the merged model.
    text = ["w5 w9 w8"]
    tuned, adapted, base = (load(str(path)) for path in (finished.folder, finished.folder / "adapter", world / "model"))
    values = [model.loglikelihood([(text[0], " w7")])[0].value for model in (tuned, adapted, base)]
    assert values[0] == pytest.approx(
        values[1], abs=1e-3
    )  # Merging rounds by 1e-6; an adapter that was not read is off by 0.01.
    assert values[0] != values[2]


def test_a_name_with_a_choice_sets_the_type_and_reaches_the_fields() -> None:
    assert split_choice("peft:IA3", METHODS) == ("peft", {"type": "IA3"})
    assert split_choice("lora:IA3", METHODS) == ("lora:IA3", {})
    (stage,) = find_recipe("peft:VERA+kl_base")(RecipePlan("m", (TaskRef("t"),), {"model": {"config": {"r": 8}}}))
    assert isinstance(stage, Train)
    assert stage.methods[0] == Peft(type="VERA", config={"r": 8})
    prompt, model = find_recipe("promot+peft:LOHA")(RecipePlan("m", (TaskRef("t"),)))
    assert isinstance(prompt, Train)
    assert isinstance(model, Train)
    assert (type(prompt.methods[0]).__name__, model.methods[0]) == ("PromptTuning", Peft(type="LOHA"))


def test_what_peft_does_not_have_is_one_line() -> None:
    for settings, wrong in (
        ({"type": "LORRA"}, "adapter of PEFT: .*LORRA.*LORA"),
        ({"type": "IA3", "config": {"rank": 4}}, r"field of PEFT's IA3Config:.*model\.config\.rank"),
        (
            {"type": "LORA", "config": {"rr": 3}},
            r"LoraConfig: model\.config\.rr; did you mean --set model\.config\.r=3\?",
        ),
        (
            {"type": "LORA", "config": {"target_modules": "q_proj"}},
            r"model\.config\.target_modules; did you mean --set model\.target=q_proj\?",
        ),
        (
            {"type": "LORA", "config": {"init_lora_weights": "pissa_niter_4"}},
            r"init_lora_weights='pissa_niter_4': is drawn anew",
        ),
        (
            {"type": "LORA", "config": {"init_lora_weights": "eva"}},
            r"init_lora_weights='eva': .* a calibration of PEFT's own",
        ),
    ):
        with pytest.raises(ValueError, match=wrong):
            Peft(**dict[str, Any](settings)).versions()
    with pytest.raises(ValueError, match=r"model\.type='LORA': peft:IA3 says 'IA3'"):
        find_recipe("peft:IA3")(RecipePlan("m", (TaskRef("t"),), {"model": {"type": "LORA"}}))
    assert torch.is_grad_enabled()


def test_a_longer_name_narrows_the_target(tmp_path: Path) -> None:
    """The bug: only the last part of a name was passed on, so that one layer's projection stood for those of all layers."""
    run = tiny.trainer(tmp_path, Peft(target="layers.1.self_attn.q_proj"), steps=1)
    run.train()
    adapted = {name.split(".lora_")[0] for name, _ in run.model.model.named_parameters() if ".lora_" in name}
    assert adapted == {"model.layers.1.self_attn.q_proj"}
