"""An engine on a transformers model: what rows have in common is computed once, wherever the model can do that.

What prompts have in common (a soft prompt, the same demonstrations) stands in a cache. Behind it stand the prompts' own tokens, padded
on the left between the two: masked out, and not counted in positions, so that neither padding nor the company of other prompts changes
a result. A model with an encoder encodes its prompts and writes answers (`holdfast.inference.encoder_decoder_batch`). Models that can do
neither go prompt by prompt of equal length (`holdfast.inference.transformers_generate`, `holdfast.inference.recomputed_batch`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from holdfast.inference import decoder_batch, encoder_decoder_batch, prefix_scoring, scoring, transformers_generate
from holdfast.inference.engine import Continuation, PromptBatch
from holdfast.inference.recomputed_batch import RecomputedBatch
from holdfast.inference.sampling import Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.inference.stopping import Stops
from holdfast.models.architecture import architecture_of
from holdfast.models.describe import max_length
from holdfast.prefix.attached import Attached, Prompt, as_attached, updated
from holdfast.prefix.cache import Prefix, prefill, shares
from holdfast.prefix.grouping import families
from holdfast.prefix.probe import inference
from holdfast.prefix.reach import crosses, pads, shares_prefix
from holdfast.row import Row


@dataclass(slots=True)
class TransformersEngine:
    """A transformers model with a prompt attached, or none.

    Attributes:
        model: The model; it is not changed.
        prompt: A soft prompt `[P, D]`, or whatever is attached before every row.
        batch_tokens: The most places (rows x their length, prefix and new tokens included) computed together.
    """

    model: Any
    prompt: Prompt | None = None
    batch_tokens: int = 8192
    # The prefix computed last: batches of one family follow each other.
    _prefix: tuple[tuple[int, ...], Prefix] | None = field(default=None, init=False, repr=False)

    @property
    def vocabulary(self) -> int:
        """V: the size of the model's output, padding included."""
        return self.model.get_output_embeddings().weight.shape[0]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Compute without gradients within the context, low-rank updates attached; a computed prefix is forgotten at its end."""
        with inference(self.model), updated(self.model, as_attached(self.prompt)):
            try:
                yield
            finally:
                # Keys of a prefix hold memory, and are those of the prompt as it was: training may go on after this.
                self._prefix = None

    def label_logits(self, rows: Sequence[Row]) -> Tensor:
        """Return the logits `[N, V]` at the places that carry a weight; `Row.prompt` is ignored."""
        with inference(self.model):
            return prefix_scoring.label_logits(self.model, self._with_prompt(rows), self._prompts)

    def score(self, rows: Sequence[Row], progress: Callable[[int], None] | None = None) -> list[LogLikelihood]:
        """Return the log-likelihood of each row's tokens that carry a weight; `Row.prompt` is ignored."""
        rows = self._with_prompt(rows)
        return scoring.score(self.model, rows, self._prompts, batch_tokens=self.batch_tokens, progress=progress)

    def batches(self, prompts: Sequence[tuple[int, ...]], limit: int, width: int) -> Iterator[PromptBatch]:
        """Return different prompts in batches of at most `batch_tokens` places, with `limit` new tokens and `width` rows each.

        Raises:
            ValueError: a prompt has no tokens or does not fit; or the model can't continue behind the attached prompt.
        """
        self._check(prompts, limit)
        budget, soft = self.batch_tokens // width, len(as_attached(self.prompt))
        if shares(self.model):
            return self._families(prompts, limit, budget)
        if encoder_decoder_batch.writes(self.model):
            chosen = encoder_decoder_batch.batches(prompts, as_attached(self.prompt).soft, limit, budget)
            return (PromptBatch(part) for part in chosen)
        if as_attached(self.prompt).layers:
            raise ValueError(
                f"{type(self.model).__name__} shares no keys and values, so it cannot continue behind a deep prefix"
            )
        return (PromptBatch(part) for part in _equal_lengths(prompts, soft + limit, budget))

    def start(self, batch: PromptBatch, room: int) -> tuple[Continuation, Tensor]:
        """Read a batch of prompts; return its continuation, with room for so many tokens, and the logits `[B, V]` behind each."""
        turns = crosses(
            self.model, len(as_attached(self.prompt)) + batch.shared, self._end(max(map(len, batch.prompts)), room)
        )
        # Where positions turn, keys of the prefix would be those of a shorter text than the one that is written.
        if shares(self.model) and not turns:
            shared = batch.prompts[0][: batch.shared]
            if self._prefix is None or self._prefix[0] != shared:
                self._prefix = shared, prefill(self.model, self.prompt, shared)
            prefix = self._prefix[1]
            # Everything behind the shared tokens; `batches` leaves each prompt at least one.
            suffixes = [tokens[batch.shared :] for tokens in batch.prompts]
            one_copy = self._shares_prefix(prefix.length, batch.longest, room + 1)
            return decoder_batch.start(self.model, prefix, suffixes, room, one_copy=one_copy)
        if encoder_decoder_batch.writes(self.model):
            return encoder_decoder_batch.start(self.model, batch.prompts, self.prompt, room)
        settings = self.model.generation_config
        if settings.forced_bos_token_id is not None or settings.forced_eos_token_id is not None:
            raise ValueError(
                f"{type(self.model).__name__} is made to write a certain first or last token, which only greedy and beam search of this "
                "model alone do; leave the temperature at 0"
            )
        attached = as_attached(self.prompt)
        # Without its updates, which `running` has attached already: they would count twice.
        plain = None if self.prompt is None else Attached(attached.vectors, attached.layers)
        begun = RecomputedBatch(self.model, plain, list(batch.prompts), [[] for _ in batch.prompts])
        return begun, begun.logits()

    def finished(
        self, prompts: Sequence[tuple[int, ...]], stops: Stops, sampling: Sampling
    ) -> Iterator[tuple[tuple[int, ...], list[int]]] | None:
        """Yield (prompt, new tokens) by `model.generate`, where the model's state is not keys and values and nothing is drawn."""
        if sampling.draws or shares(self.model) or encoder_decoder_batch.writes(self.model):
            return None
        batches = self.batches(prompts, sampling.max_new_tokens, sampling.width)
        parts = (batch.prompts for batch in batches)
        return transformers_generate.generate(self.model, parts, as_attached(self.prompt), stops, sampling)

    @property
    def _prompts(self) -> tuple[Prompt, ...]:
        return () if self.prompt is None else (self.prompt,)

    def _with_prompt(self, rows: Sequence[Row]) -> list[Row]:
        return [replace(row, prompt=None if self.prompt is None else 0) for row in rows]

    def _end(self, length: int, room: int) -> int:
        """Return the positions of a prompt's last forward, with so many new tokens read."""
        return len(as_attached(self.prompt)) + length + room

    def _shares_prefix(self, prefix: int, longest: int, limit: int) -> bool:
        """Return True where rows share the memory of the prefix: `prefix` positions of the attached prompt and of shared tokens."""
        return prefix > 0 and shares_prefix(self.model, len(as_attached(self.prompt)) + longest + limit)

    def _check(self, prompts: Sequence[Sequence[int]], limit: int) -> None:
        most, soft, positions = (
            max_length(self.model),
            len(as_attached(self.prompt)),
            architecture_of(self.model).positions,
        )
        for number, tokens in enumerate(prompts, 1):
            if not tokens:
                raise ValueError(
                    f"prompt {number} has no tokens; begin it with a beginning-of-sequence token or some text"
                )
            if soft + positions(len(tokens), limit) > most:
                raise ValueError(
                    f"prompt {number} has {len(tokens)} tokens; with {soft} positions of the attached prompt and {limit} new tokens that "
                    f"is more than the model's {most} positions; shorten the prompt or lower max_new_tokens"
                )

    def _families(self, prompts: Sequence[tuple[int, ...]], limit: int, budget: int) -> Iterator[PromptBatch]:
        """Yield prompts family by family, in batches within the budget."""
        soft = len(as_attached(self.prompt))
        # The token that predicts a first new one stays out of what is shared, so that each row has one of its own.
        for family in families([tokens[:-1] for tokens in prompts]):
            # Where positions turn behind the common beginning, a text goes by itself, and behind as much of itself as can be.
            ends = {i: self._end(len(prompts[i]), limit - 1) for i in family.members}
            turning = [i for i, end in ends.items() if crosses(self.model, soft + family.length, end)]
            yield from (PromptBatch([prompts[i]], len(prompts[i]) - 1, len(prompts[i])) for i in turning)
            members = [prompts[i] for i in family.members if i not in turning]
            if not members:
                continue
            longest, prefix = max(map(len, members)), soft + family.length
            held_once = prefix if self._shares_prefix(prefix, longest, limit) else 0
            for chosen in self._within(members, limit, budget, held_once):
                yield PromptBatch(chosen, family.length, longest)

    def _within(
        self, prompts: list[tuple[int, ...]], limit: int, budget: int, held_once: int
    ) -> Iterator[list[tuple[int, ...]]]:
        """Yield prompts by length, longest first, in batches within the budget; `held_once` positions are there once for all rows."""
        prompts = sorted(prompts, key=len, reverse=True)
        soft = len(as_attached(self.prompt))
        begin = 0
        for end in range(1, len(prompts) + 1):
            longest = soft + len(prompts[begin]) + limit
            if end < len(prompts):
                equal = len(prompts[end]) == len(prompts[begin])
                places = held_once + (end + 1 - begin) * (longest - held_once)
                # A model's own mask counts places, padding included: beyond the length that it proves to pad rightly, only equal lengths
                # go together.
                if places <= budget and (equal or pads(self.model, longest)):
                    continue
            yield prompts[begin:end]
            begin = end


def _equal_lengths(prompts: Sequence[tuple[int, ...]], more: int, budget: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield prompts of one length side by side, short ones first; each takes `more` places beside its tokens."""
    by_length: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for tokens in prompts:
        by_length[len(tokens)].append(tokens)
    for length, members in sorted(by_length.items()):
        count = max(1, budget // (more + length))
        for begin in range(0, len(members), count):
            yield members[begin : begin + count]
