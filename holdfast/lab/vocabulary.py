"""The closed vocabulary of the lab's world: English words, invented languages, and the tokens that hold texts together."""

from collections.abc import Sequence
from itertools import chain, product


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "anna tom mary john lucy sam kate paul emma jack nina ben rosa max ida leo vera finn lena hugo olga carl ruth otto"
)
OTHER_NAMES = _words("alma bert cora dirk elsa fred gina hans")  # kept for out-of-domain variants of the targets
KINDS = {
    "animal": _words("dog cat horse cow sheep goat duck hen fox frog"),
    "fruit": _words("apple pear plum grape lemon peach melon cherry fig lime"),
    "tool": _words("hammer saw drill axe spade rake wrench chisel knife brush"),
    "toy": _words("ball doll kite top puppet drum train block robot puzzle"),
    "garment": _words("hat coat scarf shirt sock glove boot belt dress cap"),
}
KIND_OF: dict[str, str] = {}
for _name, _things in KINDS.items():
    KIND_OF |= dict.fromkeys(_things, _name)
THINGS = tuple(KIND_OF)
PLACES = _words("kitchen garden cellar attic hall barn shed office library market school station")
COLOURS = _words("red blue green yellow black white brown pink")
GOOD = _words("lovely great fine sweet nice superb charming pleasant perfect wonderful splendid delightful")
BAD = _words("awful bad dull nasty poor terrible ugly boring dreadful horrid gloomy shabby")
OPPOSITES: dict[str, str] = {}
for _left, _right in (
    *(("big", "small"), ("old", "new"), ("hot", "cold"), ("wet", "dry")),
    *(("long", "short"), ("hard", "soft"), ("clean", "dirty"), ("full", "empty")),
):
    OPPOSITES |= {_left: _right, _right: _left}  # in this order: a token's id is its place in the vocabulary
VERBS = _words("sees takes likes wants finds sells hides draws")
NUMBERS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)


def _invent(count: int, ending: str, consonants: str) -> tuple[str, ...]:
    """Return `count` different words of two syllables and an ending that tells the language."""
    syllables = [consonant + vowel for consonant, vowel in product(consonants, "aeiou")]
    pairs: list[str] = []
    for i, syllable in enumerate(syllables):
        pairs += [syllable + second for second in syllables[i % 3 :: 7]]  # not all, so that few words begin alike
    assert len(pairs) >= count, (len(pairs), count)
    return tuple(pair + ending for pair in pairs[:: len(pairs) // count][:count])


TRANSLATED = (*THINGS, *COLOURS, *VERBS)
ZAN = dict(zip(TRANSLATED, _invent(len(TRANSLATED), "s", "bdgklm"), strict=True))
POL = dict(zip(TRANSLATED, _invent(len(TRANSLATED), "x", "fhnprt"), strict=True))
TEM = dict(zip(TRANSLATED, _invent(len(TRANSLATED), "n", "jsvwyz"), strict=True))  # never in pretraining's translations
MARKERS = _invent(40, "", "bdfgklmnprstvz")  # words without a meaning: marks and labels that demonstrations define
NEW_WORDS = _invent(24, "que", "bdfgkl")  # words of the `new` targets

FIELDS = _words("text: question: claim: answer:")
CUES = _words(
    "feeling: kind: opposite: zan: pol: english: summary: first: last: reverse: count: total: most: giver: gift: receiver: "
    "verdict:"
)
GRAMMAR = _words(
    ". , ? the a has is in was found looked from very quite who what where which colour gave to and or not with"
)
INSTRUCTIONS = _words(
    "say feeling kind opposite translate into zan pol english summarise give first last word reverse list count words add "
    "numbers larger number who gave what was given got choose the text"
)
ANSWERS = _words("good bad true false")
TARGET_WORDS = _words("plus minus accept reject left right pass fail more less begin end moreover person done")

BOS, EOS, PAD, UNK = SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")
NEWLINE = "\n"


def vocabulary() -> list[str]:
    """Return every token of the world, in the order of its id."""
    groups: Sequence[Sequence[str]] = (
        *(SPECIAL, (NEWLINE,), FIELDS, CUES, GRAMMAR, INSTRUCTIONS, ANSWERS, TARGET_WORDS, tuple(KINDS)),
        *(NAMES, OTHER_NAMES, THINGS, PLACES, COLOURS, GOOD, BAD, tuple(OPPOSITES), VERBS, NUMBERS),
        *(tuple(ZAN.values()), tuple(POL.values()), tuple(TEM.values()), MARKERS, NEW_WORDS),
    )
    # A dict and not a set: weights are stored by id. A word of two groups has the id of the first.
    return list(dict.fromkeys(chain.from_iterable(groups)))
