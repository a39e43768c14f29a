"""Several prompts that are attached and removed as one: each a PEFT adapter in its own folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from holdfast.prefix.attached import Attached, as_attached
from holdfast.prompts.peft_files import write_config

KIND = "JOINED"


class Joined(nn.Module):
    """Prompts of different kinds as one: low-rank updates of the model, keys and values before all, vectors before the input."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def length(self) -> int:
        """The positions that all of them take."""
        return sum(int(part.length) for part in self.parts)  # pyright: ignore[reportArgumentType]

    def forward(self) -> Attached:
        """Return the parts' vectors, layers and updates as one prompt; no two parts have the same."""
        attached = [as_attached(part()) for part in self.parts]
        vectors = [part.vectors for part in attached if part.vectors is not None]
        layers = [part.layers for part in attached if part.layers]
        updates = [part.updates for part in attached if part.updates]
        # Two soft prompts, say, would have no order between them.
        assert max(map(len, (vectors, layers, updates))) == 1
        return Attached(_only(vectors), _only(layers) or (), _only(updates) or {})

    def mismatch(self, model: Any) -> str:
        """Return the reason why one of the parts does not fit this model; empty where all do."""
        return next((reason for part in self.parts if (reason := part.mismatch(model))), "")  # pyright: ignore[reportCallIssue]

    def save(self, folder: str | Path, *, base: str = "", task_type: str = "CAUSAL_LM") -> None:
        """Write each as a PEFT adapter into a folder `1`, `2`, ... of its own, and then a configuration that names them."""
        names = [str(number) for number in range(1, len(self.parts) + 1)]
        for name, part in zip(names, self.parts, strict=True):
            part.save(Path(folder) / name, base=base, task_type=task_type)  # pyright: ignore[reportCallIssue]
        # Last, so that a folder with a configuration is whole.
        write_config(folder, {"peft_type": KIND, "base_model_name_or_path": base, "parts": names})


def _only(parts: Sequence[Any]) -> Any:
    return parts[0] if parts else None
