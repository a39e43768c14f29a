"""Low-rank skills that a router mixes, in PEFT's layers: the engine of Poly's two phases."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import peft
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from holdfast.methods._linear_targets import linear_targets
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models.merging import adapting
from holdfast.prefix.attached import recomputed
from holdfast.prompts.low_rank import LowRank
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel

ADAPTER, FILE = "default", "skills.safetensors"


@dataclass
class SkillLayers(Method):
    """Layers with several low-rank updates each, of which every task has its own mixture."""

    router_scale: float = Field(
        default=100.0,
        gt=0,
        allow_inf_nan=False,
        description="learning rate of the routing, as a multiple of the skills'",
    )

    def insert(self, context: Context, target: str, skills: int, splits: int, rank: int, tasks: int) -> None:
        """Put PEFT's Poly layers into the model, with a row of the router for each task and a last one for any other.

        Raises:
            ValueError: `target` names no linear module, or `splits` does not divide a module's sizes.
        """
        model = context.model.model
        self._last = self._task = tasks
        chosen = linear_targets(model, target, nn.Linear)
        for name, module in chosen.items():
            for size in module.weight.shape:  # pyright: ignore[reportGeneralTypeIssues]
                if size % splits:
                    raise ValueError(
                        f"splits={splits}: does not divide the {size} numbers on a side of {name}; choose a divisor"
                    )
        config = peft.PolyConfig(
            r=rank,
            n_tasks=tasks + 1,
            n_skills=skills,
            n_splits=splits,
            target_modules=list(chosen),
            task_type=context.pretrained.architecture.task_type,
        )
        with adapting():
            self._peft: Any = peft.get_peft_model(model, config)
        modules = dict(model.named_modules())
        self._layers: dict[str, Any] = {name: modules[name] for name in chosen}
        with torch.no_grad():
            for layer in self._layers.values():
                layer.poly_router[ADAPTER].module_logits[-1] = 0.0  # a task that was never seen: every skill alike
                layer.register_forward_pre_hook(self._name_task, with_kwargs=True)

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows; refuse layers that are computed again later, when it is no longer known for which task.

        Raises:
            ValueError: the layers are recomputed.
        """
        if recomputed(context.model.model):
            raise ValueError(
                "gradient_checkpointing: layers with skills cannot be computed a second time; leave it out"
            )
        return rows

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the skills, and with a learning rate of its own the routing."""
        yield ParameterGroup(self._tensors("poly_lora_A") + self._tensors("poly_lora_B"), weight_decay=False)
        yield ParameterGroup(self._routing(), self.router_scale, weight_decay=False)

    def plain(self) -> LowRank:
        """Return what the model computes for a task that has no row of its own: one LoRA, by the last row of the router."""
        matrices, rank = {}, 1
        for name, layer in self._layers.items():
            router, rank = layer.poly_router[ADAPTER].eval(), layer.r[ADAPTER]
            with torch.no_grad():
                weights = router(task_ids=torch.tensor([self._last]), input_ids=None)[0]
                # As PEFT's layer puts the splits together: A [in, r] of parts of the inputs, B [r, out] of parts of the outputs.
                down = torch.einsum("qs,qsdr->qdr", weights, layer.poly_lora_A[ADAPTER]).flatten(0, 1)
                up = torch.einsum("qs,qsrd->qrd", weights, layer.poly_lora_B[ADAPTER]).transpose(0, 1).flatten(1)
            matrices[name] = down.T.contiguous().cpu(), up.T.contiguous().cpu()
        return LowRank(matrices, 1 / rank)

    def _tensors(self, name: str) -> list[nn.Parameter]:
        return [getattr(layer, name)[ADAPTER] for layer in self._layers.values()]

    def _routing(self) -> list[nn.Parameter]:
        return [router.module_logits for router in self._tensors("poly_router")]  # pyright: ignore[reportAttributeAccessIssue]

    def _name_task(self, layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return inputs, options | {"task_ids": torch.full((len(inputs[0]),), self._task)}

    @contextmanager
    def routed(self, task: int | None) -> Iterator[None]:
        """Compute for a task within the context; outside of it, for one that nobody has trained."""
        self._task = self._last if task is None else task
        try:
            yield
        finally:
            self._task = self._last
