"""Rows of models whose encoder reads the prompt and whose decoder writes the target: two token sequences, side by side in one row."""

from collections.abc import Sequence
from typing import Any

from holdfast.row import Row
from holdfast.tasks.text.tokenization import EncodeRequest

Source = tuple[tuple[int, ...], int]  # what an encoder reads, and the number of tokens cut from the text


class TwoSequences:
    """The prompt as the tokenizer ends an input (T5: with its end token), and the target without space at its beginning.

    Every token of the target is predicted. `max_length` bounds each, and truncation, from either side, touches the input alone.
    """

    def row(self, request: EncodeRequest) -> Row:
        """Return the row of a rendered example: `Row.encoded` tokens to read, then those to write."""
        return _row(request, _input(request.tokenizer, request.rendered.prompt, request.max_length, request.truncation))

    def rows(self, requests: Sequence[EncodeRequest]) -> list[Row]:
        """Return the rows of several targets behind one prompt."""
        if not requests:
            return []
        first = requests[0]
        source = _input(first.tokenizer, first.rendered.prompt, first.max_length, first.truncation)
        return [_row(request, source) for request in requests]

    def prompt(self, tokenizer: Any, text: str, max_length: int) -> tuple[int, ...]:
        """Return what the encoder reads, ended as the tokenizer ends an input."""
        return _input(tokenizer, text, max_length, "input")[0]

    def bounded(self, context: str, target: str) -> str:
        """Return the context: the target has positions of its own."""
        return context


TWO_SEQUENCES = TwoSequences()


def _row(request: EncodeRequest, source: Source) -> Row:
    if request.loss_on == "all":
        raise ValueError(
            "loss_on=all: demonstrations are read by this model's encoder, which predicts nothing; use loss_on=last"
        )
    if request.eos and request.rendered.skip:
        raise ValueError(
            "loss: call: a model with an encoder writes its answer as a whole; say `loss: last` in task.yaml"
        )
    # Earlier answers of a conversation are read by the encoder, which predicts nothing.
    read, cut = source
    target = _target(request)
    weights = (0.0,) * len(read) + (1.0,) * len(target)
    return Row((*read, *target), weights, request.prompt, request.name, cut, encoded=len(read))


def _input(tokenizer: Any, text: str, max_length: int, truncation: str) -> Source:
    """Return what an encoder reads, and the number of tokens cut from the text; what the tokenizer puts around it stays."""
    encoded = tokenizer(text, return_special_tokens_mask=True, return_attention_mask=False, verbose=False)
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    if not ids:
        # An encoder needs one token at least; the end token is what T5 reads for an empty input.
        return (tokenizer.eos_token_id,), 0
    start = next((i for i, special in enumerate(added) if not special), len(ids))
    stop = next((i for i in range(len(ids), start, -1) if not added[i - 1]), start)
    cut = min(max(len(ids) - max_length, 0), stop - start)
    if truncation == "right":
        return (*ids[: stop - cut], *ids[stop:]), cut
    return (*ids[:start], *ids[start + cut :]), cut


def _target(request: EncodeRequest) -> list[int]:
    """Return the tokens that a decoder writes."""
    tokenizer, rendered = request.tokenizer, request.rendered
    # The delimiter's space separates two texts of one sequence; a decoder's answer begins without it.
    text = rendered.target.lstrip() + (rendered.end if request.eos else "")
    encoded = tokenizer(text_target=text, return_special_tokens_mask=True, verbose=False)
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    if all(added):
        raise ValueError(
            f"{request.heading}the tokenizer makes no token of the target {rendered.target!r}; change the target"
        )
    # The tokenizer may end a target itself: a scored choice has no end, and a trained one gets exactly one.
    while added.pop():
        ids.pop()
    if request.eos:
        ids.append(tokenizer.eos_token_id)
    if len(ids) > request.max_length:
        raise ValueError(
            f"{request.heading}the target is {len(ids)} tokens long and must fit into max_length={request.max_length}; "
            "raise the length, or shorten or remove the example"
        )
    return ids
