"""Beam search over a batch, with the results of transformers' `generate(num_beams=W)` at its default settings.

W beams run for each prompt. A step looks at the best candidates among all one-token extensions. Those that end (at an
end-of-sequence token, a stop string or the limit) while among the W best are finished, and ranked by log-probability
per token, the end counted; the best W that do not end run on. A prompt is done when W beams have finished and the best
running one, at its present length, would not beat the worst of them.
"""

from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from holdfast.inference.decoder_batch import compact
from holdfast.inference.engine import Continuation
from holdfast.inference.finite import check_numbers
from holdfast.inference.sampling import Sampling
from holdfast.inference.stopping import Stops

DEAD = -1e9  # The score of a beam that only fills a place.


@dataclass(slots=True)
class _Search:
    """One prompt's beams: new tokens of the running ones, and (score, tokens) of the finished ones, best first."""

    running: list[list[int]] = field(default_factory=lambda: [[]])
    finished: list[tuple[float, list[int]]] = field(default_factory=list)

    def extend(
        self, candidates: list[tuple[float, int, int]], stops: Stops, sampling: Sampling
    ) -> list[tuple[float, int, int]] | None:
        """Sort (score, beam, token), best first, into finished and running; the running ones, or None when done."""
        kept, width = [], sampling.num_beams
        for rank, (score, beam, token) in enumerate(candidates):
            tokens = [*self.running[beam], token]
            ended = token in stops.eos
            if ended or len(tokens) == sampling.max_new_tokens or stops.reached(tokens):
                if rank < width:
                    self.finished.append((score / len(tokens), tokens[:-1] if ended else tokens))
            elif len(kept) < width:
                kept.append((score, beam, token))
        self.finished = sorted(self.finished, key=lambda item: -item[0])[:width]
        length = len(self.running[0]) + 1
        if not kept or (len(self.finished) == width and kept[0][0] / length <= self.finished[-1][0]):
            return None
        self.running = [[*self.running[beam], token] for _, beam, token in kept]
        # Every prompt keeps W rows, so that rows can be found by arithmetic; a dead beam's score never wins.
        while len(kept) < width:
            kept.append((DEAD, *kept[-1][1:]))
            self.running.append(self.running[-1])
        return kept


def search(begun: Continuation, logits: Tensor, stops: Stops, sampling: Sampling) -> list[list[int]]:
    """Return the best finished beam of each row: new tokens, without the end-of-sequence token.

    Args:
        begun: B prompts, their own tokens seen.
        logits: `[B, V]`, what follows them.
        sampling: Its `num_beams` is W.
    """
    width = sampling.num_beams
    searches = [_Search() for _ in logits]
    live = list(range(len(searches)))
    # Of so many candidates W remain though each end token takes W of them (as transformers does).
    looked_at = max(2, 1 + len(stops.eos)) * width
    wide = False  # True once every prompt has its W rows; before, the beams are equal and one row serves for all.
    scores = torch.log_softmax(logits.float(), -1)  # [B, V], as if every prompt had one beam
    while True:
        vocabulary = logits.shape[-1]
        best, index = scores.topk(min(looked_at, scores.shape[-1]))
        check_numbers(best)
        kept: dict[int, list[tuple[float, int, int]]] = {}
        for slot, (values, indices) in enumerate(zip(best.tolist(), index.tolist(), strict=True)):
            candidates = [(value, *divmod(i, vocabulary)) for value, i in zip(values, indices, strict=True)]
            if running := searches[live[slot]].extend(candidates, stops, sampling):
                kept[slot] = running
        if not kept:
            return [finished.finished[0][1] for finished in searches]
        if not wide:
            begun.repeat(width)
            wide = True
        parents = list(range(len(live) * width))
        for slot, running in kept.items():
            parents[slot * width : (slot + 1) * width] = [slot * width + beam for _, beam, _ in running]
        begun.reorder(torch.tensor(parents, device=logits.device))
        order = compact(list(kept), len(live))
        # Beams are reordered within their prompt first: only then do whole prompts move, whose caches hold different texts.
        begun.keep(list(chain.from_iterable(range(slot * width, (slot + 1) * width) for slot in order)))
        live = [live[slot] for slot in order]
        sums, _, tokens = zip(*chain.from_iterable(kept[slot] for slot in order), strict=True)
        logits = begun.advance(torch.tensor(tokens, device=logits.device))
        scores = torch.log_softmax(logits.float(), -1) + torch.tensor(sums, device=logits.device)[:, None]
        scores = scores.view(len(live), -1)
