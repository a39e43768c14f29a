"""Training rows are told from unseen ones where they are known by heart, and only there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.analysis.base import Subject
from holdfast.analysis.memorised import memorised
from holdfast.api.tune import tune
from holdfast.prefix.model import PrefixModel
from holdfast.results.run_folder import read_findings
from holdfast.row import Row
from tests.recipes.worlds import write_world
from tests.training import tiny

ROWS = tiny.rows(48, answers=4)


def subject(steps: int, trained: list[Row], **changed: Any) -> Subject:
    """A model that has taken so many plain steps on these rows."""
    tuned = tiny.pretrained()
    optimizer = torch.optim.AdamW(tuned.model.parameters(), 1e-3)
    model = PrefixModel(tuned.model)
    for _ in range(steps):
        output = model(trained)
        torch.nn.functional.cross_entropy(output.logits, output.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    given: dict[str, Any] = {"rows": trained, "shuffled": (), "unseen": ROWS[24:]} | changed
    return Subject(tuned, model, tiny.pretrained(), **given)


def values(given: Subject) -> dict[str, float]:
    return {finding.measure: finding.value for finding in memorised(given)}


def test_a_model_that_did_not_move_tells_no_rows_apart() -> None:
    assert values(subject(0, ROWS[:24]))["memorised"] == 0.5


def test_rows_that_are_learned_by_heart_are_told_from_others() -> None:
    """The rows are random, so that nothing of one can be learned from another."""
    found = values(subject(60, ROWS[:24]))
    assert found["memorised"] > 0.95
    assert found["loss_trained"] < found["loss_unseen"] - 1


def test_what_is_easy_in_itself_is_not_taken_for_known() -> None:
    """Unseen rows that the base finds much likelier than the training rows change nothing, where the model is the base."""
    with torch.no_grad():
        logits = [tiny.pretrained().model(torch.tensor([row.tokens])).logits[0] for row in ROWS[24:]]
    likeliest = [
        replace(row, tokens=(*row.tokens[:-1], int(each[-2].argmax())))
        for row, each in zip(ROWS[24:], logits, strict=True)
    ]
    found = values(subject(0, ROWS[:24], unseen=likeliest))
    assert found["loss_unseen"] < found["loss_trained"]
    assert found["memorised"] == 0.5


def test_the_auc_counts_pairs_and_losses_are_means_over_rows() -> None:
    given = subject(10, ROWS[:8], unseen=ROWS[24:30])

    def loss(model: torch.nn.Module, row: Row) -> float:
        with torch.no_grad():
            logs = model(torch.tensor([row.tokens])).logits[0].log_softmax(-1)
        return -sum(logs[i - 1, row.tokens[i]].item() for i in row.labels) / len(row.labels)

    gains = [
        [loss(given.base.model, row) - loss(given.model.model, row) for row in rows]
        for rows in (given.rows, given.unseen)
    ]
    pairs = [(seen > unseen) + 0.5 * (seen == unseen) for seen in gains[0] for unseen in gains[1]]
    found = values(given)
    assert found["memorised"] == pytest.approx(sum(pairs) / 48)
    assert found["loss_trained"] == pytest.approx(sum(loss(given.model.model, row) for row in given.rows) / 8, rel=1e-5)


def test_without_rows_of_either_it_says_what_is_missing() -> None:
    for missing in ({"rows": ()}, {"unseen": ()}):
        with pytest.raises(ValueError, match=r"needs the rows of training and a test split; .* test.jsonl"):
            memorised(subject(0, ROWS[:24], **missing))


@pytest.mark.parametrize("method", ["full", "promot"])
def test_a_run_compares_its_rows_with_those_of_the_test_split(tmp_path: Path, method: str) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"])
    steps: dict[str, Any] = {"model.steps": 6} | ({"prompt.steps": 2, "prompt.length": 3} if method == "promot" else {})
    options: dict[str, Any] = {
        "shots": (0,),
        "limit": 2,
        "curve": 1,
        "analyses": ["memorised"],
        "out": tmp_path / "run",
    }
    run = tune(str(world / "model"), str(world / "pick"), method, **options, **steps)
    found = {(f.step, f.measure): f.value for f in read_findings(run.folder) if f.analysis == "memorised"}
    assert {step for step, _ in found} == {0, 6}
    assert 0 <= found[6, "memorised"] <= 1
    if method == "full":
        assert found[0, "memorised"] == 0.5
    assert "Training rows told from unseen ones, AUC" in (run.folder / "report.html").read_text()
