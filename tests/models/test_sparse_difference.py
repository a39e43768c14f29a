"""Sparse differences: they add up in any order, are subtracted again, and go to no other model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

import holdfast
from holdfast.api.edit import edit_model
from holdfast.cli.app import app
from holdfast.models import loading, resolve, sparse_difference
from tests.training import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    loading.save(tiny.pretrained(tie_word_embeddings=True), folder)
    return folder


def weights(argument: Path, other: Path | None = None) -> dict[str, Tensor]:
    model = resolve.load(str(argument), base=None if other is None else str(other)).model
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def difference(base: Path, folder: Path, rest: int) -> dict[str, Tensor]:
    """Write one that changes each 20th entry of every weight, those whose number leaves a rest; return it."""
    torch.manual_seed(rest)
    parts = {}
    for name, weight in weights(base).items():
        flat = torch.zeros(weight.numel())
        flat[rest::20] = torch.randn(len(flat[rest::20]))
        parts[name] = flat.view(weight.shape)
    sparse_difference.write(parts.items(), str(base), folder)
    return parts


def test_two_differences_are_the_sum_in_either_order_and_come_off_again(base: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    parts = difference(base, first, 0), difference(base, second, 7)
    start = weights(base)
    expected = {name: weight + parts[0][name] + parts[1][name] for name, weight in start.items()}
    both, turned = weights(second, first), weights(first, second)
    assert all(torch.equal(both[name], expected[name]) and torch.equal(turned[name], expected[name]) for name in start)
    assert all(torch.equal(weights(first)[name], start[name] + parts[0][name]) for name in start)
    # What is subtracted is the difference: an edit of the sum takes it off again, up to the rounding of two sums.
    back = weights(edit_model(str(base), str(first), "task_arithmetic", tmp_path / "back", scale=-1.0))
    assert all(torch.allclose(back[name], start[name] - parts[0][name], rtol=0, atol=1e-6) for name in start)


def test_the_folder_is_small_and_commands_take_it(base: Path, tmp_path: Path) -> None:
    difference(base, tmp_path / "difference", 3)
    size = (tmp_path / "difference" / "adapter_model.safetensors").stat().st_size
    numbers = sum(weight.numel() for weight in weights(base).values())
    # Names and sizes in the file's head are 300 bytes a weight at most.
    assert size < 8 * numbers / 20 + 300 * len(weights(base))
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "difference")], input="w3 w4\n")
    assert result.exit_code == 0, result.output
    assert holdfast.load(tmp_path / "difference").pretrained.attached == ""


def test_what_does_not_fit_is_one_line_and_changes_nothing(base: Path, tmp_path: Path) -> None:
    difference(base, tmp_path, 0)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    last = "model.norm.weight"

    def refused(match: str) -> None:
        with pytest.raises(ValueError, match=match) as caught:
            resolve.load(str(tmp_path))
        assert "\n" not in str(caught.value)

    model = tiny.pretrained(tie_word_embeddings=True).model
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"shapes": config["shapes"] | {last: [9]}}))
    refused(rf"is for a weight {last} of \[9\], and the model has one of \[32\]")
    with pytest.raises(ValueError, match="is for a weight"):
        sparse_difference.add(model, tmp_path)
    assert all(torch.equal(p, start[name]) for name, p in model.named_parameters())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    tensors[f"{last}.positions"][0] = 32
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    refused(f"is damaged: positions of {last} lie outside of it")
    del tensors[f"{last}.positions"]
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    refused("cannot be read as a sparse difference")
