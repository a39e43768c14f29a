"""A language model behind soft prompts, as the training loop wraps it: rows in, logits at the label places out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from holdfast.models import describe
from holdfast.models.architecture import architecture_of
from holdfast.prefix import encoder_decoder, packed, reference
from holdfast.prefix.attached import Attached, Prompt, as_attached, detached, in_order, recomputed
from holdfast.prefix.cache import REFUSALS, agrees, bound, difference, embed, layers_of, random_tokens, unrounded
from holdfast.prefix.head import LabelLogits, labels_at_once, separable
from holdfast.prefix.packed import MULTIPLE
from holdfast.prefix.packing import label_tensors, pack
from holdfast.prefix.reach import filling, reach, reach_of_depth
from holdfast.row import Row


@dataclass(frozen=True, slots=True)
class Capability:
    """The verdict on a loaded model: does it compute rows side by side rightly (packed; behind an encoder, padded), and why."""

    packed: bool
    why: str


class PrefixModel(nn.Module):
    """A transformers model and the prompts that stand in front of its rows: modules that give a `Prompt` when they are called.

    Rows are packed where the model proves able to take packed rows (see `capability`), and computed one by one where
    it is not. `budget` bounds the length of a packed row, for memory. Which parameters learn is for the caller to say. Where
    `task_context` is set, the rows of each task (`Row.task_number`) are computed by themselves, within the context that it returns for it.
    """

    def __init__(self, model: Any, prompts: Sequence[nn.Module] = (), budget: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.prompts = nn.ModuleList(prompts)
        self.budget = budget
        self.task_context: Callable[[int | None], AbstractContextManager[object]] | None = None

    def forward(self, rows: Sequence[Row]) -> LabelLogits:
        """Return predictions of every token of the rows that carries a weight; where they are many, as states before the head.

        Raises:
            ValueError: no row carries a weight, a row is longer with its prompt than the model has positions, or a row
                predicts its first token from nothing.
        """
        prompts: list[Prompt] = [prompt() for prompt in self.prompts]
        depths = self._depths(rows, [len(prompt) for prompt in prompts])
        labels, weights, row = (tensor.to(self.model.device) for tensor in label_tensors(rows))
        deep = any(as_attached(prompt).deep for prompt in prompts)
        whole = len(labels) <= labels_at_once(self.model) or not separable(self.model, prompts)
        within = self._packs_up_to(max(depths), deep)
        # Each row by its own length: one that is too long goes alone, and leaves the others packed.
        groups: list[list[int]] = []
        parts: list[Tensor] = []
        tasks = [None if self.task_context is None else row.task_number for row in rows]
        for compute, packs in ((self._packed, True), (self._alone, False)):
            for task in dict.fromkeys(tasks):
                group = [i for i, of_row in enumerate(tasks) if of_row == task and (depths[i] <= within) is packs]
                if any(rows[i].labels for i in group):
                    groups.append(group)
                    with nullcontext() if self.task_context is None else self.task_context(task):
                        parts.append(compute([rows[i] for i in group], prompts, whole))
        return LabelLogits(in_order(rows, groups, parts), labels, weights, row, None if whole else self.model)

    def _packed(self, rows: Sequence[Row], prompts: Sequence[Prompt], whole: bool) -> Tensor:
        """Compute rows side by side, in packed rows no longer than the budget and the model's reach, or behind an encoder."""
        if not architecture_of(self.model).one_sequence:
            compute = encoder_decoder.label_logits if whole else encoder_decoder.label_states
            return compute(self.model, rows, prompts)
        layers = sum(as_attached(prompt).deep for prompt in prompts)
        wanted = layers + sum(as_attached(prompt).soft for prompt in prompts) + sum(len(row.tokens) for row in rows)
        if self.budget is not None:
            wanted = min(wanted, layers + self.budget)
        places = reach(self.model, many_and_alone, wanted, layers > 0)
        budget = self.budget if places >= wanted else places // MULTIPLE * MULTIPLE - layers
        compute = packed.label_logits if whole else packed.label_states
        along = budget is None and not layers and by_path(self.model)
        return compute(self.model, rows, prompts, budget, by_path=along)

    def _alone(self, rows: Sequence[Row], prompts: Sequence[Prompt], whole: bool) -> Tensor:
        return (reference.label_logits if whole else reference.label_states)(self.model, rows, prompts)

    def number(self, prompt: nn.Module) -> int:
        """Return the number that rows name a prompt by (`Row.prompt`)."""
        return next(number for number, module in enumerate(self.prompts) if module is prompt)

    def length(self, prompt: int) -> int:
        """Return the number of positions that a prompt takes."""
        return int(self.prompts[prompt].length)  # pyright: ignore[reportArgumentType]

    def attached(self, prompt: int) -> Prompt:
        """Return a prompt as it is now, without gradients."""
        with torch.no_grad():
            return detached(self.prompts[prompt]())

    def packs(self, length: int = 0, *, deep: bool = False) -> bool:
        """Return True where rows of that length, their prompt included, are packed; with `deep`, behind deep prefixes."""
        return self._packs_up_to(length, deep) >= length and capability(self.model, deep=deep).packed

    def _packs_up_to(self, length: int, deep: bool) -> int:
        """Return the longest row with its prompt, at most `length` positions, that may be packed; -1 where none may."""
        if not capability(self.model, deep=deep).packed:
            return -1
        if not architecture_of(self.model).one_sequence:
            return length  # The model's own masks are used.
        # A mask of our making replaces the model's own, sliding window included: longer rows would see too much.
        depth = reach_of_depth(self.model, long_and_alone, length, deep)
        places = reach(self.model, many_and_alone, depth, deep)  # A row's places are rounded up.
        return depth if places >= depth else places // MULTIPLE * MULTIPLE

    def _depths(self, rows: Sequence[Row], prompt_lengths: Sequence[int]) -> list[int]:
        """Return the positions of each row with its prompt, checked against what the model has."""
        architecture = architecture_of(self.model)
        before = [0 if row.prompt is None else prompt_lengths[row.prompt] for row in rows]
        needed = [architecture.row_positions(row) for row in rows]
        limit = describe.max_length(self.model)
        for row, tokens, soft in zip(rows, needed, before, strict=True):
            if tokens + soft > limit:
                raise ValueError(
                    f"row {row.name or '(unnamed)'}: {tokens} tokens behind a prompt of {soft} need {tokens + soft} "
                    f"positions, and the model has {limit}; shorten the input or the prompt"
                )
        if not any(any(row.weights) for row in rows):
            raise ValueError("no token of this batch carries a loss weight, so there is nothing to predict")
        return list(map(sum, zip(needed, before, strict=True)))


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
