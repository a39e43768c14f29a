"""The eraser moves a prompt alone, towards the base, and says on the page what came back behind it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from holdfast.api import tune as runs
from holdfast.api.tune import tune
from holdfast.methods._divergence import divergence
from holdfast.methods.eraser import Eraser
from holdfast.methods.full import Full
from holdfast.models import loading
from holdfast.prefix.model import PrefixModel
from holdfast.recipes.describe import check_names
from holdfast.recipes.pipeline import compose
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.techniques import Techniques
from holdfast.tasks.task_set import TaskRef
from holdfast.training.loop import Trainer, Training
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny

FEW: dict[str, Any] = {"length": 4, "self_texts": 12, "self_length": 10}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was moved far from its start."""
    folder = tmp_path_factory.mktemp("tuned")
    trainer = tiny.trainer(folder, Full(), learning_rate=3e-2, steps=10)
    trainer.train()
    loading.save(trainer.pretrained, folder / "model")
    return folder


def eraser(folder: Path, tuned: Path, **settings: Any) -> Trainer:
    trainer = tiny.trainer(folder, Eraser(**FEW), **{"learning_rate": 0.3, "steps": 60, "save_every": 30} | settings)
    trainer.inputs = [{"tuned": tuned}]
    return trainer


def test_a_prompt_alone_moves_and_brings_the_predictions_nearer_to_the_base(tuned: Path, tmp_path: Path) -> None:
    """On tokens that no step has seen: the KL of the tuned model from the base falls behind the prompt, by a third and more."""
    trainer = eraser(tmp_path, tuned)
    trainer.train()
    model, base, moved = trainer.model, tiny.pretrained().model, loading.load(tuned / "model").model
    expected = dict(moved.named_parameters())
    assert all(torch.equal(p, expected[name]) for name, p in model.model.named_parameters()), (
        "the tuned model stands frozen"
    )
    rows = tiny.rows(16, seed=9)
    with torch.no_grad():
        behind = model([type(row)(row.tokens, row.weights, 0) for row in rows])
        alone, wanted = PrefixModel(moved)(rows), PrefixModel(base)(rows)
        with_prompt, without = (output.total(divergence, wanted).item() for output in (behind, alone))
    assert with_prompt < 2 / 3 * without
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and not path.name.startswith("checkpoint")] in (
        [],
        ["prompt"],
    )


def test_the_loss_is_the_divergence_from_the_base_and_the_texts_are_the_bases(tuned: Path, tmp_path: Path) -> None:
    trainer = eraser(tmp_path / "one", tuned)
    method, context = trainer.methods[0], Training(trainer).contexts[0]
    rows = method.batch([type(row)(row.tokens, row.weights, 0) for row in tiny.rows(4)], context)
    assert {row.prompt for row in rows} == {0}
    assert all(row.weights == (0.0, *[1.0] * (len(row.tokens) - 1)) for row in rows)
    output = trainer.model(rows)
    wanted = PrefixModel(tiny.pretrained().model)([type(row)(row.tokens, row.weights) for row in rows])
    loss = method.objective(output, rows)
    # 1e-4 of a sum of some nats: float32; read behind the prompt, the base's predictions would be others by whole nats.
    assert loss.item() == pytest.approx(output.total(divergence, wanted).item(), rel=1e-4)
    texts = method.state_dict()["texts"]
    other = eraser(tmp_path / "two", tmp_path / "two")
    # A model that was tuned to another end has the same base, and so the same texts.
    run = tiny.trainer(tmp_path / "two", Full(), learning_rate=1e-1, steps=3)
    run.train()
    loading.save(run.pretrained, tmp_path / "two" / "model")
    other.methods[0].batch(tiny.rows(4), Training(other).contexts[0])
    assert other.methods[0].state_dict()["texts"] == texts


def test_a_resumed_probe_ends_with_the_same_prompt(tuned: Path, tmp_path: Path) -> None:
    vectors = []
    for parts in ([20], [10, 20]):
        folder = tmp_path / str(len(parts))
        for steps in parts:
            trainer = eraser(folder, tuned, steps=steps, save_every=5)
            trainer.train()
        vectors.append(trainer.methods[0].vectors.detach().clone())  # pyright: ignore[reportAttributeAccessIssue, reportPossiblyUnboundVariable]
    assert torch.equal(*vectors)


def test_a_run_asks_the_general_tasks_behind_the_probe_and_is_no_other_run_for_it(tmp_path: Path) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    quick = {key: value for key, value in QUICK.items() if key.startswith("model.")} | {"model.learning_rate": 3e-2}
    options: dict[str, Any] = {"shots": (0,), "edit": "wise_ft", **quick}
    small: dict[str, Any] = {"probe.steps": 2, "probe.length": 3, "probe.self_texts": 4, "probe.self_length": 6}
    where = (world / "model", world / "pick", "full", world / "copy")
    plain = tune(*where, out=tmp_path / "plain", **options)
    probed = tune(*where, out=tmp_path / "probed", probe="eraser", **options, **small)
    behind = [score for score in probed.scores if score.prompt == "probe"]
    assert {(s.task, s.variant, s.role) for s in behind} == {("copy", "tuned", "general")}
    assert all(score.delta is not None for score in behind if score.metric == behind[0].metric)
    others = {(s.key, s.value, s.verdict) for s in probed.scores if s.prompt != "probe"}
    assert others == {(s.key, s.value, s.verdict) for s in plain.scores}
    kept, expected = (load_file(run.folder / "model" / "model.safetensors") for run in (probed, plain))
    assert all(torch.equal(kept[name], expected[name]) for name in expected)
    assert not (probed.folder / "prompt").exists()
    assert "The eraser is a soft prompt" in probed.page.read_text()
    assert "The eraser is a soft prompt" not in plain.page.read_text()
    again = runs.repeat(probed.folder / "config.yaml")
    assert [(s.key, s.value) for s in again.scores] == [(s.key, s.value) for s in probed.scores]


def test_the_command_knows_the_probes_fields() -> None:
    check_names(Techniques("full", probe="eraser"), {"probe": {"steps": 3, "length": 8, "self_texts": 4}})
    with pytest.raises(ValueError, match=r"'probe.lenght'; did you mean 'probe.length'"):
        check_names(Techniques("full", probe="eraser"), {"probe": {"lenght": 8}})
    with pytest.raises(ValueError, match="unknown stage 'probe'"):
        check_names(Techniques("full"), {"probe": {"length": 8}})


@pytest.mark.parametrize(
    ("techniques", "others", "message"),
    [
        ({"method": "full", "probe": "erasr"}, True, "unknown probe 'erasr'; did you mean 'eraser'"),
        ({"method": "full", "probe": "lora"}, True, "probe=lora: is no probe"),
        ({"method": "full", "probe": "eraser"}, False, "no general task on which something could be hidden"),
        ({"method": "prompt_tuning", "probe": "eraser"}, True, "leaves the model as it was"),
        ({"method": "eraser"}, True, "needs a stage before it"),
    ],
)
def test_a_probe_that_has_nothing_to_look_into_is_refused(
    techniques: dict[str, str], others: bool, message: str
) -> None:
    general = (TaskRef("general", "general"),) if others else ()
    with pytest.raises(ValueError, match=message):
        compose(Techniques(**techniques), RecipePlan("model", (TaskRef("task"),)), general)
