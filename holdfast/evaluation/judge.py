"""Ask a model which of two answers is better: in both orders, by the log-probabilities of its reply or by reading it."""

import re
from collections.abc import Sequence
from dataclasses import replace

from holdfast.inference.language_model import NamedModel
from holdfast.inference.sampling import Sampling
from holdfast.results.judged import Choice, JudgedPair
from holdfast.tasks.formats.conversation import without_thinking
from holdfast.tasks.task import Example, Template
from holdfast.tasks.text.templates import render

LETTERS: tuple[Choice, ...] = ("A", "B", "C")
TEXT = """Compare two answers to a question.

Question:
{{ question }}

Answer A:
{{ first }}

Answer B:
{{ second }}

Which answer to the question is better? Reply with one letter: A if answer A is better, B if answer B is better, C if both are alike."""
# A space before the letter as after every colon; a chat's own template ends the question itself.
TEMPLATE = Template(f"{TEXT}\nReply:", delimiter=" ", stop=("\n",), chat="auto")
EMPTY = "(no answer)"
NEW_TOKENS, THINKING = (
    16,
    2048,
)  # of a reply that is read, and of one that had no letter so far: a model may think before it replies
LETTER, TIE = re.compile(r"\b([ABC])\b"), re.compile(r"\b(tie|equal|equally|same|neither|both)\b", re.IGNORECASE)


def gives_likelihoods(model: NamedModel) -> bool:
    """Return whether a model ranks replies by their log-probabilities; a server that only writes does not."""
    try:
        model.check_ranks()
    except ValueError:
        return False
    return True


def compare_answers(model: NamedModel, pairs: Sequence[JudgedPair], *, ranked: bool) -> list[JudgedPair]:
    """Return the pairs with the model's choice in both orders: by log-probabilities, or (without `ranked`) by what it writes.

    A pair that does not fit the model is not asked: without its beginning it would be another question.

    Raises:
        ValueError: the model's chat template cannot write the question.
    """
    texts: list[tuple[str, str]] = []
    for pair in pairs:
        texts += [_text(model, pair, swapped) for swapped in (False, True)]
    cut = model.cuts([(prompt, " A") for prompt, _ in texts], 0 if ranked else NEW_TOKENS)
    fits = [not (cut[2 * number] or cut[2 * number + 1]) for number in range(len(pairs))]
    asked_texts = [text for number, text in enumerate(texts) if fits[number // 2]]
    choices = iter(_ranked(model, asked_texts) if ranked else _written(model, [prompt for prompt, _ in asked_texts]))
    judged: list[JudgedPair] = []
    for pair, fit in zip(pairs, fits, strict=True):
        forward, backward = (next(choices), next(choices)) if fit else ("", "")
        judged.append(replace(pair, forward=forward, backward=backward, fits=fit))
    return judged


def _text(model: NamedModel, pair: JudgedPair, swapped: bool) -> tuple[str, str]:
    """Return the prompt, and what stands before the letter of the reply."""
    first, second = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    fields = {"question": pair.question, "first": first.strip() or EMPTY, "second": second.strip() or EMPTY}
    rendered = render(TEMPLATE, Example(fields, "A"), (), model.tokenizer, name="the judge's question")
    return rendered.prompt, rendered.target.removesuffix("A")


def _ranked(model: NamedModel, texts: Sequence[tuple[str, str]]) -> list[Choice]:
    pairs: list[tuple[str, str]] = []
    for prompt, before in texts:
        pairs += [(prompt, before + letter) for letter in LETTERS]
    values = [score.value for score in model.loglikelihood(pairs)]
    choices: list[Choice] = []
    for number in range(len(texts)):
        three = values[3 * number : 3 * number + 3]
        best: list[Choice] = [letter for letter, value in zip(LETTERS, three, strict=True) if value == max(three)]
        # Of equal values none is chosen: the first of them would be an effect of the order.
        choices.append(best[0] if len(best) == 1 else "C")
    return choices


def _written(model: NamedModel, prompts: Sequence[str]) -> list[Choice]:
    first = model.generate(prompts, Sampling(max_new_tokens=NEW_TOKENS))
    choices: list[Choice] = [read_choice(reply) for reply in first]
    unread = [number for number, choice in enumerate(choices) if not choice]
    room = min(THINKING, model.room // 2)
    if unread and room > NEW_TOKENS:
        replies = model.generate([prompts[number] for number in unread], Sampling(max_new_tokens=room))
        for number, reply in zip(unread, replies, strict=True):
            choices[number] = read_choice(reply)
    return choices


def read_choice(reply: str) -> Choice:
    """Return the choice that a written reply makes: its first letter A, B or C that stands alone, a word for a tie, or "" for neither.

    What a model thinks before its reply is left out, also where that has no end.
    """
    reply = without_thinking(reply)
    if letter := LETTER.search(reply):
        return "A" if letter[1] == "A" else "B" if letter[1] == "B" else "C"
    return "C" if TIE.search(reply) else ""
