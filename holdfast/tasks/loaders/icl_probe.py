"""The probe of in-context learning against instructions: two examples show what to do with a text, and the text is itself a question.

A model that learns in context does what the examples show; one that was tuned to follow instructions answers the question. The answer in
context is what is right here (`icl_vs_if` of Kotha, Springer and Raghunathan, arXiv 2309.10105, benign part).
"""

import random
from collections.abc import Callable

from holdfast.tasks.examples.splits import version
from holdfast.tasks.task import Example, Task, Template

SIZE = 100  # items of each (what to do, kind of question), as the paper has
SHOWN = 4  # of each, to be demonstrations
ACTS: dict[str, Callable[[str], str]] = {"repeat": lambda text: text, "capslock": str.upper}
SUBJECTS = ("the cat", "my sister", "an old man", "the teacher", "our dog", "a small bird", "the king", "her friend")
DOES = ("eats", "sees", "carries", "paints", "finds", "likes", "draws", "buys")
OBJECTS = (
    "a red apple",
    "the moon",
    "two books",
    "a long letter",
    "the green door",
    "some bread",
    "a new hat",
    "the river",
)
BLANKS = ("The capital of France is", "The opposite of hot is", "The day after Monday is", "The colour of snow is")
LANGUAGES = {
    "english": (("Repeat the input.", "Repeat the input in capital letters."), "What is {} plus {}?"),
    "french": (("Répète l'entrée.", "Répète l'entrée en majuscules."), "Combien font {} plus {} ?"),
    "spanish": (("Repite la entrada.", "Repite la entrada en mayúsculas."), "¿Cuánto es {} más {}?"),
    "dutch": (("Herhaal de invoer.", "Herhaal de invoer in hoofdletters."), "Hoeveel is {} plus {}?"),
}


def probe(language: str, seed: int = 0, size: int = SIZE) -> Task:
    """Return the probe with its instruction and sums in a language; the same seed gives the same items.

    The two examples in front belong to each item, so that no demonstrations (0 shots) are needed; those that are asked for are whole
    items. `Example.choices` are the answer in context, which is right, and the answer to the question.
    """
    # Two seeds: with the same one the demonstrations would be items of the test.
    splits = {"train": _items(language, f"{seed}:train", SHOWN), "test": _items(language, str(seed), size)}
    template = Template("{{ input }}", stop=("\n",))
    return Task(f"probe:{language}", splits, template, "starts_with", version(template, splits), "generated")


def _items(language: str, seed: str, size: int) -> tuple[Example, ...]:
    """Return so many items of each (what to do, kind of question), shuffled."""
    rng, items = random.Random(f"{language}:{seed}"), []
    instructions, sums = LANGUAGES[language]
    for does, instruction in zip(ACTS.values(), instructions, strict=True):
        for form in ("sum", "blank"):
            items += [_item(rng, does, instruction, *_question(rng, form, sums)) for _ in range(size)]
    rng.shuffle(items)
    return tuple(items)


def _question(rng: random.Random, form: str, sums: str) -> tuple[str, str]:
    """Return a text that asks for something, and the answer that it asks for."""
    if form == "sum":
        a, b = rng.randint(2, 49), rng.randint(2, 49)
        return sums.format(a, b), str(a + b)
    index = rng.randrange(len(BLANKS))
    start = f"{rng.choice(SUBJECTS)} {rng.choice(DOES)} {rng.choice(OBJECTS)}."
    return f"{start} {BLANKS[index]}", ("Paris", "cold", "Tuesday", "white")[index]


def _item(rng: random.Random, does: Callable[[str], str], instruction: str, question: str, asked_for: str) -> Example:
    shown = [f"{rng.choice(SUBJECTS)} {rng.choice(DOES)} {rng.choice(OBJECTS)}" for _ in range(2)]
    parts = [instruction, *(f"Input: {text}\nOutput: {does(text)}" for text in shown), f"Input: {question}\nOutput:"]
    right = does(question)
    return Example({"input": "\n\n".join(parts)}, right, (right, asked_for))
