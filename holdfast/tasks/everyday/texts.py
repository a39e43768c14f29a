"""Tasks about short texts, which are put together from phrases: sentiment, topic, entailment, reading."""

from random import Random

from holdfast.tasks.task import Example

NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack", "Kate", "Leo", "Maria", "Noah", "Olivia", "Paul",
    "Rosa", "Sam", "Tina", "Victor",
)  # fmt: skip
CITIES = (
    "Paris",
    "London",
    "Berlin",
    "Madrid",
    "Rome",
    "Vienna",
    "Oslo",
    "Lisbon",
    "Dublin",
    "Prague",
    "Boston",
    "Chicago",
)
JOBS = ("teacher", "nurse", "baker", "lawyer", "gardener", "plumber", "singer", "painter", "farmer", "driver")

# Sentiment: what is spoken of, and what is said of it.
REVIEWED = {
    "film": ("the story", "the acting", "the ending", "the music"),
    "restaurant": ("the soup", "the service", "the dessert", "the fish"),
    "hotel": ("the room", "the breakfast", "the view", "the staff"),
    "phone": ("the screen", "the battery", "the camera", "the sound"),
    "book": ("the plot", "the style", "the main character", "the last chapter"),
}
GOOD = (
    "I would {do} it again tomorrow.", "I could not have wished for more.", "It was worth every penny.", "My friends will love it.",
    "Nothing about it disappointed me.", "It was far better than I had feared.", "{Part} alone is worth the money.",
    "I had my doubts, but {part} won me over.", "{Part} was a joy.", "Even my grumpy brother was delighted by {part}.",
    "I cannot find a single fault with {part}.",
)  # fmt: skip
BAD = (
    "I would never {do} it again.", "I want my money back.", "It was a waste of an evening.", "I would not wish it on my friends.",
    "Nothing about it pleased me.", "It was far worse than I had hoped.", "{Part} alone is a reason to stay away.",
    "I had high hopes, but {part} ruined it.", "{Part} was a pain.", "Even my patient brother was annoyed by {part}.",
    "I cannot find a single good word for {part}.",
)  # fmt: skip
OPENINGS = ("We tried this {thing} last week.", "A {thing} that everybody talks about.", "This {thing} was a present.",
            "My sister told me about this {thing}.", "I waited a long time for this {thing}.")  # fmt: skip


def sentiment(rng: Random, index: int) -> Example:
    """Return a review of two sentences with its sentiment."""
    positive = index % 2 == 0
    thing = rng.choice(tuple(REVIEWED))
    part = rng.choice(REVIEWED[thing])
    opinion = rng.choice(GOOD if positive else BAD).format(part=part, Part=part.capitalize(), do="choose")
    text = f"{rng.choice(OPENINGS).format(thing=thing)} {opinion}"
    return _labelled({"input": text}, ("positive", "negative"), 0 if positive else 1)


# Topic: subject and predicate of a headline; each pair of a topic goes together.
TOPICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sports": (
        ("The home team", "The young striker", "The champion", "The coach", "The goalkeeper", "The relay squad"),
        ("wins the final after extra time", "misses the season with a knee injury", "breaks the national record",
         "is cheered by the fans after the match", "reaches the semi-final", "loses at home for the third time"),
    ),
    "business": (
        ("The carmaker", "The central bank", "The retail chain", "The airline", "The start-up", "The insurance group"),
        ("raises its forecast for the year", "reports higher profits", "cuts five hundred jobs", "looks for new investors",
         "expects lower interest rates", "buys a rival for two billion"),
    ),
    "science": (
        ("A team of astronomers", "A biologist", "A new study", "A laboratory", "A space probe", "A group of chemists"),
        ("measures the light of a distant star", "describes a new species of frog", "explains the origin of a rare mineral",
         "tests a theory about black holes", "sends back data from Saturn", "finds how cells repair themselves"),
    ),
    "politics": (
        ("The parliament", "The prime minister", "The opposition", "The mayor", "The senator", "The foreign ministry"),
        ("votes on the new law", "calls for an early election", "defends the tax reform in a debate", "signs the treaty",
         "loses a vote of confidence", "promises to answer the voters"),
    ),
    "food": (
        ("The chef", "The village bakery", "The cookbook", "A reader", "Our test kitchen", "The pizza maker"),
        ("shares a recipe for onion soup", "explains how to roast a chicken", "bakes bread with olives",
         "serves dumplings with fresh herbs", "praises the taste of ripe tomatoes", "adds garlic and butter to the sauce"),
    ),
    "weather": (
        ("The forecast", "The evening bulletin", "The service for the coast", "The outlook for Sunday", "A mountain guide",
         "The station on the island"),
        ("warns of heavy rain in the north", "announces snow for the weekend", "speaks of thick fog in the valleys",
         "promises clear skies and frost at night", "expects temperatures above thirty degrees", "sees the storm move out to sea"),
    ),
}  # fmt: skip


def topic(rng: Random, index: int) -> Example:
    """Return a headline with its topic."""
    names = tuple(TOPICS)
    i = index % len(names)
    subjects, predicates = TOPICS[names[i]]
    return _labelled({"input": f"{rng.choice(subjects)} {rng.choice(predicates)}."}, names, i)


COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey")
KINDS = {
    "dog": "an animal", "cat": "an animal", "rose": "a flower", "tulip": "a flower", "piano": "an instrument", "violin": "an instrument",
    "hammer": "a tool", "saw": "a tool", "pear": "a fruit", "banana": "a fruit", "sofa": "a piece of furniture",
    "table": "a piece of furniture",
}  # fmt: skip
OBJECTS = ("car", "hat", "coat", "bicycle", "house", "boat", "bag", "lamp")
COMPARED = (
    ("taller", "shorter"),
    ("older", "younger"),
    ("richer", "poorer"),
    ("faster", "slower"),
    ("stronger", "weaker"),
)


def entailment(rng: Random, index: int) -> Example:
    """Return a text with two conclusions, of which one follows from it and the other contradicts it."""
    text, true, false = _conclusions(rng)
    # In turns, so that the position of the right one says nothing.
    choices = (true, false) if index % 2 == 0 else (false, true)
    return Example({"text": text}, true, choices=choices)


def _conclusions(rng: Random) -> tuple[str, str, str]:
    """Return a text, a conclusion that follows, and one that contradicts it."""
    form = rng.randrange(7)
    first, second, third = rng.sample(NAMES, 3)
    more, less = rng.choice(COMPARED)
    thing = rng.choice(OBJECTS)
    if form == 0:
        item, other = rng.sample(tuple(KINDS), 2)
        while KINDS[other] == KINDS[item]:
            other = rng.choice(tuple(KINDS))
        text = f"For a birthday {first} gave {second} a {item}."
        return text, f"The present was {KINDS[item]}.", f"The present was {KINDS[other]}."
    if form == 1:
        text = f"{first} is {more} than {second}."
        return text, f"{second} is {less} than {first}.", f"{first} is {less} than {second}."
    if form == 2:
        city, elsewhere = rng.sample(CITIES, 2)
        text = f"{first} left {elsewhere} and now lives in {city} with {second}."
        return text, f"{second} lives in {city} now.", f"{second} lives in {elsewhere} now."
    if form == 3:
        text = f"{first} arrived before {second}."
        return text, f"{second} came later than {first}.", f"{first} came later than {second}."
    if form == 4:
        text = f"{first} wanted to sell the {thing}, but nobody wanted it, so {second} still has to dust it every week."
        return text, f"The {thing} is still there.", f"The {thing} is gone."
    if form == 5:
        pair = [f"{first} is {more} than {second}.", f"{second} is {more} than {third}."]
        rng.shuffle(pair)
        return " ".join(pair), f"{first} is {more} than {third}.", f"{third} is {more} than {first}."
    text = f"Neither {first} nor {second} can drive, but {third} has had a licence for years."
    return text, f"{third} can drive.", f"{rng.choice((first, second))} can drive."


PLACES = ("kitchen", "garden", "cellar", "office", "garage", "library", "bathroom", "attic")
THINGS = ("key", "letter", "umbrella", "phone", "book", "wallet", "ticket", "camera")
ACTIVITIES = ("swimming", "chess", "painting", "singing", "cooking", "tennis", "dancing", "reading")
TIMES = ("at six", "at seven", "at eight", "at nine", "at ten", "at noon")


def reading(rng: Random, index: int) -> Example:
    """Return a passage of three sentences with a question whose answer is a word or two of it."""
    first, second, third = rng.sample(NAMES, 3)
    form = rng.randrange(4)
    if form == 0:
        (thing, other), (room, elsewhere) = rng.sample(THINGS, 2), rng.sample(PLACES, 2)
        text = (
            f"{first} left the {thing} in the {room} and took the {other} to the {elsewhere}. Later {second} came home with {third}. "
            "They looked for everything before dinner."
        )
        where = rng.random() < 0.5
        question = f"Where is the {thing if where else other}?"
        answers = _located(room if where else elsewhere)
    elif form == 1:
        likes = rng.sample(ACTIVITIES, 3)
        text = f"{first} loves {likes[0]}. {second} prefers {likes[1]}, and {third} has taken up {likes[2]} since last summer."
        i = rng.randrange(3)
        question, answers = f"Who is interested in {likes[i]}?", ((first, second, third)[i],)
    elif form == 2:
        start, end = sorted(rng.sample(range(len(TIMES)), 2))
        job, city = rng.choice(JOBS), rng.choice(CITIES)
        text = (
            f"{first}, a {job} in {city}, gets up {TIMES[start]}. The train leaves {TIMES[end]}. In the evening {second} waits with "
            "a warm meal."
        )
        question, answers = rng.choice((
            ("When does the train leave?", (TIMES[end].removeprefix("at "), TIMES[end])),
            (f"When does {first} get up?", (TIMES[start].removeprefix("at "), TIMES[start])),
            (f"What is {first}'s job?", (job,)),
            (f"In which city does {first} work?", (city, f"in {city}")),
            ("Who waits in the evening?", (second,)),
        ))  # fmt: skip
    else:
        thing, colour, price = rng.choice(OBJECTS), rng.choice(COLOURS), rng.randint(20, 90)
        text = (
            f"{first} sold an old {colour} {thing} to {second} for {price} dollars. With the money {first} invited {third} to a "
            "concert. It was a nice evening."
        )
        question, answers = rng.choice((
            ("Who bought something?", (second,)),
            (f"What did {first} sell?", (thing, f"{colour} {thing}", f"old {colour} {thing}", f"old {thing}")),
            (f"How many dollars did {first} get?", (str(price), f"{price} dollars")),
            ("Who was invited to the concert?", (third,)),
            (f"What colour has the {thing}?", (colour,)),
        ))  # fmt: skip
    return Example({"text": text, "question": question}, answers[0], answers=answers)


def _located(room: str) -> tuple[str, ...]:
    return (room, f"in the {room}", f"the {room}")


def _labelled(fields: dict[str, object], choices: tuple[str, ...], index: int) -> Example:
    return Example(fields, choices[index], choices=choices)
