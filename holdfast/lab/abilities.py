"""The abilities of a pretrained lab model: the share of answers, and of their tokens, that it would give."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import torch

from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import choose_demonstrations, render

Table = dict[str, dict[str, float]]  # by task, then by number of demonstrations
Mode = Literal["first", "sampled"]
END = "\n"  # ends an answer
ROWS = 32  # computed together


class Match(NamedTuple):
    """Shares of the answers that are right to the end, and of the answers' tokens."""

    exact: float
    tokens: float


def encoded_items(
    tokenizer: Any, task: Task, shots: int, limit: int, split: str, room: int, demonstrations: Mode = "sampled"
) -> Iterator[tuple[list[int], int]]:
    """Yield (token ids, number of them at the end that are the answer and the newline that ends it) of each item.

    Demonstrations come from the train split, else from the others of the split itself. What is longer than `room` tokens loses the
    oldest of its prompt; an answer longer than half of that is left out.
    """
    examples = task.splits[split]
    pool = task.splits.get("train") or examples  # a task with a test split alone still has other items to show
    for index, example in enumerate(examples[:limit]):
        shown = choose_demonstrations(
            task.template, pool, shots, mode=demonstrations, seed=0, index=index, exclude=example
        )
        rendered = render(task.template, example, shown)
        prompt = tokenizer(rendered.prompt, verbose=False)["input_ids"]  # longer than the model: it is cut here
        answer = tokenizer(rendered.target + END, add_special_tokens=False)["input_ids"]
        if len(answer) > room // 2:
            continue
        cut = max(0, len(prompt) + len(answer) - room)
        # The first token stays: it opens every text that the model has read in pretraining.
        yield prompt[:1] + prompt[1 + cut :] + answer, len(answer)


@torch.no_grad()
def match(
    model: Any,
    tokenizer: Any,
    task: Task,
    shots: int,
    *,
    limit: int = 200,
    split: str = "test",
    demonstrations: Mode = "sampled",
) -> Match:
    """Return the shares that greedy decoding gets right, over the first `limit` items of a split.

    The right answer is shown to the model whole: greedy decoding gives exactly it if and only if each of its tokens is
    the most likely one behind the tokens before it. It ends with a newline, or with the end of the text.
    """
    room = model.config.max_position_embeddings
    items = sorted(encoded_items(tokenizer, task, shots, limit, split, room, demonstrations), key=size)
    # By length, so that the rows of a forward pass need little padding; the shares do not depend on the order.
    right = hits = predicted = 0
    for start in range(0, len(items), ROWS):
        part = items[start : start + ROWS]
        tokens = torch.full((len(part), max(map(size, part))), tokenizer.pad_token_id)
        wanted = torch.zeros_like(tokens, dtype=torch.bool)
        for i, (ids, answer) in enumerate(part):
            tokens[i, : len(ids)] = torch.tensor(ids)
            wanted[i, len(ids) - answer : len(ids)] = True
        hidden = model.model(input_ids=tokens.to(model.device), use_cache=False).last_hidden_state[:, :-1]
        # The head is computed where an answer is predicted only: for all tokens its logits would be most of the memory.
        best = model.lm_head(hidden[wanted[:, 1:].to(model.device)]).argmax(-1).cpu()
        hit = best == tokens[wanted]
        last = torch.tensor([answer for _, answer in part]).cumsum(0) - 1
        hit[last] |= best[last] == tokenizer.eos_token_id
        answers = hit.split([answer for _, answer in part])
        right += sum(bool(hit.all()) for hit in answers)
        hits += sum(int(hit.sum()) for hit in answers)
        predicted += sum(answer for _, answer in part)
    return Match(right / max(1, len(items)), hits / max(1, predicted))


def size(item: tuple[list[int], int]) -> int:
    """Return the number of tokens of an item."""
    return len(item[0])


def abilities(
    model: Any,
    tokenizer: Any,
    tasks: Iterable[Task],
    shots: Iterable[int],
    *,
    limit: int = 200,
    split: str = "test",
    demonstrations: Mode = "sampled",
) -> Table:
    """Return exact match by task and number of demonstrations; the options are those of `match`."""
    counts = tuple(shots)
    table: Table = {}
    for task in tasks:
        scores = {
            k: match(model, tokenizer, task, k, limit=limit, split=split, demonstrations=demonstrations) for k in counts
        }
        # Keys as text: the table becomes JSON, and is compared with what was read from it.
        table[task.name] = {str(k): round(score.exact, 4) for k, score in scores.items()}
    return table


def mean(table: Table, shots: int) -> float:
    """Return the mean over tasks at a number of demonstrations."""
    return sum(row[str(shots)] for row in table.values()) / len(table)
