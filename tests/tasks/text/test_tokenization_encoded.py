"""Rows for a model with an encoder, by a SentencePiece tokenizer: what the encoder reads, what the decoder writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.models import describe, loading, model_files
from holdfast.tasks.text.templates import Rendered
from holdfast.tasks.text.tokenization import encode, encode_pairs, encode_prompt
from holdfast.tasks.text.two_sequences import TWO_SEQUENCES
from tests.encoder_decoder import KINDS, tokenizer, write

TEXT = "Q: what is the capital of France? A:"


@pytest.mark.parametrize("kind", KINDS)
def test_input_and_target_are_tokenised_apart_and_each_has_its_end_token(kind: str) -> None:
    pieces = tokenizer(kind)
    row = encode(
        pieces, Rendered(TEXT, " Paris"), max_length=64, eos=True, layout=TWO_SEQUENCES, prompt=0, name="qa[0]"
    )
    source, target = row.tokens[: row.boundary], row.tokens[row.boundary :]
    assert list(source) == pieces(TEXT)["input_ids"]
    assert list(target) == pieces("Paris")["input_ids"]  # As transformers makes `labels`.
    assert source[-1] == target[-1] == pieces.eos_token_id
    assert row.weights == (0.0,) * len(source) + (1.0,) * len(target)
    assert (row.prompt, row.name, row.cut, row.lost) == (0, "qa[0]", 0, 0)
    scored = encode_pairs(pieces, TEXT, ["Paris"], max_length=64, layout=TWO_SEQUENCES)[0]
    assert scored.tokens == row.tokens[:-1]  # A scored choice has no end.
    assert encode_prompt(pieces, TEXT, max_length=64, layout=TWO_SEQUENCES) == source


@pytest.mark.parametrize("target", ["Paris", " Paris", "\nParis", "  Paris"])
def test_the_delimiter_between_input_and_target_is_nothing_to_a_decoder(target: str) -> None:
    rows = [
        encode(tokenizer("t5"), Rendered(TEXT, text), max_length=64, eos=True, layout=TWO_SEQUENCES)
        for text in ("Paris", target)
    ]
    assert rows[0].tokens == rows[1].tokens


def test_a_long_input_loses_its_beginning_or_its_end_and_the_target_nothing() -> None:
    pieces, text = tokenizer("t5"), " ".join(f"w{i}" for i in range(3, 30))
    whole = pieces(text)["input_ids"]
    kept: Any = {"input": whole[len(whole) - 10 :], "right": [*whole[:9], whole[-1]]}
    for truncation, expected in kept.items():
        row = encode(
            pieces, Rendered(text, "w5 w6"), max_length=10, eos=True, layout=TWO_SEQUENCES, truncation=truncation
        )
        assert list(row.tokens[: row.boundary]) == expected
        assert list(row.tokens[row.boundary :]) == pieces("w5 w6")["input_ids"]
        assert (row.cut, row.lost) == (len(whole) - 10, 0)
    assert list(encode_prompt(pieces, text, max_length=10, layout=TWO_SEQUENCES)) == whole[len(whole) - 10 :]


def test_what_cannot_be_trained_is_refused_with_the_fix() -> None:
    pieces = tokenizer("t5")
    with pytest.raises(ValueError, match=r"rte/train\[3\]: the target is 3 tokens long .* max_length=2; raise"):
        encode(pieces, Rendered(TEXT, "w5"), max_length=2, eos=True, layout=TWO_SEQUENCES, name="rte/train[3]")
    with pytest.raises(ValueError, match="makes no token of the target ' '"):
        encode(pieces, Rendered(TEXT, " "), max_length=64, eos=True, layout=TWO_SEQUENCES)
    with pytest.raises(ValueError, match=r"read by this model's encoder.*use loss_on=last"):
        encode(pieces, Rendered(TEXT, "Rome"), max_length=64, eos=True, layout=TWO_SEQUENCES, loss_on="all")


@pytest.mark.parametrize("kind", KINDS)
def test_the_sentinels_are_found_in_both_spellings(kind: str) -> None:
    found = describe.sentinels(tokenizer(kind))
    assert found is not None
    pieces = tokenizer(kind).convert_ids_to_tokens(list(found))
    assert [piece.removeprefix("▁") for piece in pieces] == ["<extra_id_0>", "<extra_id_1>"]


def test_a_tokenizer_without_sentinels_has_none() -> None:
    from tests.inference.small_models import tokenizer as plain

    assert describe.sentinels(plain()) is None


def test_a_tokenizer_that_needs_packages_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with `spiece.model` alone, where SentencePiece cannot be read: transformers asks for tiktoken, which is not it."""

    def fails(*given: Any, **options: Any) -> Any:
        raise ValueError("`tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`.")

    folder = write(tmp_path, "t5")
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", fails)
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)  # as where neither is installed
    with pytest.raises(ValueError, match="needs two packages to be read; pip install sentencepiece protobuf"):
        loading.load(folder)


def test_an_encoder_reads_earlier_answers_and_trains_the_last_one_whole() -> None:
    pieces = tokenizer("t5")
    rendered = Rendered("User: a\nAssistant: o\nUser: a\nAssistant:", " o", turns=((18, 20),))
    row = encode(pieces, rendered, max_length=100, eos=True, layout=TWO_SEQUENCES)
    assert row.labels == list(range(row.boundary, len(row.tokens)))
    with pytest.raises(ValueError, match="loss: call: a model with an encoder writes its answer as a whole"):
        encode(pieces, replace(rendered, skip=1), max_length=100, eos=True, layout=TWO_SEQUENCES)
