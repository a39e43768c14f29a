"""An edited model folder is what its edit says, tensor for tensor, whatever its files and dtypes, and is whole or not there."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from holdfast import plugins
from holdfast.api.edit import edit_model
from holdfast.edits.base import Edit, Slices
from holdfast.edits.lines import Lines
from holdfast.stages import edit_slices
from holdfast.stages.edit_slices import edited
from holdfast.stages.edited_weights import match_tensors, write_edited_model
from holdfast.weights import largest
from holdfast.weights.layout import Layout
from holdfast.weights.safetensors_files import Reader

EDITS = [record["name"] for record in plugins.records(plugins.EDITS)]
SLICEABLE = [name for name in EDITS if plugins.configure(plugins.EDITS, name, {}).sliceable]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def llama(seed: int, *, tied: bool = False, vocabulary: int = 50) -> Any:
    """Two blocks of width 32 at `initializer_range=0.2`, where a wrong weight shows in the logits."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def saved(folder: Path, model: Any, **options: Any) -> Path:
    """A model folder with a tokenizer's file beside the weights."""
    model.save_pretrained(folder, **options)
    (folder / "tokenizer.json").write_text('{"stands": "for a tokenizer"}')
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor in a folder's files."""
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def in_memory(how: Edit, base: Path, tuned: Path) -> dict[str, Tensor]:
    """What an edit makes of two models held whole: the plain way that the stage must agree with."""
    before, after = weights(base), weights(tuned)
    layout = Layout({name: tuple(tensor.shape) for name, tensor in after.items()})
    sides = {name: (before[name].float(), [tensor.float()] * how.fewest) for name, tensor in after.items()}
    # The whole tensor is the first slice, and any other first of a stride.
    how = how.prepare(
        [
            (
                Slices(
                    pair[0].numel(),
                    lambda step, models, pair=pair: [(pair[0], [pair[1][m] for m in models])],
                    how.fewest,
                ),
                layout.locate(n),
            )
            for n, pair in sides.items()
        ]
    )
    return {name: how(*sides[name], layout.locate(name)).to(tensor.dtype) for name, tensor in after.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Equal names, dtypes and bits."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    return saved(tmp_path / "base", llama(0)), saved(tmp_path / "tuned", llama(1))


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("slice_size", [100, 1 << 20])
def test_by_slices_and_in_memory_are_the_same_bits(
    name: str, slice_size: int, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit_slices, "SLICE", slice_size)
    how = plugins.configure(plugins.EDITS, name, {})
    out = edit_model(models[0], [models[1]] * how.fewest, name, tmp_path / "out")
    assert same(weights(out), in_memory(how, *models))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_arithmetic_is_in_float32_or_better_and_the_tuned_dtype_stays(dtype: torch.dtype, tmp_path: Path) -> None:
    base, tuned = saved(tmp_path / "base", llama(0)), saved(tmp_path / "tuned", llama(1).to(dtype))
    out = edit_model(str(base), str(tuned), "wise_ft", tmp_path / "out", alpha=0.3)
    before, after, found = weights(base), weights(tuned), weights(out)
    exact = torch.float64 if dtype is torch.float64 else torch.float32
    expected = {n: torch.lerp(before[n].to(exact), after[n].to(exact), 0.3).to(dtype) for n in after}
    assert same(found, expected)
    whole = edit_model(str(base), str(tuned), "wise_ft", tmp_path / "whole", alpha=1)
    assert same(weights(whole), after)


@pytest.mark.parametrize(("alpha", "like"), [(1.0, 1), (0.0, 0)])
def test_the_ends_give_the_logits_of_the_tuned_and_of_the_base_model(
    alpha: float, like: int, models: tuple[Path, Path], tmp_path: Path
) -> None:
    out = edit_model(str(models[0]), str(models[1]), "wise_ft", tmp_path / "out", alpha=alpha)
    tokens = torch.arange(10).view(1, 10)
    with torch.no_grad():
        loaded = AutoModelForCausalLM.from_pretrained(out)(tokens).logits
        assert torch.equal(loaded, AutoModelForCausalLM.from_pretrained(models[like])(tokens).logits)
        assert not torch.equal(loaded, AutoModelForCausalLM.from_pretrained(models[1 - like])(tokens).logits)


def test_at_the_tuned_end_the_files_are_the_tuned_files(models: tuple[Path, Path], tmp_path: Path) -> None:
    out = edit_model(str(models[0]), str(models[1]), "lines", tmp_path / "out", alpha=1)
    for path in models[1].iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    record = json.loads((out / "edit.json").read_text())
    expected = {"edit": "lines", "alpha": 1.0, "beta": None, "post": "alpha"}
    assert record == {**expected, "base": str(models[0]), "tuned": str(models[1])}


@pytest.mark.parametrize(("base_size", "tuned_size"), [("20KB", "10GB"), ("10GB", "20KB"), ("15KB", "25KB")])
def test_models_in_many_files_are_edited_alike(base_size: str, tuned_size: str, tmp_path: Path) -> None:
    base = saved(tmp_path / "base", llama(0), max_shard_size=base_size)
    tuned = saved(tmp_path / "tuned", llama(1), max_shard_size=tuned_size)
    out = edit_model(str(base), str(tuned), "lines", tmp_path / "out", alpha=0.4)
    assert {p.name for p in out.glob("*.safetensors*")} == {p.name for p in tuned.glob("*.safetensors*")}
    assert same(weights(out), in_memory(Lines(0.4), base, tuned))
    AutoModelForCausalLM.from_pretrained(out)


@pytest.mark.parametrize("name", SLICEABLE)
def test_memory_holds_no_more_than_a_slice_of_a_tensor(
    name: str, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes in one read are at most those of a slice; the largest tensor here has 1600 numbers, the slice 200."""
    monkeypatch.setattr(edit_slices, "SLICE", 200)
    sizes = []
    fill = Reader.fill
    monkeypatch.setattr(
        Reader, "fill", lambda self, s, start, data: (sizes.append(data.numel()), fill(self, s, start, data))[1]
    )
    how = plugins.configure(plugins.EDITS, name, {})
    write_edited_model(models[0], [models[1]] * how.fewest, how, tmp_path / "out")
    assert max(sizes) <= 200 * 4


@pytest.mark.parametrize(
    ("name", "given"), [("ties", {}), ("ties", {"scope": "model"}), ("graft", {}), ("breadcrumbs", {"scope": "tensor"})]
)
def test_what_is_read_grows_with_the_number_of_models_and_not_with_its_square(
    name: str, given: dict[str, Any], models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each model that is added is read as often as the one before it. A pass over all models for each of them would make the
    fourth cost four passes more than the third."""
    monkeypatch.setattr(edit_slices, "SLICE", 200)
    sizes: list[int] = []
    fill = Reader.fill
    monkeypatch.setattr(
        Reader, "fill", lambda self, s, start, data: (sizes.append(data.numel()), fill(self, s, start, data))[1]
    )
    how, totals = plugins.configure(plugins.EDITS, name, given), []
    for count in (2, 3, 4):
        sizes.clear()
        write_edited_model(models[0], [models[1]] * count, how, tmp_path / f"of {count}")
        totals.append(sum(sizes))
    assert totals[2] - totals[1] == totals[1] - totals[0] > 0


@pytest.mark.parametrize(("name", "given"), [("ties", {}), ("model_stock", {}), ("breadcrumbs", {"scope": "tensor"})])
def test_several_models_by_slices_and_in_memory_are_the_same_bits(
    name: str, given: dict[str, Any], models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three that differ: a selector that went by another model's changes would show, which equal models hide."""
    monkeypatch.setattr(edit_slices, "SLICE", 200)
    tuned = [models[1], saved(tmp_path / "second", llama(2)), saved(tmp_path / "third", llama(3))]
    how = plugins.configure(plugins.EDITS, name, given)
    out = write_edited_model(models[0], tuned, how, tmp_path / "out")
    before, after = weights(models[0]), [weights(folder) for folder in tuned]
    layout = Layout({n: tuple(t.shape) for n, t in before.items()})
    assert same(weights(out), {n: how(b, [side[n] for side in after], layout.locate(n)) for n, b in before.items()})


@pytest.mark.parametrize(
    ("name", "given"),
    [("wise_ft", {}), ("dare", {}), ("magnitude", {}), ("breadcrumbs", {}), ("breadcrumbs", {"scope": "tensor"})],
)
def test_memory_is_a_few_slices_however_large_the_tensor_is(
    name: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor is larger than a slice, and all arrays that live at once are together below 16 slices of 64 in float32:
    masks, and the candidates for a threshold, which are some hundredths of the tensor. A copy of it would be 64."""
    monkeypatch.setattr(edit_slices, "SLICE", 1 << 12)
    monkeypatch.setattr(largest, "WHOLE", 1 << 12)
    draw = torch.Generator().manual_seed(0)
    for side in ("base", "tuned"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "config.json").write_text("{}")
        matrix = torch.randn(1 << 10, 1 << 8, generator=draw).bfloat16()
        save_file({"weight": matrix}, tmp_path / side / "model.safetensors", {"format": "pt"})
    how = plugins.configure(plugins.EDITS, name, given)
    tracemalloc.start()
    with Reader() as reader, Weighing() as weighing:
        found = match_tensors(tmp_path / "base", [tmp_path / "tuned"], reader)["weight"]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in edited(found, how, reader):
            pass
        arrays = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert weighing.most <= 4 * (1 << 12)
    assert arrays < 16 * 4 * (1 << 12)


@pytest.mark.parametrize("name", ["dare", "magnitude", "half_reset"])
def test_threads_make_the_same_files(name: str, models: tuple[Path, Path], tmp_path: Path) -> None:
    """Tensors are then written in any order; and torch has as many threads afterwards as before."""
    usual = torch.get_num_threads()
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            write_edited_model(
                models[0], models[1:], plugins.configure(plugins.EDITS, name, {}), tmp_path / str(threads)
            )
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(usual)
    one, many = (tmp_path / str(threads) / "model.safetensors" for threads in (1, 4))
    assert one.read_bytes() == many.read_bytes()


class Weighing(TorchDispatchMode):
    """The most bytes of any tensor that was made within."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.most = max(self.most, result.untyped_storage().nbytes())
        return result


def test_tied_weights_are_edited_once(tmp_path: Path) -> None:
    base, tuned = saved(tmp_path / "base", llama(0, tied=True)), saved(tmp_path / "tuned", llama(1, tied=True))
    assert HEAD not in weights(tuned)
    out = edit_model(str(base), str(tuned), "task_arithmetic", tmp_path / "out", scale=0.5)
    model = AutoModelForCausalLM.from_pretrained(out)
    expected = torch.lerp(weights(base)[EMBEDDING], weights(tuned)[EMBEDDING], 0.5)
    assert torch.equal(model.lm_head.weight, expected)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def twice(folder: Path) -> Path:
    """The tied head stored beside the embedding, as some checkpoints have it."""
    found = load_file(folder / "model.safetensors")
    save_file(found | {HEAD: found[EMBEDDING].clone()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("both", [(False, True), (True, False), (True, True)], ids=str)
def test_tied_weights_stored_twice_stay_alike(name: str, both: tuple[bool, bool], tmp_path: Path) -> None:
    folders = [saved(tmp_path / side, llama(seed, tied=True)) for seed, side in enumerate(("base", "tuned"))]
    for folder, doubled in zip(folders, both, strict=True):
        if doubled:
            twice(folder)
    how, layout = plugins.configure(plugins.EDITS, name, {}), Layout({EMBEDDING: (50, 32), HEAD: (50, 32)})
    found = weights(edit_model(folders[0], [folders[1]] * how.fewest, name, tmp_path / "out"))
    assert (HEAD in found) == both[1]
    assert HEAD not in found or torch.equal(found[HEAD], found[EMBEDDING])
    before, after = (weights(folder)[EMBEDDING] for folder in folders)
    tuned = [after] * how.fewest
    assert any(torch.equal(found[EMBEDDING], how(before, tuned, layout.locate(n))) for n in (EMBEDDING, HEAD))


def test_integers_and_booleans_and_single_numbers_and_empty_tensors_pass(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    extra = {
        "model.steps": torch.tensor([3, 4]),
        "model.mask": torch.tensor([True, False, True]),
        "model.scale": torch.tensor(2.0),
        "model.nothing": torch.zeros(0, 5),
    }
    for folder, factor in zip(models, (0, 1), strict=True):
        added = {name: tensor * factor for name, tensor in extra.items()}
        save_file(load_file(folder / "model.safetensors") | added, folder / "model.safetensors", {"format": "pt"})
    found = weights(edit_model(str(models[0]), str(models[1]), "wise_ft", tmp_path / "out", alpha=0.25))
    assert torch.equal(found["model.steps"], extra["model.steps"])
    assert torch.equal(found["model.mask"], extra["model.mask"])
    assert torch.equal(found["model.scale"], torch.tensor(0.5))
    assert found["model.nothing"].shape == (0, 5)


def test_a_run_stands_for_the_model_inside_it(models: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("command: tune\n")
    with pytest.raises(ValueError, match="trained no whole model"):
        edit_model(str(models[0]), str(run), "wise_ft", tmp_path / "out")
    models[1].rename(run / "model")
    out = edit_model(str(models[0]), str(run), "wise_ft", tmp_path / "out", alpha=1)
    assert same(weights(out), weights(run / "model"))


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def rename_a_tensor(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    found["other.weight"] = found.pop("model.norm.weight")
    save_file(found, folder / "model.safetensors", {"format": "pt"})


def add_a_tensor(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    save_file(found | {"extra.weight": torch.ones(3)}, folder / "model.safetensors", {"format": "pt"})


def quantise(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))


def eight_bits(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    found["model.norm.weight"] = found["model.norm.weight"].to(torch.float8_e4m3fn)
    save_file(found, folder / "model.safetensors", {"format": "pt"})


def no_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (drop_weights, "pickled, and unpickling runs code"),
        (cut_short, "cannot be read as a safetensors file"),
        (rename_a_tensor, "(other|model.norm).weight: in .*tuned and not in .*base"),
        (add_a_tensor, "extra.weight: in .* and not in"),
        (quantise, "is quantised"),
        (eight_bits, "model.norm.weight: is quantised"),
        (no_configuration, "no config.json"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("side", [0, 1], ids=["base", "tuned"])
def test_what_cannot_be_edited_is_refused_and_nothing_is_written(
    harm: Callable[[Path], None], message: str, side: int, models: tuple[Path, Path], tmp_path: Path
) -> None:
    harm(models[side])
    with pytest.raises(ValueError, match=message):
        edit_model(str(models[0]), str(models[1]), "wise_ft", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "tuned"]


def test_a_resized_vocabulary_is_refused_with_the_way_out(models: tuple[Path, Path], tmp_path: Path) -> None:
    larger = saved(tmp_path / "larger", llama(1, vocabulary=60))
    with pytest.raises(ValueError, match=r"\[50, 32\] and \[60, 32\].*resize_token_embeddings"):
        edit_model(str(models[0]), str(larger), "wise_ft", tmp_path / "out")


def test_another_architecture_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    other = saved(tmp_path / "other", GPT2LMHeadModel(config))
    with pytest.raises(ValueError, match=r"lm_head.weight, .* more: in .*tuned and not in .*same model"):
        edit_model(str(other), str(models[1]), "wise_ft", tmp_path / "out")


def test_a_folder_in_use_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not empty; give another folder"):
        edit_model(str(models[0]), str(models[1]), "wise_ft", models[1])
    (tmp_path / "empty").mkdir()
    edit_model(str(models[0]), str(models[1]), "wise_ft", tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("wise", {}, "unknown edit 'wise'; did you mean 'wise_ft'"),
        ("wise_ft", {"alfa": 1}, "unknown field of edit 'wise_ft': 'alfa'; did you mean 'alpha'"),
        ("wise_ft", {"alpha": 2}, "wise_ft.alpha=2: Input should be less than or equal to 1"),
        ("breadcrumbs", {"density": 0.9, "outliers": 0.2}, "breadcrumbs: .*more than 1 together"),
        ("nowhere.py:Mine", {}, "there is no file nowhere.py"),
    ],
)
def test_unknown_edits_and_fields_are_named_with_the_nearest(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edit_model("base", "tuned", name, Path("out"), **given)


@pytest.mark.parametrize("missing", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_a_missing_folder_is_named_and_no_hub_is_asked(missing: str) -> None:
    with pytest.raises(ValueError, match="there is no such model folder"):
        edit_model(missing, missing, "wise_ft", Path("out"))


OWN = """
import torch
from pydantic.dataclasses import dataclass
from holdfast.edits.base import Edit, Slices

@dataclass(frozen=True)
class Mine(Edit):
    fails_at: str = ""
    shape: bool = True

    def __call__(self, base, tuned, location):
        if location.name == self.fails_at:
            raise KeyboardInterrupt
        return -tuned[0] if self.shape else tuned[0][:1]
"""


def test_a_users_own_edit_serves_from_its_file(models: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    out = edit_model(str(models[0]), str(models[1]), f"{tmp_path}/own.py:Mine", tmp_path / "out")
    assert same(weights(out), {name: -tensor for name, tensor in weights(models[1]).items()})
    with pytest.raises(ValueError, match=r"mine: made \[1, 32\].* of lm_head.weight, which is \[50, 32\]"):
        edit_model(str(models[0]), str(models[1]), f"{tmp_path}/own.py:Mine", tmp_path / "wrong", shape=False)


def test_an_edit_that_is_stopped_leaves_nothing(models: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "leftover").write_text("of a run that was killed")
    with pytest.raises(KeyboardInterrupt):
        edit_model(
            str(models[0]), str(models[1]), f"{tmp_path}/own.py:Mine", tmp_path / "out", fails_at="model.norm.weight"
        )
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["base", "tuned"]
    out = edit_model(str(models[0]), str(models[1]), f"{tmp_path}/own.py:Mine", tmp_path / "out")
    assert not (out / "leftover").exists()


def test_several_models_are_added_whatever_their_files_and_dtypes(tmp_path: Path) -> None:
    """The first tuned model is in bfloat16, so the result is; the sums are taken in float32."""
    base = saved(tmp_path / "base", llama(0), max_shard_size="15KB")
    first = saved(tmp_path / "first", llama(1).to(torch.bfloat16))
    others = [saved(tmp_path / str(seed), llama(seed), max_shard_size="20KB") for seed in (2, 3)]
    out = edit_model(base, [first, *others], "task_arithmetic", tmp_path / "out", scale=0.4)
    before, *tuned = (weights(folder) for folder in (base, first, *others))
    edit = plugins.configure(plugins.EDITS, "task_arithmetic", {"scale": 0.4})
    layout = Layout({name: tuple(tensor.shape) for name, tensor in tuned[0].items()})
    expected = {
        name: edit(tensor, [model[name].float() for model in tuned], layout.locate(name)).bfloat16()
        for name, tensor in before.items()
    }
    assert same(weights(out), expected)
    record = json.loads((out / "edit.json").read_text())
    assert record["tuned"] == [str(folder) for folder in (first, *others)]
    AutoModelForCausalLM.from_pretrained(out)


def test_models_of_16_bits_are_summed_in_float32(tmp_path: Path) -> None:
    """Deltas of 2^-9 beside a base of 1: a sum that is rounded to bfloat16 at each step stays 1, or comes out twice as far."""
    for name, value in (("base", 1.0), ("a", 1 + 2**-7), ("b", 1 + 2**-6), ("c", 1 - 2**-7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        save_file({"w": torch.full((2, 2), value).bfloat16()}, tmp_path / name / "model.safetensors", {"format": "pt"})
    out = edit_model(tmp_path / "base", [tmp_path / n for n in "abc"], "task_arithmetic", tmp_path / "out", scale=0.5)
    # 1 + (2^-7 + 2^-6 - 2^-7) / 2 = 1 + 2^-7, which bfloat16 holds.
    assert torch.equal(weights(out)["w"], torch.full((2, 2), 1 + 2**-7).bfloat16())


def test_several_models_with_tied_weights_stored_once_and_twice(tmp_path: Path) -> None:
    folders = [saved(tmp_path / str(seed), llama(seed, tied=True)) for seed in range(3)]
    twice(folders[1])
    found = weights(edit_model(folders[0], folders[1:], "task_arithmetic", tmp_path / "out", scale=0.5))
    before, first, second = (weights(folder)[EMBEDDING] for folder in folders)
    expected = torch.add(before, first - before + (second - before), alpha=0.5)
    assert torch.equal(found[EMBEDDING], expected)
    assert torch.equal(found[HEAD], expected)


def test_models_that_do_not_belong_together_are_refused_wherever_they_stand(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    larger = saved(tmp_path / "larger", llama(2, vocabulary=60))
    add_a_tensor(saved(tmp_path / "extra", llama(3)))
    for tuned in ([models[1], larger], [larger, models[1]]):
        with pytest.raises(ValueError, match="shapes differ between base and tuned"):
            edit_model(models[0], tuned, "task_arithmetic", tmp_path / "out")
    for tuned in ([models[1], tmp_path / "extra"], [tmp_path / "extra", models[1]]):
        with pytest.raises(ValueError, match=r"extra.weight: in .*extra and not in"):
            edit_model(models[0], tuned, "task_arithmetic", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_edit_of_one_model_refuses_several_before_it_reads_them(models: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^lines takes one tuned model, not 2; task_arithmetic adds several$"):
        edit_model(models[0], [models[1], models[1]], "lines", tmp_path / "out")
    with pytest.raises(ValueError, match="not 0"):
        edit_model(models[0], [], "task_arithmetic", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_edit_by_blocks_needs_blocks(tmp_path: Path) -> None:
    for side in ("base", "tuned"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "config.json").write_text("{}")
        save_file({"weight": torch.ones(2, 2)}, tmp_path / side / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"no tensor name shows a numbered block .* and lines goes by blocks"):
        edit_model(str(tmp_path / "base"), str(tmp_path / "tuned"), "lines", tmp_path / "out")
