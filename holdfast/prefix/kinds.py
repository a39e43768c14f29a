"""Every kind of prompt that a folder can hold, by the type that PEFT gives it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.prefix import joined
from holdfast.prefix.adapter_files import read_adapter, read_config
from holdfast.prefix.deep_prefix import DeepPrefix
from holdfast.prefix.joined import Joined
from holdfast.prefix.low_rank import LowRank
from holdfast.prefix.soft_prompt import SoftPrompt

AnyPrompt = SoftPrompt | DeepPrefix | LowRank | Joined
READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], AnyPrompt]] = {
    "PROMPT_TUNING": SoftPrompt.read,
    "PREFIX_TUNING": DeepPrefix.read,
    "LORA": LowRank.read,
}


def load(folder: str | Path) -> AnyPrompt:
    """The prompt in a PEFT adapter folder, or in one that holds several.

    Raises:
        ValueError: the folder holds none, or an adapter of another kind.
    """
    config = read_config(folder)
    kind = str(config.get("peft_type"))
    if kind == joined.KIND:
        return Joined([load(Path(folder) / name) for name in config.get("parts", ())])
    if kind not in READERS:
        raise ValueError(
            f"{folder}: an adapter of type {kind}, which is no prompt; a prompt is of type {' or '.join(READERS)}"
        )
    _, tensors = read_adapter(folder)
    try:
        return READERS[kind](config, tensors)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
