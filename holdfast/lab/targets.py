"""Tasks that pretraining never shows, in three classes that behave differently under fine-tuning.

*Elicit*: the ability is there, the format of the answer is new. *Compose*: two abilities that never met must be joined.
*New*: new words or a new rule. Each class has a classification, a generation and an extraction task.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from holdfast.lab import sentences as texts
from holdfast.lab import skills as s
from holdfast.lab import vocabulary as w

LABELS = {"sentiment": ("plus", "minus"), "entailment": ("true", "false"), "words": ("left", "right", "pass", "fail")}
OTHER_LABELS = {
    "sentiment": ("accept", "reject"),
    "entailment": ("good", "bad"),
    "words": ("begin", "end", "more", "less"),
}


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a target: its level of difficulty, and the part of it that is out of domain."""

    hard: bool = False
    long: bool = False
    names: tuple[str, ...] = w.NAMES
    labels: dict[str, tuple[str, ...]] | None = None

    def label(self, group: str, index: int) -> str:
        """Return the answer word of class `index`."""
        return (self.labels or LABELS)[group][index]

    def choices(self, group: str) -> tuple[str, ...]:
        """Return all answer words of a group."""
        return (self.labels or LABELS)[group]


FORMS = {
    "": Form(),
    "-hard": Form(hard=True),
    "-names": Form(names=w.OTHER_NAMES),
    "-long": Form(long=True),
    "-labels": Form(labels=OTHER_LABELS),
}


def _aside(rng: Random, form: Form) -> str:
    """Return a sentence that has nothing to do with the question."""
    return f"{rng.choice(form.names)} is in the {rng.choice(w.PLACES)} ."


def _elicit_sentiment(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        good = rng.random() < 0.5
        text = texts.opinion(rng, rng.choice(w.GOOD if good else w.BAD), form.names)
        if form.hard or form.long:
            text = f"{_aside(rng, form)} {text}"
        if form.hard:
            text = f"{text} . {_aside(rng, form)}"
        return s.Item({"text": text}, form.label("sentiment", 0 if good else 1))

    return s.Skill(make, choices=form.choices("sentiment"))


def _elicit_translate(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        parts = texts.sentence(rng, form.names)
        text = texts.in_english(*parts)
        answer = f"{texts.in_zan(*parts)} moreover {texts.in_pol(*parts)}" if form.hard else texts.in_zan(*parts)
        if form.long:
            text = f"{_aside(rng, form)} {text}"
        return s.Item({"text": text}, f"begin {answer} end")

    return s.Skill(make)


def _elicit_extract(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        story = texts.story(rng, 3 if form.hard or form.long else rng.randint(1, 2), form.names)
        i = rng.randrange(len(story.people))
        fields = {"text": story.held, "question": f"who has the {story.things[i]} ?"}
        return s.Item(fields, f"person {story.people[i]} done")

    return s.Skill(make, s.STORY)


def _compose_entailment(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        story = texts.story(rng, rng.randint(2, 3) if form.hard or form.long else 1, form.names)
        i, true = rng.randrange(len(story.people)), rng.random() < 0.5
        group = w.KIND_OF[story.things[i]]
        claimed = group if true else rng.choice([other for other in w.KINDS if other != group])
        fields = {"text": story.having, "claim": f"{story.people[i]} has the {claimed}"}
        return s.Item(fields, form.label("entailment", 0 if true else 1))

    return s.Skill(make, s.CLAIM, choices=form.choices("entailment"))


def _compose_translate(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        name, verb, tint, thing = texts.sentence(rng, form.names)
        text = texts.told(rng, name, f"{verb} the {tint} {thing}")
        if form.long:
            text = f"{_aside(rng, form)} {text}"
        short = f"{name} {w.ZAN[thing]} {w.ZAN[verb]}"
        return s.Item({"text": text}, texts.in_pol(name, verb, tint, thing) if form.hard else short)

    return s.Skill(make)


def _compose_extract(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        story = texts.story(rng, 3 if form.hard or form.long else 2, form.names, distinct_kinds=True)
        i = rng.randrange(len(story.people))
        fields = {"text": story.held, "question": f"who has the {w.KIND_OF[story.things[i]]} ?"}
        return s.Item(fields, story.people[i])

    return s.Skill(make, s.STORY)


def _new_words(form: Form) -> s.Skill:
    classes = 4 if form.hard else 2
    labels = form.choices("words")[:classes]

    def make(rng: Random, size: int) -> s.Item:
        i = rng.randrange(len(w.NEW_WORDS))
        text = f"the {rng.choice(tuple(w.OPPOSITES))} {w.NEW_WORDS[i]} in the {rng.choice(w.PLACES)}"
        if form.long or form.names != w.NAMES:
            text = f"{_aside(rng, form)} {text}"
        return s.Item({"text": text}, labels[i % classes])

    return s.Skill(make, choices=labels)


def _new_translate(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        name, verb, tint, thing = texts.sentence(rng, form.names)
        text = texts.in_english(name, verb, tint, thing)
        short = f"{w.TEM[tint]} {w.TEM[thing]}"
        if form.long:
            text = f"{_aside(rng, form)} {text}"
        return s.Item({"text": text}, f"{short} {w.TEM[verb]} {name}" if form.hard else f"{short} {name}")

    return s.Skill(make)


def _new_extract(form: Form) -> s.Skill:
    def make(rng: Random, size: int) -> s.Item:
        pool = w.OTHER_NAMES if form.names != w.NAMES else w.THINGS
        listed = rng.sample(pool, 7 if form.long else 5)
        index = rng.randrange(len(listed) - 2)
        listed.insert(index, rng.choice(w.COLOURS))
        return s.Item({"text": " ".join(listed)}, listed[index + (2 if form.hard else 1)])

    return s.Skill(make)


MAKERS: dict[str, Callable[[Form], s.Skill]] = {
    "elicit-sentiment": _elicit_sentiment,
    "elicit-translate": _elicit_translate,
    "elicit-extract": _elicit_extract,
    "compose-entailment": _compose_entailment,
    "compose-translate": _compose_translate,
    "compose-extract": _compose_extract,
    "new-words": _new_words,
    "new-translate": _new_translate,
    "new-extract": _new_extract,
}
# Targets whose answers are labels, so that there is a form with other labels.
LABELLED = ("elicit-sentiment", "compose-entailment", "new-words")
SECOND_FIELD = {  # the output field of the nearest skill, which the second prompt of a target ends with
    "elicit-sentiment": "feeling:",
    "elicit-translate": "zan:",
    "compose-entailment": "verdict:",
    "compose-translate": "zan:",
    "new-words": "kind:",
    "new-translate": "pol:",
}


def variants(target: str) -> list[str]:
    """Return a target's own name, its harder level, and its out-of-domain forms."""
    return [target + form for form in FORMS if form != "-labels" or target in LABELLED]


def target_skill(name: str) -> s.Skill:
    """Return the skill of a target or one of its variants."""
    base = next(target for target in MAKERS if name == target or name.startswith(target + "-"))
    # Without the words that name a skill in pretraining: a target is learned from its examples.
    return replace(MAKERS[base](FORMS[name.removeprefix(base)]), cue="", instruction="")
