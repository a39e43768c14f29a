"""CorDA and LoRA-Null: the start changes nothing, the base is never touched, and each trains the directions that it promises."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.tuners.lora.config import CordaConfig

from holdfast.methods._calibrated_lora import START, TRAINED, CalibratedLora, _matrices
from holdfast.methods._calibration import covariances, named_rows
from holdfast.methods._linear_targets import matrix
from holdfast.methods.base import Context
from holdfast.methods.corda import Corda
from holdfast.methods.full import Full
from holdfast.methods.kl_base import KlBase
from holdfast.methods.lora_null import LoraNull
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.models import loading, merging
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.low_rank import LowRank
from holdfast.row import Row
from tests.training import tiny

SMALL: dict[str, Any] = {"rank": 4, "samples": 12, "sample_length": 10}
NOISE = 2e-5  # float32 noise of logits of about 10; a wrong scale or a sign that is lost moves them by more than 0.1


def logits(model: PrefixModel, rows: list[Row]) -> torch.Tensor:
    with torch.no_grad():
        return model(rows).logits


def prepared(method: CalibratedLora, rows: list[Row] | None = None) -> tuple[Context, CalibratedLora]:
    loaded = tiny.pretrained()
    context = Context(PrefixModel(loaded.model), loaded, rows or tiny.rows(12))
    method.prepare(context)
    return context, method


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "general.txt"
    path.write_text("\n".join(" ".join(f"w{3 + (7 * i + 3 * j) % 37}" for j in range(9)) for i in range(12)) + "\n")
    return str(path)


METHODS = [
    Corda(mode="kpm", **SMALL),
    Corda(mode="ipm", alpha=9.0, **SMALL),
    LoraNull(alpha=2.0, **SMALL),
    LoraNull(freeze_a=True, **SMALL),
]


@pytest.mark.parametrize("method", METHODS, ids=["kpm", "ipm", "null", "null-v2"])
def test_the_start_changes_nothing_and_training_leaves_the_base_to_the_bit(method: Any, tmp_path: Path) -> None:
    method, rows = copy.copy(method), tiny.rows()
    base = tiny.pretrained()
    before = logits(PrefixModel(base.model), rows)
    run = tiny.trainer(tmp_path / "run", method, steps=3)
    run.train()
    # The weights of the base: those of an adapted module are inside its `base_layer`.
    held = {n.replace(".base_layer", ""): p for n, p in run.model.model.named_parameters() if "lora_" not in n}
    assert all(torch.equal(weight, held[name]) for name, weight in base.model.named_parameters())
    after = logits(run.model, rows)
    assert (after - before).abs().max() > 0.01  # it learns
    method.export(run.model, run.pretrained, tmp_path)
    # The same function three times: as trained, the plain adapter on a clean base, and merged.
    clean = tiny.pretrained()
    merging.merge(clean, tmp_path / "adapter")
    merged = loading.load(tmp_path / "model").model
    assert (logits(PrefixModel(clean.model), rows) - after).abs().max() < NOISE
    assert (logits(PrefixModel(merged), rows) - after).abs().max() < NOISE
    rank = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"]
    assert rank == (4 if getattr(method, "freeze_a", False) else 8)
    for name, weight in merged.named_parameters():
        original = dict(base.model.named_parameters())[name]
        assert torch.equal(weight, original) is not name.endswith("_proj.weight"), name


@pytest.mark.parametrize("method", METHODS, ids=["kpm", "ipm", "null", "null-v2"])
def test_before_a_step_outputs_are_the_base_s_and_the_export_is_its_bits(method: Any, tmp_path: Path) -> None:
    rows = tiny.rows()
    before = logits(PrefixModel(tiny.pretrained().model), rows)
    context, method = prepared(copy.copy(method))
    assert (logits(context.model, rows) - before).abs().max() < NOISE
    method.export(context.model, context.pretrained, tmp_path)
    merged = loading.load(tmp_path / "model").model
    assert all(torch.equal(w, merged.get_parameter(n)) for n, w in tiny.pretrained().model.named_parameters())


@pytest.mark.parametrize("mode", ["kpm", "ipm"])
def test_the_start_is_that_of_peft(mode: Any) -> None:
    pytest.importorskip("attr", reason="PEFT's CorDA needs attrs, which PEFT does not bring: pip install attrs")
    from peft.tuners.lora.corda import preprocess_corda

    rows = [Row(r.tokens, (0.0, *[1.0] * (len(r.tokens) - 1))) for r in tiny.rows(12)]
    method = Corda(mode=mode, alpha=9.0, **SMALL)
    method.calibration_rows = lambda context: rows  # pyright: ignore[reportAttributeAccessIssue]
    prepared(method, rows)
    reference = tiny.pretrained().model
    config = peft.LoraConfig(
        r=4, lora_alpha=9, target_modules="all-linear", init_lora_weights="corda", task_type="CAUSAL_LM",
        corda_config=CordaConfig(corda_method=mode),
    )  # fmt: skip
    config.target_modules = list(method._layers)  # PEFT's calibration does not know "all-linear"

    def run() -> None:
        for row in rows:  # what is predicted from nothing, the last token, is no input of ours
            reference(torch.tensor([row.tokens[:-1]]))

    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        preprocess_corda(reference, config, run)
        wrapped: Any = peft.get_peft_model(reference, config)
    for name, layer in method._layers.items():
        theirs = wrapped.base_model.model.get_submodule(name)
        down, up = _matrices(layer, TRAINED)
        down_theirs, up_theirs = _matrices(theirs, "default")
        # Singular vectors have no sign; their products do. 1e-3 of the largest: both compute in float32, in another order.
        product, expected = up @ down, up_theirs @ down_theirs
        assert (product - expected).abs().max() < 1e-3 * expected.abs().max(), name
        assert torch.allclose(down.norm(dim=1), down_theirs.norm(dim=1), rtol=1e-2), name


def test_covariances_are_sums_over_rows_each_by_its_own_scale() -> None:
    """Padding, a batch or a shared scale would change them: peft fails on a batch, and we run rows one by one."""
    loaded = tiny.pretrained()
    context = Context(PrefixModel(loaded.model), loaded)
    module = loaded.model.model.layers[1].mlp.down_proj
    rows = tiny.rows(5)
    alone = [covariances(context, {"m": module}, [row])["m"] for row in rows]
    together = covariances(context, {"m": module}, rows)["m"]
    assert torch.allclose(together, torch.stack(alone).mean(0), rtol=1e-5)
    seen: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    loaded.model(torch.tensor([rows[0].tokens[: rows[0].labels[-1]]]))
    hook.remove()
    scaled = seen[0][0] / seen[0].max().abs()
    assert torch.allclose(alone[0], scaled.T @ scaled, rtol=1e-4, atol=1e-6)


def test_modules_that_read_the_same_share_one_matrix() -> None:
    context, _ = prepared(Corda(mode="ipm", **SMALL))
    loaded = tiny.pretrained()
    modules = {n: m for n, m in loaded.model.named_modules() if n.endswith("_proj")}
    measured = covariances(Context(PrefixModel(loaded.model), loaded), modules, list(context.rows))
    assert list(measured) == list(modules)
    assert len({id(matrix) for matrix in measured.values()}) == 2 * 4  # of 7 modules a layer: qkv, o, gate and up, down


def test_kpm_moves_what_calibration_rows_use_less_than_ipm_does() -> None:
    rows = tiny.rows(12)
    used = {}
    for mode in ("kpm", "ipm"):
        method = Corda(mode=mode, **SMALL)
        method.calibration_rows = lambda context: rows  # pyright: ignore[reportAttributeAccessIssue]
        _context, method = prepared(method, rows)
        loaded = tiny.pretrained()
        modules = dict(loaded.model.named_modules())
        measured = covariances(
            Context(PrefixModel(loaded.model), loaded), {n: modules[n] for n in method._layers}, rows
        )
        used[mode] = 0.0
        for name, layer in method._layers.items():
            down, up = _matrices(layer, TRAINED)
            assert torch.linalg.matrix_rank(up @ down) == 4
            used[mode] += float(((up @ down) @ measured[name] @ (up @ down).T).trace().sqrt())
    assert used["kpm"] < 0.2 * used["ipm"]


def test_lora_null_takes_the_weight_s_part_in_the_null_space() -> None:
    rows = tiny.rows(12)
    method = LoraNull(alpha=9.0, **SMALL)
    method.calibration_rows = lambda context: rows  # pyright: ignore[reportAttributeAccessIssue]
    _, method = prepared(method, rows)
    loaded = tiny.pretrained()
    modules = dict(loaded.model.named_modules())
    measured = covariances(Context(PrefixModel(loaded.model), loaded), {n: modules[n] for n in method._layers}, rows)
    for name, layer in method._layers.items():
        null = torch.linalg.eigh(measured[name]).eigenvectors[:, :4]
        down, up = _matrices(layer, TRAINED)
        weight = matrix(modules[name])
        assert torch.allclose(9.0 / 4 * up @ down, weight @ null @ null.T, atol=1e-5), name


def test_frozen_a_keeps_what_the_texts_activate(tmp_path: Path) -> None:
    """Four texts of few tokens leave a null space in every input: there the trained change is zero but for rounding."""
    rows = tiny.rows(2)
    changes = {}
    for freeze in (True, False):
        method = LoraNull(freeze_a=freeze, **SMALL)
        method.calibration_rows = lambda context: rows  # pyright: ignore[reportAttributeAccessIssue]
        run = tiny.trainer(tmp_path / str(freeze), method, steps=4)
        run.train()
        loaded = tiny.pretrained()
        modules = dict(loaded.model.named_modules())
        measured = covariances(
            Context(PrefixModel(loaded.model), loaded), {n: modules[n] for n in method._layers}, rows
        )
        changes[freeze] = 0.0
        for name, layer in method._layers.items():
            (down, up), (down0, up0) = _matrices(layer, TRAINED), _matrices(layer, START)
            assert torch.equal(down, down0) is freeze, name
            change = up @ down + up0 @ down0
            largest = change.norm() * measured[name].trace().sqrt()
            changes[freeze] = max(changes[freeze], float((change @ measured[name] @ change.T).trace().sqrt() / largest))
    # 1e-3: eigenvectors of a rank-deficient float32 matrix; an A that drifts activates a tenth and more.
    assert changes[True] < 1e-3 < 0.03 < changes[False]


def test_the_model_s_own_texts_need_no_data_and_are_drawn_by_the_seed() -> None:
    first, again, other = (prepared(Corda(seed=seed, **SMALL))[1].state_dict() for seed in (0, 0, 1))
    name = next(iter(first))
    assert all(torch.equal(x, y) for x, y in zip(first[name], again[name], strict=True))
    assert not torch.equal(first[name][0], other[name][0])


def test_texts_and_tasks_are_read_as_rows(texts: str, tmp_path: Path) -> None:
    loaded = tiny.pretrained()
    rows = named_rows(texts, loaded, 5, 6)
    assert [len(row.tokens) for row in rows] == [6] * 5
    lines = [json.dumps({"text": "w3 w4 w5"}), json.dumps({"text": "w6"}), json.dumps({"text": "w7 w8"})]
    (tmp_path / "general.jsonl").write_text("\n".join(lines))
    assert [row.tokens for row in named_rows(str(tmp_path / "general.jsonl"), loaded, 9, 9)] == [(3, 4, 5), (7, 8)]
    task = tmp_path / "task"
    task.mkdir()
    (task / "train.jsonl").write_text("".join(json.dumps({"input": f"w{i}", "target": "w9"}) + "\n" for i in (3, 4, 5)))
    (task / "test.jsonl").write_text(json.dumps({"input": "w6", "target": "w9"}) + "\n")
    (task / "task.yaml").write_text('input: "{{ input }} w8"\n')
    assert [row.tokens for row in named_rows(str(task), loaded, 2, 9)] == [(3, 8, 9, 2), (4, 8, 9, 2)]
    with pytest.raises(ValueError, match="no such folder, file or task"):
        named_rows(str(tmp_path / "nowhere"), loaded, 2, 9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 17}, r"rank=17: model.layers.0.self_attn.k_proj is 16 x 32 and has no part of that rank"),
        ({"target": "q_prj"}, "unknown module in `target` 'q_prj'; did you mean 'q_proj'"),
        ({"target": "lm_head"}, "lm_head is the head"),
    ],
)
def test_what_cannot_be_adapted_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(Corda(**{**SMALL, **fields}))


@pytest.mark.parametrize("kind", [Corda, LoraNull])
def test_a_resumed_run_ends_with_the_same_bits(kind: Any, tmp_path: Path) -> None:
    def run(folder: str, steps: int) -> dict[str, torch.Tensor]:
        made = tiny.trainer(tmp_path / folder, kind(**SMALL), steps=steps)
        made.train()
        return tiny.weights(made)

    whole = run("whole", 6)
    run("half", 3)
    resumed = run("half", 6)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    # A calibration that gives other bits after a resume, as on another machine: the start of before is put back.
    run("lost", 3)
    moved = tiny.trainer(tmp_path / "lost", kind(seed=5, **SMALL), steps=6)
    moved.train()
    assert all(torch.equal(value, tiny.weights(moved)[name]) for name, value in whole.items())


def test_it_trains_behind_a_prompt_and_beside_a_penalty(tmp_path: Path) -> None:
    """As in ProMoT: the calibration on the target's rows reads them behind the prompt that stands before them."""
    loaded = tiny.pretrained()
    run = tiny.trainer(tmp_path, Corda(mode="ipm", **SMALL), KlBase(strength=0.5), model=loaded, steps=2)
    PromptTuning(length=3).prepare(Context(run.model, loaded, tiny.rows()))
    prompt = [p.detach().clone() for p in run.model.prompts.parameters()]
    run.train()
    assert all(torch.equal(p, before) for p, before in zip(run.model.prompts.parameters(), prompt, strict=True))
    # At the start the penalty is zero but for rounding: its base is the model with the adapters, and both agree.
    assert abs(tiny.losses(tmp_path)[0] - tiny.losses(_plain(tmp_path / "plain"))[0]) < 1e-4


def _plain(folder: Path) -> Path:
    loaded = tiny.pretrained()
    run = tiny.trainer(folder, Full(), model=loaded, steps=1)
    PromptTuning(length=3).prepare(Context(run.model, loaded, tiny.rows()))
    run.train()
    return folder


def test_the_adapter_is_read_as_low_rank_updates(tmp_path: Path) -> None:
    context, method = prepared(LoraNull(freeze_a=True, **SMALL))
    method.export(context.model, context.pretrained, tmp_path)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    from safetensors.torch import load_file

    updates = LowRank.read(config, load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    assert updates.scale == 16.0 / 4
    assert not any(up.any() for up in updates.up)  # nothing moved
