"""Load, save and describe a model and its tokenizer. The only file that names a model class."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from holdfast.models.describe import decoder_start, max_length

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(slots=True)
class Pretrained:
    """A transformers model with its tokenizer, where it came from, and the hash of its weights."""

    model: Any
    tokenizer: Any
    source: str
    hash: str

    @property
    def encoder_decoder(self) -> bool:
        """Whether the prompt goes into an encoder and the target into a decoder."""
        return bool(self.model.config.is_encoder_decoder)

    @property
    def max_length(self) -> int:
        """The most positions (tokens, soft prompt included) the model was made for."""
        return max_length(self.model)


def load(
    source: str | Path, *, dtype: str = "float32", device: str | torch.device = "cpu", trust_remote_code: bool = False
) -> Pretrained:
    """The model and tokenizer in a folder, or under a hub id.

    Weights are read from safetensors only. `dtype` is the precision that the weights are held in.

    Raises:
        ValueError: the folder is missing, holds no config, no tokenizer or no safetensors weights, or the tokenizer
            has no end-of-sequence token.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    folder = Path(source)
    if folder.exists():
        _check_folder(folder)
    elif str(source).startswith((".", "/", "~")) or str(source).count("/") > 1:
        raise ValueError(f"{source}: there is no such model folder")
    options = {"trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(source, **options)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with quiet():
            model: Any = kind.from_pretrained(source, dtype=DTYPES[dtype], use_safetensors=True, **options)
        tokenizer = _tokenizer(source, options)
    except (OSError, KeyError, ImportError) as error:
        place = "" if folder.exists() else "no such folder here, and as a hub id it "
        raise ValueError(
            f"{source}: {place}cannot be loaded as a language model: {str(error).splitlines()[0]}"
        ) from error
    prepare_tokenizer(tokenizer, str(source))
    if config.is_encoder_decoder:
        decoder_start(model)
    model.requires_grad_(False).eval().to(device)
    return Pretrained(model, tokenizer, str(source), weights_hash(model))


def _tokenizer(source: str | Path, options: dict[str, Any]) -> Any:
    """transformers' tokenizer of a model; one that is there as a SentencePiece file alone needs two more packages."""
    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except (ValueError, ImportError) as error:
        if not any(word in str(error).lower() for word in ("sentencepiece", "tiktoken", "protobuf")):
            raise
        raise ValueError(
            f"{source}: its tokenizer is a SentencePiece file, which needs two packages to be read; pip install "
            "sentencepiece protobuf, or save it once as tokenizer.json with `tokenizer.save_pretrained`"
        ) from error


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{folder}: a model is a folder with config.json and *.safetensors, and this is a file")
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder}: no config.json; a model is a folder as `save_pretrained` writes it")
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")))
        if pickled:
            raise ValueError(
                f"{folder}: its weights ({pickled[0]}) are pickled, and unpickling runs code; convert them once with "
                "`model.save_pretrained(folder)` in an environment that you trust"
            )
        raise ValueError(f"{folder}: no *.safetensors weights")


def prepare_tokenizer(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer that cannot end a text; padding is ours (by mask), so a missing pad token needs no new row."""
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{source}: the tokenizer has no end-of-sequence token, so a trained answer could not end; set `eos_token` in "
            "tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


def weights_hash(model: nn.Module) -> str:
    """First 16 hex digits of SHA-256 over names, shapes and bytes of every weight."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """transformers' own progress bars off: they would break up ours."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def save(pretrained: Pretrained, folder: Path) -> None:
    """Write weights (safetensors), configuration and tokenizer as transformers reads them."""
    with quiet():
        pretrained.model.save_pretrained(folder)
    pretrained.tokenizer.save_pretrained(folder)


def merge(pretrained: Pretrained, adapter: Path) -> None:
    """Add what a PEFT adapter's folder holds to the weights, in place."""
    from peft import PeftModel

    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5 for gradient checkpointing by a name that is on its way out.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        merged = PeftModel.from_pretrained(pretrained.model, adapter).merge_and_unload()
    pretrained.model = merged.requires_grad_(False).eval()
    pretrained.hash = weights_hash(merged)
