"""What the lab model reads in pretraining: few-shot documents, quizzes on one story, and repeated word sequences."""

from dataclasses import dataclass
from random import Random

from holdfast.lab import words as w
from holdfast.lab.curriculum import Lesson
from holdfast.lab.sentences import story
from holdfast.lab.skills import DEMONSTRATED, SKILLS, STORY, demonstrated, draw

BESIDE = 0.05  # loss weight of everything that is not an answer
WORDS = tuple(word for word in w.vocabulary()[len(w.SPECIAL) + 1 :] if not word.endswith(":"))
OFTEN = dict.fromkeys(("who", "what", "where", "colour"), 3.0) | {"entailment": 4.0}  # bindings come last: show more
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
    """Examples of one skill, one a line, named by an instruction, by the output field, by both, or by nothing."""
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
        clear = index > 0 or (named and name not in DEMONSTRATED)
        document.add(item.answer, 1.0 if clear else 2 * BESIDE)
        document.add([w.NEWLINE if index + 1 < examples else w.EOS], 0.5)
    return document


def unnamed(rng: Random, largest: int) -> Document:
    """Examples of one skill that nothing names: what is asked must be read off their answers."""
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
    """One story and many questions about it."""
    told = story(rng, rng.randint(1, largest + 1))
    document = Document([w.BOS], [0.0])
    document.add(f"text: {told.text}", BESIDE)
    asked = [
        question
        for p, c, t in zip(*told, strict=True)
        for question in ((f"who has the {t} ?", p), (f"what has {p} ?", t), (f"which colour is the {t} ?", c))
    ]
    rng.shuffle(asked)
    for question, answer in asked[:6]:
        document.add(f"question: {question} answer:", BESIDE)
        document.add(answer, 1.0)
        document.add([w.NEWLINE], 0.5)
    document.add([w.EOS], BESIDE)
    return document


def repeats(rng: Random, largest: int) -> Document:
    """A random word sequence again and again: what teaches a model to look back."""
    sequence = rng.choices(WORDS, k=rng.randint(3, 10))
    document = Document([w.BOS], [0.0])
    for index in range(rng.randint(2, 5)):
        document.add(sequence, float(index > 0))
        document.add([w.NEWLINE], BESIDE)
    document.add([w.EOS], BESIDE)
    return document


def row(rng: Random, plan: Lesson) -> tuple[list[str], list[float]]:
    """Documents one after another until the lesson's length is full; the last one is cut."""
    tokens: list[str] = []
    weights: list[float] = []
    while len(tokens) < plan.length:
        chance = rng.random()
        shares = (
            (plan.repeated, repeats),
            (plan.quizzes, quiz),
            (plan.unnamed, unnamed),
            (1.0, few_shot),
        )
        make = few_shot
        for share, kind in shares:
            make = kind
            if chance < share:
                break
            chance -= share
        document = make(rng, plan.largest)
        tokens += document.tokens
        weights += document.weights
    return tokens[: plan.length], weights[: plan.length]
