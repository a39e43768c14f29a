"""The world's sentences: stories, opinions, phrases, and what the invented languages make of them."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from holdfast.lab import vocabulary as w


class Story(NamedTuple):
    """A story: people, and the thing that each has, and its colour; the i-th of each belong together."""

    people: list[str]
    colours: list[str]
    things: list[str]

    @property
    def having(self) -> str:
        """Return one clause a person, who comes first: to find a thing by its owner."""
        return " ".join(f"{p} has the {c} {t} ." for p, c, t in zip(*self, strict=True))

    @property
    def held(self) -> str:
        """Return one clause a thing, which comes first: to find an owner by the thing."""
        return " ".join(f"the {c} {t} is with {p} ." for p, c, t in zip(*self, strict=True))

    @property
    def coloured(self) -> str:
        """Return one clause a thing: to find its colour."""
        return " ".join(f"the {t} is {c} ." for _, c, t in zip(*self, strict=True))


def story(rng: Random, size: int, names: Sequence[str] = w.NAMES, *, distinct_kinds: bool = False) -> Story:
    """Return a story of `size` different people with different things; with `distinct_kinds`, no two things are of one kind."""
    # Drawn even where it is replaced: all later draws of the generator depend on it.
    things = rng.sample(w.THINGS, size)
    if distinct_kinds:
        things = [rng.choice(w.KINDS[group]) for group in rng.sample(tuple(w.KINDS), size)]
    return Story(rng.sample(names, size), rng.sample(w.COLOURS, size), things)


def whereabouts(people: Sequence[str], places: Sequence[str]) -> str:
    """Return one clause a person, with the room that the person is in."""
    return " ".join(f"{person} is in the {room} ." for person, room in zip(people, places, strict=True))


def opinion(rng: Random, adjective: str, names: Sequence[str] = w.NAMES) -> str:
    """Return a sentence whose feeling is that of the adjective."""
    thing = rng.choice(w.THINGS)
    return rng.choice(
        (
            f"the {thing} in the {rng.choice(w.PLACES)} was {adjective}",
            f"{rng.choice(names)} found the {thing} {rng.choice(('very', 'quite'))} {adjective}",
            f"the {rng.choice(w.COLOURS)} {thing} looked {adjective}",
        )
    )


def phrase(rng: Random, thing: str) -> str:
    """Return a noun phrase around a thing."""
    return f"the {rng.choice(tuple(w.OPPOSITES))} {rng.choice(w.COLOURS)} {thing}"


def sentence(rng: Random, names: Sequence[str] = w.NAMES) -> tuple[str, str, str, str]:
    """Return subject, verb, colour and thing, which each language puts in its own order."""
    return rng.choice(names), rng.choice(w.VERBS), rng.choice(w.COLOURS), rng.choice(w.THINGS)


def in_english(name: str, verb: str, tint: str, thing: str) -> str:
    return f"{name} {verb} the {tint} {thing}"


def in_zan(name: str, verb: str, tint: str, thing: str) -> str:
    """Return subject, object, verb; the colour after its thing."""
    return f"{name} {w.ZAN[thing]} {w.ZAN[tint]} {w.ZAN[verb]}"


def in_pol(name: str, verb: str, tint: str, thing: str) -> str:
    """Return verb, subject, object; the colour before its thing."""
    return f"{w.POL[verb]} {name} {w.POL[tint]} {w.POL[thing]}"


def told(rng: Random, name: str, core: str) -> str:
    """Return a long-winded sentence around a core."""
    asides = (
        f", who is {rng.choice(tuple(w.OPPOSITES))} ,",
        f"from the {rng.choice(w.PLACES)}",
        f", who was in the {rng.choice(w.PLACES)} ,",
    )
    return f"{name} {rng.choice(asides)} {core} in the {rng.choice(w.PLACES)}"


def some_words(rng: Random, size: int) -> list[str]:
    return rng.sample((*w.THINGS, *w.COLOURS, *w.NAMES), rng.randint(3, 3 + size // 2))


def two_numbers(rng: Random, size: int) -> tuple[int, int, str]:
    """Return two different numbers and a sentence that holds them."""
    a, b = rng.sample(range(1, 4 + 2 * size), 2)  # up to 9, so that their sum has a word: there are words up to twenty
    left, right = rng.sample(w.NAMES, 2)
    return a, b, f"{left} has {w.NUMBERS[a]} and {right} has {w.NUMBERS[b]}"


def gift(rng: Random) -> tuple[str, str, str, str]:
    """Return giver, thing, receiver and the sentence that says so."""
    giver, receiver = rng.sample(w.NAMES, 2)
    thing = rng.choice(w.THINGS)
    return giver, thing, receiver, f"{giver} gave the {rng.choice(w.COLOURS)} {thing} to {receiver}"
