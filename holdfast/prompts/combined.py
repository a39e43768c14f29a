"""Several absorbers that are attached together and come off together: each a PEFT adapter of its own, in a folder of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from holdfast.prefix.attached import Attached, of
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
        """What is attached: the parts' own, of which no two are of a kind."""
        given = [of(part()) for part in self.parts]
        vectors = [one.vectors for one in given if one.vectors is not None]
        layers = [one.layers for one in given if one.layers]
        updates = [one.updates for one in given if one.updates]
        assert max(map(len, (vectors, layers, updates))) == 1
        return Attached(_only(vectors), _only(layers) or (), _only(updates) or {})

    def mismatch(self, model: Any) -> str:
        """Why one of them is not for this model; empty where all are."""
        return next((said for part in self.parts if (said := part.mismatch(model))), "")  # pyright: ignore[reportCallIssue]

    def save(self, folder: str | Path, *, base: str = "", task_type: str = "CAUSAL_LM") -> None:
        """Write each as a PEFT adapter into a folder `1`, `2`, ... of its own, and then a configuration that names them."""
        names = [str(number) for number in range(1, len(self.parts) + 1)]
        for name, part in zip(names, self.parts, strict=True):
            part.save(Path(folder) / name, base=base, task_type=task_type)  # pyright: ignore[reportCallIssue]
        write_config(folder, {"peft_type": KIND, "base_model_name_or_path": base, "parts": names})


def _only(found: Sequence[Any]) -> Any:
    return found[0] if found else None
