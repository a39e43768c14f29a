"""Jobs that requests are made of, and what comes out of one, piece by piece."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.inference.sampling import Sampling
from holdfast.inference.stopping import Stops

UNSURE = "\ufffd"  # what a decoder writes for a part of a character


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of a text: the characters that it holds, its log-probability (None: nothing stands before it), and the likeliest ones."""

    text: str
    begin: int
    logprob: float | None
    likeliest: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class Written:
    """A finished text: `reason` is `stop`, or `length` where it was cut; `tokens` its new tokens."""

    text: str
    tokens: tuple[int, ...]
    reason: str
    scored: tuple[ScoredToken, ...] = ()


@dataclass(eq=False)
class Job:
    """A prompt to continue, to score, or only to count.

    Attributes:
        model: The name of the model.
        prompt: A text, or the messages of a conversation.
        sampling: Settings; `max_new_tokens` is the most where `limit` is None.
        tell: Called by the worker with a piece of text, with `Written` once for each sample, or with an error.
        limit: New tokens that are asked for.
        seeded: False: the seed is drawn, for all who are asked at once.
        echo: Score the prompt's own tokens, and write at most one.
        likeliest: Score with so many of the likeliest tokens at each place; None scores nothing.
        streams: Tell of pieces.
        counts: Only count the prompt's tokens (`Written` without text).
        gone: Set when nobody waits for it any more.
        text, tokens: The prompt as the model reads it, once its turn came.
    """

    model: str
    prompt: str | list[dict[str, str]]
    sampling: Sampling
    tell: Callable[[Any], None]
    limit: int | None = None
    seeded: bool = True
    echo: bool = False
    likeliest: int | None = None
    streams: bool = False
    counts: bool = False
    gone: threading.Event = field(default_factory=threading.Event)
    text: str = ""
    tokens: tuple[int, ...] = ()

    @property
    def alike(self) -> tuple[object, ...]:
        """Return what jobs must share to be computed side by side: limits and stop strings are each one's own business."""
        chosen, drawn = self.sampling, ()
        if chosen.draws:
            drawn = (chosen.temperature, chosen.top_k, chosen.top_p, chosen.seed if self.seeded else None)
        return (self.model, self.echo, chosen.samples, drawn)


class GrowingText:
    """The text of new tokens as it grows: what can still change, or be the beginning of a stop string, is held back."""

    def __init__(self, stops: Stops) -> None:
        self.stops, self.sent = stops, ""

    def more(self, tokens: Sequence[int]) -> str:
        """Return what the tokens so far add to what was sent."""
        text = self.stops.text(tokens)
        held = next((n for n in range(len(text), 0, -1) if self._begins(text[-n:])), 0)
        text = text[: len(text) - held].rstrip(UNSURE)
        # A decoder may write the beginning otherwise once more follows; then it waits for the end.
        if not text.startswith(self.sent):
            return ""
        piece, self.sent = text[len(self.sent) :], text
        return piece

    def rest(self, text: str) -> str:
        """Return what the whole text adds at the end."""
        return text[len(self.sent) :] if text.startswith(self.sent) else ""

    def _begins(self, end: str) -> bool:
        return any(string.startswith(end) for string in (*self.stops.strings, *self.stops.marked))
