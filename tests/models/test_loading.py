"""A model is loaded whole or not at all."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import holdfast
from holdfast.models import loading, merging
from holdfast.models.precision import Loading
from tests import encoder_decoder
from tests.recipes.worlds import write_world

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder, an encoder-decoder and the lab's model as folders."""
    world = write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"])
    loading.save(encoder_decoder.pretrained("t5"), world / "t5")
    shutil.copytree(Path(loading.__file__).parents[1] / "lab" / "model", world / "lab")
    return world


def changed(models: Path, name: str, change: Callable[[Tensors], object], to: Path) -> Path:
    """A copy of a model with other tensors."""
    shutil.copytree(models / name, to)
    tensors = load_file(to / "model.safetensors")
    change(tensors)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


def last_matrix(tensors: Tensors) -> str:
    return sorted(name for name, tensor in tensors.items() if tensor.ndim == 2 and ".1." in name)[-1]


@pytest.mark.parametrize("name", ["model", "t5", "lab"])
def test_a_model_that_lacks_a_weight_is_refused(models: Path, tmp_path: Path, name: str) -> None:
    """The bug: the weight was drawn at random, another one at each load, and measured and tuned without a word of ours."""
    gone: list[str] = []

    def drop(tensors: Tensors) -> None:
        gone.append(last_matrix(tensors))
        del tensors[gone[0]]

    folder = changed(models, name, drop, tmp_path / "broken")
    with pytest.raises(ValueError, match=r"broken: its weights do not fit its config.json: it lacks ") as caught:
        holdfast.load(folder)
    assert gone[0] in str(caught.value)
    with pytest.raises(ValueError, match="its weights do not fit"):
        holdfast.tune(folder, models / "pick", "full", shots=(0,), out=tmp_path / "run")


@pytest.mark.parametrize("name", ["model", "t5"])
def test_a_weight_of_another_shape_is_refused(models: Path, tmp_path: Path, name: str) -> None:
    def cut(tensors: Tensors) -> None:
        matrix = last_matrix(tensors)
        tensors[matrix] = tensors[matrix][:-1].clone()

    folder = changed(models, name, cut, tmp_path / "broken")
    with pytest.raises(ValueError, match="it has in another shape") as caught:
        loading.load(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_the_model_does_not_use_are_named_once(
    models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = changed(models, "model", lambda tensors: tensors.update(spare=torch.zeros(2)), tmp_path / "more")
    loading.load(folder)
    loading.load(folder)
    assert capfd.readouterr().err == f"holdfast: {folder}: the model does not use spare\n"


def test_a_head_that_is_tied_to_the_embeddings_is_not_missing(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = load_file(models / "lab" / "model.safetensors").keys()
    model = loading.load(models / "lab")
    assert not any("lm_head" in name for name in names), "a model with a tied head that is not in the file"
    assert model.model.config.tie_word_embeddings
    assert capfd.readouterr().err == ""


def test_an_adapter_that_lacks_a_matrix_is_refused(models: Path, tmp_path: Path) -> None:
    run = holdfast.tune(
        models / "model", models / "pick", "lora", shots=(0,), out=tmp_path / "run", model_={"steps": 1, "merge": False}
    )
    path = run.folder / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    gone = sorted(tensors)[0]
    path.unlink()  # it is the stage's file as well
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, path)
    with pytest.raises(ValueError, match=r"adapter: lacks .*, which its adapter_config.json asks for"):
        holdfast.load(run)


def test_a_quantised_model_is_read_again_for_its_export_with_the_code_that_was_trusted(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug: a model with code of its own trained for hours in 4 bits, and was refused when its LoRA was merged."""
    read, honest = [], loading.load
    monkeypatch.setattr(loading, "load", lambda *_, **options: read.append(options) or honest(models / "model"))
    monkeypatch.setattr(merging, "merge", lambda *_: None)
    for trusted in (True, False):
        whole = honest(models / "model", trust_remote_code=trusted)
        held = replace(whole, loading=Loading("int4"))
        merging.save_merged(held, None, tmp_path / "adapter", tmp_path / "model")
    assert read == [{"trust_remote_code": True}, {"trust_remote_code": False}]
