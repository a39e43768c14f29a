"""Faults of a model that its files show before it is loaded: each in one line that names the file and says what to do."""

import difflib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from holdfast.models.architecture import Architecture
from holdfast.weights.safetensors_files import shards

CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
# Vocabularies that transformers reads where there is no tokenizer.json.
VOCABULARIES = ("*.model", "*.spm", "*.tiktoken", "vocab*", "merges.txt", "tekken.json")
SENTENCEPIECE = {"sentencepiece": "sentencepiece", "protobuf": "google"}  # package: what is imported


def check_model(folder: Path, *, trust_remote_code: bool = False) -> None:
    """Refuse a folder that is no whole model: by its configuration, the headers of its weights and its tokenizer's files.

    Raises:
        ValueError: it is a file; a file of it is missing, cut short or no JSON; or transformers does not know its type.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: a model is a folder with config.json and *.safetensors, and this is a file")
    if not (folder / CONFIG).exists():
        raise ValueError(f"{folder}: no {CONFIG}; a model is a folder as `save_pretrained` writes it")
    config = read_object(folder / CONFIG)
    shards(folder)
    name = config.get("model_type")
    if not isinstance(name, str):
        raise ValueError(
            f"{folder / CONFIG}: has no `model_type`, which says how the model is built; get the whole model again"
        )
    if name not in CONFIG_MAPPING and not (trust_remote_code and config.get("auto_map")):
        if config.get("auto_map"):
            raise ValueError(
                f"{folder}: its type {name!r} needs Python code that comes with it; read that code, and pass --trust-remote-code to run it"
            )
        near = difflib.get_close_matches(name, CONFIG_MAPPING, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"{folder / CONFIG}: transformers {transformers.__version__} knows no `model_type` {name!r}; {hint}A newer version may know it"
        )
    check_tokenizer(folder)


def check_tokenizer(folder: Path) -> None:
    """Refuse a folder without the files of a tokenizer.

    Raises:
        ValueError: a vocabulary is missing; of a tokenizer that takes none (one of bytes), its configuration.
    """
    if (folder / TOKENIZER).exists() or any(any(folder.glob(pattern)) for pattern in VOCABULARIES):
        return
    config = read_object(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).exists() else {}
    name = tokenizer_class_from_name(str(config.get("tokenizer_class")))
    if not config.get("auto_map") and (name is None or name.vocab_files_names):
        raise ValueError(
            f"{folder}: no tokenizer ({TOKENIZER}, or the vocabulary that it is made from); copy the tokenizer's files from the model that "
            "this one was made from"
        )


def check_writes_text(source: str, config: Any, architecture: Architecture) -> None:
    """Refuse a model that does not write text, such as one of images or one that sorts texts into classes; by its configuration.

    Raises:
        ValueError: transformers has no such model of this type.
    """
    known = getattr(transformers, architecture.auto_class)._model_mapping
    code = getattr(config, "auto_map", None)  # of the model's own, which may do anything
    if not code and type(config) not in known and type(config.get_text_config()) not in known:
        raise ValueError(
            f"{source}: is a model of the type {config.model_type!r}, which writes no text; take a language model"
        )


def explain_tokenizer(source: str, folder: Path | None) -> None:
    """Say why the tokenizer in a folder could not be read, where its files or the packages of this machine show it.

    Raises:
        ValueError: a file is no JSON, or it is a SentencePiece file alone, and a package that reads such files is missing.
    """
    if folder is None:
        return
    for name in (TOKENIZER_CONFIG, TOKENIZER):
        if (folder / name).exists():
            read_object(folder / name)
    lacking = [package for package, imported in SENTENCEPIECE.items() if find_spec(imported) is None]
    if lacking and not (folder / TOKENIZER).exists() and any(folder.glob("*.model")):
        raise ValueError(
            f"{source}: its tokenizer is a SentencePiece file, which needs two packages to be read; pip install "
            f"{' '.join(SENTENCEPIECE)}, or save it once as {TOKENIZER} with `tokenizer.save_pretrained`"
        )


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: it holds none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ValueError(f"{path}: cannot be read as JSON ({error}); copy or download it again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds no JSON object; copy or download it again")
    return value
