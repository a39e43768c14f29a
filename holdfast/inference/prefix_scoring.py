"""Many rows scored behind prefixes that are computed once: for measuring, not for training.

Rows that begin alike form families. A family's common beginning (its soft prompt, then its demonstrations, say) runs
through the model once; what its rows have of their own is packed as a tree behind that cache, so that the choices of
one question share the question, and questions share what else they have in common.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.models.architecture import architecture_of
from holdfast.models.describe import max_length
from holdfast.prefix import encoder_decoder, reference
from holdfast.prefix.attached import Prompt, as_attached, updated
from holdfast.prefix.attention import masks
from holdfast.prefix.cache import Prefix, embed, prefill, shares, step
from holdfast.prefix.grouping import families
from holdfast.prefix.packed import MULTIPLE
from holdfast.prefix.packing import SHARE, label_places, pack, shared
from holdfast.prefix.probe import agrees, random_tokens
from holdfast.prefix.reach import crosses, filling, reach, reach_of_depth
from holdfast.row import Row, sharing_keys

BATCH_TOKENS = 8192  # Places computed together.
# Packed rows are this long, or as long as their prefix: then attention costs no more than twice the least.
PACKED = 256
DENSE = 1024  # Rows with more tokens of their own attend by the model's own mask: one of ours has T x T entries, and is slower.
LOGITS = 2**28  # The most logits held at once, as far as a single row needs no more.


@dataclass(frozen=True, slots=True)
class Predicted:
    """The logits of some labels, equal predictions once.

    `numbers` [n] count the labels: all rows as given, label positions ascending. `logits` [u, V] are the predictions, and
    `which` [n] is the index of each label's: answers that begin behind one question share one.
    """

    numbers: Tensor
    logits: Tensor
    which: Tensor


@dataclass(frozen=True, slots=True)
class _Line:
    """A row, the number of its first label, its label places, and the tokens that are computed: not the last label."""

    row: Row
    number: int
    places: list[int]
    whole_key: tuple[int, ...]  # what all of its tokens are compared by; see `sharing_keys`

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.row.tokens[: self.places[-1]]

    @property
    def key(self) -> tuple[int, ...]:
        """The keys that the computed tokens are compared by."""
        return self.whole_key[: self.places[-1]]

    def computed_after(self, length: int) -> Row:
        """Return what is computed behind the first `length` tokens."""
        # A label at position 0 is the prefix's to predict.
        wanted = set(self.places) - {0}
        tokens = self.row.tokens[length:]
        media = tuple((position - length, medium) for position, medium in self.row.media if position >= length)
        weights = tuple(float(position in wanted) for position in range(length, length + len(tokens)))
        return Row(tokens, weights, media=media)


def label_logits(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt] = ()) -> Tensor:
    """Return logits `[N, V]` at the label places: rows as given, label places ascending. Nothing can be trained through them.

    Args:
        rows: N labels in all, at least one.
        prompts: What `Row.prompt` counts: soft prompts [P, D], or whatever is attached.

    Raises:
        ValueError: a row predicts its first token from nothing, or has more places than the model.
    """
    parts = list(predict(model, rows, prompts))
    logits = parts[0].logits.new_empty(sum(len(row.labels) for row in rows), parts[0].logits.shape[1])
    for part in parts:
        logits[part.numbers] = part.logits[part.which]
    return logits


def predict(
    model: Any, rows: Sequence[Row], prompts: Sequence[Prompt] = (), batch_tokens: int = BATCH_TOKENS
) -> Iterator[Predicted]:
    """Yield `label_logits` in parts, each label in one of them, in an order that spares work. See there."""
    groups: dict[int | None, list[_Line]] = {}
    number = 0
    for row, key in zip(rows, sharing_keys(rows), strict=True):
        prompt = as_attached(None if row.prompt is None else prompts[row.prompt])
        line = _Line(row, number, label_places(row, prompt.soft), key)
        if line.places:
            _check(model, line, len(prompt))
            groups.setdefault(row.prompt, []).append(line)
        number += len(line.places)
    for prompt, lines in groups.items():
        if not architecture_of(model).one_sequence:
            yield from _alone(model, prompts, lines, batch_tokens)
            continue
        soft = 0 if prompt is None else len(prompts[prompt])
        # A mask of our making replaces the model's own (its sliding window, say): only up to this depth may rows be packed.
        within = reach_of_depth(model, deep_tree_and_alone, soft + max(len(line.tokens) for line in lines))
        if within or shares(model):
            with updated(model, as_attached(None if prompt is None else prompts[prompt])):
                alone = yield from _predict_of_prompt(
                    model, None if prompt is None else prompts[prompt], lines, batch_tokens, within
                )
        else:
            alone = lines
        yield from _alone(model, prompts, alone, batch_tokens)


def _check(model: Any, line: _Line, soft: int) -> None:
    read = line.row.boundary
    tokens = architecture_of(model).positions(read, len(line.tokens) - read)
    needed, limit = soft + tokens, max_length(model)
    if needed > limit:
        raise ValueError(
            f"row {line.row.name or '(unnamed)'}: {tokens} tokens behind a prompt of {soft} need {needed} "
            f"positions, and the model has {limit}; shorten the input or the prompt"
        )


def _predict_of_prompt(
    model: Any, prompt: Prompt | None, lines: list[_Line], batch_tokens: int, within: int
) -> Generator[Predicted, None, list[_Line]]:
    """Yield predictions for rows of one prompt, family by family; return those that are best computed alone.

    Rows of up to `within` places are packed behind it. Longer ones
    continue it side by side, with the model's own mask (its windows, say), where positions do not turn between.
    """
    alone: list[_Line] = []
    soft = 0 if prompt is None else len(prompt)
    # The token that predicts a first label stays out of the prefix, so that each row has one that it computes itself.
    for family in families([line.key[: max(0, line.places[0] - 1)] for line in lines]):
        members = [lines[i] for i in family.members]
        # A prefix costs a forward of its own: it pays where it is there anyway, or spares several rows enough tokens.
        pays = prompt is not None or (len(members) > 1 and family.length >= SHARE)
        length = family.length if pays else 0
        packable: list[_Line] = []
        longer: list[_Line] = []
        for line in members:
            depth, new = soft + len(line.tokens), len(line.tokens) - length
            if new > max(DENSE, soft + length):  # A mask of our making would cost more than what is shared.
                alone.append(line)
            elif depth <= within:
                packable.append(line)
            elif soft + length >= SHARE and shares(model) and not crosses(model, soft + length, depth):
                longer.append(line)
            else:
                alone.append(line)
        if not packable and not longer:
            continue
        prefix = prefill(model, prompt, members[0].tokens[:length])
        if first := [line.number for line in packable + longer if line.places[0] == 0]:
            assert prefix.logits is not None
            numbers = torch.tensor(first, device=prefix.logits.device)
            yield Predicted(numbers, prefix.logits[None], torch.zeros_like(numbers))
        packable = [line for line in packable if line.places[-1] > 0]
        if packable:
            budget = _budget(model, prefix.length, max(len(line.tokens) for line in packable) - length)

            def new_tokens(line: _Line, before: _Line | None, length: int = length) -> int:
                common = shared(before.key[length:], line.key[length:]) if before else 0
                return len(line.tokens) - length - common

            for chunk in _chunks(packable, batch_tokens, _most_labels(model), new_tokens):
                yield _packed(model, prefix, length, chunk, budget)
        yield from _continued(model, prefix, length, [line for line in longer if line.places[-1] > 0], batch_tokens)
    return alone


def _budget(model: Any, before: int, longest: int) -> int:
    """Return the length of packed rows behind so many places: as long as is cheap, and no longer than the model proves to take."""
    wanted = max(PACKED, before, longest)
    places = reach(model, wide_tree_and_alone, before + wanted)
    return wanted if places >= before + wanted else max(longest, (places - before) // MULTIPLE * MULTIPLE)


def _packed(model: Any, prefix: Prefix, length: int, lines: list[_Line], budget: int | None = None) -> Predicted:
    """Compute in one forward what rows have behind their first `length` tokens, packed, behind the prefix that holds these."""
    packed = pack([line.computed_after(length) for line in lines], budget=budget, multiple=MULTIPLE)
    packed = packed.to(model.device)
    attention = model.config._attn_implementation
    # There is no block mask with a cache: flex_attention reads the additive one too.
    attention = "eager" if attention == "flex_attention" else attention
    mask = masks.for_attention(attention, packed.end, model.get_input_embeddings().weight.dtype)
    # Every row sees the whole prefix: True in a boolean mask, 0 in one that is added to the scores.
    mask = functional.pad(mask, (prefix.length, 0), value=1 if mask.dtype == torch.bool else 0)
    # Labels behind one token, such as the choices of a question, are one prediction: its logits [V] are computed once.
    index, which = packed.label_index.unique(return_inverse=True)
    cache = prefix.open(*packed.tokens.shape)
    logits = step(model, cache, packed.tokens, packed.positions + prefix.length, mask, index)
    return Predicted(_numbers(lines, model.device, first=1), logits, which)


def _continued(model: Any, prefix: Prefix, length: int, lines: list[_Line], batch_tokens: int) -> Iterator[Predicted]:
    """Yield predictions behind the first `length` tokens, rows of one length side by side: nothing is padded."""
    by_length: dict[int, list[_Line]] = {}
    for line in lines:
        by_length.setdefault(len(line.tokens), []).append(line)
    for total, members in by_length.items():
        for chunk in _chunks(
            members, batch_tokens, _most_labels(model), lambda line, before: prefix.length + len(line.tokens)
        ):
            tokens = torch.tensor([line.tokens[length:] for line in chunk], device=model.device)
            positions = torch.arange(prefix.length, prefix.length + total - length, device=model.device)
            flat: list[int] = []
            for slot, line in enumerate(chunk):
                flat += [slot * (total - length) + label - 1 - length for label in line.places if label > 0]
            index, which = torch.tensor(flat, device=model.device).unique(return_inverse=True)
            mask = positions.new_ones(len(chunk), prefix.length + total - length)
            cache = prefix.open(*tokens.shape)
            logits = step(model, cache, tokens, positions.expand(len(chunk), -1), mask, index)
            yield Predicted(_numbers(chunk, model.device, first=1), logits, which)


def _alone(model: Any, prompts: Sequence[Prompt], lines: list[_Line], batch_tokens: int) -> Iterator[Predicted]:
    """Yield predictions for rows that the model does not compute behind a cache."""
    if not architecture_of(model).one_sequence and agrees(model, encoder_decoder.padded_and_alone):
        compute, most = encoder_decoder.label_logits, min(batch_tokens, _most_labels(model))
        # Rows of one input are neighbours, so that a chunk encodes it once.
        lines = sorted(lines, key=lambda line: (line.row.boundary, line.whole_key))
    else:
        compute, most = reference.label_logits, batch_tokens
        # Equal lengths are neighbours: the reference computes them in one forward.
        lines = sorted(lines, key=lambda line: len(line.row.tokens))
    for chunk in _chunks(lines, most, _most_labels(model), lambda line, before: len(line.row.tokens)):
        logits = compute(model, [line.row for line in chunk], prompts)
        numbers = _numbers(chunk, logits.device)
        yield Predicted(numbers, logits, torch.arange(len(numbers), device=numbers.device))


def _numbers(lines: Sequence[_Line], device: torch.device, first: int = 0) -> Tensor:
    """Return the numbers of the rows' labels; with `first=1`, of those that are not at position 0."""
    numbers: list[int] = []
    for line in lines:
        numbers += [line.number + i for i, label in enumerate(line.places) if label >= first]
    return torch.tensor(numbers, device=device)


def _chunks(
    lines: Sequence[_Line], tokens: int, labels: int, new: Callable[[_Line, _Line | None], int]
) -> Iterator[list[_Line]]:
    """Yield neighbours side by side, up to so many labels and tokens; `new` counts a line's tokens that the one before has not."""
    chunk: list[_Line] = []
    used = predicted = 0
    for line in lines:
        used += new(line, chunk[-1] if chunk else None)
        predicted += len(line.places)
        if chunk and (used > tokens or predicted > labels):
            yield chunk
            chunk, used, predicted = [], new(line, None), len(line.places)
        chunk.append(line)
    if chunk:
        yield chunk


def _most_labels(model: Any) -> int:
    return max(1, LOGITS // model.get_input_embeddings().weight.shape[0])


def deep_tree_and_alone(model: Any, places: int) -> tuple[Tensor, Tensor]:
    """Compute the attempt of `reach_of_depth`: a short tree of rows of so many positions behind common tokens, and each alone."""
    tokens = random_tokens(model, places + 4)
    prompt, common, rest = embed(model, None, tokens[:2])[0], tokens[2 : places - 5], tokens[places - 5 :]
    rows = []
    for branch in (rest[:6], [*rest[:3], *rest[5:7], rest[0]], [*rest[:2], *rest[7:9], *rest[1:3]]):
        rows.append(Row((*common, *branch), (*[0.0] * (len(common) + 4), 1.0, 1.0), prompt=0))
    return _tree_and_alone(model, prompt, rows, len(common))


def wide_tree_and_alone(model: Any, places: int) -> tuple[Tensor, Tensor]:
    """Compute the attempt of `reach`: short rows in one packed row behind a prefix, so many places in all, and each alone."""
    lengths = filling((places - 5) // MULTIPLE * MULTIPLE)
    tokens = random_tokens(model, 5 + sum(lengths))
    prompt, common, rest = embed(model, None, tokens[:2])[0], tokens[2:5], tokens[5:]
    rows = []
    for length in lengths:
        branch, rest = rest[:length], rest[length:]
        rows.append(Row((*common, *branch), (*[0.0] * (2 + length), 1.0), prompt=0))
    return _tree_and_alone(model, prompt, rows, len(common))


def _tree_and_alone(model: Any, prompt: Tensor, rows: list[Row], common: int) -> tuple[Tensor, Tensor]:
    labels = [len(row.labels) for row in rows]
    lines = [_Line(row, sum(labels[:i]), row.labels, row.tokens) for i, row in enumerate(rows)]
    part = _packed(model, prefill(model, prompt, rows[0].tokens[:common]), common, lines)
    return reference.label_logits(model, rows, [prompt]), part.logits[part.which][part.numbers.argsort()]
