"""Placement of the weights in training: whole in each process, or a shard of each in each process. The loop asks here for what differs."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from itertools import chain
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from holdfast.methods.base import Method, ParameterGroup
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.training import checkpoint

Part = Sequence[Row]
# Hooks that see the model while it trains: whoever has one may read weights, of which a process has a share.
SEES_THE_MODEL = ("penalty", "own_loss", "after_backward", "after_step", "state_dict")


class Replicas:
    """Every process has the whole model, as it was loaded; of several, each gets the mean of all gradients (DistributedDataParallel)."""

    retries = True  # A forward that was too large is tried again in two: the others wait in the exchange of gradients.

    def __init__(self, accelerator: Accelerator, moving: dict[str, nn.Parameter]) -> None:
        self.accelerator, self.moving = accelerator, moving

    def prepare(
        self, model: PrefixModel, groups: Sequence[ParameterGroup], make: Callable[[Iterable[ParameterGroup]], Any]
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return the model to call, and the optimizer of its parameters."""
        return self.accelerator.prepare(model, make(groups))

    def parts(self, parts: Sequence[Part]) -> list[tuple[Part, float]]:
        """Return the forwards of a step, each with the factor of its loss."""
        return [(part, 1.0) for part in parts]

    def adding(self, model: nn.Module, last: bool) -> AbstractContextManager[object]:
        """Return what a backward pass happens in: gradients are exchanged in a step's last one, and before it only added up."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(model)

    def clip(self, most: float) -> float:
        """Bound the norm of all gradients; return what it was."""
        return float(self.accelerator.clip_grad_norm_(list(self.moving.values()), most) or 0.0)

    def finite(self, parameter: nn.Parameter) -> bool:
        """Return whether all numbers of a parameter are finite."""
        return bool(parameter.isfinite().all())

    def whole(self) -> Mapping[str, Tensor]:
        """Return the parameters that move, whole; every process must ask."""
        return self.moving

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the optimizer's state, whole; every process must ask."""
        return optimizer.state_dict()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy whole tensors into the parameters that move."""
        checkpoint.copy_into(self.moving, tensors)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Put a state back that `optimizer_state` returned."""
        optimizer.load_state_dict(state)

    def looking(self) -> AbstractContextManager[object]:
        """Return a context in which one process alone may compute with the model."""
        return contextlib.nullcontext()

    def finish(self) -> None:
        """Leave the model whole in every process."""


class Shards(Replicas):
    """Every process has a share of each weight, gradient and moment; a layer's weights come together while it computes (FSDP2).

    Checkpoints hold whole tensors, so that any number of processes may go on from them. While one process validates, and once training
    has ended, all hold the whole weights (not the gradients and moments).
    """

    retries = False  # Every forward takes all processes: one that tried again would wait for the others for ever.

    def __init__(self, accelerator: Accelerator, moving: dict[str, nn.Parameter], methods: Sequence[Method]) -> None:
        super().__init__(accelerator, moving)
        for method in methods:
            if hooks := [hook for hook in SEES_THE_MODEL if getattr(type(method), hook) is not getattr(Method, hook)]:
                raise ValueError(
                    f"FSDP: {type(method).__name__} looks at weights while they train ({', '.join(hooks)}), and each process would have "
                    "a share of them; launch without FSDP, where each process holds the whole model"
                )
        self.mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        self._modules: list[Any] = []
        self._plain: list[Plain] = []

    def prepare(
        self, model: PrefixModel, groups: Sequence[ParameterGroup], make: Callable[[Iterable[ParameterGroup]], Any]
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Replace every parameter by this process's share of it."""
        names = {parameter: name for name, parameter in model.named_parameters()}
        # Layer by layer; the rest (embeddings, head, prompts) comes together for the whole of a forward, and for the loss behind it.
        self._modules = [*_layers(model.model), model]
        self._plain = [Plain(module) for module in model.modules()]
        # Where predictions come out as a part of a tensor; nothing writes into them.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        for module in self._modules:
            fully_shard(module, mesh=self.mesh)
        shards = dict(model.named_parameters())
        self.moving.update({name: shards[name] for name in self.moving})
        mine = [
            ParameterGroup([shards[names[p]] for p in group.parameters], group.learning_rate_scale, group.weight_decay)
            for group in groups
        ]
        return model, make(mine)

    def parts(self, parts: Sequence[Part]) -> list[tuple[Part, float]]:
        """Return as many forwards as the process with most of them has: a spare one repeats the last, and counts nothing."""
        most = max(gather_object([len(parts)]))
        return [*super().parts(parts), *[(parts[-1], 0.0)] * (most - len(parts))]

    def adding(self, model: Any, last: bool) -> AbstractContextManager[object]:
        """Exchange gradients in this backward pass if it is the last of a step."""
        model.set_requires_gradient_sync(last)
        return contextlib.nullcontext()

    def clip(self, most: float) -> float:
        """Bound the norm of all gradients, each process's share of it counted; return what it was."""
        norm = nn.utils.clip_grad_norm_(list(self.moving.values()), most)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def finite(self, parameter: nn.Parameter) -> bool:
        """Return whether all numbers of a parameter are finite, in all processes."""
        finite = torch.tensor(float(_local(parameter).isfinite().all()), device=self.accelerator.device)
        return float(self.accelerator.reduce(finite, "sum")) == self.accelerator.num_processes  # pyright: ignore[reportArgumentType]

    def whole(self) -> Mapping[str, Tensor]:
        """Return the parameters that move, their shares put together."""
        return {name: _whole(parameter.detach()) for name, parameter in self.moving.items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the optimizer's state, its shares put together."""
        state = optimizer.state_dict()
        moments = {
            number: {name: _whole(value) for name, value in values.items()} for number, values in state["state"].items()
        }
        return state | {"state": moments}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy this process's share of whole tensors into the parameters that move."""
        checkpoint.copy_into(self.moving, {name: self._share(self.moving[name], t) for name, t in tensors.items()})

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Put this process's share of a state back."""
        ordered = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
        moments = {
            number: {name: self._share(ordered[number], value) for name, value in values.items()}
            for number, values in state["state"].items()
        }
        optimizer.load_state_dict(state | {"state": moments})

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Within, every process has the whole weights, so that one alone may compute with them."""
        for module in self._modules:
            module.unshard()
        # The hooks note what was computed, and fetch weights by it: noted by one process alone, it would wait for the others for ever.
        hooks = [plain.without_hooks() for plain in self._plain]
        try:
            yield
        finally:
            for plain, hidden in zip(self._plain, hooks, strict=True):
                plain.module.__dict__.update(hidden)
            for module in self._modules:
                module.reshard()

    def finish(self) -> None:
        """Put the weights together in every process, and make the model what it was before it was sharded."""
        for module in self._modules:
            module.reshard()
        parameters: dict[nn.Parameter, nn.Parameter] = {}
        for plain in self._plain:
            plain.restore(parameters)

    def _share(self, parameter: Any, value: Any) -> Any:
        """Return this process's share of a value that goes with a parameter; others, such as a count of steps, as they are."""
        if not isinstance(value, Tensor) or value.shape != parameter.shape or not value.ndim:
            return value
        return distribute_tensor(value.to(_local(parameter).device), self.mesh, parameter.placements)


class Plain:
    """A module as it was before it was sharded: its class, and all that hangs on it but its parameters."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.type = module, type(module)
        content = module.__dict__.items()
        self.content = {name: copy(value) if "hooks" in name else value for name, value in content}
        del self.content["_parameters"]  # Held here, the whole weights would stay in memory.

    def without_hooks(self) -> dict[str, Any]:
        """Give the module the hooks that it had; return those that it has, to be put back."""
        hidden = {name: value for name, value in self.module.__dict__.items() if "hooks" in name}
        self.module.__dict__.update({name: self.content[name] for name in hidden if name in self.content})
        return hidden

    def restore(self, parameters: dict[nn.Parameter, nn.Parameter]) -> None:
        """Make the module what it was, with whole parameters; `parameters` has those that were put together before (tied ones)."""
        for name, shard in self.module._parameters.items():
            if shard is not None:
                if shard not in parameters:
                    parameters[shard] = nn.Parameter(_whole(shard.detach()), requires_grad=shard.requires_grad)
                self.module._parameters[name] = parameters[shard]
        for name in [name for name in self.module.__dict__ if name not in self.content and name != "_parameters"]:
            del self.module.__dict__[name]
        self.module.__dict__.update(self.content)
        self.module.__class__ = self.type


def _whole(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model: the modules in its outermost lists."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [m for name, m in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    return [layer for layer in chain.from_iterable(outer) if any(True for _ in layer.parameters())]
