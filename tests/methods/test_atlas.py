"""aTLAS and SOMF: their end points are the base and the tuned model, and nothing but coefficients or logits learns."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call
from transformers import AutoModelForCausalLM

from holdfast.analysis.base import Subject
from holdfast.analysis.weight_drift import weight_drift
from holdfast.api.tune import tune
from holdfast.methods.atlas import Atlas
from holdfast.methods.base import Context, Method
from holdfast.methods.dpo import Dpo
from holdfast.methods.full import Full
from holdfast.methods.kl_base import KlBase
from holdfast.methods.somf import Somf
from holdfast.models import loading
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.row import Row
from holdfast.tasks.task_set import TaskRef
from holdfast.training.loop import Trainer
from tests.recipes.worlds import write_world
from tests.training import tiny

# float32: a sum of a base and a difference; a coefficient that goes to another tensor moves logits by 0.1 and more
NOISE = 2e-5


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that were tuned from the tiny one, on other rows each."""
    folders = []
    for seed in (1, 2):
        folders.append(tmp_path_factory.mktemp(f"tuned{seed}"))
        run = tiny.trainer(folders[-1], Full(), steps=12, data=tiny.rows(seed=seed))
        run.train()
        loading.save(run.pretrained, folders[-1] / "model")
    return folders


def names(folders: Sequence[Path]) -> str:
    return ",".join(map(str, folders))


def trained(folder: Path, *methods: Method, steps: int = 4, **settings: Any) -> Trainer:
    run = tiny.trainer(folder, *methods, steps=steps, **settings)
    run.train()
    return run


def logits(model: PrefixModel) -> torch.Tensor:
    with torch.no_grad():
        return model(tiny.rows()).logits


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("method", [Atlas, Somf])
def test_only_the_learned_numbers_move(method: Any, tmp_path: Path, tuned: list[Path]) -> None:
    run = trained(tmp_path, method(tuned=names(tuned)))
    base = dict(tiny.pretrained().model.named_parameters())
    after = {
        name.replace(".parametrizations.weight.original", ".weight"): value
        for name, value in run.model.model.named_parameters()
        if not name.endswith(("coefficients", "logits"))
    }
    assert all(torch.equal(value, after[name]) for name, value in base.items())
    learned = [p for p in run.model.parameters() if p.requires_grad]
    assert len(learned) == len(base)


def test_coefficients_of_zero_and_one_are_the_base_and_the_tuned_model(tmp_path: Path, tuned: list[Path]) -> None:
    for start, expected in ((0.0, tiny.pretrained().model), (1.0, loading.load(tuned[0] / "model").model)):
        run = trained(tmp_path / str(start), Atlas(tuned=str(tuned[0]), initial=start), steps=0)
        assert torch.equal(logits(run.model), logits(PrefixModel(expected)))


def test_every_coefficient_has_a_gradient_in_the_first_step(tmp_path: Path, tuned: list[Path]) -> None:
    seen: list[bool] = []

    class Look(Method):
        """Notes which gradients are there."""

        def after_backward(self, model: Any) -> None:
            seen.extend(bool(p.grad.abs().min() > 0) for p in model.parameters() if p.requires_grad)

    method = Atlas(tuned=names(tuned))
    trained(tmp_path, method, Look(), steps=1)
    assert seen == [True] * len(method.coefficients())


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_export_computes_what_the_papers_formula_does(partitions: int, tmp_path: Path, tuned: list[Path]) -> None:
    """Running theta0 + sum c tau functionally, and running the exported model: the same."""
    method = Atlas(tuned=names(tuned), partitions=partitions)
    run = trained(tmp_path, method, learning_rate=0.2)
    measured, base = logits(run.model), tiny.pretrained().model
    weights = {}
    models = [loading.load(folder / "model").model for folder in tuned]
    for name, weight in base.named_parameters():
        changes = [model.get_parameter(name) - weight for model in models]
        coefficients = method.coefficients()[name]
        # With one part the coefficient is a scalar; the parts of more are drawn, and are the method's own.
        parts: Any = method._parts[name].part
        scales = [row[0] if parts is None else row[parts] for row in coefficients]
        weights[name] = (weight + sum(s * change for s, change in zip(scales, changes, strict=True))).detach()
        assert coefficients.shape == (2, partitions if weight.ndim > 1 else 1)
    row = tiny.rows(1)[0]
    tokens = torch.tensor([row.tokens])
    with torch.no_grad():
        functional = functional_call(base, weights, (tokens,)).logits
    method.export(run.model, run.pretrained, tmp_path)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        assert (plain(tokens).logits - functional).abs().max() < NOISE
    assert (logits(PrefixModel(plain)) - measured).abs().max() < NOISE
    assert (measured - logits(PrefixModel(tiny.pretrained().model))).abs().max() > 0.05


def test_tied_weights_have_one_coefficient_and_stay_tied(tmp_path: Path) -> None:
    tied = tiny.pretrained(tie_word_embeddings=True)
    loading.save(tied, tmp_path / "tuned")
    other = loading.load(tmp_path / "tuned")
    with torch.no_grad():
        other.model.lm_head.weight.mul_(1.5)
    loading.save(other, tmp_path / "tuned")
    method = Atlas(tuned=str(tmp_path / "tuned"), initial=0.5)
    run = trained(tmp_path, method, model=tied, steps=0)
    assert [value.numel() for value in method.coefficients().values()] == [1]
    start = tiny.pretrained(tie_word_embeddings=True).model.lm_head.weight
    method.export(run.model, run.pretrained, tmp_path)
    assert tied.model.lm_head.weight is tied.model.model.embed_tokens.weight
    torch.testing.assert_close(tied.model.lm_head.weight, start * 1.25)  # applied twice it would be more


@pytest.mark.parametrize("method", [Atlas, Somf])
def test_a_resumed_run_ends_with_the_same_bits(method: Any, tmp_path: Path, tuned: list[Path]) -> None:
    def run(folder: str, steps: int) -> dict[str, torch.Tensor]:
        return tiny.weights(trained(tmp_path / folder, method(tuned=names(tuned)), steps=steps))

    whole = run("whole", 6)
    run("half", 3)
    resumed = run("half", 6)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_the_masks_end_points_and_its_scaling(tmp_path: Path, tuned: list[Path]) -> None:
    """Without a step the mask is whole and the model the tuned one; a mask with a half of it is scaled by two."""
    method = Somf(tuned=str(tuned[0]))
    run = trained(tmp_path, method, steps=0)
    after = loading.load(tuned[0] / "model").model
    assert (logits(run.model) - logits(PrefixModel(after))).abs().max() < NOISE
    with torch.no_grad():
        parts: list[Any] = list(method._parts.values())
        for part in parts:
            part.logits.copy_(
                torch.where(torch.arange(part.logits.numel()).view(part.logits.shape) % 2 == 0, 4.0, -4.0)
            )
    method.export(run.model, run.pretrained, tmp_path)
    base, left = tiny.pretrained().model.state_dict(), state(tmp_path)
    for name, end in after.named_parameters():
        change = left[name] - base[name]
        kept = torch.arange(change.numel()).view(change.shape) % 2 == 0
        assert not change[~kept].any()
        torch.testing.assert_close(change[kept], 2 * (end.detach() - base[name])[kept], rtol=1e-4, atol=1e-6)


def test_several_models_share_one_mask_at_the_papers_weight(tmp_path: Path, tuned: list[Path]) -> None:
    method = Somf(tuned=names(tuned))
    run = trained(tmp_path, method, steps=0)
    method.export(run.model, run.pretrained, tmp_path)
    base, left = tiny.pretrained().model, state(tmp_path)
    models = [loading.load(folder / "model").model for folder in tuned]
    for name, weight in base.named_parameters():
        expected = weight + 0.3 * sum(model.get_parameter(name) - weight for model in models)
        torch.testing.assert_close(left[name], expected.detach(), rtol=1e-4, atol=1e-6)


def test_the_draws_are_concrete_with_a_mean_of_one(tmp_path: Path, tuned: list[Path]) -> None:
    """At logit 1 a draw is above a half with the probability of the logit, as torch's own concrete distribution is."""
    method = Somf(tuned=str(tuned[0]), logit=1.0)
    run = trained(tmp_path, method, steps=0)
    parts: list[Any] = [part.train() for part in method._parts.values()]
    masks = []
    for step in range(2):
        method.batch([], Context(run.model, run.pretrained, step=step))
        masks.append(torch.cat([part.mask().detach().flatten() for part in parts]))
    assert not torch.equal(*masks)
    method.seed = 1
    method.batch([], Context(run.model, run.pretrained, step=1))
    assert not torch.equal(masks[1], torch.cat([part.mask().detach().flatten() for part in parts]))
    assert float(masks[0].min()) >= 0
    assert all(float(part.mask().detach().mean()) == pytest.approx(1.0, abs=1e-5) for part in parts)
    own = torch.cat([torch.sigmoid((part.logits + part.noise) / 0.5).detach().flatten() for part in parts])
    torch.manual_seed(0)
    other: Any = torch.distributions.RelaxedBernoulli(torch.tensor(0.5), logits=torch.ones(len(own))).sample()
    for quantile in (
        0.1,
        0.5,
        0.9,
    ):  # of 14,000 draws each: the noise is 0.01, a temperature that is left out moves them by 0.1
        assert float(own.quantile(quantile)) == pytest.approx(float(other.quantile(quantile)), abs=0.03)


@pytest.mark.parametrize(("reference", "folder"), [("aligned", None), ("tuned", 0)])
def test_dpo_measures_from_the_model_that_is_named(
    reference: Any, folder: int | None, tmp_path: Path, tuned: list[Path]
) -> None:
    run = tiny.trainer(tmp_path, Somf(tuned=str(tuned[0]), reference=reference), Dpo(), steps=2, batch_size=2)
    single: Any = run.stream.row  # pyright: ignore[reportAttributeAccessIssue]

    def pair(index: int, epoch: int) -> list[Row]:
        row = single(index, epoch)
        return [row, replace(row, tokens=(*row.tokens[:-1], 7))]

    run.stream = replace(run.stream, row=pair)  # pyright: ignore[reportArgumentType]
    run.train()
    loaded: Pretrained = tiny.pretrained() if folder is None else loading.load(tuned[folder] / "model")
    dpo: Any = run.methods[1]
    assert (logits(PrefixModel(dpo._reference)) - logits(PrefixModel(loaded.model))).abs().max() < NOISE


def test_a_random_reference_is_drawn_at_each_forward_and_the_model_itself_is_not(
    tmp_path: Path, tuned: list[Path]
) -> None:
    """The authors' reference: a copy whose logits stay 0, with new draws each time, of mean one."""
    run = tiny.trainer(tmp_path, Somf(tuned=str(tuned[0]), reference="random"), KlBase(strength=0.1), steps=2)
    run.train()
    hold: Any = run.methods[1]
    parts = [module for module in hold._base.modules() if hasattr(module, "logits")]
    assert parts
    with torch.no_grad():
        assert not torch.equal(parts[0].mask(), parts[0].mask())
        assert all(float(part.mask().mean()) == pytest.approx(1.0, abs=1e-5) for part in parts)
        assert not any(part.logits.any() for part in parts)
    assert torch.equal(logits(run.model), logits(run.model))


def test_models_that_do_not_fit_are_refused(tmp_path: Path, tuned: list[Path]) -> None:
    torch.manual_seed(0)
    config = tiny.pretrained().model.config
    config.hidden_size = 64
    other = Pretrained(type(tiny.pretrained().model)(config), tiny.pretrained().tokenizer, "m", "0")
    loading.save(other, tmp_path / "other")
    model = tiny.pretrained()
    method = Atlas(tuned=f"{tuned[0]},{tmp_path / 'other'}")
    with pytest.raises(ValueError, match="other: was not tuned from this base: model"):
        method.prepare(Context(PrefixModel(model.model), model))


def test_the_recipe_begins_at_the_tuned_model(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    both: dict[str, Any] = {f"{stage}.batch_size": 4 for stage in ("dense", "model")}
    both |= {"dense.steps": 2, "model.steps": 0}
    run = tune(world / "model", world / "pick", "tuned_atlas", world / "copy", limit=4, out=tmp_path / "run", **both)
    (dense,) = run.folder.glob("**/dense-*/model")
    left, first = state(run.folder), load_file(dense / "model.safetensors")
    assert all(torch.equal(left[name], first[name]) for name in left)


def test_drift_is_that_of_the_weights_that_the_model_computes_with(tmp_path: Path, tuned: list[Path]) -> None:
    """While a combination is trained the analyses see what it computes, and not the frozen base below it."""
    run = trained(tmp_path, Atlas(tuned=str(tuned[0]), initial=0.5), steps=0)
    after = loading.load(tuned[0] / "model")
    whole, half = (
        {
            f.where: f.value
            for f in weight_drift(Subject(p, PrefixModel(p.model), tiny.pretrained(), (), ()))
            if f.measure == "mean_abs"
        }
        for p in (after, run.pretrained)
    )
    assert half == pytest.approx({name: value / 2 for name, value in whole.items()}, rel=1e-4)


@pytest.mark.parametrize("name", ["tuned_atlas", "tuned_graft"])
def test_what_joins_takes_part_where_the_combination_is_learned_alone(name: str) -> None:
    stages: list[Any] = find_recipe(f"{name}+kl_base")(RecipePlan("model", (TaskRef("task"),)))
    joined = [any(isinstance(method, KlBase) for method in stage.methods) for stage in stages]
    assert joined == [False, True]
