"""The precision that a model is held in, and the device or devices: what `--dtype` and `--device` mean."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch

Dtype = Literal["auto", "fp32", "bf16", "fp16", "int8", "int4"]
Device = Literal["auto", "cpu", "cuda", "mps", "spread"]
FLOATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUANTISED = ("int8", "int4")


@dataclass(frozen=True)
class Loading:
    """Say in which precision a model is held, and on which device; `auto` is the checkpoint's own, and the best of this machine.

    A `device` that is `spread` lays a model over all devices, memory and disk, as they have room; one that ends in `.json` is a file that
    says for each part of the model where it is: `{"model.embed_tokens": 0, "model.layers.0": "cpu", "model.layers.1": "disk", ...}`.
    Two are equal, and have the same folders of stages, where their `dtype` is: a device changes rounding, and no number of a user's.
    `trained` holds the weights in float32, whatever `dtype` says: the weights themselves are going to be trained. They are computed in
    `dtype` all the same, and written in it.
    """

    KIND: ClassVar[str] = "Loading"

    dtype: str = "auto"
    device: str = field(default="auto", compare=False)
    trained: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse names that are none.

        Raises:
            ValueError: there is no such precision or device.
        """
        for name, value, known in (("dtype", self.dtype, get_args(Dtype)), ("device", self.device, get_args(Device))):
            if value not in known and not (name == "device" and value.endswith(".json")):
                raise ValueError(f"{name}={value!r}: there is none of this name; use one of {', '.join(known)}")

    @property
    def quantised(self) -> bool:
        """Return whether the weights of linear layers are whole numbers, which nothing can train."""
        return self.dtype in QUANTISED

    @property
    def spread(self) -> bool:
        """Return whether parts of the model are on different devices, in memory or on the disk."""
        return self.device == "spread" or self.device.endswith(".json")

    @property
    def plain(self) -> bool:
        """Return whether the weights can be changed where they are: they are floats, and all in one memory."""
        return not (self.quantised or self.spread)

    @property
    def held(self) -> torch.dtype:
        """Return the type of the weights in memory; not of quantised ones, beside which the others keep the checkpoint's."""
        return torch.float32 if self.trained else FLOATS[self.dtype]

    def options(self, source: str | Path) -> dict[str, Any]:
        """Return what `from_pretrained` is called with; nothing here is `auto` any more."""
        spread = {"device_map": device_map(self.device)} if self.spread else {}
        if not self.quantised:
            return {"dtype": self.held, **spread}
        from transformers import BitsAndBytesConfig

        dtype = FLOATS[checkpoint_dtype(source)]
        if self.dtype == "int8":
            config = BitsAndBytesConfig(load_in_8bit=True)
        else:
            # Normal floats of 4 bits, as QLoRA has them (Dettmers et al. 2023, arXiv:2305.14314).
            config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        return {"dtype": dtype, "quantization_config": config, "device_map": {"": self.device}, **spread}

    def resolved(self, source: str | Path) -> "Loading":
        """Return the same without `auto`, for the model in a folder or under a hub id; of its files only the configuration is read.

        Raises:
            ValueError: this machine has no such device, or the device cannot hold this precision.
        """
        device = self.device if self.spread else _device(self.device)
        device_map(device)
        dtype = checkpoint_dtype(source) if self.dtype == "auto" else self.dtype
        if dtype in QUANTISED:
            if device == "mps":
                raise ValueError(f"dtype={dtype}: bitsandbytes has no kernels for mps; use bf16, or --device cpu")
            if find_spec("bitsandbytes") is None:
                raise ValueError(f"dtype={dtype}: needs the package bitsandbytes; pip install 'holdfast[quant]'")
        return replace(self, dtype=dtype, device=device)

    def check_trains(self, name: str, *, base: bool) -> None:
        """Refuse to train in a precision that cannot; `base` says that a method moves the model's own weights.

        Raises:
            ValueError: gradients in float16 vanish, or the weights are whole numbers.
        """
        if self.dtype == "fp16":
            raise ValueError(
                f"{name}: dtype=fp16 cannot be trained with: small gradients become 0 in float16; use bf16, which takes as much memory, "
                "and fp16 for asking only"
            )
        if base and self.spread:
            raise ValueError(
                f"{name}: trains the model's own weights, and with device={self.device} these are on several devices or on the disk; use a "
                "method that leaves them frozen (lora, promot_lora, prompt_tuning), or a device that holds all of them"
            )
        if base and self.quantised:
            raise ValueError(
                f"{name}: trains the model's own weights, and with dtype={self.dtype} these are whole numbers; use a method that leaves "
                "them frozen (lora, promot_lora, prompt_tuning), or bf16"
            )


AUTO, FP32, FP32_ON_CPU = Loading(), Loading("fp32"), Loading("fp32", "cpu")


def checkpoint_dtype(source: str | Path) -> str:
    """Return the precision that a model's configuration names: `fp32`, `bf16` or `fp16`; `fp32` where it names none, or another."""
    config = _config(source)
    names = [config.get("dtype"), config.get("torch_dtype")]
    # A model of several parts says it of its parts.
    names += [part.get("dtype") or part.get("torch_dtype") for part in config.values() if isinstance(part, dict)]
    known = {str(dtype).rpartition(".")[2]: short for short, dtype in FLOATS.items()}
    return next((known[name] for name in names if name in known), "fp32")


def _config(source: str | Path) -> Mapping[str, Any]:
    """Return a model's configuration; an empty one where there is none to read, which loading the model refuses with the reason."""
    # Here, because it takes seconds to import, and options are checked before there is a model.
    from transformers.utils.hub import cached_file

    folder = Path(source)
    try:
        path = folder / "config.json" if folder.exists() else cached_file(str(source), "config.json")
        config = json.loads(Path(str(path)).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def device_map(device: str) -> str | dict[str, int | str]:
    """Return what transformers calls `device_map`: of `spread`, that it may choose; of a JSON file, what stands in it; else the device.

    Raises:
        ValueError: the file is missing or holds no such map.
    """
    if not device.endswith(".json"):
        return "auto" if device == "spread" else device
    try:
        modules = json.loads(Path(device).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"device={device}: cannot be read as JSON: {error}") from None
    fits = isinstance(modules, dict) and all(isinstance(where, int | str) for where in modules.values())
    if not fits or not modules:
        raise ValueError(
            f'device={device}: is no map of modules to devices; write {{"model.embed_tokens": 0, "model.layers.0": "cpu", '
            '"model.layers.1": "disk", ...}'
        )
    return modules


def _device(name: str) -> str:
    """Return the device that a name means on this machine.

    Raises:
        ValueError: there is no such device.
    """
    from accelerate.utils import parse_flag_from_env

    present = {
        # Accelerate is told to leave the GPU alone by the same variable, and both must be of one mind.
        "cuda": torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU"),
        "mps": torch.backends.mps.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU"),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, there in present.items() if there)
    if not present[name]:
        there = ", ".join(device for device in ("cpu", "cuda", "mps") if present[device])
        raise ValueError(f"device={name}: torch can use none on this machine (there is {there}); use --device auto")
    return name
