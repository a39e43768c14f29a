"""Short English sentences in French, German and Spanish, made of a few phrases that go with any of the things.

French and Spanish adjectives stand in both genders; the German object is in the accusative. Nothing here begins with a vowel in
French, so that no article is elided and the gender is known.
"""

from random import Random
from typing import NamedTuple

LANGUAGES = ("French", "German", "Spanish")


class Thing(NamedTuple):
    """A noun with its article in each language, by which its gender is known."""

    english: str
    french: str
    german: str
    spanish: str


_THINGS = """
house | la maison | das Haus | la casa
door | la porte | die Tür | la puerta
window | la fenêtre | das Fenster | la ventana
table | la table | der Tisch | la mesa
chair | la chaise | der Stuhl | la silla
lamp | la lampe | die Lampe | la lámpara
key | la clé | der Schlüssel | la llave
garden | le jardin | der Garten | el jardín
bridge | le pont | die Brücke | el puente
castle | le château | das Schloss | el castillo
boat | le bateau | das Boot | el barco
train | le train | der Zug | el tren
car | la voiture | das Auto | el coche
bread | le pain | das Brot | el pan
cheese | le fromage | der Käse | el queso
wine | le vin | der Wein | el vino
apple | la pomme | der Apfel | la manzana
cake | le gâteau | der Kuchen | el pastel
soup | la soupe | die Suppe | la sopa
knife | le couteau | das Messer | el cuchillo
bottle | la bouteille | die Flasche | la botella
flower | la fleur | die Blume | la flor
stone | la pierre | der Stein | la piedra
mountain | la montagne | der Berg | la montaña
river | la rivière | der Fluss | el río
moon | la lune | der Mond | la luna
book | le livre | das Buch | el libro
letter | la lettre | der Brief | la carta
newspaper | le journal | die Zeitung | el periódico
shirt | la chemise | das Hemd | la camisa
dress | la robe | das Kleid | el vestido
coat | le manteau | der Mantel | el abrigo
hat | le chapeau | der Hut | el sombrero
ball | la balle | der Ball | la pelota
ring | la bague | der Ring | el anillo
"""
THINGS = tuple(Thing(*map(str.strip, line.split("|"))) for line in _THINGS.strip().splitlines())
# (English, French, German, Spanish); what follows is the object. Spanish leaves the pronoun out, or says it.
ACTS = (
    ("I see", "je vois", "ich sehe", "veo", "yo"),
    ("I am looking for", "je cherche", "ich suche", "busco", "yo"),
    ("I have", "j'ai", "ich habe", "tengo", "yo"),
    ("he sees", "il voit", "er sieht", "ve", "él"),
    ("he has", "il a", "er hat", "tiene", "él"),
    ("he finds", "il trouve", "er findet", "encuentra", "él"),
    ("she sells", "elle vend", "sie verkauft", "vende", "ella"),
    ("she is looking for", "elle cherche", "sie sucht", "busca", "ella"),
    ("she has", "elle a", "sie hat", "tiene", "ella"),
    ("we have", "nous avons", "wir haben", "tenemos", "nosotros"),
    ("we are buying", "nous achetons", "wir kaufen", "compramos", "nosotros"),
    ("we sell", "nous vendons", "wir verkaufen", "vendemos", "nosotros"),
    ("they see", "ils voient", "sie sehen", "ven", "ellos"),
    ("they have", "ils ont", "sie haben", "tienen", "ellos"),
)
# (English, French masculine, French feminine, German, Spanish masculine, Spanish feminine)
TRAITS = (
    ("big", "grand", "grande", "groß", "grande", "grande"),
    ("small", "petit", "petite", "klein", "pequeño", "pequeña"),
    ("old", "vieux", "vieille", "alt", "viejo", "vieja"),
    ("clean", "propre", "propre", "sauber", "limpio", "limpia"),
    ("red", "rouge", "rouge", "rot", "rojo", "roja"),
    ("white", "blanc", "blanche", "weiß", "blanco", "blanca"),
    ("black", "noir", "noire", "schwarz", "negro", "negra"),
    ("green", "vert", "verte", "grün", "verde", "verde"),
    ("heavy", "lourd", "lourde", "schwer", "pesado", "pesada"),
    ("expensive", "cher", "chère", "teuer", "caro", "cara"),
    ("beautiful", "beau", "belle", "schön", "hermoso", "hermosa"),
)


def translation(rng: Random, language: str) -> tuple[str, tuple[str, ...]]:
    """Return an English sentence and its accepted translations, the first of which is the usual one."""
    thing, form = rng.choice(THINGS), rng.randrange(3)
    if form == 0:
        return _act(rng.choice(ACTS), thing, language)
    if form == 1:
        return _trait(rng.choice(TRAITS), thing, language)
    where = {"French": "où est", "German": "wo ist", "Spanish": "dónde está"}[language]
    text = _capital(f"{where} {_noun(thing, language)}")
    answers = {"French": (f"{text} ?",), "German": (f"{text}?",), "Spanish": (f"¿{text}?", f"{text}?")}[language]
    return f"Where is the {thing.english}?", answers


def _act(act: tuple[str, str, str, str, str], thing: Thing, language: str) -> tuple[str, tuple[str, ...]]:
    english, french, german, spanish, pronoun = act
    verbs = {"French": (french,), "German": (german,), "Spanish": (spanish, f"{pronoun} {spanish}")}[language]
    noun = _noun(thing, language)
    # Only the masculine article differs in the German accusative.
    noun = noun.replace("der ", "den ", 1) if language == "German" else noun
    return f"{_capital(english)} the {thing.english}.", tuple(_capital(f"{verb} {noun}.") for verb in verbs)


def _trait(trait: tuple[str, ...], thing: Thing, language: str) -> tuple[str, tuple[str, ...]]:
    english, masculine, feminine, german, el, la = trait
    noun = _noun(thing, language)
    text = {
        "French": f"{noun} est {masculine if noun.startswith('le ') else feminine}.",
        "German": f"{noun} ist {german}.",
        "Spanish": f"{noun} es {el if noun.startswith('el ') else la}.",
    }[language]
    answers = (
        (_capital(text), _capital(text.replace(" es ", " está ", 1))) if language == "Spanish" else (_capital(text),)
    )
    return f"The {thing.english} is {english}.", answers


def _noun(thing: Thing, language: str) -> str:
    return {"French": thing.french, "German": thing.german, "Spanish": thing.spanish}[language]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
