"""Each fault of a model's files is one line that names the file and what to do, told by the files and not by a library's words."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from holdfast.models import loading, model_files, resolve
from holdfast.models.gguf_file import read_gguf
from holdfast.models.precision import Loading

LAB = Path(loading.__file__).parents[1] / "lab" / "model"
INDEX = {
    "metadata": {},
    "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
}


def configured(**changes: object) -> Callable[[Path], object]:
    """Return a change of config.json; None takes a field away."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))

    return change


def cut(name: str, size: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).unlink() for name in names]


def half_of_the_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(INDEX))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("config.json"), "broken: no config.json; a model is a folder as `save_pretrained` writes it"),
        (cut("config.json", 40), "config.json: cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json: holds no JSON object"),
        (cut("model.safetensors", 100_000), "model.safetensors: cannot be read as a safetensors file"),
        (cut("model.safetensors", 5), "model.safetensors: cannot be read as a safetensors file"),
        (half_of_the_shards, "model-00002-of-00002.safetensors: cannot be read as a safetensors file"),
        (configured(model_type="lama"), "knows no `model_type` 'lama'; did you mean 'llama'?"),
        (configured(model_type=None), "config.json: has no `model_type`"),
        (configured(model_type="vit"), "broken: is a model of the type 'vit', which writes no text"),
        (configured(model_type="my", auto_map={"AutoConfig": "code.Config"}), "pass --trust-remote-code to run it"),
        (without("tokenizer.json", "tokenizer_config.json"), "broken: no tokenizer (tokenizer.json, or the vocabulary"),
        (without("tokenizer.json"), "broken: no tokenizer (tokenizer.json, or the vocabulary"),
        (cut("tokenizer.json", 500), "tokenizer.json: cannot be read as JSON"),
    ],
)  # fmt: skip
def test_a_fault_of_a_file_is_one_line_that_names_it(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(LAB, tmp_path / "broken")
    change(folder)
    with pytest.raises(ValueError, match=r"^.+$") as caught:  # one line
        loading.load(folder)
    assert message in str(caught.value)


def test_the_name_of_a_class_in_the_configuration_decides_nothing(tmp_path: Path) -> None:
    """transformers takes the class by `model_type`; a mistyped name in `architectures` must not end in an error."""
    folder = shutil.copytree(LAB, tmp_path / "model")
    configured(architectures=["NoSuchClass"])(folder)
    assert loading.load(folder).hash


def test_a_tokenizer_of_bytes_needs_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    model_files.check_tokenizer(tmp_path)
    assert loading.load_tokenizer(tmp_path)("a")["input_ids"]


@pytest.mark.parametrize(
    ("lacking", "message"),
    [("sentencepiece", "pip install sentencepiece protobuf"), ("", "its tokenizer cannot be loaded")],
)
def test_packages_are_named_only_where_one_is_missing(
    lacking: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug: a folder without a tokenizer, and a damaged file, were told to install what was there."""
    monkeypatch.setattr(model_files, "find_spec", lambda name: None if name == lacking else find_spec("json"))
    folder = shutil.copytree(LAB, tmp_path / "broken")
    without("tokenizer.json")(folder)
    (folder / "tokenizer.model").write_bytes(b"no vocabulary")
    with pytest.raises(ValueError, match=message):
        loading.load_tokenizer(folder)


@pytest.mark.parametrize(
    ("base", "message"),
    [("/no/such/base", "its base /no/such/base is not here"), (None, "does not say what its base is")],
)
def test_an_adapter_without_its_base_asks_for_one(base: str | None, message: str, tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "base_model_name_or_path": base}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=message) as caught:
        resolve.load(str(tmp_path))
    assert "--base MODEL" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF" + (99).to_bytes(4, "little"), "of a version of GGUF that the gguf package does not know"),
        (b"GGUF\x03", "is damaged, or cut short at 5 bytes"),
        (b"PK\x03\x04", "is no GGUF file"),
    ],
)
def test_a_gguf_file_of_another_version_is_told_from_a_damaged_one(
    content: bytes, message: str, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_gguf(tmp_path / "x.gguf")


def test_4_bits_without_bitsandbytes_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.models.precision.find_spec", lambda _: None)
    with pytest.raises(
        ValueError, match=r"dtype=int4: needs the package bitsandbytes; pip install 'holdfast\[quant\]'"
    ):
        loading.load(LAB, Loading("int4"))
