"""Texts of a model's own making: the engine of the methods that train on what a model writes by itself."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from accelerate import PartialState

from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.methods.base import Context
from holdfast.row import Row
from holdfast.tasks.task import Example, Template
from holdfast.tasks.text.templates import render
from holdfast.tasks.text.tokenization import encode_prompt

MARK = "@@question@@"
AT_ONCE = 8192  # Tokens of texts that are sampled together.


def written(label: str, model: LanguageModel, count: int, length: int, chat: float, seed: int) -> list[str]:
    """Return `count` texts drawn from the model at temperature 1, by the seed alone; `label` begins what is said on the way.

    Args:
        length: Tokens of a text at most.
        chat: Share of the texts that are a user's message and its answer, where there is a chat template; the others begin with nothing.
    """
    began = time.perf_counter()
    chats = round(chat * count) if getattr(model.tokenizer, "chat_template", None) else 0
    # At most half of the model's positions: the text of a chat's template needs some as well.
    new = max(2, min(length, model.room // 2))
    texts = continuations(model, "", count - chats, new, seed)
    if chats:
        opening = _user_turn(model.tokenizer, MARK).prompt.partition(MARK)[0]
        begun = [_user_turn(model.tokenizer, text) for text in continuations(model, opening, chats, new // 2, seed)]
        answers = model.generate([turn.prompt for turn in begun], Sampling(new // 2, temperature=1.0, seed=seed))
        texts += [turn.prompt + answer + turn.end for turn, answer in zip(begun, answers, strict=True)]
    if PartialState().is_main_process:
        seconds = time.perf_counter() - began
        print(f"{label}: the model wrote {len(texts)} texts in {seconds:.0f} s", file=sys.stderr, flush=True)
    return texts


def encoded(texts: Sequence[str], context: Context) -> list[Row]:
    """Return a row of each text that is not empty, without weights, behind the token that texts begin with.

    Raises:
        ValueError: all are empty.
    """
    tokenizer, rows = context.pretrained.tokenizer, []
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    length = context.pretrained.max_length
    for number, text in enumerate(texts):
        tokens = encode_prompt(tokenizer, text, max_length=2**30)
        # The token that a text was drawn behind, which not every tokenizer writes.
        tokens = tokens if tokens[:1] == (start,) else (start, *tokens)
        if len(tokens) > 1:
            rows.append(Row(tokens[:length], (0.0,) * min(len(tokens), length), name=f"self_replay[{number}]"))
    if not rows:
        raise ValueError("self_replay: the model wrote nothing but empty texts; use replay with texts of yours")
    return rows


def continuations(model: LanguageModel, opening: str, count: int, new: int, seed: int) -> list[str]:
    """Return so many continuations of one text, drawn at temperature 1, each of `new` tokens at most.

    An empty opening is the beginning of a text.
    """
    texts: list[str] = []
    # Sample j is drawn by the seed + j, so that the size of these parts changes no text.
    size = max(1, AT_ONCE // new)
    for begin in range(0, count, size):
        many = min(size, count - begin)
        texts += model.generate([opening], Sampling(new, temperature=1.0, seed=seed + begin, samples=many))
    return texts


def _user_turn(tokenizer: Any, text: str) -> Any:
    """Return a user's message as the chat template writes it, up to the answer."""
    return render(Template(chat=True), Example({"messages": [{"role": "user", "content": text}]}, ""), (), tokenizer)
