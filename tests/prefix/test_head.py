"""The LM head at label places in parts: the same losses and gradients, and never all logits at once."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from holdfast.prefix import head
from holdfast.prefix.head import LabelLogits, separable
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.training.loss import token_loss
from tests.prefix.tiny import LLAMA, PACKS, VOCABULARY, prompt_of, rows_of, tiny

RAGGED = (5, 9, 3, 6, 9)  # Two labels each: ten in all.
PART = 3


class Largest(TorchDispatchMode):
    """The most numbers in any tensor that an operation made, parameters' gradients aside."""

    def __init__(self, besides: set[torch.Size]) -> None:
        super().__init__()
        self.besides, self.numbers = besides, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor) and t.shape not in self.besides]
        self.numbers = max([self.numbers, *(t.numel() for t in made)])
        return result


def loss_and_gradients(model: PrefixModel, smoothing: float = 0.0) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    output = model(rows_of(RAGGED))
    loss = output.total(lambda logits, labels, weights: token_loss(logits, labels, weights, smoothing))
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS", PART * VOCABULARY + 5)


@pytest.mark.parametrize("name", PACKS)
def test_parts_have_the_losses_and_gradients_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other order of summation: 1e-6 of the largest gradient. Soft-capping left out (Gemma 2): 0.1 and more."""
    model = PrefixModel(tiny(name), [SoftPrompt(prompt_of(7))])
    loss, gradients = loss_and_gradients(model, 0.1)
    in_parts(monkeypatch)
    assert model(rows_of(RAGGED)).model is not None, "the probe found no way to make logits in parts"
    part_loss, part_gradients = loss_and_gradients(model, 0.1)
    torch.testing.assert_close(part_loss, loss, atol=1e-4, rtol=0)
    scale = max(float(gradient.abs().max()) for gradient in gradients)
    for one, other in zip(part_gradients, gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * scale, rtol=0)


def test_all_logits_at_once_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 labels x 97 words are 970 logits, 3 x 97 those of a part; the tensors of the body, gathered keys included, below 800."""
    llama: dict[str, Any] = LLAMA | {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    model = PrefixModel(tiny("Llama", **llama), [SoftPrompt(prompt_of(2, width=8))])
    shapes = {shape for p in model.parameters() for shape in (p.shape, p.shape[::-1])}
    loss_and_gradients(model)
    with Largest(shapes) as whole:
        loss_and_gradients(model)
    assert whole.numbers == 10 * VOCABULARY
    in_parts(monkeypatch)
    assert separable(model.model)
    with Largest(shapes) as parts:
        loss_and_gradients(model)
    assert parts.numbers <= 800, parts.numbers


def test_no_logits_are_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts(monkeypatch)
    model = PrefixModel(tiny("Llama"), [SoftPrompt(prompt_of(7))])
    output, saved = model(rows_of(RAGGED)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(weakref.ref(t)) or t, lambda t: t):
        loss = output.total(token_loss)
    alive = [tuple(tensor.shape) for reference in saved if (tensor := reference()) is not None]
    assert loss.requires_grad
    assert not any(VOCABULARY in shape and shape[0] <= PART for shape in alive), alive


def test_logits_can_still_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PrefixModel(tiny("Gemma2"), [SoftPrompt(prompt_of(7))])
    whole = model(rows_of(RAGGED)).logits
    in_parts(monkeypatch)
    torch.testing.assert_close(model(rows_of(RAGGED)).logits, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bug", ["no soft-cap", "body runs"])
def test_a_tail_that_is_not_the_models_own_is_refused(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bugs: the head alone, and a stand-in that does not take hold; then logits are made at once, and right."""
    model = tiny("Gemma2")
    wrong: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "no soft-cap": lambda model, states: model.lm_head(states),
        "body runs": lambda model, states: model(inputs_embeds=states[None], use_cache=False).logits[0],
    }
    monkeypatch.setattr(head, "behind_body", wrong[bug])
    assert not separable(model)
    in_parts(monkeypatch)
    assert PrefixModel(model)(rows_of(RAGGED, None)).model is None


def test_the_models_forward_is_its_own_again() -> None:
    model = tiny("Llama")
    assert separable(model)
    assert "forward" not in vars(model.get_decoder())


def test_a_loss_over_logits_alone_is_called_once() -> None:
    output = LabelLogits(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long), torch.ones(4), torch.arange(4))
    assert float(output.total(lambda logits, labels, weights: weights.sum())) == 4
