"""What `--dtype` and `--device` come to, and what is refused before a weight is read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from holdfast.models import loading, precision
from holdfast.models.precision import Loading, checkpoint_dtype
from tests.training import tiny


def folder(path: Path, **config: object) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"dtype": "bfloat16"}, "bf16"),
        ({"torch_dtype": "float16"}, "fp16"),
        ({"torch_dtype": "torch.float32"}, "fp32"),
        ({"text_config": {"dtype": "bfloat16"}}, "bf16"),
        ({"dtype": "float8_e4m3fn"}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_is_the_precision_that_the_checkpoint_names(
    tmp_path: Path, config: dict[str, object], expected: str
) -> None:
    assert checkpoint_dtype(folder(tmp_path, **config)) == expected
    assert Loading("auto", "cpu").resolved(tmp_path) == Loading(expected)
    assert Loading("fp32", "cpu").resolved(tmp_path).dtype == "fp32"


def test_the_best_device_is_taken_and_an_absent_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Loading().resolved(tmp_path).device == "cpu"
    for device in ("cuda", "mps"):
        with pytest.raises(ValueError, match=f"device={device}: torch can use none on this machine"):
            Loading(device=device).resolved(tmp_path)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert Loading().resolved(tmp_path).device == "mps"
    with pytest.raises(ValueError, match="int4: bitsandbytes has no kernels for mps"):
        Loading("int4").resolved(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Loading().resolved(tmp_path).device == "cuda"
    assert Loading(device="cpu").resolved(tmp_path).device == "cpu"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    assert Loading().resolved(tmp_path).device == "cpu", "Accelerate would leave the GPU alone too"


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"int8: needs the package bitsandbytes; pip install 'holdfast\[quant\]'"):
        Loading("int8", "cpu").resolved(folder(tmp_path))


@pytest.mark.parametrize("field", ["dtype", "device"])
def test_an_unknown_name_is_refused_at_once(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}='half': there is none of this name"):
        replace(Loading(), **{field: "half"})


def test_two_loadings_are_equal_where_their_numbers_are() -> None:
    assert Loading("bf16", "cpu") == Loading("bf16", "cuda")
    assert Loading("bf16") != Loading("fp32")


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_a_model_is_held_and_written_in_the_precision_asked_for(tmp_path: Path, dtype: str) -> None:
    loading.save(tiny.pretrained(), tmp_path / "model")
    held = precision.FLOATS[dtype]
    pretrained = loading.load(tmp_path / "model", Loading(dtype, "cpu"))
    assert {p.dtype for p in pretrained.model.parameters()} == {held}
    loading.save(pretrained, tmp_path / "again")
    assert checkpoint_dtype(tmp_path / "again") == dtype
    assert {p.dtype for p in loading.load(tmp_path / "again", Loading()).model.parameters()} == {held}


def test_what_is_trained_is_held_in_float32_and_written_in_the_checkpoints_precision(tmp_path: Path) -> None:
    loading.save(tiny.pretrained(), tmp_path / "model")
    pretrained = loading.load(tmp_path / "model", Loading("bf16", "cpu", trained=True))
    assert {p.dtype for p in pretrained.model.parameters()} == {torch.float32}
    frequencies = pretrained.model.model.rotary_emb.inv_freq.clone()
    loading.save(pretrained, tmp_path / "tuned")
    assert checkpoint_dtype(tmp_path / "tuned") == "bf16"
    # In bfloat16 the frequencies of rotary positions would be off by 0.4 %, and far positions by whole turns.
    assert torch.equal(pretrained.model.model.rotary_emb.inv_freq, frequencies)
