"""Low-rank updates of linear modules that are attached to a model and come off again, and PEFT's file format for them.

Hu et al. 2022, LoRA: low-rank adaptation of large language models (arXiv:2106.09685). The model's own modules stay what they
are: an update is added to what they give, and only while it is attached.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from holdfast.prefix.attached import Attached
from holdfast.prompts.peft_files import write_adapter

BEFORE, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
UNREAD = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")

TAKEN_OUT = (
    "pissa",
    "olora",
    "corda",
    "lora_ga",
)  # initial values for which PEFT changes the weights beside the adapter


class LowRank(nn.Module):
    """Matrices A `[r, in]` and B `[out, r]` for each named module, which gives `scale * B A x` more; held in float32."""

    length = 0  # positions before a row: none

    def __init__(self, matrices: Mapping[str, tuple[Tensor, Tensor]], scale: float, transposed: bool = False) -> None:
        super().__init__()
        self.names, self.scale, self.transposed = list(matrices), scale, transposed
        self.down = nn.ParameterList([nn.Parameter(down.to(torch.float32)) for down, _ in matrices.values()])
        self.up = nn.ParameterList([nn.Parameter(up.to(torch.float32)) for _, up in matrices.values()])

    def forward(self) -> Attached:
        """Return for each module A `[r, in]`, and B `[out, r]` with the scale in it."""
        pairs = zip(self.names, self.down, self.up, strict=True)
        return Attached(updates={name: (down, self.scale * up) for name, down, up in pairs})

    def mismatch(self, model: Any) -> str:
        """Return the reason why the updates do not fit this model; empty where they do."""
        known = {name: _sizes(module) for name, module in _linear(model)}
        for name, down, up in zip(self.names, self.down, self.up, strict=True):
            sizes = down.shape[1], up.shape[0]
            if known.get(name) != sizes:
                present = f"one from {known[name][0]} to {known[name][1]}" if name in known else "none"
                return f"this LoRA is for a module {name} from {sizes[0]} to {sizes[1]}, and the model has {present}"
        return ""

    def save(self, folder: str | Path, *, base: str = "", task_type: str = "CAUSAL_LM") -> None:
        """Write a PEFT LoRA adapter, readable by `PeftModel.from_pretrained(model, folder)`."""
        rank = self.down[0].shape[0]
        config = {
            "peft_type": "LORA",
            "task_type": task_type,
            "base_model_name_or_path": base,
            "r": rank,
            "lora_alpha": self.scale * rank,
            "lora_dropout": 0.0,
            "target_modules": self.names,
            "fan_in_fan_out": self.transposed,
            "bias": "none",
            "inference_mode": True,
        }
        down = {f"{BEFORE}{name}{DOWN}": matrix for name, matrix in zip(self.names, self.down, strict=True)}
        up = {f"{BEFORE}{name}{UP}": matrix for name, matrix in zip(self.names, self.up, strict=True)}
        write_adapter(folder, config, down | up)

    @classmethod
    def read(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "LowRank":
        """Return the updates of a PEFT adapter.

        Raises:
            ValueError: it holds more than two matrices of one rank for each module.
        """
        names = [key.removeprefix(BEFORE).removesuffix(DOWN) for key in tensors if key.endswith(DOWN)]
        expected = {f"{BEFORE}{name}{DOWN}" for name in names} | {f"{BEFORE}{name}{UP}" for name in names}
        unread = [key for key in UNREAD if config.get(key)]
        start = config.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(TAKEN_OUT):
            unread.append(f"init_lora_weights={start}, whose start was taken out of the weights")
        if not names or unread or tensors.keys() != expected:
            contents = ", ".join(unread or sorted(tensors.keys() - expected)[:3]) or "no matrices"
            raise ValueError(f"a LoRA with {contents}, which cannot be attached; merge it into the model instead")
        try:
            rank, alpha = float(config["r"]), float(config["lora_alpha"])
            # Rank-stabilised LoRA divides by the root of the rank (Kalajdzievski 2023, arXiv:2312.03732).
            scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
            scale = math.nan
        if not math.isfinite(scale):
            raise ValueError("a LoRA whose r and lora_alpha are no numbers that give a scale; save it again")
        shapes = [(tensors[f"{BEFORE}{n}{DOWN}"].shape, tensors[f"{BEFORE}{n}{UP}"].shape) for n in names]
        if any(len(down) != 2 or len(up) != 2 or down[0] != up[1] for down, up in shapes):
            raise ValueError("a LoRA whose pairs of matrices have not one rank each; save it again")
        matrices = {name: (tensors[f"{BEFORE}{name}{DOWN}"], tensors[f"{BEFORE}{name}{UP}"]) for name in names}
        return cls(matrices, scale, bool(config.get("fan_in_fan_out")))


def initial(model: Any, rank: int, alpha: float, target: str = "all-linear", seed: int = 0) -> LowRank:
    """Return updates that are zero before training (B is): for every linear module but the head, or for those whose names end in `target`.

    Raises:
        ValueError: there is no module to one of the names.
    """
    random, linear = torch.Generator().manual_seed(seed), _linear(model)
    ends = [end for part in target.split(",") if (end := part.strip())]
    if target != "all-linear":
        # Of each name: a misspelt one among others would leave its modules as they are, and nothing would say so.
        unmatched = [end for end in ends if not any(f".{name}".endswith(f".{end}") for name, _ in linear)]
        if unmatched or not ends:
            names = sorted({name.rpartition(".")[2] for name, _ in linear})
            raise ValueError(
                f"target={target!r}: no linear module is called {', '.join(unmatched) or 'so'}; there are {', '.join(names)}"
            )
    chosen = [
        (name, module)
        for name, module in linear
        if target == "all-linear" or any(f".{name}".endswith(f".{end}") for end in ends)
    ]
    matrices = {}
    for name, module in chosen:
        into, out = _sizes(module)
        bound = 1 / math.sqrt(into)  # as PEFT's, Kaiming-uniform with a = sqrt(5)
        down = torch.empty(rank, into).uniform_(-bound, bound, generator=random)
        matrices[name] = down, torch.zeros(out, rank)
    return LowRank(matrices, alpha / rank, transposed=any(isinstance(module, Conv1D) for _, module in chosen))


def _linear(model: Any) -> list[tuple[str, nn.Module]]:
    head = model.get_output_embeddings()
    # Not the head: it is tied to the embeddings in many models, which would not get its update.
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]


def _sizes(module: Any) -> tuple[int, int]:
    """Return (in, out)."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features  # and not its weight's shape, which is another one in 4 bits
    # GPT-2's Conv1D holds its weight transposed, [in, out].
    first, second = module.weight.shape
    return first, second
