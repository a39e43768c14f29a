"""Several targets in one run: mixed behind a prompt each, or one after another; every target is measured with its own prompt."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import holdfast
from holdfast.api import tune as runs
from holdfast.api.tune import tune
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.report.console import text
from holdfast.report.run.terminal import terminal
from holdfast.results.run_folder import read
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training.settings import TrainSettings
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None, other=None)


def train(world: Path, method: str, **fields: Any) -> runs.Run:
    given = {k: v for k, v in QUICK.items() if "promot" in method or k.startswith("model.")} | fields
    targets = [str(world / "pick"), str(world / "copy")]
    return tune(str(world / "model"), targets, method, [str(world / "other")], out=world / f"run-{method}", **given)


@pytest.fixture(scope="module")
def multi(world: Path) -> runs.Run:
    return train(world, "promot")


def states(run: runs.Run, task: str) -> set[str | None]:
    return {s.prompt for s in run.scores if s.task == task and s.variant == "tuned"}


@pytest.mark.parametrize("method", ["promot", "promot_sequential"])
def test_each_target_has_a_prompt_of_its_own_and_is_measured_with_it(world: Path, method: str, multi: runs.Run) -> None:
    run = multi if method == "promot" else train(world, method)
    assert sorted(p.name for p in (run.folder / "prompt").iterdir()) == ["copy", "pick"]
    assert [states(run, task) for task in ("pick", "copy", "other")] == [{"on", "off"}, {"on", "off"}, {"off"}]
    assert {s.role for s in run.scores if s.task == "copy"} == {"target"}
    page = (run.folder / "report.html").read_text()
    assert "pick" in page
    assert "copy" in page


@pytest.mark.parametrize("method", ["full", "full_sequential"])
def test_the_controls_have_no_prompt(world: Path, method: str) -> None:
    run = train(world, method)
    assert not (run.folder / "prompt").exists()
    assert states(run, "pick") == states(run, "other") == {None}
    steps = {"full": 4, "full_sequential": 8}[method]
    assert len([line for line in (run.folder / "log.jsonl").read_text().splitlines() if '"loss"' in line]) == steps


def test_the_second_task_starts_from_the_weights_of_the_first_and_leaves_its_prompt_alone(world: Path) -> None:
    given = RecipePlan(str(world / "model"), (TaskRef("a"), TaskRef("b")))
    stages = find_recipe("promot_sequential")(given)
    first, tuned, second, last = [stage for stage in stages if isinstance(stage, Train)]
    assert [stage.name for stage in stages] == ["prompt-a", "model-a", "prompt-b", "model-b"]
    assert (first.start, tuned.start, second.start, last.start) == (None, None, tuned, tuned)
    assert (tuned.prompts, last.prompts) == ((first,), (second,))
    assert list(given.resolved) == ["prompt", "model"]


def test_full_fine_tuning_in_turn_goes_on_from_the_weights_of_the_target_before() -> None:
    first, second = find_recipe("full_sequential")(RecipePlan("model", (TaskRef("a"), TaskRef("b"))))
    assert isinstance(first, Train)
    assert isinstance(second, Train)
    assert (first.start, second.start) == (None, first)


@pytest.mark.parametrize("method", ["promot_sequential", "full_sequential"])
def test_each_earlier_target_is_measured_right_after_its_own_stage(world: Path, method: str) -> None:
    """Backward transfer by hand: the answers of the stage that trained on pick, loaded and asked apart from the run."""
    run = train(world, method)
    state = "on" if method == "promot_sequential" else None
    moved = {(s.task, s.shots): s for s in run.scores if s.transfer is not None}
    assert set(moved) == {("pick", 0), ("pick", 1)}
    assert {s.prompt for s in moved.values()} == {state}
    (stage,) = (run.folder / "stages").glob("model-pick-*")
    prompts = [folder / "prompt" for folder in (run.folder / "stages").glob("prompt-pick-*")]
    after = holdfast.evaluate(str(stage / "model"), [str(world / "pick")], prompt=prompts[0] if prompts else None)
    value = next(s.value for s in after if s.metric == "accuracy")
    assert moved["pick", 0].transfer == pytest.approx(moved["pick", 0].value - value)
    gap = f"{100 * (moved['pick', 0].value - value):+.1f}".replace("+0.0", "0.0")
    assert f"BWT            {gap} points" in text(terminal(run.folder))
    assert f"Backward transfer (BWT): {gap} points" in (run.folder / "README.md").read_text()
    assert '<h2 id="sequence">' in run.page.read_text()


def test_a_sequence_leaves_the_weights_of_its_last_stage(world: Path) -> None:
    run = train(world, "full_sequential")
    kept = load_file(run.folder / "model" / "model.safetensors")
    equal = {
        stage.name.rpartition("-")[0]: all(torch.equal(kept[name], tensor) for name, tensor in left.items())
        for stage in (run.folder / "stages").glob("model-*")
        if (left := load_file(stage / "model" / "model.safetensors"))
    }
    assert equal == {"model-pick": False, "model-copy": True}


def test_a_sequence_without_an_earlier_target_has_no_backward_transfer(multi: runs.Run) -> None:
    assert all(s.transfer is None for s in multi.scores)
    assert "BWT" not in text(terminal(multi.folder))
    assert 'id="sequence"' not in multi.page.read_text()


def test_the_course_of_a_sequence_is_that_of_its_last_stage(world: Path) -> None:
    given = {"curve": 1, "shots": (0,), "out": world / "curve", **QUICK}
    run = tune(str(world / "model"), [str(world / "pick"), str(world / "copy")], "promot_sequential", **given)
    assert {s.step for s in run.scores if s.task == "copy"} == {None, 0, 4}


def test_a_prompt_is_asked_for_by_its_target(multi: runs.Run, world: Path) -> None:
    pick, copy = (holdfast.load(multi, prompt=name) for name in ("pick", "copy"))
    assert isinstance(pick.prompt, torch.Tensor)
    assert isinstance(copy.prompt, torch.Tensor)
    assert not torch.equal(pick.prompt, copy.prompt)
    assert holdfast.load(multi, prompt="off").prompt is None
    for wrong in (None, "on"):
        with pytest.raises(ValueError, match="a prompt for each of its targets; ask for one of copy, pick, or off"):
            holdfast.load(multi, prompt=wrong)
    with pytest.raises(ValueError, match="no prompt 'pikc'; there are copy, pick"):
        holdfast.load(multi, prompt="pikc")
    again = holdfast.evaluate(str(multi.folder), [str(world / "pick")], prompt="pick", shots=(0,))
    before = next(s for s in multi.scores if (s.prompt, s.task, s.shots, s.metric) == ("on", "pick", 0, "accuracy"))
    assert [s.value for s in again if s.metric == "accuracy"] == [before.value]


def test_peft_attaches_each_of_them(multi: runs.Run) -> None:
    plain = AutoModelForCausalLM.from_pretrained(multi.folder / "model")
    attached = peft.PeftModel.from_pretrained(plain, multi.folder / "prompt" / "copy")
    vectors = holdfast.load(multi, prompt="copy").prompt
    assert isinstance(vectors, torch.Tensor)
    assert torch.equal(attached.get_prompt(1)[0], vectors)


def test_the_card_names_them(multi: runs.Run) -> None:
    card = (multi.folder / "README.md").read_text()
    assert read(multi.folder).prompts == ["prompt/copy", "prompt/pick"]
    for name in ("copy", "pick"):
        assert f'PeftModel.from_pretrained(model, "{multi.folder.name}/prompt/{name}")' in card


def test_a_config_with_several_targets_repeats_its_run(multi: runs.Run) -> None:
    again = runs.repeat(multi.folder / "config.yaml")
    assert [(s.key, s.value) for s in again.scores] == [(s.key, s.value) for s in multi.scores]


def test_every_batch_has_equal_parts_and_each_row_its_own_prompt(world: Path) -> None:
    loaded = tiny.pretrained()
    refs = tuple(TaskRef(str(world / name)) for name in ("pick", "copy"))
    stage = Train("model", "", refs, prompts=(Train("a"), Train("b")), settings=TrainSettings(batch_size=6))
    model = PrefixModel(loaded.model, [SoftPrompt(torch.randn(length, 32)) for length in (3, 5)])
    stream = stage._stream([ref.task for ref in refs], loaded, model)
    rows = stream.batch(2)
    assert [row.prompt for row in rows] == [0, 1, 0, 1, 0, 1]
    assert {row.name.partition("/")[0] for row in rows if row.prompt == 1} == {"copy"}
    with torch.no_grad():
        together = model(rows).logits
        alone = torch.cat([model([row]).logits for row in rows])
        swapped = PrefixModel(loaded.model, list(model.prompts)[::-1])(rows).logits  # pyright: ignore[reportArgumentType]
    # Noise 1e-6. The other task's prompt before a row, the bug to catch, moves logits by more than 0.1.
    assert float((together - alone).abs().max()) < 1e-4
    assert float((together - swapped).abs().max()) > 0.1


def test_two_targets_of_one_name_are_refused(world: Path, tmp_path: Path) -> None:
    pick = str(world / "pick")
    with pytest.raises(ValueError, match="each with a name of its own"):
        tune(str(world / "model"), [pick, pick], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
