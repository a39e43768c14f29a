"""Tasks whose answers a program checks item by item: instructions with many right answers, and JSON drawn from a text."""

import json
from collections.abc import Callable
from random import Random

from holdfast.tasks.everyday.computed import WORDS
from holdfast.tasks.everyday.texts import CITIES, JOBS, NAMES
from holdfast.tasks.task import Example

GOODS = (
    "lamp",
    "chair",
    "mirror",
    "basket",
    "candle",
    "jacket",
    "carpet",
    "guitar",
    "bottle",
    "ladder",
    "hammer",
    "kettle",
)
Instruction = tuple[str, str, tuple[str, ...]]  # the instruction, an answer that fulfils it, and the checks


def _upper(rng: Random, word: str) -> Instruction:
    return f"Write the word {word} in capital letters.", word.upper(), (f"contains {word}", "words 1", "upper")


def _three(rng: Random, word: str) -> Instruction:
    first, second = rng.choice((("a", "old"), ("the", "new"), ("my", "small"), ("one", "big")))
    return (
        f"Write exactly three words, and let the last be {word}.",
        f"{first} {second} {word}",
        ("words 3", f"ends {word}"),
    )


def _contains(rng: Random, word: str) -> Instruction:
    answer = rng.choice(("We saw the {} again today.", "There is a {} in the picture.", "I like this {} very much."))
    return f"Write a sentence with the word {word}.", answer.format(word), (f"contains {word}", "words 4-20")


def _alphabetical(rng: Random, word: str) -> Instruction:
    listed = rng.sample(WORDS, 3)
    ordered = ", ".join(sorted(listed))
    return (
        f"Write these words in alphabetical order, parted by commas: {', '.join(listed)}.",
        ordered,
        (f"list {ordered}",),
    )


def _repeat(rng: Random, word: str) -> Instruction:
    count = rng.randint(2, 4)
    text = ("", "", "twice", "three times", "four times")[count]
    return f"Write the word {word} {text}.", " ".join([word] * count), (f"repeats {count} {word}", f"words {count}")


def _numbers(rng: Random, word: str) -> Instruction:
    start = rng.randint(1, 20)
    last = start + rng.randint(2, 4)
    text = ", ".join(map(str, range(start, last + 1)))
    return f"Write the numbers from {start} to {last}, parted by commas.", text, (f"list {text}",)


def _quoted(rng: Random, word: str) -> Instruction:
    return f"Write the word {word} in double quotation marks.", f'"{word}"', (f'equals "{word}"',)


def _exclaim(rng: Random, word: str) -> Instruction:
    answer = rng.choice(("What a {}!", "Look at the {}!", "I love my {}!")).format(word)
    return f"Write a short sentence with the word {word} that ends with an exclamation mark.", answer, (
        f"contains {word}", "words 2-20", "ends !",
    )  # fmt: skip


def _letter(rng: Random, word: str) -> Instruction:
    return f"Write one word that begins with the letter {word[0].upper()}.", word, (f"begins {word[0]}", "words 1")


def _lower(rng: Random, word: str) -> Instruction:
    second = rng.choice(WORDS)
    text = f"{word} {second}"
    return f"Write this in small letters: {text.upper()}", text, (f"contains {text}", "lower", "words 2")


def _both(rng: Random, word: str) -> Instruction:
    other = rng.choice([w for w in WORDS if w != word])
    answer = f"The {word} is beside the {other}."
    return f"Write a sentence with the words {word} and {other}.", answer, (
        f"contains {word}", f"contains {other}", "words 4-20",
    )  # fmt: skip


def _hyphens(rng: Random, word: str) -> Instruction:
    listed = [word, *rng.sample([w for w in WORDS if w != word], 2)]
    text = "-".join(listed)
    return f"Join these words with hyphens: {' '.join(listed)}.", text, (f"equals {text}",)


INSTRUCTIONS: tuple[Callable[[Random, str], Instruction], ...] = (
    _upper, _three, _alphabetical, _contains, _repeat, _quoted, _numbers, _exclaim, _letter, _lower, _both, _hyphens,
)  # fmt: skip


def instructions(rng: Random, index: int) -> Example:
    """Return an instruction with the checks of its fulfilment."""
    text, answer, checks = INSTRUCTIONS[index % len(INSTRUCTIONS)](rng, rng.choice(WORDS))
    return Example({"input": text}, answer, checks=checks)


def extraction(rng: Random, index: int) -> Example:
    """Return a text about a person, an order or an event, and what it says as JSON."""
    name, city = rng.choice(NAMES), rng.choice(CITIES)
    if index % 3 == 0:
        age, job = rng.randint(19, 70), rng.choice(JOBS)
        record: dict[str, object] = {"name": name, "age": age, "city": city}
        text = rng.choice((
            f"{name} is {age} years old and lives in {city}.",
            f"Our neighbour {name}, a {job} from {city}, is {age} years old.",
            f"At {age}, {name} moved to {city} to work as a {job}.",
        ))  # fmt: skip
    elif index % 3 == 1:
        item, count, price = rng.choice(GOODS), rng.randint(2, 12), rng.randint(3, 60)
        record = {"item": item, "count": count, "price": price}
        text = rng.choice((
            f"Order: {count} pieces of the article {item}, {price} dollars in all.",
            f"{name} paid {price} dollars for {count} pieces of the article {item}.",
            f"For {price} dollars you get {count} pieces of the article {item}.",
        ))  # fmt: skip
    else:
        day = rng.choice(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"))
        event = rng.choice(("concert", "meeting", "lecture", "football match", "exhibition", "wedding"))
        record = {"event": event, "city": city, "day": day}
        text = rng.choice((
            f"The {event} takes place in {city} on {day}.",
            f"On {day} there is a {event} in {city}, says {name}.",
            f"{name} travels to {city} for the {event} on {day}.",
        ))  # fmt: skip
    target = json.dumps(record)
    return Example({"text": text, "keys": ", ".join(record)}, target, checks=(f"json {target}",))
