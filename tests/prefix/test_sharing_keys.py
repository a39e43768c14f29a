"""What rows share is decided by what stands at their places: token ids, and what a placeholder stands for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.inference import prefix_scoring, scoring
from holdfast.prefix import encoder_decoder
from holdfast.prefix.packing import pack
from holdfast.row import Row, sharing_keys
from tests import encoder_decoder as with_encoder
from tests.prefix.tiny import tiny

IMAGE = 9  # the placeholder token, at place 2 of 20 tokens
TOKENS = (5, 6, IMAGE, *range(10, 27))


def picture_rows(*pictures: str | None) -> list[Row]:
    """Rows of equal tokens, the last one predicted, each with its picture behind the placeholder."""
    weights = (*[0.0] * 19, 1.0)
    return [Row(TOKENS, weights, encoded=19, media=() if picture is None else ((2, picture),)) for picture in pictures]


def computed_by_training(model: Any, rows: Sequence[Row]) -> int:
    return pack(rows).tokens.shape[1] * len(pack(rows).tokens)


def computed_by_scoring(model: Any, rows: Sequence[Row]) -> int:
    """Tokens that go through the model in all."""
    counts: list[int] = []
    scoring.score(model, rows)  # What the model can do is tried now, and not counted.
    real = prefix_scoring.step

    def counted(plain: Any, cache: Any, new: Tensor, *rest: Any) -> Tensor:
        counts.append(new.shape[0] * new.shape[1])
        return real(plain, cache, new, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_scoring, "step", counted)
        patch.setattr(prefix_scoring, "MULTIPLE", 1)
        scoring.score(model, rows)
    return sum(counts)


def encoded_inputs(model: Any, rows: Sequence[Row]) -> int:
    """Inputs that the encoder reads in all."""
    counts: list[int] = []
    real = encoder_decoder.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            encoder_decoder, "encode", lambda *arguments: counts.append(len(arguments[1])) or real(*arguments)
        )
        encoder_decoder.label_logits(model, rows, ())
    return sum(counts)


def scored_answers(model: Any, rows: Sequence[Row]) -> int:
    """Rows that are computed at all: equal ones are one."""
    counts: list[int] = []
    real = prefix_scoring.predict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            prefix_scoring, "predict", lambda *arguments: counts.append(len(arguments[1])) or real(*arguments)
        )
        scoring.score(model, rows)
    return sum(counts)


Count = Callable[[Any, Sequence[Row]], int]
# What is counted, on which model, and how much of it for one picture, two equal ones, two different ones.
COUNTS: list[tuple[Count, str, tuple[int, int, int]]] = [
    (computed_by_training, "Llama", (19, 19, 2 + 17 + 17)),  # The last token is predicted, and not computed.
    (computed_by_scoring, "Llama", (19, 19, 2 + 17 + 17)),
    (scored_answers, "Llama", (1, 1, 2)),
    (encoded_inputs, "t5", (1, 1, 2)),
    (scored_answers, "t5", (1, 1, 2)),
]


def counts(count: Count, name: str) -> tuple[int, ...]:
    model = with_encoder.model("t5") if name == "t5" else tiny(name)
    return tuple(count(model, picture_rows(*pictures)) for pictures in (("a",), ("a", "a"), ("a", "b")))


@pytest.mark.parametrize(("count", "name", "expected"), COUNTS)
def test_equal_placeholders_share_only_where_the_same_picture_stands_behind_them(
    count: Count, name: str, expected: tuple[int, int, int]
) -> None:
    assert counts(count, name) == expected


@pytest.mark.parametrize(("count", "name", "expected"), COUNTS)
def test_comparing_tokens_alone_is_seen(
    count: Count, name: str, expected: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Row, "key", property(lambda row: row.tokens))
    assert counts(count, name) != expected


def test_rows_with_pictures_are_laid_out_with_their_tokens() -> None:
    rows = picture_rows("b", None, "a", "a")
    layout = pack(rows)
    for place in layout.label_index.tolist():
        seen = (layout.end[0] > place) & (torch.arange(layout.tokens.shape[1]) <= place)
        assert tuple(layout.tokens[0][seen].tolist()) == TOKENS[:-1]
    assert len(set(layout.label_index.tolist())) == 3


def test_rows_without_media_are_compared_by_their_token_ids_themselves() -> None:
    rows = picture_rows(None, None)
    assert all(key is row.tokens for key, row in zip(sharing_keys(rows), rows, strict=True))
    assert rows[0].key is rows[0].tokens


def test_sharing_keys_are_equal_where_keys_are() -> None:
    rows = picture_rows("a", "b", "a", None)
    rows.append(replace(rows[0], media=((3, "a"),)))
    keys = sharing_keys(rows)
    assert [[first == second for second in keys] for first in keys] == [[a.key == b.key for b in rows] for a in rows]
    assert sorted(keys)  # Numbers, whatever media are.


def test_the_trial_of_a_plain_model_runs_to_its_end() -> None:
    """The bug: a mistake in the trial's own call read as a model that refuses, and nothing was shared by any model any more."""
    from holdfast.prefix.cache import continued, shares

    model = tiny("Llama")
    alone, behind = continued(model, 10, False)
    assert alone.shape == behind.shape
    assert shares(model)
