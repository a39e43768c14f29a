"""Trained keys and values in every layer, and PEFT's file format for them.

Li & Liang 2021, Prefix-tuning: optimizing continuous prompts for generation (arXiv:2101.00190).
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models.architecture import architecture_of
from holdfast.prefix.attached import Attached, KeysValues
from holdfast.prefix.cache import embed, layers_of
from holdfast.prefix.probe import inference
from holdfast.prompts.peft_files import write_adapter

KEY = "prompt_embeddings"


class DeepPrefix(nn.Module):
    """Keys and values `[H, P, d]` of P places for each of L layers, held in float32.

    With an `encoder`, training moves a small network that makes the differences to these keys and values, in units of the root
    mean square of each layer's keys, and of its values.
    """

    def __init__(self, layers: Sequence[KeysValues], encoder: "Encoder | None" = None) -> None:
        super().__init__()
        first = layers[0][0]
        assert all(states.shape == first.shape for states in chain.from_iterable(layers)), "layers of different shapes"
        # In float32 whatever the model's precision: steps of a small learning rate are lost in bfloat16.
        self.keys = nn.ParameterList([_copy(keys) for keys, _ in layers])
        self.values = nn.ParameterList([_copy(values) for _, values in layers])
        self.encoder = encoder

    def forward(self) -> Attached:
        """Return keys and values, `[1, H, P, d]` each, for every layer."""
        states: list[Tensor] = list(chain.from_iterable(zip(self.keys, self.values, strict=True)))
        if self.encoder is not None:
            moved = self.encoder().unflatten(1, (len(states), *states[0].shape[::2]))  # [P, 2 L, H, d]
            states = [state + rms(state) * moved[:, number].transpose(0, 1) for number, state in enumerate(states)]
        states = [state[None] for state in states]
        return Attached(layers=tuple(zip(states[::2], states[1::2], strict=True)))

    @property
    def length(self) -> int:
        """P."""
        return self.keys[0].shape[1]

    def mismatch(self, model: Any) -> str:
        """Return the reason why the prefix does not fit this model; empty where it does."""
        if not architecture_of(model).deep_prefixes:
            return "a deep prefix is for models without an encoder, and this one has one"
        # Measured, not read from the configuration: the name of the number of key heads differs between models.
        size, needed = (_shape(prefix().layers) for prefix in (self, of_words(model, [0])))
        text = "{} layers of {} heads of {}"
        return (
            "" if size == needed else f"this deep prefix has {text.format(*size)}, and the model {text.format(*needed)}"
        )

    def save(self, folder: str | Path, *, base: str = "", task_type: str = "CAUSAL_LM") -> None:
        """Write a PEFT prefix-tuning adapter, readable by `PeftModel.from_pretrained(model, folder)`."""
        with torch.no_grad():
            layers = self().layers
        count, heads, width = _shape(layers)
        flat = torch.stack([states[0] for states in chain.from_iterable(layers)])  # [2 L, H, P, d]
        flat = flat.permute(2, 0, 1, 3).flatten(1)
        config = {
            "peft_type": "PREFIX_TUNING",
            "task_type": task_type,
            "base_model_name_or_path": base,
            "num_virtual_tokens": len(flat),
            "num_layers": count,
            "num_attention_heads": heads,  # of keys and values, which are fewer than the queries' in many models
            "token_dim": heads * width,
            "num_transformer_submodules": 1,
            "encoder_hidden_size": heads * width,
            "prefix_projection": False,  # An encoder is left behind in training.
            "inference_mode": True,
        }
        write_adapter(folder, config, {KEY: flat})

    @classmethod
    def read(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "DeepPrefix":
        """Return the prefix of a PEFT adapter.

        Raises:
            ValueError: it holds its network instead of keys and values, or sizes that do not fit.
        """
        if config.get("prefix_projection") or KEY not in tensors:
            raise ValueError(
                f"holds {', '.join(sorted(tensors))}; save it with inference_mode, as keys and values in {KEY}"
            )
        try:
            layers, heads = int(config["num_layers"]), int(config["num_attention_heads"])
            if layers < 1 or heads < 1:
                raise ValueError(f"its sizes do not fit its configuration ({layers} layers of {heads} heads)")
            states = tensors[KEY].unflatten(1, (layers, 2, heads, -1)).permute(1, 2, 3, 0, 4)  # [L, 2, H, P, d]
        except (KeyError, TypeError, RuntimeError, OverflowError) as error:
            raise ValueError(f"its sizes do not fit its configuration ({str(error).splitlines()[0]})") from None
        return cls([(keys[None], values[None]) for keys, values in states])


class Encoder(nn.Module):
    """P trained vectors through a network with one hidden layer of tanh: `[P, sizes]`, zero before it is trained.

    Li & Liang 2021, section 4.3, who train the keys and values themselves so; here it is their difference to the start.
    """

    def __init__(self, length: int, hidden: int, sizes: int, seed: int) -> None:
        super().__init__()
        # Modules draw from the global generator: without the fork, whatever is drawn next would depend on this network.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.vectors = nn.Parameter(torch.randn(length, hidden))
            self.inner = nn.Linear(hidden, hidden)
            self.outer = nn.Linear(hidden, sizes)
        # Zero, so that training begins exactly at the words whose keys and values were copied.
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self) -> Tensor:
        """Return the differences `[P, sizes]`."""
        return self.outer(torch.tanh(self.inner(self.vectors)))


def of_vectors(model: Any, vectors: Tensor, hidden: int = 0, seed: int = 0) -> DeepPrefix:
    """Return the deep prefix that equals a soft prompt `[P, D]` before training; trained through a network where `hidden` is its width.

    Real words are the start that Li & Liang (section 7.4) found best.

    Raises:
        ValueError: the model's layers do not all keep keys and values of one shape, so that PEFT's format cannot hold them.
    """
    try:
        with inference(model):
            layers = [(keys.clone(), values.clone()) for keys, values in layers_of(model, vectors)]
    except TypeError as error:
        raise ValueError(f"no deep prefix for this model: {error}; use a soft prompt") from None
    if len({states.shape for states in chain.from_iterable(layers)}) > 1:
        raise ValueError("no deep prefix for this model: its layers differ in heads or width; use a soft prompt")
    count, heads, width = _shape(layers)
    return DeepPrefix(layers, Encoder(len(vectors), hidden, 2 * count * heads * width, seed) if hidden else None)


def of_words(model: Any, tokens: Sequence[int]) -> DeepPrefix:
    """Return the deep prefix that equals these tokens."""
    return of_vectors(model, embed(model, None, tokens)[0].detach())


def rms(states: Tensor) -> Tensor:
    """Return the root mean square, the natural size of a step: a scalar without gradient."""
    return states.detach().pow(2).mean().sqrt()


def _copy(states: Tensor) -> nn.Parameter:
    return nn.Parameter(states.detach()[0].to(torch.float32, copy=True))


def _shape(layers: Sequence[KeysValues]) -> tuple[int, int, int]:
    """Return (L, H, d)."""
    return len(layers), layers[0][0].shape[1], layers[0][0].shape[3]
