"""The everyday suite: general tasks in English that any language model can be asked, offline, made of our facts and phrases.

What is lost by fine-tuning shows in such tasks, so a run measures them where no general tasks are named. Every answer is short and
ends at a newline. The items are the same for everybody: no seed of a run enters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from random import Random

from holdfast.tasks.everyday import computed, obeyed, sentences, texts
from holdfast.tasks.everyday.countries import CAPITALS
from holdfast.tasks.everyday.knowledge import FACTS
from holdfast.tasks.everyday.lexicon import NOUNS
from holdfast.tasks.everyday.words import ANTONYMS, PAST_TENSES, PLURALS
from holdfast.tasks.examples.splits import version
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.templates import asked_text

NAME = "everyday"
PREFIX = f"{NAME}:"
TEST, VALIDATION, TRAIN = 100, 20, 180  # items; a table of facts leaves fewer to train on
DRAWS = 100  # per item that is needed, before a maker counts as unable to make so many different ones

Maker = Callable[[Random, int], Example]


@dataclass(frozen=True, slots=True)
class EverydayTask:
    """One task of the suite: in words, its examples (a table in whatever order, or a maker of as many as are drawn), and its form."""

    summary: str
    instruction: str
    input: str
    metric: str
    examples: Callable[[Random], Iterator[Example]]
    stop: tuple[str, ...] = ("\n",)


def names() -> list[str]:
    """Return the names of the suite's tasks."""
    return list(TASKS)


@cache  # a run asks for a task several times
def task(name: str) -> Task:
    """Return the task of a name in the suite.

    Raises:
        KeyError: there is none.
    """
    made = TASKS[name]
    template = Template(made.input, made.instruction, delimiter=" ", separator="\n\n", stop=made.stop)
    different: dict[str, Example] = {}
    drawn = islice(made.examples(Random(PREFIX + name)), DRAWS * (TRAIN + VALIDATION + TEST))
    # By the question as it is asked: no question of one split is in another.
    while len(different) < TRAIN + VALIDATION + TEST and (example := next(drawn, None)) is not None:
        different.setdefault(asked_text(template, example), example)
    examples = tuple(different.values())
    held_out = len(examples) - TEST - VALIDATION
    assert held_out >= TRAIN / 6, f"{name}: {len(examples)} different examples"
    splits = {
        "train": examples[:held_out],
        "validation": examples[held_out : held_out + VALIDATION],
        "test": examples[held_out + VALIDATION :],
    }
    return Task(PREFIX + name, splits, template, made.metric, version(template, splits), "the everyday suite")


def _drawn(make: Maker) -> Callable[[Random], Iterator[Example]]:
    """Return examples that a maker draws; it is told the index, so that forms and labels take turns."""
    return lambda rng: (make(rng, index) for index in count())


def _table(rows: Callable[[], list[tuple[str, ...]]]) -> Callable[[Random], Iterator[Example]]:
    """Return the rows (question, answer, other right answers) of a table in shuffled order."""

    def examples(rng: Random) -> Iterator[Example]:
        for question, answer, *others in rng.sample(table := rows(), len(table)):
            yield Example({"input": question}, answer, answers=(answer, *others))

    return examples


def _pairs(text: str, between: str) -> list[tuple[str, ...]]:
    """Return the rows of a text of `question: answer / other answer`, one a line or one in front of each semicolon."""
    rows = []
    for entry in filter(None, map(str.strip, text.replace("\n", " ").split(";") if ";" in text else text.splitlines())):
        question, _, answers = entry.partition(f"{between} ")
        rows.append((question, *map(str.strip, answers.split(" / "))))
    return rows


def _facts() -> list[tuple[str, ...]]:
    return [(f"{question}?", *answers) for question, *answers in _pairs(FACTS, "?")]


def _nouns(language: str) -> Callable[[], list[tuple[str, ...]]]:
    """Return the rows of English nouns in a language: the answer is the bare word, and one with an article is as right."""
    column = 1 + sentences.LANGUAGES.index(language)
    articles = {"le": "un", "la": "une", "les": "des", "der": "ein", "die": "eine", "das": "ein", "el": "un"}
    articles |= {"la": "una"} if language == "Spanish" else {}

    def rows() -> list[tuple[str, ...]]:
        table = []
        for line in NOUNS.strip().splitlines():
            english, *columns = map(str.strip, line.split("|"))
            answers: list[str] = []
            for phrase in columns[column - 1].split(" / "):
                if phrase.startswith("l'"):
                    bare, forms = phrase[2:], ("un", "une")
                else:
                    article, bare = phrase.split(" ", 1)
                    forms = (articles[article],)
                answers += [bare, phrase, *(f"{form} {bare}" for form in forms)]
            table.append((english, *dict.fromkeys(answers)))
        return table

    return rows


def _sentences(rng: Random) -> Iterator[Example]:
    for index in count():
        language = sentences.LANGUAGES[index % len(sentences.LANGUAGES)]
        english, answers = sentences.translation(rng, language)
        yield Example({"english": english, "language": language}, answers[0], answers=answers)


QUESTION = "Question: {{ input }}\nAnswer:"
CLAUSE = ("\n", ",", ".", ";", ":")  # ends an answer that goes on with a sentence of the question
TASKS: dict[str, EverydayTask] = {
    "capitals": EverydayTask(
        "the capital of a country", "Give the capital of the country.", "Country: {{ input }}\nCapital:", "exact_match",
        _table(lambda: _pairs(CAPITALS, ":")),
    ),
    "facts": EverydayTask(
        "questions of general knowledge", "Answer the question in a few words.", QUESTION, "exact_match", _table(_facts),
    ),
    "plurals": EverydayTask(
        "the plural of a noun", "Give the plural of the word.", "one {{ input }}, two", "exact_match",
        _table(lambda: _pairs(PLURALS, ":")), CLAUSE,
    ),
    "past-tenses": EverydayTask(
        "the past tense of a verb", "Give the past tense of the verb.", "Verb: {{ input }}\nPast tense:", "exact_match",
        _table(lambda: _pairs(PAST_TENSES, ":")),
    ),
    "antonyms": EverydayTask(
        "the opposite of a word", "Give the opposite of the word.", "Word: {{ input }}\nOpposite:", "exact_match",
        _table(lambda: _pairs(ANTONYMS, ":")),
    ),
    "arithmetic": EverydayTask(
        "whole numbers: plus, minus, times, divided by", "Calculate.", "{{ input }} =", "exact_match", _drawn(computed.arithmetic),
    ),
    "counting": EverydayTask(
        "the number of words in a list", "Answer the question with a number.", QUESTION, "exact_match",
        _drawn(computed.counting),
    ),
    "lists": EverydayTask(
        "an item of a list, or the list in another order", "Answer the question about the list.", "List: {{ input }}\nAnswer:",
        "exact_match", _drawn(computed.lists),
    ),
    "patterns": EverydayTask(
        "the next item of a sequence", "Write the next item of the sequence.", "Sequence: {{ input }}\nNext:", "exact_match",
        _drawn(computed.patterns), ("\n", ","),  # a model that goes on and on has said the next item first
    ),
    "sentiment": EverydayTask(
        "is a review positive or negative", "Say whether the review is positive or negative.", "Review: {{ input }}\nSentiment:",
        "accuracy", _drawn(texts.sentiment),
    ),
    "topic": EverydayTask(
        "the topic of a headline, of six", f"Name the topic of the headline: {', '.join(texts.TOPICS)}.",
        "Headline: {{ input }}\nTopic:", "accuracy", _drawn(texts.topic),
    ),
    "entailment": EverydayTask(
        "which of two conclusions follows from a text", "Read the text and write what follows from it.",
        "Text: {{ text }}\nConclusion:", "accuracy", _drawn(texts.entailment),
    ),
    "reading": EverydayTask(
        "a question about three sentences", "Read the text and answer the question in a word or two.",
        "Text: {{ text }}\nQuestion: {{ question }}\nAnswer:", "exact_match", _drawn(texts.reading),
    ),
    "french-words": EverydayTask(
        "a noun in French", "Translate the word into French.", "English: {{ input }}\nFrench:", "exact_match",
        _table(_nouns("French")),
    ),
    "german-words": EverydayTask(
        "a noun in German", "Translate the word into German.", "English: {{ input }}\nGerman:", "exact_match",
        _table(_nouns("German")),
    ),
    "spanish-words": EverydayTask(
        "a noun in Spanish", "Translate the word into Spanish.", "English: {{ input }}\nSpanish:", "exact_match",
        _table(_nouns("Spanish")),
    ),
    "sentences": EverydayTask(
        "a short sentence in French, German or Spanish", "Translate the sentence into the language that is named.",
        "English: {{ english }}\n{{ language }}:", "f1", _sentences,
    ),
    "json": EverydayTask(
        "what a sentence says, as JSON", "Write what the text says as a JSON object with these keys.",
        "Text: {{ text }}\nKeys: {{ keys }}\nJSON:", "checked", _drawn(obeyed.extraction),
        ("\n\n",),  # JSON may have lines
    ),
    "instructions": EverydayTask(
        "an instruction whose fulfilment a program checks", "Do exactly what the instruction says.",
        "Instruction: {{ input }}\nResponse:", "checked", _drawn(obeyed.instructions),
    ),
}  # fmt: skip
