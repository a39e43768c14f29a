"""Wordings ranked before training: by the loss that training itself starts with."""

import json
from pathlib import Path

import pytest
import yaml

from holdfast.api.tune import tune
from holdfast.api.wordings import wordings
from tests.cli.commands import Commands

INPUTS = {"bare": "{{ input }}", "claim": "claim: {{ input }} verdict:"}


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Twelve rows of the lab's language."""
    texts = [
        f"the {colour} goat looked {word}" for colour in ("black", "white") for word in ("lovely", "awful", "nice")
    ]
    for split, count in (("train", 6), ("validation", 2), ("test", 4)):
        rows = [{"input": text, "target": ("plus", "minus")[i % 2]} for i, text in enumerate(texts[:count])]
        (tmp_path / "task").mkdir(exist_ok=True)
        (tmp_path / "task" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task" / "task.yaml").write_text('input: "text: {{ input }} answer:"\nchat: false\n')
    return tmp_path / "task"


def test_the_loss_of_a_wording_is_that_of_the_first_step_of_training(task: Path, tmp_path: Path) -> None:
    ranked = wordings("lab", str(task), [*INPUTS.values()])
    assert [wording.loss for wording in ranked] == sorted(wording.loss for wording in ranked)
    assert sum(wording.is_own for wording in ranked) == 1
    losses = {wording.input: wording.loss for wording in ranked}
    for text in INPUTS.values():
        (task / "task.yaml").write_text(json.dumps({"input": text, "chat": False}))
        # One step of all six rows, each once.
        run = tune(
            "lab",
            task,
            "full",
            "none",
            out=tmp_path / "run",
            overwrite=True,
            model_={"steps": 1, "batch_size": 6},
        )
        log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
        # 1e-4 of 10: float32 and the order of rows. A forgotten end token or delimiter moves it by 0.1 and more.
        assert losses[text] == pytest.approx(next(line["loss"] for line in log if "loss" in line), rel=1e-4)


def test_the_command_prints_what_to_write_into_the_task(task: Path, holdfast: Commands) -> None:
    seen = holdfast("wordings", "lab", task, "--input", INPUTS["bare"], "--instruction", "say the feeling")
    heading, *ranked = seen.out.partition("\n\n")[0].splitlines()
    assert seen.code == 0
    assert "nats a token" in heading
    assert [float(line.split()[0]) for line in ranked] == sorted(float(line.split()[0]) for line in ranked)
    assert [line.partition("*")[2] for line in ranked if "*" in line] == ["text: {{ input }} answer:"]
    first = ranked[0].split(None, 1)[1]
    assert not first.startswith("*"), "the lab's model finds the task's own wording least likely of the two"
    written = yaml.safe_load(seen.out.rpartition("task.yaml:\n")[2])
    assert " | ".join(filter(None, written.values())) == first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give another wording with --input"),
        (["--input", "{{ nothing }}"], "nothing"),
        (["--input", "{{ input "], "wording '{{ input ': the template is not valid Jinja"),
    ],
)
def test_a_bad_wording_is_one_line(task: Path, holdfast: Commands, arguments: list[str], says: str) -> None:
    assert says in holdfast("wordings", "lab", task, *arguments).error
