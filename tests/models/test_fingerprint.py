"""A model that changed is another model, whatever changed; and a large file is read once."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import holdfast
from holdfast.models import fingerprint as module
from holdfast.models.fingerprint import fingerprint
from tests.recipes.worlds import QUICK, write_world


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache of its own for each test, and a process that remembers nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_known", {})
    return tmp_path / "cache" / "holdfast" / "fingerprints.json"


def aged(path: Path) -> Path:
    """The file as if it had been written an hour ago."""
    hour = time.time() - 3600
    os.utime(path, (hour, hour))
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are really read, and files of 1 kB are large."""
    names: list[str] = []
    sha256 = module._sha256
    monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr(module, "_sha256", lambda path: (names.append(path.name), sha256(path))[1])
    return names


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model",
        "spiece.model", "vocab.txt", "merges.txt", "vocab.json", "generation_config.json", "modeling_own.py",
        "additional_chat_templates/tools.jinja",
    ],
)  # fmt: skip
def test_every_file_that_a_model_is_loaded_from_counts(tmp_path: Path, name: str) -> None:
    """The bug: only *.json and *.safetensors were looked at, so answers to other prompts were taken for current ones."""
    path = tmp_path / "model" / name
    path.parent.mkdir(parents=True)
    folder = str(tmp_path / "model")
    seen = {fingerprint(folder)}
    for text in ("one", "two"):  # the second within one tick of the clock, of the same size
        path.write_text(text)
        seen.add(fingerprint(folder))
    assert len(seen) == 3


@pytest.mark.parametrize("place", range(12))
def test_no_tensor_of_a_large_file_changes_unseen(tmp_path: Path, place: int, read: list[str]) -> None:
    """The bug: of a large file 64 pieces were looked at, and whole matrices lay between two of them."""
    tensors = {f"layers.{i}.weight": torch.zeros(256, 256) for i in range(12)}
    save_file(tensors, tmp_path / "model.safetensors")
    before = fingerprint(str(tmp_path))
    tensors[f"layers.{place}.weight"][100, 100] = 1
    save_file(tensors, tmp_path / "model.safetensors")
    assert fingerprint(str(tmp_path)) != before


def test_a_large_file_is_read_once_by_all_processes(
    tmp_path: Path, read: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (
        aged(tmp_path / "model.safetensors") if (tmp_path / "model.safetensors").write_bytes(bytes(5000)) else tmp_path
    )
    first = fingerprint(str(tmp_path))
    assert fingerprint(str(tmp_path)) == first
    monkeypatch.setattr(module, "_known", {})  # another process
    assert fingerprint(str(tmp_path)) == first
    assert read == ["model.safetensors"]
    path.write_bytes(bytes(4999) + b"1")
    aged(path)  # as a copy that keeps times would leave it
    assert fingerprint(str(tmp_path)) != first
    cache.write_text("{ damaged")
    monkeypatch.setattr(module, "_known", {})
    assert fingerprint(str(tmp_path)) != first
    assert read == ["model.safetensors"] * 3


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path, read: list[str], cache: Path) -> None:
    cache.parent.parent.write_text("a file where the folder should be")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(5000))
    aged(tmp_path / "model" / "model.safetensors")
    assert fingerprint(str(tmp_path / "model")) == fingerprint(str(tmp_path / "model"))
    assert read == ["model.safetensors"], "the process itself remembers"


def test_a_run_reads_its_model_once_for_its_hash(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug: every load hashed all weights, 9 times in this run."""
    from holdfast.models import loading

    hashed: list[int] = []
    monkeypatch.setattr(loading, "weights_hash", lambda model: hashed.append(1) or "0" * 16)
    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    aged(world / "model" / "model.safetensors")
    arguments = (world / "model", world / "pick", "promot", world / "copy")
    run = holdfast.tune(*arguments, shots=(0,), out=tmp_path / "run", **QUICK)
    # The base's, and that of the tuned model, whose fingerprint is evidence for its numbers.
    assert read.count("model.safetensors") == 2
    scores = holdfast.evaluate(world / "model", world / "pick")
    assert {score.model_hash for score in scores} == {score.model_hash for score in run.scores}
    assert read.count("model.safetensors") == 2
    assert hashed == []


def test_a_changed_chat_template_makes_a_run_anew(tmp_path: Path) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"])
    (world / "model" / "chat_template.jinja").write_text("{{ messages[0].content }} w8 {{ messages[1].content }}")
    arguments: dict[str, Any] = {"model": world / "model", "task": world / "pick", "method": "full", "shots": (0,)}
    arguments |= {"out": tmp_path / "run", "model.steps": 1}
    holdfast.tune(**arguments)
    before = {path.name for path in (tmp_path / "run" / "stages").iterdir()}
    (world / "model" / "chat_template.jinja").write_text("{{ messages[0].content }} w7 {{ messages[1].content }}")
    holdfast.tune(**arguments)
    assert len({path.name for path in (tmp_path / "run" / "stages").iterdir()}) == 2 * len(before)
