"""Convert a GGUF file into an ordinary model folder in the user's cache, once: later it is loaded like any other folder."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from holdfast.atomic_files import whole_folder
from holdfast.models.cache import cache_folder
from holdfast.models.fingerprint import file_fingerprint
from holdfast.models.gguf_file import GgufFile, read_gguf
from holdfast.models.gguf_model import config_of, weights
from holdfast.models.gguf_tokenizer import tokenizer_of
from holdfast.models.hub import check_gguf

FORMAT = 1  # of the conversion; a higher one makes every file be converted again
SHARD = 4 << 30  # bytes of weights in a file at most, which is what memory holds at once


def converted(path: Path) -> Path:
    """Return the model folder that a GGUF file was converted into, by its content; the first time it is made.

    Raises:
        ValueError: the file is missing, damaged, or of an architecture, quantisation or tokenizer that cannot be converted.
        OSError: the cache cannot be written.
    """
    path = path.expanduser()
    check_gguf(str(path))
    folder = cache_folder() / "gguf" / f"{path.stem}-{file_fingerprint(path)}-{FORMAT}"
    if folder.is_dir():
        return folder
    file = read_gguf(path)
    file.check_types()
    print(f"holdfast: {path}: is converted once, into {folder}", file=sys.stderr, flush=True)
    with whole_folder(folder) as part:
        write_model(file, part)
    return folder


def write_model(file: GgufFile, folder: Path) -> None:
    """Write configuration, tokenizer and weights of a GGUF file as transformers reads them."""
    # The tokenizer first: what cannot be converted should be refused before the weights are written.
    config = config_of(file)
    tokenizer = tokenizer_of(file, config.max_position_embeddings)
    tokenizer.save_pretrained(folder)
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]]
    config.save_pretrained(folder)
    end = [config.eos_token_id, file.metadata.get("tokenizer.ggml.eot_token_id")]
    ends = [token for token in dict.fromkeys(end) if token is not None]
    tokens = {"bos_token_id": config.bos_token_id, "pad_token_id": config.pad_token_id}
    GenerationConfig(eos_token_id=ends[0] if len(ends) == 1 else ends or None, **tokens).save_pretrained(folder)
    _write_weights(weights(file, config), folder)


def _write_weights(tensors: Iterable[tuple[str, Tensor]], folder: Path) -> None:
    """Write weights as safetensors, in files of at most `SHARD` bytes with an index where they are several."""
    shard_of: dict[str, int] = {}
    held: dict[str, Tensor] = {}
    number = size = total = 0
    for name, tensor in tensors:
        if held and size + tensor.nbytes > SHARD:
            save_file(held, folder / _shard(number), metadata={"format": "pt"})
            held, number, size = {}, number + 1, 0
        held[name], shard_of[name] = tensor.contiguous(), number
        size, total = size + tensor.nbytes, total + tensor.nbytes
    save_file(held, folder / _shard(number), metadata={"format": "pt"})
    # The number of files stands in each name, and is known only now.
    names = (
        [f"model-{i + 1:05d}-of-{number + 1:05d}.safetensors" for i in range(number + 1)]
        if number
        else ["model.safetensors"]
    )
    for i, name in enumerate(names):
        (folder / _shard(i)).replace(folder / name)
    if number:
        index = {"metadata": {"total_size": total}, "weight_map": {tensor: names[i] for tensor, i in shard_of.items()}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shard(number: int) -> str:
    return f"{number}.safetensors"
