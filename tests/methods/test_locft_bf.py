"""LocFT-BF: one matrix moves, known batches move nothing, and the edits are memorised."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.methods import locft_bf
from holdfast.methods.locft_bf import LocftBf
from holdfast.row import Row
from holdfast.training.loop import Trainer
from tests.training import tiny


def facts(count: int = 20) -> list[Row]:
    """Subjects of two words, each with an answer of its own and the end of the text."""
    rows = []
    for i in range(count):
        tokens = (1, 3 + i % 6, 9 + i // 6, 15 + (7 * i) % 20, 2)
        rows.append(Row(tokens, (0.0, 0.0, 0.0, 0.5, 0.5), name=f"edits/train[{i}]"))
    return rows


def trained(folder: Path, steps: int, rows: list[Row] | None = None, rate: float = 1e-2, **fields: Any) -> Trainer:
    run = tiny.trainer(folder, LocftBf(**fields), data=rows or facts(), steps=steps, batch_size=20, learning_rate=rate)
    run.train()
    return run


def skipped(folder: Path) -> float:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["skipped"] for line in lines if "skipped" in line][-1]


@pytest.mark.parametrize(("block", "expected"), [(0, 0), (-1, 1)])
def test_only_the_chosen_matrix_moves(block: int, expected: int, tmp_path: Path) -> None:
    start = dict(tiny.pretrained().model.named_parameters())
    run = trained(tmp_path, 2, block=block)
    moved = {name for name, weight in run.model.model.named_parameters() if not torch.equal(weight, start[name])}
    assert moved == {f"model.layers.{expected}.mlp.down_proj.weight"}


def test_twenty_edits_are_memorised_and_the_text_ends_after_them(tmp_path: Path) -> None:
    run = trained(tmp_path, 150, floor=0.0)
    with torch.no_grad():
        logits = run.model(facts()).logits
    answers = [list(row.tokens[3:]) for row in facts()]
    assert logits.argmax(-1).view(20, 2).tolist() == answers


def test_a_step_below_the_floor_moves_nothing(tmp_path: Path) -> None:
    """A floor above every loss: no step is taken, by the optimizer's momentum neither. A floor that is reached: the later ones are not."""
    start = tiny.weights(tiny.trainer(tmp_path / "x", LocftBf()))
    run = trained(tmp_path / "all", 3, floor=100.0)
    assert all(torch.equal(start[name], weight) for name, weight in run.model.named_parameters())
    assert skipped(tmp_path / "all") == 3
    first = tiny.losses(tmp_path / "all")[0]
    some = trained(tmp_path / "some", 10, floor=first * 0.9)
    again = trained(tmp_path / "again", 14, floor=first * 0.9)
    assert 0 < skipped(tmp_path / "some") < 10
    assert skipped(tmp_path / "again") == skipped(tmp_path / "some") + 4
    assert all(torch.equal(a, b) for a, b in zip(some.model.parameters(), again.model.parameters(), strict=True))


def test_several_processes_decide_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over processes is stood in for by this one's and that of another, whose 20 answers have a loss above the floor. Each for
    itself, this one would take no step where the other does, and their weights would differ from then on."""
    monkeypatch.setattr(locft_bf, "reduce", lambda seen, how: seen + torch.tensor([1e6, 20.0]))
    trained(tmp_path, 2, floor=100.0)
    assert skipped(tmp_path) == 0


def test_what_the_model_does_not_have_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"locft_bf.block=7: the model has blocks 0 to 1"):
        trained(tmp_path / "a", 1, block=7)
    with pytest.raises(ValueError, match=r"locft_bf.module='mlp.c_fc': block 1 has none; it has .*mlp.down_proj"):
        trained(tmp_path / "b", 1, module="mlp.c_fc")
