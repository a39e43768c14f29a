"""The documents of the lab model's pretraining: few-shot documents, quizzes on one story, and repeated word sequences."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from holdfast.lab import vocabulary as w
from holdfast.lab.curriculum import Lesson
from holdfast.lab.sentences import phrase, story, whereabouts
from holdfast.lab.skills import CLAIM, DEMONSTRATED, SKILLS, STORY, TEXT, Item, claim, demonstrated, draw, split_of

BESIDE = 0.05  # loss weight of everything that is not an answer
WORDS = tuple(word for word in w.vocabulary()[len(w.SPECIAL) + 1 :] if not word.endswith(":"))
BETWEEN = ((), (",",), ("is", "with"), ("has", "the"), ("is", "in", "the"))
OFTEN = dict.fromkeys(("who", "what", "where", "colour"), 1.5) | {"entailment": 3.0}  # what comes last is shown more
OFTEN |= dict.fromkeys(("label", "mark", "reverse", "add"), 2.0) | dict.fromkeys(("count", "most"), 1.5)
NAMES = (*SKILLS, *DEMONSTRATED)
BARE = ("first", "last", "giver", "given", "receiver", *DEMONSTRATED)
FREQUENCY = [OFTEN.get(name, 1.0) for name in NAMES]


@dataclass(frozen=True, slots=True)
class Document:
    """Tokens as strings, and the loss weight of predicting each."""

    tokens: list[str]
    weights: list[float]

    def add(self, words: str | list[str], weight: float) -> None:
        """Append words that are learned with a weight."""
        words = words.split(" ") if isinstance(words, str) else words
        self.tokens.extend(words)
        self.weights.extend([weight] * len(words))


def few_shot(rng: Random, largest: int) -> Document:
    """Return examples of one skill, one a line, named by an instruction, by the output field, by both, or by nothing."""
    name = rng.choices(NAMES, FREQUENCY)[0]
    skill = demonstrated(name, rng) if name in DEMONSTRATED else SKILLS[name]
    style = rng.random()
    cue = skill.cue if skill.cue and style < 0.6 else "answer:"
    instruction = skill.instruction if 0.4 < style < 0.8 or not skill.cue else ""
    named = bool(instruction) or cue != "answer:" or skill.question == STORY
    document = Document([], [])
    document.add(w.BOS, 0.0)
    if instruction:
        document.add([*instruction.split(" "), w.NEWLINE], BESIDE)
    examples = rng.randint(1, 7)
    for index in range(examples):
        item = draw(skill.make, rng, rng.randint(1, largest))
        document.add(f"{skill.question.format(**item.fields)} {cue}", BESIDE)
        # A first answer that nothing explains cannot be known: at full weight the model would learn to guess.
        clear = index > 0 or (named and name not in DEMONSTRATED)
        document.add(item.answer, 1.0 if clear else 2 * BESIDE)
        document.add([w.NEWLINE if index + 1 < examples else w.EOS], 0.5)
    return document


def unnamed(rng: Random, largest: int) -> Document:
    """Return examples of one skill that nothing names: what is asked must be read off their answers."""
    name = rng.choice(BARE)
    skill = demonstrated(name, rng) if name in DEMONSTRATED else SKILLS[name]
    document = Document([], [])
    document.add(w.BOS, 0.0)
    if skill.instruction and name in DEMONSTRATED:
        document.add([*skill.instruction.split(" "), w.NEWLINE], BESIDE)
    examples = rng.randint(3, 7)
    for index in range(examples):
        item = draw(skill.make, rng, rng.randint(1, largest))
        document.add(f"{skill.question.format(**item.fields)} answer:", BESIDE)
        document.add(item.answer, 1.0 if index else 2 * BESIDE)
        document.add([w.NEWLINE if index + 1 < examples else w.EOS], 0.5)
    return document


def quiz(rng: Random, largest: int) -> Document:
    """Return one story of two people or more, and a question about each of its clauses."""
    size = rng.randint(2, max(2, largest))
    told, places = story(rng, size), rng.sample(w.PLACES, size)
    people, colours, things = told
    text, questions = rng.choice(
        (
            (told.having, [(f"what has {p} ?", t) for p, t in zip(people, things, strict=True)]),
            (told.held, [(f"who has the {t} ?", p) for p, t in zip(people, things, strict=True)]),
            (told.coloured, [(f"which colour is the {t} ?", c) for c, t in zip(colours, things, strict=True)]),
            (whereabouts(people, places), [(f"where is {p} ?", x) for p, x in zip(people, places, strict=True)]),
        )
    )
    items = [Item({"text": text, "question": question}, answer) for question, answer in questions]
    if not all(split_of(item) == "train" for item in items):  # one test question in it would be read with its answer
        return quiz(rng, largest)
    rng.shuffle(items)
    return on_one_text(items, STORY, lambda: "answer:")


def verdicts(rng: Random, largest: int) -> Document:
    """Return one story and many claims, true or false."""
    told, skill = story(rng, rng.randint(1, largest)), SKILLS["entailment"]
    items = [claim(rng, told, rng.randrange(len(told.people))) for _ in range(rng.randint(3, 6))]
    if not all(split_of(item) == "train" for item in items):
        return verdicts(rng, largest)
    instruction = skill.instruction if rng.random() < 0.5 else ""
    return on_one_text(items, CLAIM, lambda: rng.choice((skill.cue, "answer:")), instruction)


def on_one_text(items: list[Item], layout: str, cue: Callable[[], str], instruction: str = "") -> Document:
    """Return the text that all items share, once, then each item's question and answer."""
    opening, _, query = layout.partition(" {text} ")
    document = Document([w.BOS], [0.0])
    if instruction:
        document.add([*instruction.split(" "), w.NEWLINE], BESIDE)
    document.add(f"{opening} {items[0].fields['text']}", BESIDE)
    for item in items:
        document.add(f"{query.format(**item.fields)} {cue()}", BESIDE)
        document.add(item.answer, 1.0)
        document.add([w.NEWLINE], BESIDE)
    document.add([w.EOS], BESIDE)
    return document


def sorting(rng: Random, largest: int) -> Document:
    """Return many things of two kinds, and a label for each kind that only the earlier lines show."""
    kinds, labels = rng.sample(tuple(w.KINDS), 2), rng.sample(w.MARKERS, 2)
    told: Callable[[str], str] = (lambda thing: thing) if rng.random() < 0.5 else (lambda thing: phrase(rng, thing))

    def make(rng: Random, size: int) -> Item:
        side = rng.randrange(2)
        return Item({"text": told(rng.choice(w.KINDS[kinds[side]]))}, labels[side])

    document = Document([w.BOS], [0.0])
    if rng.random() < 0.5:
        document.add(["choose", min(labels), "or", max(labels), w.NEWLINE], BESIDE)
    seen: set[str] = set()
    for _ in range(rng.randint(4, 14)):
        item = draw(make, rng, 1)
        document.add(f"{TEXT.format(**item.fields)} answer:", BESIDE)
        # A label that was not shown yet cannot be known.
        document.add(item.answer, 1.0 if item.answer in seen else 2 * BESIDE)
        document.add([w.NEWLINE], BESIDE)
        seen.add(item.answer)
    document.add([w.EOS], BESIDE)
    return document


def pairs(rng: Random, largest: int) -> Document:
    """Return pairs of random words and then questions for the partner of each: binding without a story."""
    size, between = rng.randint(largest, 2 * largest), rng.choice(BETWEEN)
    drawn = rng.sample(WORDS, 2 * size)
    bound = list(zip(drawn[::2], drawn[1::2], strict=True))
    document = Document([w.BOS], [0.0])
    for left, right in bound:
        document.add([left, *between, right, "."], BESIDE)
    rng.shuffle(bound)
    for left, right in bound:
        document.add([left, "answer:" if between else ","], BESIDE)
        document.add(right, 1.0)
    document.add([w.EOS], BESIDE)
    return document


def repeats(rng: Random, largest: int) -> Document:
    """Return a random word sequence again and again, which teaches a model to look back."""
    sequence = rng.choices(WORDS, k=rng.randint(6, 24))
    document = Document([w.BOS], [0.0])
    for index in range(rng.randint(2, 3)):
        document.add(sequence, float(index > 0))  # the first time it is random, and cannot be predicted
        document.add([w.NEWLINE], BESIDE)
    document.add([w.EOS], BESIDE)
    return document


def row(rng: Random, plan: Lesson) -> tuple[list[str], list[float]]:
    """Return words and loss weights of documents one after another until the lesson's length is full; the last one is cut."""
    tokens: list[str] = []
    weights: list[float] = []
    while len(tokens) < plan.length:
        chance = rng.random()
        shares = (
            (plan.repeated, repeats),
            (plan.paired, pairs),
            (plan.quizzes, quiz),
            (plan.unnamed, unnamed),
            (plan.sorting, sorting),
            (plan.verdicts, verdicts),
            (1.0, few_shot),
        )
        make = few_shot
        for share, maker in shares:
            make = maker
            if chance < share:
                break
            chance -= share  # one random number decides among all, however many there are
        document = make(rng, plan.largest)
        tokens += document.tokens
        weights += document.weights
    return tokens[: plan.length], weights[: plan.length]
