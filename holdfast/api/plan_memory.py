"""The memory that a model's training and asking take, before anything of it is loaded: what `holdfast doctor MODEL --plan` prints."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from holdfast.models.resolve import resolve
from holdfast.training.memory import available
from holdfast.training.memory_plan import BatchShape, MemoryNeed, MemoryPlan

PREFERRED = ("promot", "promot_lora", "prompt_tuning")
"""Methods in the order in which one that fits is recommended: the default, then those that hold less in memory."""


@dataclass(frozen=True)
class PlannedMemory:
    """The needs of each method in each precision, beside what is free: `free` bytes on `device`; `parameters` are the model's numbers.

    `device` is empty where the memory is that of another machine.
    """

    needs: list[MemoryNeed]
    batch: BatchShape
    parameters: int
    free: int
    device: str

    def fits(self, need: MemoryNeed) -> bool:
        """Return whether a need is met by what is free."""
        return not need.refused and need.total <= self.free

    @property
    def pick(self) -> MemoryNeed | None:
        """Return the need to begin with: the first method of `PREFERRED` that fits, in its first precision; None where none does."""
        by_method = self.by_method
        ordered = chain.from_iterable(by_method.get(name, ()) for name in PREFERRED)
        return next(filter(self.fits, ordered), None)

    @property
    def least(self) -> MemoryNeed:
        """Return the smallest need of those that train."""
        return min((n for n in self.needs if n.method in PREFERRED and not n.refused), key=lambda need: need.total)

    @property
    def by_method(self) -> dict[str, list[MemoryNeed]]:
        """Return the needs of each method, in the order of the precisions."""
        methods: dict[str, list[MemoryNeed]] = {}
        for need in self.needs:
            methods.setdefault(need.method, []).append(need)
        return methods


def plan_memory(
    model: str | Path,
    *,
    rows: int = 16,
    tokens: int = 128,
    answer: int = 16,
    prompt_length: int = 50,
    gradient_checkpointing: bool = False,
    memory: float | None = None,
    trust_remote_code: bool = False,
) -> PlannedMemory:
    """Return the peak memory of each method in each precision, by the model's configuration; of its files only that is read.

    `rows` of `tokens` each pass the model at once, of which the last `answer` are predicted; `prompt_length` vectors stand before them
    where the method has a prompt. `memory` is that of another machine, in GiB; by default what is free on this one.

    Raises:
        ValueError: the configuration cannot be read, or an answer does not fit into its row.
    """
    batch = BatchShape(rows, tokens, answer, prompt_length, checkpointing=gradient_checkpointing)
    plan = MemoryPlan(resolve(str(model)), trust_remote_code=trust_remote_code)
    if memory is not None:
        return PlannedMemory(plan.needs(batch), batch, plan.sizes.all, int(memory * 2**30), "")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return PlannedMemory(plan.needs(batch), batch, plan.sizes.all, available(device), device.type)
