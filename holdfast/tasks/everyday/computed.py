"""Tasks whose answers a program computes: arithmetic, counting, operations on lists, patterns to go on with."""

from random import Random

from holdfast.tasks.task import Example

WORDS = (
    "apple", "bread", "chair", "cloud", "dance", "eagle", "flute", "grape", "honey", "island", "jacket", "kettle", "lemon", "mirror",
    "night", "ocean", "pencil", "queen", "river", "stone", "table", "violin", "window", "yellow", "zebra", "bottle", "candle",
    "dragon", "engine", "forest", "garden", "hammer", "ladder", "market", "needle", "orange", "pepper", "rabbit", "silver", "tomato",
    "valley", "winter", "basket", "button", "carpet", "dinner", "finger", "guitar",
)  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def arithmetic(rng: Random, index: int) -> Example:
    """Return a sum, a difference, a product or a quotient of whole numbers, in signs or in words."""
    form = ("add", "subtract", "multiply", "add", "divide", "subtract")[index % 6]
    if form == "add":
        a, b = rng.randint(2, 49), rng.randint(2, 49)
        text, value = rng.choice(("{} + {}", "{} plus {}")), a + b
    elif form == "subtract":
        a = rng.randint(6, 49)
        b = rng.randint(2, a - 1)
        text, value = rng.choice(("{} - {}", "{} minus {}")), a - b
    elif form == "multiply":
        a, b = rng.randint(2, 12), rng.randint(2, 10)
        text, value = rng.choice(("{} * {}", "{} times {}")), a * b
    else:
        b, value = rng.randint(2, 10), rng.randint(2, 12)
        a, text = b * value, rng.choice(("{} / {}", "{} divided by {}"))
    return _short({"input": text.format(a, b)}, str(value))


def counting(rng: Random, index: int) -> Example:
    """Return a question for the number of words in a list: of all, or of a word among others."""
    word, *others = rng.sample(WORDS, 4)
    form = index % 3
    if form == 0:
        count = rng.randint(2, 5)
        text = f"How many words are in this list: {', '.join(rng.sample(WORDS, count))}?"
    elif form == 1:
        count = rng.randint(1, 3)
        listed = [word] * count + others[: rng.randint(1, 2)]
        rng.shuffle(listed)
        text = f"How many times is the word {word} in this list: {', '.join(listed)}?"
    else:
        count = rng.randint(2, 5)
        text = f"How many words are here: {' '.join([word] * count)}?"
    return _short({"input": text}, str(count), NUMBERS[count])


def lists(rng: Random, index: int) -> Example:
    """Return a list of words with a question for an item, or for the list in another order."""
    listed = rng.sample(WORDS, rng.randint(3, 5))
    gone = rng.choice(listed)
    questions = (
        ("Which is the first item?", listed[0]),
        ("Which is the last item?", listed[-1]),
        ("Which items are left without " + gone + "?", ", ".join(word for word in listed if word != gone)),
        ("Which is the second item?", listed[1]),
        ("Which item comes first in the alphabet?", min(listed)),
        ("What is the list in reverse order?", ", ".join(reversed(listed))),
        (f"Which item comes right after {listed[-2]}?", listed[-1]),
        ("What is the list in alphabetical order?", ", ".join(sorted(listed))),
    )
    question, answer = questions[index % len(questions)]
    return _short({"input": f"{', '.join(listed)}\nQuestion: {question}"}, answer)


def patterns(rng: Random, index: int) -> Example:
    """Return a sequence that goes on in a way that it shows: a repeated pattern, equal steps, or letters in order."""
    form = index % 4
    if form == 0:
        cycle = rng.sample(WORDS, rng.randint(2, 4))
        length = rng.randint(2 * len(cycle), 3 * len(cycle) - 1)
        items = [cycle[i % len(cycle)] for i in range(length + 1)]
    elif form == 1:
        start, step = rng.randint(1, 40), rng.choice((1, 2, 3, 4, 5, 10, -1, -2))
        start += 12 if step < 0 else 0
        items = [str(start + i * step) for i in range(6)]
    elif form == 2:
        # Nonsense, so that only the context can tell what comes next.
        pairs = [(_syllables(rng), _syllables(rng)) for _ in range(2)]
        items = [f"{a} {b}" for a, b in (pairs[0], pairs[1], pairs[0], pairs[1])]
    else:
        start, step = rng.randint(0, 9), rng.choice((1, 1, 2, 3))
        items = [chr(ord("A") + start + i * step) for i in range(6)]
    return _short({"input": ", ".join(items[:-1]) + ","}, items[-1])


def _syllables(rng: Random) -> str:
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2))


def _short(fields: dict[str, object], answer: str, *others: str) -> Example:
    # Listed answers are compared without case and punctuation, so that a full stop does not make a right answer wrong.
    return Example(fields, answer, answers=(answer, *others))
