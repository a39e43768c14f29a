"""Readers of saved prompts, by the type that PEFT gives them."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.models.loading import Pretrained
from holdfast.prompts import combined
from holdfast.prompts.combined import Joined
from holdfast.prompts.deep_prefix import DeepPrefix
from holdfast.prompts.low_rank import LowRank
from holdfast.prompts.peft_files import read_adapter, read_config
from holdfast.prompts.soft_prompt import SoftPrompt

NAME = re.compile(r"(?!\.)[\w.-]{1,100}")  # of a part's folder
AnyPrompt = SoftPrompt | DeepPrefix | LowRank | Joined
READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], AnyPrompt]] = {
    "PROMPT_TUNING": SoftPrompt.read,
    "PREFIX_TUNING": DeepPrefix.read,
    "LORA": LowRank.read,
}


def load(folder: str | Path) -> AnyPrompt:
    """Return the prompt in a PEFT adapter folder, or in one that holds several.

    Raises:
        ValueError: the folder holds none, or an adapter of another kind.
    """
    config = read_config(folder)
    peft_type = str(config.get("peft_type"))
    if peft_type == combined.KIND:
        return Joined(_parts(Path(folder), config.get("parts")))
    if peft_type not in READERS:
        raise ValueError(
            f"{folder}: an adapter of type {peft_type}, which is no prompt; a prompt is of type {' or '.join(READERS)}"
        )
    _, tensors = read_adapter(folder)
    try:
        return READERS[peft_type](config, tensors)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def _parts(folder: Path, names: Any) -> list[AnyPrompt]:
    """Return the parts of a joined prompt, which lie in folders of its own.

    Raises:
        ValueError: a name leads elsewhere, or to another joined prompt; there is none, or there are two of one type.
    """
    # A name such as `..` or `/home` would read adapters anywhere, and `.` this one for ever.
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and NAME.fullmatch(n) for n in names):
        raise ValueError(f"{folder}: its parts are {repr(names)[:80]}; they must be names of folders inside of it")
    types = [str(read_config(folder / name).get("peft_type")) for name in names]
    if len(set(types)) < len(types) or not set(types) <= READERS.keys():
        raise ValueError(
            f"{folder}: joins {', '.join(types)[:200]}; parts are of different types, of {', '.join(READERS)}"
        )
    if any((folder / name).is_symlink() for name in names):
        raise ValueError(f"{folder}: a part of it is a link to another folder; copy the folder itself")
    return [load(folder / name) for name in names]


def load_prompt(folder: Path, pretrained: Pretrained) -> AnyPrompt:
    """Return a saved prompt of any type, checked against the model it is for.

    Raises:
        ValueError: the folder holds none, or it does not fit the model.
    """
    prompt = load(folder)
    if reason := prompt.mismatch(pretrained.model):
        raise ValueError(f"{folder}: {reason} ({pretrained.source}); it belongs to another model")
    check_length(prompt.length, pretrained)
    return prompt


def check_length(length: int, pretrained: Pretrained) -> None:
    """Refuse a prompt that leaves no room for text.

    Raises:
        ValueError: fewer than 8 positions are left.
    """
    if length + 8 > pretrained.max_length:
        raise ValueError(
            f"a prompt of length {length} leaves no room for text in the {pretrained.max_length} positions of {pretrained.source}; "
            "use a smaller prompt.length"
        )
