"""The skills of the world: each makes (fields, answer) pairs, and has the words by which a text names it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple
from zlib import crc32

from holdfast.lab import sentences as s
from holdfast.lab import vocabulary as w

TEXT = "text: {text}"
STORY = "text: {text} question: {question}"
CLAIM = "text: {text} claim: {claim}"


class Item(NamedTuple):
    """One question and its answer."""

    fields: dict[str, str]
    answer: str


Maker = Callable[[Random, int], Item]


def split_of(item: Item) -> str:
    """Return `train`, `validation` or `test`: decided by the content of the fields alone, so that no two splits share a question."""
    # crc32 and not Python's hash, which differs between processes.
    bucket = crc32(" ".join(item.fields.values()).encode()) % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def draw(make: Maker, rng: Random, size: int, split: str = "train") -> Item:
    """Return an item of a split."""
    while True:  # ends: about one item in ten is of the test split, whatever the skill
        item = make(rng, size)
        if split_of(item) == split:
            return item


@dataclass(frozen=True, slots=True)
class Skill:
    """One ability. `make(rng, size)` draws an item; a larger `size` (1 to 3) means more people, words or clauses.

    `question` is the layout of the fields, `cue` the output field that names the skill, `instruction` the line that does;
    both are empty where only demonstrations can say what is asked.
    """

    make: Maker
    question: str = TEXT
    cue: str = ""
    instruction: str = ""
    choices: tuple[str, ...] | None = None


def who(rng: Random, size: int) -> Item:
    told, i = s.story(rng, size), rng.randrange(size)
    return Item({"text": told.held, "question": f"who has the {told.things[i]} ?"}, told.people[i])


def what(rng: Random, size: int) -> Item:
    told, i = s.story(rng, size), rng.randrange(size)
    return Item({"text": told.having, "question": f"what has {told.people[i]} ?"}, told.things[i])


def colour(rng: Random, size: int) -> Item:
    told, i = s.story(rng, size), rng.randrange(size)
    return Item({"text": told.coloured, "question": f"which colour is the {told.things[i]} ?"}, told.colours[i])


def where(rng: Random, size: int) -> Item:
    people, places, i = rng.sample(w.NAMES, size), rng.sample(w.PLACES, size), rng.randrange(size)
    return Item({"text": s.whereabouts(people, places), "question": f"where is {people[i]} ?"}, places[i])


def entailment(rng: Random, size: int) -> Item:
    told, i = s.story(rng, size), rng.randrange(size)
    return claim(rng, told, i)


def claim(rng: Random, told: s.Story, i: int) -> Item:
    """Return a claim that the i-th person has a thing: their own (true), or one that the story does not name (false)."""
    true = rng.random() < 0.5
    thing = told.things[i] if true else rng.choice([other for other in w.THINGS if other not in told.things])
    return Item({"text": told.having, "claim": f"{told.people[i]} has the {thing}"}, "true" if true else "false")


def sentiment(rng: Random, size: int) -> Item:
    good = rng.random() < 0.5
    return Item({"text": s.opinion(rng, rng.choice(w.GOOD if good else w.BAD))}, "good" if good else "bad")


def thing_kind(rng: Random, size: int) -> Item:
    thing = rng.choice(w.THINGS)
    return Item({"text": s.phrase(rng, thing)}, w.KIND_OF[thing])


def opposite(rng: Random, size: int) -> Item:
    adjective, thing, room = rng.choice(tuple(w.OPPOSITES)), rng.choice(w.THINGS), rng.choice(w.PLACES)
    return Item({"text": f"the {adjective} {thing} in the {room}"}, f"{w.OPPOSITES[adjective]} {thing}")


def to_zan(rng: Random, size: int) -> Item:
    parts = s.sentence(rng)
    return Item({"text": s.in_english(*parts)}, s.in_zan(*parts))


def from_zan(rng: Random, size: int) -> Item:
    parts = s.sentence(rng)
    return Item({"text": s.in_zan(*parts)}, s.in_english(*parts))


def to_pol(rng: Random, size: int) -> Item:
    parts = s.sentence(rng)
    return Item({"text": s.in_english(*parts)}, s.in_pol(*parts))


def from_pol(rng: Random, size: int) -> Item:
    parts = s.sentence(rng)
    return Item({"text": s.in_pol(*parts)}, s.in_english(*parts))


def summary(rng: Random, size: int) -> Item:
    name, verb, tint, thing = s.sentence(rng)
    return Item({"text": s.told(rng, name, f"{verb} the {tint} {thing}")}, f"{name} {verb} {thing}")


def first(rng: Random, size: int) -> Item:
    listed = s.some_words(rng, size)
    return Item({"text": " ".join(listed)}, listed[0])


def last(rng: Random, size: int) -> Item:
    listed = s.some_words(rng, size)
    return Item({"text": " ".join(listed)}, listed[-1])


def reverse(rng: Random, size: int) -> Item:
    listed = s.some_words(rng, size)
    return Item({"text": " ".join(listed)}, " ".join(reversed(listed)))


def count(rng: Random, size: int) -> Item:
    length = rng.randint(1, 3 + size)
    return Item({"text": " ".join(rng.sample((*w.THINGS, *w.COLOURS), length))}, w.NUMBERS[length])


def add(rng: Random, size: int) -> Item:
    a, b, text = s.two_numbers(rng, size)
    return Item({"text": text}, w.NUMBERS[a + b])


def most(rng: Random, size: int) -> Item:
    a, b, text = s.two_numbers(rng, size)
    return Item({"text": text}, w.NUMBERS[max(a, b)])


def giver(rng: Random, size: int) -> Item:
    name, _, _, text = s.gift(rng)
    return Item({"text": text}, name)


def gift_thing(rng: Random, size: int) -> Item:
    _, thing, _, text = s.gift(rng)
    return Item({"text": text}, thing)


def receiver(rng: Random, size: int) -> Item:
    _, _, name, text = s.gift(rng)
    return Item({"text": text}, name)


def marked(mark: str) -> Maker:
    """Return a maker that copies the words and puts a mark after them that only the demonstrations show."""

    def make(rng: Random, size: int) -> Item:
        listed = rng.sample((*w.THINGS, *w.COLOURS), rng.randint(1, 1 + size))
        return Item({"text": " ".join(listed)}, " ".join((*listed, mark)))

    return make


def replaced(new: str) -> Maker:
    """Return a maker that says a phrase again with another word for `the`, which only the demonstrations show."""

    def make(rng: Random, size: int) -> Item:
        text = s.phrase(rng, rng.choice(w.THINGS))
        return Item({"text": text}, text.replace("the", new))

    return make


def labelled(kinds: tuple[str, str], labels: tuple[str, str]) -> Maker:
    """Return a maker that names one of two kinds of things by labels that only the demonstrations show."""

    def make(rng: Random, size: int) -> Item:
        i = rng.randrange(2)
        return Item({"text": s.phrase(rng, rng.choice(w.KINDS[kinds[i]]))}, labels[i])

    return make


SKILLS: dict[str, Skill] = {
    "who": Skill(who, STORY),
    "what": Skill(what, STORY),
    "where": Skill(where, STORY),
    "colour": Skill(colour, STORY),
    "entailment": Skill(entailment, CLAIM, "verdict:", "say true or false", ("true", "false")),
    "sentiment": Skill(sentiment, TEXT, "feeling:", "say the feeling", ("good", "bad")),
    "kind": Skill(thing_kind, TEXT, "kind:", "say the kind", tuple(w.KINDS)),
    "opposite": Skill(opposite, TEXT, "opposite:", "say the opposite"),
    "to-zan": Skill(to_zan, TEXT, "zan:", "translate into zan"),
    "from-zan": Skill(from_zan, TEXT, "english:", "translate into english"),
    "to-pol": Skill(to_pol, TEXT, "pol:", "translate into pol"),
    "from-pol": Skill(from_pol, TEXT, "english:", "translate into english"),
    "summary": Skill(summary, TEXT, "summary:", "summarise the text"),
    "first": Skill(first, TEXT, "first:", "give the first word"),
    "last": Skill(last, TEXT, "last:", "give the last word"),
    "reverse": Skill(reverse, TEXT, "reverse:", "reverse the list"),
    "count": Skill(count, TEXT, "count:", "count the words", w.NUMBERS),
    "add": Skill(add, TEXT, "total:", "add the numbers", w.NUMBERS),
    "most": Skill(most, TEXT, "most:", "give the larger number", w.NUMBERS),
    "giver": Skill(giver, TEXT, "giver:", "say who gave"),
    "given": Skill(gift_thing, TEXT, "gift:", "say what was given"),
    "receiver": Skill(receiver, TEXT, "receiver:", "say who got"),
}


def demonstrated(name: str, rng: Random) -> Skill:
    """Return a skill that only demonstrations explain; its mark or labels are drawn anew by `rng`."""
    # Functions, so that a marker is drawn for the skill that is wanted and for no other.
    makers: dict[str, Callable[[], Maker]] = {
        "mark": lambda: marked(rng.choice(w.MARKERS)),
        "replace": lambda: replaced(rng.choice(w.MARKERS)),
    }
    if name == "label":
        kinds, labels = rng.sample(tuple(w.KINDS), 2), tuple(sorted(rng.sample(w.MARKERS, 2)))
        # Listed in one order and used in either: the instruction must not tell which label is whose.
        made = labelled((kinds[0], kinds[1]), (labels[0], labels[1]) if rng.random() < 0.5 else (labels[1], labels[0]))
        return Skill(made, TEXT, "", f"choose {labels[0]} or {labels[1]}", labels)
    return Skill(makers[name]())


DEMONSTRATED = ("mark", "replace", "label")
