"""The difference of a few weights to a base, by their positions: a small adapter's folder, which is added to a model's weights.

Ansell et al. 2022, Composable sparse fine-tuning for cross-lingual transfer (ACL, arXiv:2110.07560): differences of several trainings
from one base are added to it together.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from holdfast.atomic_files import whole_folder
from holdfast.models.adapter import CONFIG, WEIGHTS

TYPE = "SPARSE_DIFFERENCE"
POSITIONS, VALUES = (
    ".positions",
    ".values",
)  # of a parameter's name: [n] numbers of its entries in a row, and what is added to them


def write(differences: Iterable[tuple[str, Tensor]], base: str, folder: Path) -> None:
    """Write differences, each a tensor of its parameter's shape with its name; what is 0 in them takes no room."""
    tensors, shapes = {}, {}
    for name, difference in differences:
        flat = difference.detach().reshape(-1)
        positions = flat.nonzero().squeeze(1)
        # Half the room; a tensor of more entries than 32 bits can count is rare, and no reason to fail.
        width = torch.int32 if flat.numel() < 2**31 else torch.int64
        tensors[name + POSITIONS], tensors[name + VALUES] = positions.to("cpu", width), flat[positions].float().cpu()
        shapes[name] = list(difference.shape)
    config = {"peft_type": TYPE, "base_model_name_or_path": base, "shapes": shapes}
    with whole_folder(folder) as part:
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(tensors, part / WEIGHTS)


def add(model: Any, folder: Path) -> str:
    """Add the differences in a folder to a model's weights, in place; return nothing, because nothing stays beside them.

    Raises:
        ValueError: the folder is damaged, the model has other weights, or they are quantised or laid aside.
    """
    weights = dict(model.named_parameters())
    with _reading(folder):
        shapes = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["shapes"]
        with safe_open(folder / WEIGHTS, "pt") as file:
            parts = {
                name: (file.get_tensor(name + POSITIONS).long(), file.get_tensor(name + VALUES)) for name in shapes
            }
    # All of them before the first is added: a model that is changed in part is none.
    for name, (positions, values) in parts.items():
        weight = weights.get(name)
        if weight is None or list(weight.shape) != shapes[name]:
            present = "none" if weight is None else f"one of {list(weight.shape)}"
            raise ValueError(f"{folder}: is for a weight {name} of {shapes[name]}, and the model has {present}")
        if not weight.dtype.is_floating_point or weight.device.type == "meta":
            raise ValueError(
                f"{folder}: is added to the weights, and {name} is quantised or laid aside; use --dtype bf16, on one device"
            )
        if len(positions) != len(values) or (
            len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < weight.numel()
        ):
            raise ValueError(f"{folder}: is damaged: positions of {name} lie outside of it; train it again")
    with torch.no_grad():
        for name, (positions, values) in parts.items():
            flat, positions = weights[name].data.view(-1), positions.to(weights[name].device)
            # In float32: a small difference is lost where the sum is made in bfloat16.
            flat[positions] = (flat[positions].float() + values.to(flat.device)).to(flat.dtype)
    return ""


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turn what a damaged folder raises into one line."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: cannot be read as a sparse difference ({error}); train it again") from None
