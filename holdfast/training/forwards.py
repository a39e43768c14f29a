"""The forwards of a step: its rows go through the model in as many as the token budget asks for, and their gradients add up."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.row import Row
from holdfast.training import memory
from holdfast.training.batches import share, split
from holdfast.training.log import Log
from holdfast.training.loss import Divisors, StepLoss
from holdfast.training.placement import Replicas


@dataclass
class Forwards:
    """Compute gradients in forwards of at most `budget` tokens, which is halved where one runs out of memory.

    `model` is what is called: the model as the placement has prepared it.
    """

    model: nn.Module
    loss: StepLoss
    placement: Replicas
    optimizer: torch.optim.Optimizer
    log: Log
    budget: int = memory.MOST["cpu"]

    def run(self, rows: Sequence[Row], divisors: Divisors) -> Tensor:
        """Compute the gradients of a step; return this process's share of the loss."""
        accelerator = self.placement.accelerator
        world = accelerator.num_processes
        mine = share(rows, accelerator.process_index, world)
        while True:
            parts = split(mine, self.budget)
            try:
                return self._accumulate(parts, divisors)
            except (RuntimeError, MemoryError) as error:
                if not (memory.out_of_memory(error) and self.placement.retries):
                    raise
            # Outside the except block: the error's traceback held the tensors of the forward that failed.
            self.budget = memory.halved(parts, self.log.stage.partition("-")[0], world)
            # The forwards that went well left gradients, which the next try adds once more.
            self.optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.log.note(f"out of memory; goes on with forwards of up to {self.budget} tokens")

    def _accumulate(self, parts: Sequence[Sequence[Row]], divisors: Divisors) -> Tensor:
        """Add up the gradients of these forwards; return this process's share of the loss."""
        accelerator = self.placement.accelerator
        total = torch.zeros((), device=self.loss.model.model.device)
        forwards = self.placement.parts(parts)
        for i, (part, factor) in enumerate(forwards):
            # Gradients are exchanged once a step, in its last backward pass; the passes before only add them up in each process.
            with self.placement.adding(self.model, last=i + 1 == len(forwards)):
                loss = self.loss(self.model, part, divisors) * factor
                # Gradients are averaged over processes, and the divisors are already those of them all.
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        return total
