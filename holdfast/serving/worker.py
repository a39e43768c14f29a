"""One thread that computes for all clients: what waits together and is alike goes in one batch, in the order of the oldest."""

import queue
import secrets
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import torch

from holdfast.inference.generation import generate
from holdfast.inference.model import Model
from holdfast.row import Row
from holdfast.serving.jobs import GrowingText, Job, ScoredToken, Written
from holdfast.serving.protocol import Refused
from holdfast.serving.roster import Roster
from holdfast.tasks.text.tokenization import encode_text

BATCH = 64  # jobs in one batch: the first to come waits for the last of its batch
WAITING = 1024  # jobs that may wait
LOGITS = 2**26  # that are held at once where tokens are scored


class Worker:
    """Computes jobs one batch after another, so that a model is never in two hands.

    A result does not depend on the batch: whatever else is asked at the same time, greedy answers and likelihoods are those that a text
    has alone, and a drawn text is that of its seed.
    """

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.waiting: list[Job] = []
        self.thread = threading.Thread(target=self._work, name="holdfast-serve", daemon=True)
        self.thread.start()

    @property
    def full(self) -> bool:
        """Return whether so much waits that more should come later."""
        return self.jobs.qsize() + len(self.waiting) >= WAITING

    def submit(self, job: Job) -> None:
        """Compute a job when its turn comes."""
        self.jobs.put(job)

    def close(self) -> None:
        """End the thread after the batch that it computes."""
        self.jobs.put(None)
        self.thread.join(timeout=30)

    def _work(self) -> None:
        while self._gather():
            batch = self._next()
            try:
                if batch:
                    self._compute(batch)
            except (
                Exception
            ) as error:  # Whatever goes wrong with a batch, its clients are told and the others are served.
                self._failed(batch, error)

    def _failed(self, batch: Sequence[Job], error: Exception) -> None:
        if not isinstance(error, ValueError | Refused):
            traceback.print_exc(file=sys.stderr)
        for job in batch:
            job.tell(error)

    def _gather(self) -> bool:
        """Take what was submitted, waiting for it where there is nothing else to do; return False at the end."""
        while True:
            try:
                job = self.jobs.get(block=not self.waiting)
            except queue.Empty:
                return True
            if job is None:
                return False
            try:
                prepare(self.roster.model(job.model), job)
            except Exception as error:
                self._failed([job], error)
                continue
            if job.counts:
                job.tell(Written("", (), "stop"))
            else:
                self.waiting.append(job)

    def _next(self) -> list[Job]:
        """Take the oldest job and those that can go with it."""
        self.waiting = [job for job in self.waiting if not job.gone.is_set()]
        if not self.waiting:
            return []
        first = self.waiting[0]
        room = self.roster.model(first.model).room
        batch: list[Job] = []
        longest = limit = 0
        drawn: set[tuple[int, ...]] = set()
        for job in self.waiting:
            # In one batch each prompt must have room for the most new tokens, though it may end earlier.
            most, new = max(longest, len(job.tokens)), max(limit, job.sampling.max_new_tokens)
            fits = not batch or most + new <= room
            # Equal prompts are one text: two that are drawn without a seed must not be the same.
            twice = job.sampling.draws and not job.seeded and job.tokens in drawn
            if job.alike == first.alike and fits and not twice and len(batch) < BATCH:
                batch.append(job)
                longest, limit = most, new
                drawn.add(job.tokens)
        self.waiting = [job for job in self.waiting if job not in batch]
        return batch

    def _compute(self, batch: Sequence[Job]) -> None:
        model = self.roster.model(batch[0].model)
        if batch[0].echo:
            for job, text in zip(batch, echoed(model, batch), strict=True):
                job.tell(text)
            return
        for job, texts in zip(batch, written(model, batch), strict=True):
            for text in texts:
                job.tell(text)


def prepare(model: Model, job: Job) -> None:
    """Write a job's prompt as the model reads it.

    Raises:
        Refused: the model has no chat template, or no room.
    """
    tokenizer = model.pretrained.tokenizer
    if isinstance(job.prompt, str):
        job.text = job.prompt
    elif not getattr(tokenizer, "chat_template", None):
        raise Refused(400, f"{job.model}: has no chat template; ask /v1/completions", "no_chat_template")
    else:
        try:
            job.text = tokenizer.apply_chat_template(job.prompt, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # whatever a template raises is the template's fault, or the conversation's
            raise Refused(400, f"{job.model}: its chat template refuses the conversation: {error}") from None
    if job.echo and not model.pretrained.architecture.plain_texts:
        raise Refused(400, f"{job.model}: has an encoder and predicts answers, so a prompt has no log-probabilities")
    if job.echo and not encode_text(tokenizer, job.text)[0]:
        raise Refused(400, "prompt: it has no tokens to score", param="prompt")
    job.tokens = model.prompt_tokens(job.text)
    # The last new token is written and never read.
    left = model.room - model.pretrained.architecture.positions(len(job.tokens), 0)
    most = min(job.sampling.max_new_tokens, left) if job.limit is None else job.limit
    if not job.counts and (most > left or left < 1):
        raise Refused(
            400,
            f"{job.model}: the prompt has {len(job.tokens)} tokens and {most} new ones are asked for; there is room for {model.room}",
            "context_length_exceeded",
        )
    job.sampling = replace(job.sampling, max_new_tokens=max(1, most))


def written(model: Model, batch: Sequence[Job]) -> list[list[Written]]:
    """Continue the prompts of jobs side by side, and tell of pieces as they come; each ends at its own limit and stop strings."""
    first, samples = batch[0], batch[0].sampling.samples
    seed = first.sampling.seed if first.seeded else secrets.randbelow(2**31)
    limit = max(job.sampling.max_new_tokens for job in batch)
    sampling = replace(first.sampling, max_new_tokens=limit, stop=(), seed=seed)
    jobs = list(chain.from_iterable([job] * samples for job in batch))  # by the number of the text
    ends = [model.stops(job.sampling) for job in jobs]
    streams = [GrowingText(stops) if job.streams else None for job, stops in zip(jobs, ends, strict=True)]
    lengths: dict[int, int] = {}

    def seen(number: int, tokens: Sequence[int]) -> bool:
        if number in lengths:  # It goes on because an equal prompt wants more of it.
            return False
        job, stream = jobs[number], streams[number]
        if stream and (piece := stream.more(tokens)):
            job.tell(piece)
        if len(tokens) >= job.sampling.max_new_tokens or ends[number].reached(tokens) or job.gone.is_set():
            lengths[number] = len(tokens)
        return number not in lengths

    new = generate(model.engine, [job.tokens for job in batch], model.stops(sampling), sampling, seen=seen)
    texts: list[Written] = []
    for number, (job, tokens) in enumerate(zip(jobs, new, strict=True)):
        # A model that transformers continues tells of nothing on the way, so that the limit is kept here.
        tokens = tokens[: lengths.get(number, job.sampling.max_new_tokens)]
        full = len(tokens) >= job.sampling.max_new_tokens and not ends[number].reached(tokens)
        text, stream = ends[number].text(tokens), streams[number]
        if stream and (piece := stream.rest(text)):
            job.tell(piece)
        scored = () if job.likeliest is None else score(model, [(job.tokens, tokens)], job.likeliest)[0]
        texts.append(Written(text, tuple(tokens), "length" if full else "stop", tuple(scored)))
    return [texts[begin : begin + samples] for begin in range(0, len(texts), samples)]


def echoed(model: Model, batch: Sequence[Job]) -> list[Written]:
    """Score the tokens of each prompt, and write one more where that is asked for."""
    tokenizer = model.pretrained.tokenizer
    encoded = [encode_text(tokenizer, job.text) for job in batch]
    # A token more, which is not read: the logits before it say which would be written.
    pairs = [(ids[:1], [*ids[1:], 0]) for ids, _, _ in encoded]
    scores = score(model, pairs, max([1, *(job.likeliest or 0 for job in batch)]))
    texts: list[Written] = []
    for job, (ids, spans, _), (*labels, last) in zip(batch, encoded, scores, strict=True):
        names = [
            job.text[begin:end] or tokenizer.decode([token]) for token, (begin, end) in zip(ids, spans, strict=True)
        ]
        tokens = [ScoredToken(names[0], spans[0][0], None, None)]
        tokens += [
            replace(label, text=name, begin=begin)
            for label, name, (begin, _) in zip(labels, names[1:], spans[1:], strict=True)
        ]
        text, new = job.text, ()
        if job.limit != 0:
            assert last.likeliest
            name, value = max(last.likeliest.items(), key=lambda item: item[1])
            tokens.append(ScoredToken(name, len(text), value, last.likeliest))
            text, new = text + name, (0,)
        texts.append(Written(text, new, "length", tuple(tokens)))
    return texts


def score(model: Model, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], count: int) -> list[list[ScoredToken]]:
    """Return for each (tokens, tokens behind them) the log-probability of each of the latter, with `count` of the likeliest there."""
    engine, tokenizer = model.engine, model.pretrained.tokenizer
    most = max(1, LOGITS // engine.vocabulary)
    rows: list[tuple[int, Row]] = []
    for number, (before, scored) in enumerate(pairs):
        tokens = (*before, *scored)
        for begin in range(len(before), len(tokens), most):
            end = min(begin + most, len(tokens))
            rows.append((number, Row(tokens[:end], (*[0.0] * begin, *[1.0] * (end - begin)))))
    results: list[list[ScoredToken]] = [[] for _ in pairs]
    part: list[tuple[int, Row]] = []
    for index, (number, row) in enumerate(rows):
        part.append((number, row))
        following = len(rows[index + 1][1].labels) if index + 1 < len(rows) else most
        if sum(len(other.labels) for _, other in part) + following <= most:
            continue
        with torch.inference_mode():
            values = engine.label_logits([other for _, other in part]).float().log_softmax(-1)
        best = values.topk(min(count, values.shape[-1]))
        lines = zip(best.indices, best.values, values, strict=True)
        for owner, other in part:
            for label in other.labels:
                likeliest, chances, here = next(lines)
                names = [tokenizer.decode([token]) for token in likeliest.tolist()]
                # Reversed, so that of two tokens with one text the likelier one counts.
                ranked = dict(zip(reversed(names), reversed(chances.tolist()), strict=True))
                token = other.tokens[label]
                results[owner].append(ScoredToken(tokenizer.decode([token]), 0, float(here[token]), ranked))
        part = []
    return results
