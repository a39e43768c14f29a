"""`holdfast evaluate BASE --against TUNED`: any two models on one page, with the numbers that `tune` would give them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.api.against import TunedModel, against
from holdfast.api.tune import Run, tune
from holdfast.models import loading
from holdfast.results.evidence import changed_files, read_evidence
from holdfast.results.run_folder import expanded
from holdfast.results.scores import Score, read_scores
from tests.recipes.worlds import QUICK, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None, other=["w5", "w6"])


@pytest.fixture(scope="module")
def run(world: Path) -> Run:
    return train(world, "full")


def train(world: Path, method: str) -> Run:
    fields = {k: v for k, v in QUICK.items() if method == "promot" or k.startswith("model.")}
    general = [world / "copy", world / "other"]
    return tune(world / "model", world / "pick", method, general, shots=(0, 1), out=world / f"run-{method}", **fields)


def numbers(scores: list[Score]) -> dict[Any, Any]:
    """All of the weights that are kept, but how probable the base finds a label, which `tune` measures apart."""
    kept = [s for s in scores if s.step is None]
    return {s.key: (s.value, s.low, s.high, s.delta, s.delta_low, s.delta_high, s.p, s.verdict, s.n) for s in kept}


def measured(world: Path, tuned: Any, out: Path, **options: Any) -> list[Path]:
    general = [world / "copy", world / "other"]
    return against(world / "model", tuned, general, world / "pick", shots=(0, 1), out=out, **options)


def test_two_models_get_the_numbers_that_tune_gives_them(world: Path, run: Run, tmp_path: Path) -> None:
    (folder,) = measured(world, run.folder / "model", tmp_path / "out")
    assert numbers(read_scores(folder)) == numbers(run.scores)
    page = (folder / "report.html").read_text()
    assert f"{run.folder / 'model'} beside {world / 'model'}, tuned on pick" in page
    assert "holdfast run" not in page
    assert "Tuned model" in (folder / "README.md").read_text()


def test_a_run_is_taken_where_its_folder_is(world: Path, run: Run, tmp_path: Path) -> None:
    (folder,) = measured(world, run, tmp_path / "out")
    assert numbers(read_scores(folder)) == numbers(run.scores)


def test_a_model_of_other_sizes_is_said_not_to_be_tuned_from_the_base(
    world: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(world, run.folder / "model", tmp_path / "out")
    assert "was not tuned from" not in capsys.readouterr().err
    against(world / "model", "lab", world / "other", limit=1, shots=(0,), out=tmp_path / "other")
    heard = capsys.readouterr().err
    assert f"holdfast: lab was not tuned from {world / 'model'}: its hidden_size is" in heard
    assert heard.index("was not tuned from") < heard.index("base: other")


def test_a_prompt_counts_attached_on_the_target_and_removed_elsewhere(world: Path, tmp_path: Path) -> None:
    tuned = train(world, "promot")
    by_name = measured(world, tuned.folder / "model", tmp_path / "named", prompt=tuned.folder / "prompt")
    by_run = measured(world, tuned.folder, tmp_path / "run")  # a run's folder stands for the model and the prompt in it
    for (folder,) in (by_name, by_run):
        assert numbers(read_scores(folder)) == numbers(tuned.scores)


def test_a_prompt_alone_is_measured_on_its_base(world: Path) -> None:
    tuned = train(world, "promot")
    named = TunedModel.of(str(tuned.folder / "prompt"))
    assert (named.model, named.prompt) == (str(world / "model"), str(tuned.folder / "prompt"))


def test_without_a_target_losses_are_said_and_no_gain(world: Path, run: Run, tmp_path: Path) -> None:
    (folder,) = against(world / "model", run.folder / "model", world / "copy", out=tmp_path / "out")
    scores = read_scores(folder)
    assert {s.role for s in scores} == {"general"}
    assert {"exact_match", "collapse_share"} <= {s.metric for s in scores}
    assert "format_share" not in {s.metric for s in scores}, "nobody said in which format it was tuned"
    assert "No target task" not in (folder / "report.html").read_text()


def test_the_same_command_again_loads_no_model(world: Path, run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    (folder,) = measured(world, run.folder / "model", tmp_path / "out")
    before = (folder / "scores.jsonl").read_bytes()
    monkeypatch.setattr(loading, "load", lambda *_, **__: pytest.fail("a model was loaded again"))
    measured(world, run.folder / "model", tmp_path / "out")
    assert (folder / "scores.jsonl").read_bytes() == before


def test_several_tuned_models_share_the_base_and_a_comparison(world: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder / "model", tmp_path / "else" / "model")
    folders = measured(world, [run.folder / "model", tmp_path / "else" / "model"], tmp_path / "out")
    assert [folder.name for folder in folders] == ["1-model", "2-model"]
    assert len(list((tmp_path / "out" / "stages").glob("evaluate-base-*"))) == 1
    assert (tmp_path / "out" / "comparison.html").exists()
    assert expanded([tmp_path / "out"]) == folders, "`compare` takes the folder"


def test_the_evidence_names_every_model_and_task_and_notices_other_numbers(
    world: Path, run: Run, tmp_path: Path
) -> None:
    (folder,) = measured(world, run.folder / "model", tmp_path / "out")
    evidence = read_evidence(folder)
    assert evidence is not None
    assert evidence.base.version == loading.load(world / "model").hash
    assert [part.version for part in evidence.tuned] == [loading.load(run.folder / "model").hash]
    assert [task.argument for task in evidence.tasks] == [str(world / name) for name in ("pick", "copy", "other")]
    assert changed_files(folder, evidence) == []
    with (folder / "scores.jsonl").open("a") as file:
        file.write("\n")
    assert changed_files(folder, evidence) == ["scores.jsonl"]
    # `tune` leaves the same beside its own numbers.
    left = read_evidence(run.folder)
    assert left is not None
    assert [(part.argument, part.version) for part in left.tuned] == [("model", evidence.tuned[0].version)]


def test_a_run_of_tune_is_not_written_over(world: Path, run: Run) -> None:
    with pytest.raises(ValueError, match="holds a run of `tune`"):
        measured(world, run.folder / "model", run.folder)


def test_a_model_that_does_not_exist_is_refused_before_anything_is_asked(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no/such/model"):
        holdfast.against(world / "model", "no/such/model", world / "copy", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
