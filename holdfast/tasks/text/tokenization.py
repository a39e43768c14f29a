"""Text as rows of token ids, with the boundary between what is read and what is predicted in the right place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from holdfast.row import Row
from holdfast.tasks.text.rendered import Rendered, Span

Tokens = tuple[list[int], list[Span], int]
"""Ids and character spans of a text, and the number of them that the tokenizer puts before it."""

# Characters at the end of a context that are tokenised again with each continuation; of these, those at either end that may come out
# otherwise than in the whole text; and the tokens between that must come out alike.
TAIL, MARGIN, AGREEING = 384, 96, 16


@dataclass(frozen=True, slots=True)
class EncodeRequest:
    """A rendered example, and the settings by which `encode` makes a row of it."""

    tokenizer: Any
    rendered: Rendered
    max_length: int
    eos: bool = False
    name: str = ""
    prompt: int | None = None
    loss_on: str = "last"
    truncation: str = "input"

    @property
    def heading(self) -> str:
        """The beginning of a message about this example."""
        return f"{self.name}: " if self.name else ""


class TextLayout(Protocol):
    """The rule by which a prompt and its target become the tokens of a row. A model's `Architecture` says which layout it has."""

    def row(self, request: EncodeRequest) -> Row:
        """Return the row of a rendered example; see `encode`."""
        ...

    def rows(self, requests: Sequence[EncodeRequest]) -> list[Row]:
        """Return the rows of several targets behind one prompt, which is tokenised once."""
        ...

    def prompt(self, tokenizer: Any, text: str, max_length: int) -> tuple[int, ...]:
        """Return the tokens to generate from; see `encode_prompt`."""
        ...

    def bounded(self, context: str, target: str) -> str:
        """Return the part of both texts that must fit into the model's positions."""
        ...


def encode(
    tokenizer: Any,
    rendered: Rendered,
    *,
    max_length: int,
    eos: bool,
    name: str = "",
    prompt: int | None = None,
    loss_on: Literal["last", "all"] = "last",
    truncation: Literal["input", "right"] = "input",
    layout: TextLayout | None = None,
) -> Row:
    """Return the row of a rendered example; a token that holds any character of the target carries weight 1.

    Prompt and target are tokenised together, as the model will meet them, and the offsets say which token holds what:
    a token that straddles the boundary is predicted. `loss_on="all"` weights the demonstrations' answers as well.

    Earlier answers of a conversation (`Rendered.turns`) are weighted too, and of the target all but `Rendered.skip`.

    Beginning of sequence: once, where the tokenizer itself puts it, also when a chat template has written it already.
    End of sequence: with `eos`, the row ends in the tokenizer's end token, predicted with weight 1, once, and
    `rendered.end` stands before it; without `eos` (a scored choice) neither is there, whatever the tokenizer adds.

    A row longer than `max_length` loses the oldest tokens of its prompt, those behind the beginning-of-sequence token;
    the target is never cut, and at least one token stays before it. With `truncation="right"` it loses its last tokens
    instead, the target first, as in the code of the FTICL paper. `Row.cut` and `Row.lost` count what went.

    A first token with no soft prompt (`prompt`) before it cannot be predicted and weighs 0.

    That is the layout of one sequence, which `layout` replaces (`holdfast.tasks.text.two_sequences`).

    Raises:
        ValueError: the target does not fit into `max_length` tokens; it has no token; the tokenizer has no offsets; or
            `loss_on="all"`, and the demonstrations are where an encoder reads them.
    """
    request = EncodeRequest(tokenizer, rendered, max_length, eos, name, prompt, loss_on, truncation)
    return (layout or ONE_SEQUENCE).row(request)


def encode_pairs(
    tokenizer: Any,
    context: str,
    continuations: Sequence[str],
    *,
    max_length: int,
    prompt: int | None = None,
    layout: TextLayout | None = None,
) -> list[Row]:
    """Return a row for each continuation of one context that scores it: the boundary where training puts it, and no end token.

    The context is tokenised once: with a continuation, only its last `TAIL` characters are tokenised again. The halves are joined
    where `AGREEING` tokens in a row are the same in both, with the same spans. Byte pairs cannot come out otherwise then: tokens are
    the encoding of their text if each two neighbours are that of theirs. Where the halves do not agree the whole text is tokenised.

    Raises:
        ValueError: as `encode` does.
    """
    requests = [EncodeRequest(tokenizer, Rendered(context, text), max_length, prompt=prompt) for text in continuations]
    return (layout or ONE_SEQUENCE).rows(requests)


def encode_text(tokenizer: Any, text: str) -> Tokens:
    """Return ids and character spans of a text, and the number of tokens put before it; none are put behind it.

    Raises:
        ValueError: the tokenizer has no offsets.
    """
    return _tokens(tokenizer, text)


def encode_prompt(tokenizer: Any, text: str, *, max_length: int, layout: TextLayout | None = None) -> tuple[int, ...]:
    """Return the tokens to generate from, at most `max_length`: begun as in training, no end token, the oldest cut first.

    Raises:
        ValueError: `max_length` is below 1, or the tokenizer has no offsets.
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length} leaves no room for a prompt; ask for fewer new tokens")
    return (layout or ONE_SEQUENCE).prompt(tokenizer, text, max_length)


class OneSequence:
    """Prompt and target are one text, tokenised as the model will meet it."""

    def row(self, request: EncodeRequest) -> Row:
        """Return the row of the whole text."""
        return _whole(request)

    def rows(self, requests: Sequence[EncodeRequest]) -> list[Row]:
        """Return the rows of several targets behind one prompt."""
        # A short context, or one continuation, is tokenised as fast whole as in halves.
        if len(requests) < 2 or len(requests[0].rendered.prompt) <= 2 * TAIL:
            return [_whole(request) for request in requests]
        tokenizer, context = requests[0].tokenizer, requests[0].rendered.prompt
        targets = [request.rendered.target for request in requests]
        joined = _joined(tokenizer, context, _tokens(tokenizer, context), targets)
        return [_whole(request, tokens) for request, tokens in zip(requests, joined, strict=True)]

    def prompt(self, tokenizer: Any, text: str, max_length: int) -> tuple[int, ...]:
        """Return the text's tokens without their end; of too many, those behind the beginning-of-sequence token are cut."""
        ids, _, start = _tokens(tokenizer, text)
        start = min(start, max_length)
        cut = max(len(ids) - max_length, 0)
        return (*ids[:start], *ids[start + cut :])

    def bounded(self, context: str, target: str) -> str:
        """Return both texts: they share the model's positions."""
        return context + target


ONE_SEQUENCE = OneSequence()


def _joined(tokenizer: Any, context: str, whole: Tokens, continuations: Sequence[str]) -> list[Tokens | None]:
    """Return the tokens of a context with each continuation, from those of the context alone; None where the whole text is needed."""
    ids, spans, start = whole
    cut = next((i for i in range(len(ids) - 1, start - 1, -1) if spans[i][0] <= len(context) - TAIL), start)
    if cut >= len(ids):
        return [None] * len(continuations)
    begin = spans[cut][0]
    ends = tokenizer(
        [context[begin:] + text for text in continuations],
        add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False,
    )  # fmt: skip
    here = next((i for i in range(cut, len(ids)) if spans[i][0] >= begin + MARGIN), len(ids))
    same = slice(here, here + AGREEING)
    agreed = [
        (token, (first - begin, last - begin)) for token, (first, last) in zip(ids[same], spans[same], strict=True)
    ]
    # Near its end the context alone may be cut into other tokens than with a continuation: nothing is compared there.
    if len(agreed) < AGREEING or agreed[-1][1][1] > len(context) - begin - MARGIN:
        return [None] * len(continuations)
    joined: list[Tokens | None] = []
    for new, places in zip(ends["input_ids"], ends["offset_mapping"], strict=True):
        there = next((i for i, span in enumerate(places) if span[0] >= MARGIN), len(new))
        if list(zip(new[there:], places[there:], strict=True))[:AGREEING] != agreed:
            joined.append(None)
            continue
        moved = [(first + begin, last + begin) for first, last in places[there:]]
        joined.append(([*ids[:here], *new[there:]], [*spans[:here], *moved], start))
    return joined


def _whole(request: EncodeRequest, tokens: Tokens | None = None) -> Row:
    """Return a row in which prompt and target are one text; `tokens` are that text's, where they are known."""
    tokenizer, rendered, max_length = request.tokenizer, request.rendered, request.max_length
    text = rendered.prompt + rendered.target + (rendered.end if request.eos else "")
    boundary = len(rendered.prompt)
    ids, spans, start = tokens or _tokens(tokenizer, text, request.heading)
    # By the token's end: one that straddles the boundary holds a character of the target, and must be predicted.
    first = next((i for i in range(start, len(ids)) if spans[i][1] > boundary or not boundary), len(ids))
    if first == len(ids):
        raise ValueError(
            f"{request.heading}the tokenizer makes no token of the target {rendered.target!r}; change the target"
        )
    weights = [0.0] * first + [1.0] * (len(ids) - first)
    trained = (*(rendered.answers if request.loss_on == "all" else ()), *(rendered.turns if request.eos else ()))
    if trained:
        for i in range(start, first):
            weights[i] = float(any(_overlap(spans[i], answer) for answer in trained))
    # A scored text is scored whole, whatever would be trained of it.
    skip = rendered.skip if request.eos else 0
    if skip:
        weights[first:] = [float(spans[i][1] > boundary + skip) for i in range(first, len(ids))]
    # A chat template may have closed the answer with the end token already.
    if request.eos and ids[-1] != tokenizer.eos_token_id:
        ids.append(tokenizer.eos_token_id)
        weights.append(float(skip < len(text) - boundary))
    predicted = len(ids) - first
    cut, lost = max(len(ids) - max_length, 0), 0
    if request.truncation == "right":
        lost = sum(weight > 0 for weight in weights[max_length:])
        del ids[max_length:], weights[max_length:]
    elif predicted + 1 > max_length:
        raise ValueError(
            f"{request.heading}the target is {predicted} tokens long and must fit with one token before it into "
            f"max_length={max_length}; raise the length, or shorten or remove the example"
        )
    else:
        # The oldest of the prompt goes, behind the beginning token: the question stands at its end.
        start = min(start, max_length - predicted)
        lost = sum(weight > 0 for weight in weights[start : start + cut]) if rendered.turns else 0
        del ids[start : start + cut], weights[start : start + cut]
    # A first token is predicted from nothing, unless a soft prompt stands before it.
    if request.prompt is None:
        weights[0] = 0.0
    return Row(tuple(ids), tuple(weights), request.prompt, request.name, cut, lost)


def _tokens(tokenizer: Any, text: str, heading: str = "") -> Tokens:
    """Return ids and character spans of `text`, and the number of tokens put before it; none that are put behind."""
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{heading}{type(tokenizer).__name__} does not say which characters a token holds; use a tokenizer "
            "with a tokenizer.json"
        )
    encoded = tokenizer(
        text, return_offsets_mapping=True, return_special_tokens_mask=True, return_attention_mask=False, verbose=False
    )
    ids, spans, added = encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"]
    bos = tokenizer.bos_token_id
    if all(added):
        ids = [bos] if bos is not None and bos in ids else []
        return ids, [(0, 0)] * len(ids), len(ids)
    start = added.index(0)
    # End tokens of the tokenizer go: a prompt must not be closed before its answer.
    stop = len(added) - added[::-1].index(0)
    ids, spans = ids[:stop], spans[:stop]
    # A chat template may have written the beginning token that the tokenizer adds: two of them are a text the model never saw.
    if start and ids[start - 1] == bos == ids[start]:
        del ids[start], spans[start]
    return ids, spans, start


def _overlap(first: Span, second: Span) -> bool:
    return first[1] > second[0] and first[0] < second[1]
