"""Contracts of computing: token ids in, logits out. An engine knows no text; `holdfast.inference.model.Model` puts text around it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from holdfast.inference.finite import check_numbers
from holdfast.inference.sampling import Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.inference.stopping import Stops
from holdfast.row import Row

LOGITS = 2**26  # The most logits of one engine that are held at once where those of several are combined.


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Prompts that are started together: token ids, at least one each.

    `shared` is the number of first tokens in common that are computed once, also with batches that come after it; `longest` the
    length of the longest prompt of all these batches.
    """

    prompts: list[tuple[int, ...]]
    shared: int = 0
    longest: int = 0


class Continuation(Protocol):
    """The state of B prompts while they are continued."""

    def advance(self, tokens: Tensor) -> Tensor:
        """Append a token to each row `[B]`; return the logits `[B, V]` of what follows it."""
        ...

    def keep(self, order: Sequence[int]) -> None:
        """Make row i what row `order[i]` was, and drop the other rows."""
        ...

    def repeat(self, times: int) -> None:
        """Make every row so many equal rows, side by side."""
        ...

    def reorder(self, order: Tensor) -> None:
        """Let row i go on with what row `order[i]` `[B]` wrote; both continue the same prompt."""
        ...


class Engine(Protocol):
    """Logits for token ids. `start`, and what it returns, are called within `running`."""

    @property
    def vocabulary(self) -> int:
        """V."""
        ...

    def running(self) -> AbstractContextManager[object]:
        """Compute without gradients within the context; what is attached to the model stays attached."""
        ...

    def label_logits(self, rows: Sequence[Row]) -> Tensor:
        """Return the logits `[N, V]` at the places that carry a weight: rows as given, places ascending. `Row.prompt` is ignored."""
        ...

    def score(self, rows: Sequence[Row], progress: Callable[[int], None] | None = None) -> list[LogLikelihood]:
        """Return each row's log-likelihood of the tokens that carry a weight.

        `progress` is called with the number of rows finished since its last call.
        """
        ...

    def batches(self, prompts: Sequence[tuple[int, ...]], limit: int, width: int) -> Iterator[PromptBatch]:
        """Yield different prompts in batches that `start` can take and memory can hold, with `limit` new tokens and `width` rows each.

        Raises:
            ValueError: a prompt has no tokens or does not fit.
        """
        ...

    def start(self, batch: PromptBatch, room: int) -> tuple[Continuation, Tensor]:
        """Read a batch of prompts; return its continuation, with room for so many tokens, and the logits `[B, V]` behind each."""
        ...

    def finished(
        self, prompts: Sequence[tuple[int, ...]], stops: Stops, sampling: Sampling
    ) -> Iterator[tuple[tuple[int, ...], list[int]]] | None:
        """Yield (prompt, new tokens) where this engine is quicker than token by token, a prompt's samples one after another; None where
        it is not.
        """
        ...


@dataclass
class CombinedEngine:
    """An engine whose logits are made of those of several engines, token by token; a subclass says by `combine`.

    Each engine reads the same tokens with a cache of its own. With one engine it is a filter of logits.
    """

    engines: tuple[Engine, ...]

    def combine(self, logits: Sequence[Tensor]) -> Tensor:
        """Return the logits `[N, V]` that follow from those of each engine `[N, V_i]`, row by row."""
        raise AssertionError(f"{type(self).__name__} has no combine")

    @property
    def vocabulary(self) -> int:
        """V: that of the first engine."""
        return self.engines[0].vocabulary

    def running(self) -> AbstractContextManager[object]:
        """Run all engines within the context."""
        stack = ExitStack()
        for engine in self.engines:
            stack.enter_context(engine.running())
        return stack

    def label_logits(self, rows: Sequence[Row]) -> Tensor:
        """Return the combined logits `[N, V]` at the places that carry a weight."""
        return self.combine([engine.label_logits(rows) for engine in self.engines])

    def score(self, rows: Sequence[Row], progress: Callable[[int], None] | None = None) -> list[LogLikelihood]:
        """Return each row's log-likelihood of the tokens that carry a weight, a part of the rows at a time."""
        # In parts, because every engine's logits [N, V] exist at once before they are combined.
        scored: list[LogLikelihood] = []
        part: list[Row] = []
        labels, most = 0, max(1, LOGITS // self.vocabulary)
        for number, row in enumerate(rows, 1):
            part.append(row)
            labels += len(row.labels)
            if labels >= most or number == len(rows):
                scored += (
                    likelihoods(self.label_logits(part), part) if labels else [LogLikelihood(0.0, True, 0)] * len(part)
                )
                if progress:
                    progress(len(part))
                part, labels = [], 0
        return scored

    def batches(self, prompts: Sequence[tuple[int, ...]], limit: int, width: int) -> Iterator[PromptBatch]:
        """Return batches that every engine can start."""
        # Each engine cuts what the one before left: what the last can start, all can.
        parts = iter([PromptBatch(list(prompts), 0, max(map(len, prompts)))])
        for engine in self.engines:
            parts = _refined(parts, engine, limit, width)
        return parts

    def start(self, batch: PromptBatch, room: int) -> tuple[Continuation, Tensor]:
        """Start the batch in every engine."""
        started = [engine.start(batch, room) for engine in self.engines]
        return CombinedContinuation(self, [each for each, _ in started]), self.combine(
            [logits for _, logits in started]
        )

    def finished(
        self, prompts: Sequence[tuple[int, ...]], stops: Stops, sampling: Sampling
    ) -> Iterator[tuple[tuple[int, ...], list[int]]] | None:
        """Return None: logits are combined at every token."""
        return None


@dataclass
class CombinedContinuation:
    """The continuations of several engines, which all go the same steps."""

    engine: CombinedEngine
    parts: list[Continuation]

    def advance(self, tokens: Tensor) -> Tensor:
        """Append a token to each row `[B]`; the combined logits `[B, V]` of what follows it."""
        return self.engine.combine([part.advance(tokens) for part in self.parts])

    def keep(self, order: Sequence[int]) -> None:
        """Make row i what row `order[i]` was, and drop the other rows."""
        for part in self.parts:
            part.keep(order)

    def repeat(self, times: int) -> None:
        """Make every row so many equal rows, side by side."""
        for part in self.parts:
            part.repeat(times)

    def reorder(self, order: Tensor) -> None:
        """Let row i go on with what row `order[i]` wrote."""
        for part in self.parts:
            part.reorder(order)


def _refined(parts: Iterator[PromptBatch], engine: Engine, limit: int, width: int) -> Iterator[PromptBatch]:
    """Yield the batches, each cut where this engine must cut it."""
    for part in parts:
        yield from engine.batches(part.prompts, limit, width)


def likelihoods(logits: Tensor, rows: Sequence[Row]) -> list[LogLikelihood]:
    """Return the log-likelihood of each row's labels from the logits `[N, V]` at them, rows as given."""
    targets: list[int] = []
    for row in rows:
        targets += [row.tokens[label] for label in row.labels]
    wanted = torch.tensor(targets, device=logits.device)
    # Summed in float64: in float32 the sum over a long answer loses digits in which close choices differ.
    values = (logits.float().log_softmax(-1).gather(1, wanted[:, None])[:, 0]).cpu().double()
    check_numbers(values)
    hits = (logits.argmax(-1) == wanted).cpu()
    counts = [len(row.labels) for row in rows]
    parts = zip(values.split(counts), hits.split(counts), counts, strict=True)
    return [LogLikelihood(float(value.sum()), bool(hit.all()), count) for value, hit, count in parts]
