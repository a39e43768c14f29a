"""Read a PEFT adapter's folder as a MODEL: its type, its base, and whether the two fit, before the base is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path

from holdfast.weights.layout import locate
from holdfast.weights.safetensors_files import shard, shards

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
REFUSED = (
    "P_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "CPT",
    "CARTRIDGE",
    "ADAPTION_PROMPT",
    "XLORA",
    "POLY",
)  # take more than tokens
PROMPTS = ("PROMPT_TUNING", "PREFIX_TUNING", "JOINED")  # what is attached, and changes no weights
BEFORE, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Adapter:
    """A PEFT adapter: its folder, PEFT's name of its type, and the MODEL argument of its base; `recorded` is the base that its
    configuration names, empty where it names none."""

    folder: Path
    peft_type: str
    base: str
    recorded: str = ""

    @property
    def merges(self) -> bool:
        """Return whether it becomes part of the weights, or of the layers where PEFT cannot merge it; a prompt is attached to them."""
        return self.peft_type not in PROMPTS

    @property
    def has_tokenizer(self) -> bool:
        """Return whether it was saved with a tokenizer, which its texts were made with."""
        return (self.folder / "tokenizer.json").exists()


def is_adapter(argument: str) -> bool:
    """Return whether a MODEL argument is the folder of an adapter, and not that of a whole model."""
    folder = Path(argument)
    # A whole model's folder may hold an adapter's configuration as well.
    return (folder / CONFIG).is_file() and not (folder / "config.json").exists()


def type_of(folder: Path) -> str:
    """Return the type that the configuration of an adapter's folder names."""
    return str(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("peft_type"))


def read_adapter(argument: str, base: str | None = None) -> Adapter:
    """Return the adapter in a folder, on the base that its configuration names or on another one.

    Raises:
        ValueError: its configuration is damaged or names no base, its base is a folder that is not here, its weights are missing,
            or its type is not supported.
    """
    folder = Path(argument)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        peft_type, named = str(config.get("peft_type")), config.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder / CONFIG}: cannot be read as an adapter's configuration ({error})") from None
    if peft_type in REFUSED or not peft_type.replace("_", "").isalnum() or not peft_type.isupper():
        raise ValueError(
            f"{folder}: is an adapter of type {peft_type}, which is not supported as a model. Merge it with PEFT (`merge_and_unload`), "
            "and use the folder of the whole model"
        )
    if peft_type != "JOINED" and not (folder / WEIGHTS).is_file():
        pickled = " (it has them pickled, and unpickling runs code)" if (folder / "adapter_model.bin").exists() else ""
        raise ValueError(f"{folder}: an adapter without {WEIGHTS}{pickled}; save it again with `save_pretrained`")
    base = base or named
    if not base:
        raise ValueError(f"{folder}: its {CONFIG} does not say what its base is; name it with --base MODEL")
    if not Path(base).exists() and (base.startswith((".", "/", "~")) or base.count("/") > 1 or base.endswith(".gguf")):
        raise ValueError(
            f"{folder}: its base {base} is not here; name another place of it with --base MODEL, or as "
            f"base_model_name_or_path in its {CONFIG}"
        )
    return Adapter(folder, peft_type, str(base), str(named or ""))


def lora_sizes(adapter: Adapter) -> dict[str, tuple[int, int]]:
    """Return rows and columns of the matrix that a LoRA adds to each module, by the module's name in the model; ascending by name."""
    sizes = {name: stored.shape for name, stored in shard(adapter.folder / WEIGHTS).tensors.items()}
    return {
        # PEFT's own wrappers stand between a module and what was trained.
        name.removesuffix(DOWN).removeprefix(BEFORE).removesuffix(".base_layer"): (
            sizes.get(name.removesuffix(DOWN) + UP, (0,))[0],
            sizes[name][1],
        )
        for name in sorted(sizes)
        if name.endswith(DOWN)
    }


def check_fit(adapter: Adapter, base: str) -> None:
    """Refuse a LoRA whose matrices have other sizes than the base's, by the headers of both; a base on the hub is compared later.

    Raises:
        ValueError: they do not fit, or the base has no such module.
    """
    folder = Path(base)
    if not adapter.merges or not folder.is_dir():
        return
    sizes = {name: stored.shape for name, stored in shard(adapter.folder / WEIGHTS).tensors.items()}
    weights: dict[str, tuple[int, ...]] = {}
    for part in shards(folder):
        weights |= {name: stored.shape for name, stored in part.tensors.items()}
    modules = {name.removesuffix(DOWN) for name in sizes if name.endswith(DOWN)}
    names = {module: f"{module.removeprefix(BEFORE)}.weight" for module in sorted(modules)}
    # Files of older versions may have other names than PEFT, which then compares the sizes itself.
    if not any(name in weights for name in names.values()):
        return
    for module, name in names.items():
        prefix = name.removesuffix("weight")
        if name not in weights:
            # Outside the blocks a weight may be tied, and stored by its other name; experts are stored as one tensor of another name.
            if locate(name) is None or any(stored.startswith(prefix) for stored in weights):
                continue
            raise ValueError(
                f"{adapter.folder}: is for a module {prefix.rstrip('.')}, which its base {adapter.base} does not have"
            )
        update = {sizes[module + DOWN][1], sizes.get(module + UP, (0,))[0]}
        # As sets: some models store a matrix the other way around.
        if update != set(weights[name]):
            raise ValueError(
                f"{adapter.folder}: belongs to another model than {adapter.base}: for {name} of {list(weights[name])} it has matrices for "
                f"{sizes.get(module + UP, (0,))[0]} x {sizes[module + DOWN][1]}"
            )
