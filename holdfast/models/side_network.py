"""A small network beside a frozen model, with an ensemble of both at several depths, and its folder (LEVI).

The network's blocks are the model's own in small: each stands beside a block of the model, the tap, and is called with what that is called
with, so that masks, positions and caches of keys are its own too. Nothing of the model changes: without the network it answers as before.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from holdfast.atomic_files import whole_folder
from holdfast.models import spread
from holdfast.models.adapter import CONFIG, WEIGHTS
from holdfast.models.attention_heads import BESIDE as NAME
from holdfast.models.final_norm import blocks, final_norm

TYPE, LABEL = "LEVI", "a side network (levi)"  # of the adapter's folder, and of what stands in the model


@dataclass(frozen=True)
class SideShape:
    """Sizes of a side network, and the tap that answers: `last`, or the `mean` of all taps' states before the head."""

    taps: int
    heads: int
    adapter: int
    answer: Literal["last", "mean"]


class SideNetwork(nn.Module):
    """Blocks beside a model's, and an adapter at each tap that sees the states of both.

    Tap i adds to the model's state h what its adapter makes of h and the side's state u: z = h + up(gelu(down([h; u]))), both of unit size.
    The model's final norm and head read z. `up` is 0 at the start, where the last tap answers as the model does.
    """

    def __init__(self, model: Any, shape: SideShape) -> None:
        super().__init__()
        config, beside = model.config.get_text_config(), blocks(model)
        if not 1 <= shape.taps <= len(beside):
            raise ValueError(f"levi.taps={shape.taps}: the model has {len(beside)} blocks; take fewer")
        self.shape = shape
        self.tap: int | None = None
        """The tap that answers, where it is not that of `shape`."""
        self.depths = [len(beside) * (number + 1) // shape.taps - 1 for number in range(shape.taps)]
        small = copy.deepcopy(config)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = shape.heads or max(1, config.num_attention_heads // 8)
        width = heads * size
        # The size of a head stays, and with it the rotary positions that the model computes.
        sizes = {"num_attention_heads": heads, "num_key_value_heads": heads, "hidden_size": width, "head_dim": size}
        inner = getattr(config, "intermediate_size", None)
        sizes["intermediate_size"] = None if inner is None else max(1, inner * width // config.hidden_size)
        for name, value in sizes.items():
            if hasattr(config, name):
                setattr(small, name, value)
        self.small = small
        self.read = nn.Linear(config.hidden_size, width, bias=False)
        self.layers = nn.ModuleList()
        for number, depth in enumerate(self.depths):
            layer = type(beside[depth])(small, depth)
            for module in layer.modules():
                if hasattr(module, "layer_idx"):  # Behind the model's own in a cache of keys and values.
                    module.layer_idx = len(beside) + number  # pyright: ignore[reportArgumentType]
            self.layers.append(layer)
        self.down = nn.ModuleList(nn.Linear(config.hidden_size + width, shape.adapter) for _ in self.depths)
        up = [nn.Linear(shape.adapter, config.hidden_size) for _ in self.depths]
        for layer in up:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.up = nn.ModuleList(up)
        self._state: Tensor | None = None
        self._views: list[tuple[Tensor, Tensor]] = []
        self._handles: list[Any] = []

    def attach(self, model: Any) -> None:
        """Put the network into the model, in place."""
        weight = model.get_input_embeddings().weight
        self.to(weight.device, weight.dtype if weight.dtype.is_floating_point else torch.float32)
        model.add_module(NAME, self)
        object.__setattr__(self, "_model", model)  # Not as a module of this one, which is part of it.
        beside, norm = blocks(model), final_norm(model)
        self._handles = [
            beside[0].register_forward_pre_hook(self._begin, with_kwargs=True),
            *(beside[depth].register_forward_hook(self._step, with_kwargs=True) for depth in self.depths),
            norm.register_forward_hook(self._answer),
        ]

    def detach(self) -> None:
        """Take the network out of the model again."""
        for handle in self._handles:
            handle.remove()
        delattr(self._model, NAME)  # pyright: ignore[reportArgumentType]

    def combined(self, number: int, state: Tensor, side: Tensor) -> Tensor:
        """Return the states z of a tap, [..., D], from those of the model [..., D] and of the side [..., d]."""
        joint = torch.cat([_unit(state), _unit(side)], dim=-1)
        return state + self.up[number](F.gelu(self.down[number](joint)))

    def _begin(self, block: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        states = inputs[0] if inputs else options["hidden_states"]
        self._state, self._views = self.read(_unit(states)), []

    def _step(self, block: Any, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        number = len(self._views)
        options, rest = {**options}, inputs[1:]
        options.pop("hidden_states", None)
        # A kind of attention that the model was switched to for this forward.
        self.small._attn_implementation = self._model.config.get_text_config()._attn_implementation  # pyright: ignore
        caches = [value for value in (*rest, *options.values()) if isinstance(value, Cache)]
        _make_room(caches, len(blocks(self._model)) + number + 1)
        made = self.layers[number](self._state, *rest, **options)
        self._state = made[0] if isinstance(made, tuple) else made
        assert self._state is not None
        self._views.append((output[0] if isinstance(output, tuple) else output, self._state))

    def _answer(self, norm: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        views, self._views, self._state = self._views, [], None
        if not views:  # The norm was called by itself, on states of somebody's own.
            return output
        last = len(self.depths) - 1
        # In training the loss of the last tap is the loop's own, whichever tap answers.
        every = self.shape.answer == "mean" and not self.training and self.tap is None
        numbers = range(last + 1) if every else [last if self.tap is None else self.tap]
        normed = [norm.forward(self.combined(number, *views[number])) for number in numbers]
        return normed[0] if len(normed) == 1 else torch.stack(normed).mean(0)


def _unit(states: Tensor) -> Tensor:
    return F.rms_norm(states, states.shape[-1:])


def _make_room(caches: Sequence[Cache], layers: int) -> None:
    """Let caches that were made for the model's own layers hold so many."""
    for cache in caches:
        while cache.layer_class_to_replicate is None and len(cache.layers) < layers:
            cache.layers.append(DynamicLayer())


def build(model: Any, shape: SideShape) -> SideNetwork:
    """Return a new network, attached.

    Raises:
        ValueError: the model's blocks cannot be built in small, it has fewer blocks than taps, or a network stands beside it already.
    """
    spread.check_in_memory(model, "levi")
    if hasattr(model, NAME):
        raise ValueError(
            "levi: a side network stands beside this model already; take the model that it was trained beside"
        )
    try:
        network = SideNetwork(model, shape)
    except (TypeError, AttributeError, KeyError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"levi: blocks of {type(model).__name__} cannot be built in small ({reason})") from error
    network.attach(model)
    return network


def write(network: SideNetwork, base: str, folder: Path) -> None:
    """Write the network as an adapter's folder, of a type of this library."""
    config = {"peft_type": TYPE, "base_model_name_or_path": base, **asdict(network.shape)}
    weights = {name: value.detach().contiguous().cpu() for name, value in network.state_dict().items()}
    with whole_folder(folder) as part:
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(weights, part / WEIGHTS)


def read(model: Any, folder: Path) -> str:
    """Attach the network in a folder; return what it is, in words.

    Raises:
        ValueError: its configuration is damaged, or it belongs to another model.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    try:
        shape = SideShape(**{name: config[name] for name in SideShape.__dataclass_fields__})
    except KeyError as error:
        raise ValueError(f"{folder / CONFIG}: has no {error}; train it again") from None
    network = build(model, shape)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        network.detach()
        raise ValueError(f"{folder}: belongs to another model ({' '.join(str(error).split())[:160]})") from None
    return LABEL
