"""The language that a tokenizer reads, and the general tasks that a model is asked where none are named."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from holdfast.lab import world
from holdfast.models.endpoint import endpoint_of
from holdfast.models.loading import load_tokenizer
from holdfast.models.resolve import resolve
from holdfast.tasks.everyday import suite
from holdfast.tasks.sources import expand
from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import render

LOOKED_AT = (
    100  # examples of a task, for the words that the tokenizer does not know: enough to tell a twentieth from none
)
UNREAD = 0.05
WORD = re.compile(r"\S+")


class Unread(NamedTuple):
    """The share of a task's tokens that are the tokenizer's unknown token, and the commonest words that they stand for."""

    share: float
    words: tuple[str, ...]


def unread(tokenizer: Any, task: Task) -> Unread | None:
    """Return what a tokenizer cannot tell apart in a task, by its unknown token or by no token at all; None where that is at most a
    twentieth, or where the tokenizer does not say which characters its tokens are of.
    """
    if not getattr(tokenizer, "is_fast", False):
        return None
    inner = tokenizer.backend_tokenizer
    # Either may have it: a tokenizer need not say what its inner model makes of a word that it lacks.
    unknown = {tokenizer.unk_token_id, inner.token_to_id(getattr(inner.model, "unk_token", None) or "")}
    count, words = 0, Counter[str]()
    for example in next((task.splits[name] for name in ("train", "test") if task.splits.get(name)), ())[:LOOKED_AT]:
        shown = render(task.template, example, (), tokenizer)
        text = shown.prompt + shown.target
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        read = set(chain.from_iterable(range(*span) for _, span in spans))
        # By the offsets: the unknown token decodes to its own name, and the message shows the words themselves.
        missing = [text[slice(*span)] for token, span in spans if token in unknown]
        # A tokenizer without an unknown token and without bytes to fall back on leaves words out.
        missing += [word.group() for word in WORD.finditer(text) if word.start() not in read]
        count += max(len(spans), len(missing))
        words.update(missing)
    if words.total() <= UNREAD * count:
        return None
    return Unread(words.total() / count, tuple(word for word, _ in words.most_common(4)))


def default_general(model: str, targets: Sequence[str] = (), *, trust_remote_code: bool = False) -> tuple[str, ...]:
    """Return the TASK arguments of the general tasks that a model is asked where none are named: those in a language that it reads.

    That is the everyday suite for whoever reads English, the lab's general tasks for models with the lab's words, and nothing for
    others. What is a target is left out.

    Raises:
        ValueError: the model's tokenizer cannot be loaded.
    """
    # A server's tokenizer is not here to be looked at, and nearly every model behind one reads English.
    served = endpoint_of(model) is not None
    tokenizer = None if served else load_tokenizer(resolve(model), trust_remote_code=trust_remote_code)
    # By what the tokenizer can read and not by the model's name: a tuned lab model is as little English as the lab's.
    if not unread(tokenizer, suite.task("reading")):
        names, short = expand(suite.NAME), (suite.NAME,)
    elif not unread(tokenizer, world.task(world.general()[0])):
        names = [f"lab:{name}" for name in world.general()]
        short = tuple(names)
    else:
        return ()
    return tuple(name for name in names if name not in targets) if set(names) & set(targets) else short
