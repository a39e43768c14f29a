"""Replay: general text has exactly its share of the loss, is drawn by step, and is off when off."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.methods.base import Context
from holdfast.methods.full import Full
from holdfast.methods.replay import Replay
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from tests.training import tiny

CONTEXT = Context(PrefixModel(tiny.pretrained().model), tiny.pretrained())
TEXTS = ["w3 w4 w5 w6 w7 w8 w9 w10", "w11 w12", "w13 w14 w15 w16", "w17"]


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "general.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return str(path)


def ready(method: Replay) -> Replay:
    """The method after `prepare`."""
    method.prepare(CONTEXT)
    return method


def weight(rows: list[Row]) -> float:
    return sum(sum(row.weights) for row in rows)


def test_texts_have_their_share_of_the_weight_whatever_the_lengths(texts: str) -> None:
    method = ready(Replay(texts=texts))

    @settings(max_examples=50, deadline=None)
    @given(count=st.integers(1, 40), rate=st.floats(0.01, 0.95))
    def holds(count: int, rate: float) -> None:
        method.rate = rate
        given_rows = tiny.rows(count)
        rows = method.batch(list(given_rows), CONTEXT)
        added = rows[count:]
        assert rows[:count] == given_rows
        assert len(added) == max(1, round(rate / (1 - rate) * count))
        # 1e-9: rounding of float64 sums; one token's weight too many would be above 1e-4.
        assert weight(added) / weight(rows) == pytest.approx(rate, abs=1e-9)
        assert all(row.prompt is None and row.weights[0] == 0 and min(row.weights[1:]) > 0 for row in added)

    holds()


def test_texts_are_cut_and_single_tokens_left_out_and_named_by_their_line(texts: str) -> None:
    method = ready(Replay(texts=texts, text_length=3))
    assert [row.tokens for row in method._rows] == [(3, 4, 5), (11, 12), (13, 14, 15)]
    assert method._rows[2].name == f"{texts}:3"


def test_json_lines_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n\n" for text in TEXTS))
    assert len(ready(Replay(texts=str(path)))._rows) == 3
    path.write_text('{"text": "w3 w4"}\n{"words": 1}\n')
    with pytest.raises(ValueError, match=r"general.jsonl:2: is no JSON object with a `text`"):
        ready(Replay(texts=str(path)))


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file; give one text a line"):
        ready(Replay(texts=str(tmp_path / "nowhere.txt")))
    (tmp_path / "empty.txt").write_text("\nw3\n")
    with pytest.raises(ValueError, match="holds no text of two tokens"):
        ready(Replay(texts=str(tmp_path / "empty.txt")))


def test_rate_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    plain, off = tiny.trainer(tmp_path / "plain", Full()), tiny.trainer(tmp_path / "off", Full(), Replay(rate=0))
    plain.train()
    off.train()
    assert tiny.losses(tmp_path / "plain") == tiny.losses(tmp_path / "off")
    other = tiny.weights(off)
    assert all(torch.equal(value, other[name]) for name, value in tiny.weights(plain).items())


def test_the_model_learns_the_texts_too(tmp_path: Path, texts: str) -> None:
    """With half the loss on three texts their own loss is 0.014; without them, 5.3."""
    rows = ready(Replay(texts=texts))._rows
    found = []
    for rate in (0.0, 0.5):
        run = tiny.trainer(tmp_path / f"{rate}", Full(), Replay(texts=texts, rate=rate), steps=20, save_every=20)
        run.train()
        with torch.no_grad():
            output = run.model(rows)
        found.append(float(torch.nn.functional.cross_entropy(output.logits, output.labels)))
    assert found[1] < 0.1 < found[0]


def test_a_resumed_run_draws_on_and_without_its_state_it_would_not(tmp_path: Path, texts: str) -> None:
    def run(folder: str, steps: int) -> dict[str, torch.Tensor]:
        made = tiny.trainer(tmp_path / folder, Full(), Replay(texts=texts, rate=0.4), steps=steps)
        made.train()
        return tiny.weights(made)

    whole = run("whole", 6)
    run("half", 3)
    resumed = run("half", 6)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    run("lost", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replay, "load_state_dict", lambda self, state: None)
        lost = run("lost", 6)
    assert not all(torch.equal(value, lost[name]) for name, value in whole.items())
