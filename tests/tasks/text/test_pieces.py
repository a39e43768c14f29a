"""Long texts come in pieces that fit, of which nothing is lost, and a document's end is where the document ends."""

import string
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from holdfast.tasks.task import DOCUMENT, Example, Template
from holdfast.tasks.text.pieces import Pieces, pieces


def letters(texts: Sequence[str]) -> list[int]:
    """A token a letter, and four for a digit: some parts of a text have more tokens than its mean."""
    return [sum(4 if c.isdigit() else 1 for c in text) for text in texts]


@given(st.text(alphabet=string.ascii_lowercase + "   123\n", max_size=400), st.integers(4, 60))
def test_pieces_fit_and_joined_they_are_the_text(text: str, most: int) -> None:
    parts = pieces(text, most, letters)
    assert "".join(parts) == text
    assert all(count <= most for count in letters(parts))
    assert all(parts) or parts == [""]
    # Not many more than needed: each but the last could be a letter, and a pass would be a hundred times as long.
    assert len(parts) <= 1 + 4 * sum(letters([text])) / most


def test_words_stay_whole_where_there_are_spaces() -> None:
    text = " ".join(f"word{n}" for n in range(200))
    parts = pieces(text, 80, letters)
    assert len(parts) > 10
    assert [word for part in parts for word in part.split()] == text.split()
    assert all(part.startswith(" ") for part in parts[1:]), "a space belongs to the word behind it, as tokens have it"


def test_only_the_last_piece_of_a_document_is_finished() -> None:
    documents = [Example({}, "one two three four five six"), Example({}, "short"), Example({}, "seven eight nine ten")]
    made = Pieces(documents, DOCUMENT, 10, letters)
    assert len(made) > 5
    texts, ends = {}, {}
    for number, piece in enumerate(made):
        document = made.name(number).partition(",")[0]
        texts[document] = texts.get(document, "") + piece.target
        ends[document] = ends.get(document, 0) + (not piece.unfinished)
    assert list(texts.values()) == [document.target for document in documents]
    assert set(ends.values()) == {1}
    assert made[1] is documents[1], "one that fits stays as it is"
    assert [piece.target for piece in made[:2]] == [made[0].target, made[1].target]


def test_the_first_pieces_come_first() -> None:
    """What looks at the first few rows must not see one document alone."""
    made = Pieces([Example({}, f"{letter} " * 60) for letter in "abc"], DOCUMENT, 20, letters)
    assert [piece.target.strip()[0] for piece in made[:6]] == list("abcabc")
    assert [made.name(number) for number in (0, 2, 3)] == ["[0]", "[2]", "[0], piece 2"]


def test_an_answer_is_never_cut_whatever_stands_beside_it() -> None:
    long = "one two three four"
    mixed = [Example({"input": "q"}, long), Example({}, long, template=DOCUMENT)]
    made = Pieces(mixed, Template(), 10, letters)
    assert made[0] is mixed[0]
    assert len(made) > 2
