"""Scores behind several sets of demonstrations."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from holdfast.api.evaluate import evaluate
from holdfast.api.tune import Run, tune
from holdfast.evaluation import matrix
from holdfast.inference.model import Model
from holdfast.lab import world
from holdfast.models import resolve


def test_sets_of_demonstrations_give_the_spread_between_them() -> None:
    """By hand from each set's own outputs. The bug: the same demonstrations three times, whose spread is 0; the lab's model reads
    a mapping from one demonstration only, so that the draw matters."""
    task = world.task("demo-label")
    asking = matrix.Asking(role="target", shots=1, limit=40, demonstrations="sampled")
    loaded = Model(resolve.load("lab"))
    values = [
        fmean(
            output.scores["exact_match"]
            for output in matrix.evaluate(loaded, task, replace(asking, demonstration_seed=seed))
        )
        for seed in range(3)
    ]
    zero, one = evaluate("lab", "lab:demo-label", shots=(0, 1), limit=40, demonstrations="sampled", sets=3)
    assert (zero.sets, zero.over_sets) == (1, None)
    assert (one.sets, one.value) == (3, pytest.approx(values[0]))
    assert one.over_sets == pytest.approx(stdev(values))
    assert stdev(values) > 0
    with pytest.raises(ValueError, match="the first ones are one set; ask for sampled or nearest demonstrations"):
        evaluate("lab", "lab:demo-label", shots=(1,), sets=3)


def test_a_finished_run_says_so_and_a_task_behind_its_prompt_that_is_no_target_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> Run:
        steps: dict[str, Any] = {"prompt_": {"steps": 1}, "model_": {"steps": 1}}
        return tune("lab", "lab:elicit-sentiment", "promot", "none", shots=(0,), limit=1, out=tmp_path / "run", **steps)

    made = run()
    assert "finished before" not in capsys.readouterr().err
    assert run() == made
    assert f"{made.folder}: this run was finished before, and is shown again" in capsys.readouterr().err
    for asked, prompt, said in (
        (["lab:elicit-sentiment", "lab:kind"], None, True),
        (["lab:elicit-sentiment"], None, False),
        (["lab:kind"], "on", False),
        (["lab:kind"], "off", False),
    ):
        evaluate(made, asked, prompt=prompt, shots=(0,), limit=1)
        heard = capsys.readouterr().err
        assert ("holdfast: lab:kind: no target of" in heard) == said, (asked, prompt)
