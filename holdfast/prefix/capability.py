"""Find out how a loaded model may be given rows: side by side in packed rows, along paths, behind vectors that are no words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from holdfast.models.architecture import architecture_of
from holdfast.prefix import encoder_decoder, packed, reference
from holdfast.prefix.attached import Attached, recomputed
from holdfast.prefix.cache import embed, layers_of
from holdfast.prefix.packed import MULTIPLE
from holdfast.prefix.packing import pack
from holdfast.prefix.probe import REFUSALS, agrees, bound, difference, random_tokens, unrounded
from holdfast.prefix.reach import filling
from holdfast.row import Row


@dataclass(frozen=True, slots=True)
class Capability:
    """The verdict on a loaded model: does it compute rows side by side rightly (packed; behind an encoder, padded), and why."""

    packed: bool
    why: str


_SEEN: WeakKeyDictionary[nn.Module, dict[tuple[str, bool], Capability]] = WeakKeyDictionary()


def capability(model: Any, *, deep: bool = False) -> Capability:
    """Return the verdict on packed rows against each row alone, tried once for each attention implementation.

    Short random rows behind a short random prompt (with `deep`, its keys and values in a constant cache), packed and
    alone; the difference of their logits is compared with the root of the precision's epsilon.
    """
    attention = str(getattr(model.config, "_attn_implementation", None))
    seen = _SEEN.setdefault(model, {})
    if (attention, deep) not in seen:
        seen[attention, deep] = _probe(model, deep)
    return seen[attention, deep]


def capability_now(model: Any) -> Capability:
    """Return the verdict on packed rows tried anew: of a model whose modules were changed since, such as by an adapter.

    The verdict that `capability` gives from now on is this one.
    """
    _SEEN.pop(model, None)
    return capability(model)


def takes_vectors(model: Any) -> bool:
    """Return True where the model computes vectors that are no word's; tried once for each loaded model.

    False where every layer looks up an embedding of its own by token id (Gemma 4): a vector has none.
    """
    return agrees(model, _of_vectors)


def _of_vectors(model: Any) -> tuple[Tensor, Tensor]:
    """Compute the attempt of `takes_vectors`: vectors between words. It agrees where the model computes them at all."""
    words = embed(model, None, random_tokens(model, 8))
    vectors = (words[:, :4] + words[:, 4:]) / 2
    written = torch.tensor([random_tokens(model, 1)], device=vectors.device)
    decoder = architecture_of(model).decoder_inputs(written)
    logits = model(inputs_embeds=vectors, **decoder, use_cache=False).logits[0]
    return logits, logits


def by_path(model: Any) -> bool:
    """Return True where rows are packed into one and attention goes along paths; tried with numbers, on a CPU only."""
    # On a CPU torch's dense kernel scores all pairs, which paths avoid. Layers that are computed again in the backward pass
    # would not find their paths.
    if model.device.type != "cpu" or model.config._attn_implementation != "sdpa" or recomputed(model):
        return False
    return agrees(model, _by_path_and_by_mask)


def _by_path_and_by_mask(model: Any) -> tuple[Tensor, Tensor]:
    rows, vectors = _random_rows(model, (5, 3, 4), first=True)
    return tuple(packed.label_logits(model, rows, [vectors], by_path=along) for along in (True, False))  # pyright: ignore[reportReturnType]


@torch.no_grad()
def _probe(model: Any, deep: bool) -> Capability:
    if not architecture_of(model).one_sequence:
        right = not deep and agrees(model, encoder_decoder.padded_and_alone)
        return Capability(right, f"inputs encoded side by side {'equal' if right else 'do not equal'} each alone")
    rows, vectors = _random_rows(model, (5, 3, 4), first=not deep)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with unrounded(model):
            prompt = Attached(layers=layers_of(model, vectors)) if deep else vectors
            alone = reference.label_logits(model, rows, [prompt])
            side_by_side = packed.label_logits(model, rows, [prompt])
    except torch.OutOfMemoryError:
        raise  # says nothing about the model, and is a RuntimeError, which the next line would take for a refusal
    except REFUSALS as error:
        return Capability(False, f"packed rows are refused: {str(error).splitlines()[0]}")
    finally:
        for module, mode in training.items():
            module.training = mode
    off, most = difference(alone, side_by_side), bound(model)
    return Capability(off < most, f"packed rows differ by {off:.1g} of the logits' spread (bound {most:.1g})")


def _random_rows(model: Any, lengths: Sequence[int], *, first: bool) -> tuple[list[Row], Tensor]:
    """Return random rows, every token predicted (the first one too, or not), and the vectors [P, D] of a random prompt."""
    random = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    rows = [
        Row(
            tuple(torch.randint(vocabulary, (length,), generator=random).tolist()),
            (float(first), *[1.0] * (length - 1)),
            prompt=0,
        )
        for length in lengths
    ]
    words = torch.randint(vocabulary, (4,), generator=random).to(model.device)
    return rows, model.get_input_embeddings()(words)


def many_and_alone(model: Any, places: int, deep: bool) -> tuple[Tensor, Tensor]:
    """Compute the attempt of `reach`: short rows in one packed row of so many places, and each alone; their last tokens predicted."""
    rows, vectors = _random_rows(model, filling(places // MULTIPLE * MULTIPLE - 4), first=False)
    rows = [replace(row, weights=(*[0.0] * (len(row.tokens) - 1), 1.0)) for row in rows]
    return _in_one_and_alone(model, rows, vectors, deep)


def long_and_alone(model: Any, places: int, deep: bool) -> tuple[Tensor, Tensor]:
    """Compute the attempt of `reach_of_depth`: a row of so many places, its prompt included, in a packed row and alone."""
    (row,), vectors = _random_rows(model, [places - 3], first=False)
    return _in_one_and_alone(model, [replace(row, weights=(*[0.0] * (places - 7), *[1.0] * 4))], vectors, deep)


def _in_one_and_alone(model: Any, rows: list[Row], vectors: Tensor, deep: bool) -> tuple[Tensor, Tensor]:
    prompt = Attached(layers=layers_of(model, vectors)) if deep else vectors
    layout = pack(rows, [0 if deep else len(vectors)], multiple=MULTIPLE).to(model.device)
    return packed.forward(model, layout, [prompt]), reference.label_logits(model, rows, [prompt])
