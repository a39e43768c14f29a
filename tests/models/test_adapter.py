"""A PEFT adapter's folder is a model: its base with the LoRA merged, or with the soft prompt attached."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import holdfast
from holdfast import lab
from holdfast.api.edit import edit_model
from holdfast.cli.app import app
from holdfast.inference.sampling import Sampling
from holdfast.models import adapter as adapters
from holdfast.models import loading, resolve
from holdfast.prompts.soft_prompt import SoftPrompt

TEXTS = ["the cat sat on", "question : how many"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    shutil.copytree(lab.folder(), folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def lora(base: Path, folder: Path, **fields: Any) -> Path:
    """A LoRA that changes the model much, as PEFT saves it."""
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False, **fields
    )
    wrapped = peft.get_peft_model(loading.load(base).model, config)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def soft_prompt(base: Path, folder: Path) -> Path:
    width = loading.load(base).model.config.hidden_size
    generator = torch.Generator().manual_seed(1)
    SoftPrompt(torch.randn(5, width, generator=generator)).save(folder, base=str(base), task_type="CAUSAL_LM")
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> Path:
    """The same adapter with another configuration or other tensors."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    change(config, tensors)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(TEXTS[:1], return_tensors="pt")).logits


@pytest.mark.parametrize("fields", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_a_lora_is_its_base_with_the_lora_merged(base: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    folder = lora(base, tmp_path / "lora", **fields)
    plain = loading.load(base)
    attached = peft.PeftModel.from_pretrained(loading.load(base).model, folder)
    expected = logits(attached.eval(), plain.tokenizer)
    loaded = holdfast.load(folder)
    # The merged matrix rounds once more than the two paths that PEFT adds; without the LoRA logits differ by more than one.
    torch.testing.assert_close(logits(loaded.pretrained.model, plain.tokenizer), expected, rtol=1e-4, atol=1e-3)
    assert float((logits(plain.model, plain.tokenizer) - expected).abs().max()) > 1
    assert loaded.pretrained.source == str(folder)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_a_lora_of_a_head_that_is_the_word_embeddings_leaves_these_as_they_are(base: Path, tmp_path: Path) -> None:
    """The bug: the sum was written into the one tensor of both, and the embeddings changed with the head."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM", init_lora_weights=False)
    plain = loading.load(base)
    assert plain.model.config.tie_word_embeddings
    wrapped = peft.get_peft_model(loading.load(base).model, config)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(str(tmp_path), save_embedding_layers=False)
    loaded = holdfast.load(tmp_path).pretrained
    expected = logits(wrapped.eval(), plain.tokenizer)
    torch.testing.assert_close(logits(loaded.model, plain.tokenizer), expected, rtol=1e-4, atol=1e-3)
    assert float((logits(plain.model, plain.tokenizer) - expected).abs().max()) > 1
    assert "lm_head, whose weight is another module's too" in loaded.attached


def test_a_soft_prompt_is_its_base_with_the_prompt_attached(base: Path, tmp_path: Path) -> None:
    folder = soft_prompt(base, tmp_path / "prompt")
    sampling = Sampling(max_new_tokens=8)
    attached = holdfast.load(base, prompt=folder)
    assert holdfast.load(folder).generate(TEXTS, sampling) == attached.generate(TEXTS, sampling)
    assert holdfast.load(base).generate(TEXTS, sampling) != attached.generate(TEXTS, sampling)
    with pytest.raises(ValueError, match="is a prompt itself, so that no other is attached"):
        holdfast.load(folder, prompt=folder)


def test_a_lora_on_a_lora_is_both(base: Path, tmp_path: Path) -> None:
    first, second = lora(base, tmp_path / "first"), lora(base, tmp_path / "second")
    changed(second, lambda config, _: config.update(base_model_name_or_path=str(first)))
    plain, once, twice = (holdfast.load(m).pretrained.model.state_dict() for m in (base, first, second))
    name = "model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(twice[name] - once[name], once[name] - plain[name], rtol=1e-3, atol=1e-4)


def test_what_cannot_be_merged_is_asked_and_never_saved_or_trained_as_a_model(base: Path, tmp_path: Path) -> None:
    """LILY's layers stay in the model, whose weights then have names that no plain model has."""
    torch.manual_seed(0)
    config = peft.LilyConfig(r=4, stride_A=1, num_B=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(loading.load(base).model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lily" in name:
                parameter.add_(torch.randn_like(parameter))
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(str(tmp_path / "lily"), save_embedding_layers=False)
    pretrained, plain = resolve.load(str(tmp_path / "lily")), resolve.load(str(base))
    assert not torch.equal(*(logits(each.model, each.tokenizer) for each in (pretrained, plain)))
    for refused in (
        lambda: resolve.merged(str(tmp_path / "lily")),
        lambda: holdfast.tune(
            str(tmp_path / "lily"), "lab:kind", "full", "none", shots=(0,), limit=2, out=tmp_path / "run"
        ),
    ):
        with pytest.raises(ValueError, match="of type LILY, which PEFT cannot merge, is no part of the weights"):
            refused()


def test_commands_take_an_adapter_and_another_base(base: Path, tmp_path: Path) -> None:
    """`evaluate` and `generate`: the scores of the adapter's folder are those of the merged model's."""
    folder = changed(
        lora(base, tmp_path / "lora"), lambda config, _: config.update(base_model_name_or_path="/gone/base")
    )
    merged = tmp_path / "merged"
    loading.save(holdfast.load(folder, base=base).pretrained, merged)
    asked = ["--task", "lab:sentiment", "--shots", "0", "--limit", "20", "--json"]
    values = []
    for arguments in ([str(folder), "--base", str(base)], [str(merged)]):
        result = CliRunner().invoke(app, ["evaluate", *arguments, *asked])
        assert result.exit_code == 0, result.output
        values.append([json.loads(line)["value"] for line in result.stdout.splitlines() if line.startswith("{")])
    assert values[0] == values[1]
    assert values[0]
    written = CliRunner().invoke(app, ["generate", str(folder), "--base", str(base)], input="the cat sat on\n")
    assert (
        json.loads(written.stdout)["output"]
        == holdfast.load(merged).generate(TEXTS[:1], Sampling(max_new_tokens=64))[0]
    )


def test_an_edit_takes_a_lora_of_its_base(
    base: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lora(base, tmp_path / "lora")
    edited = edit_model(base, folder, "wise_ft", tmp_path / "half", alpha=0.5)
    half, plain, whole = (holdfast.load(m).pretrained.model.state_dict() for m in (edited, base, folder))
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"):
        torch.testing.assert_close(half[name], (plain[name] + whole[name]) / 2, rtol=1e-5, atol=1e-6)
    assert "is merged into its base once" in capsys.readouterr().err
    resolve.merged(str(folder), str(base))
    assert capsys.readouterr().err == ""
    changed(folder, lambda _, tensors: tensors.update({name: 2 * value for name, value in tensors.items()}))
    resolve.merged(str(folder), str(base))
    assert len(list((cache / "merged").iterdir())) == 2


def test_the_tokenizer_that_was_saved_with_a_lora_is_used(base: Path, tmp_path: Path) -> None:
    folder = lora(base, tmp_path / "lora")
    tokenizer = loading.load_tokenizer(base)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    assert holdfast.load(folder).tokenizer.chat_template == "{{ messages[0]['content'] }}"
    tokenizer.add_tokens([f"<new{i}>" for i in range(2000)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"its tokenizer has \d+ tokens, and its base .* \d+; resize the base"):
        holdfast.load(folder)


def test_the_version_of_an_adapter_follows_it_and_its_base(base: Path, tmp_path: Path) -> None:
    folder = lora(base, tmp_path / "lora")
    first = resolve.version(str(folder))
    assert first != resolve.version(str(base))
    other = tmp_path / "base"
    shutil.copytree(base, other)
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    changed(folder, lambda config, _: config.update(base_model_name_or_path=str(other)))
    second = resolve.version(str(folder))
    changed(folder, lambda _, tensors: tensors.update({name: 2 * value for name, value in tensors.items()}))
    assert len({first, second, resolve.version(str(folder))}) == 3


def taller(_: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """The matrices of a model of another width."""
    for name, value in tensors.items():
        if "q_proj.lora_B" in name:
            tensors[name] = torch.cat([value, value])


def deeper(_: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """The matrices of a model with more layers."""
    tensors |= {
        name.replace("layers.0", "layers.77"): value.clone() for name, value in tensors.items() if "layers.0" in name
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda config, _: config.update(base_model_name_or_path=None),
            "does not say what its base is; name it with --base MODEL",
        ),
        (
            lambda config, _: config.update(base_model_name_or_path="/gone/base"),
            "its base /gone/base is not here; name another place",
        ),
        (lambda config, _: config.update(base_model_name_or_path="./gone.gguf"), r"its base \./gone\.gguf is not here"),
        (
            lambda config, _: config.update(peft_type="XLORA"),
            "is an adapter of type XLORA, which is not supported as a model",
        ),
        (lambda config, _: config.update(peft_type=None), "is an adapter of type None"),
        (taller, r"belongs to another model than .*: for model\.layers\.0\.self_attn\.q_proj\.weight of "),
        (deeper, r"is for a module model\.layers\.77\..*, which its base .* does not have"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_refused_before_its_base_is_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    folder = changed(lora(base, tmp_path / "lora"), change)

    def loads(*_: object, **__: object) -> None:
        raise AssertionError("the base was loaded")

    monkeypatch.setattr(loading, "load", loads)
    with pytest.raises(ValueError, match=message) as caught:
        holdfast.load(folder)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_damaged_are_named(base: Path, tmp_path: Path) -> None:
    folder = lora(base, tmp_path / "lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"without adapter_model\.safetensors \(it has them pickled"):
        holdfast.load(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config\.json: cannot be read as an adapter's configuration"):
        holdfast.load(folder)


def test_a_base_is_refused_for_a_whole_model_and_a_prompt_where_weights_are_needed(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a whole model and no adapter, so it needs no --base"):
        holdfast.load(base, base=base)
    folder = soft_prompt(base, tmp_path / "prompt")
    with pytest.raises(ValueError, match="is a prompt and changes no weights; use its base"):
        edit_model(base, folder, "wise_ft", tmp_path / "out")
    with pytest.raises(ValueError, match="is a prompt and changes no weights; use its base"):
        holdfast.tune(folder, "lab:sentiment", "full", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_types_that_are_attached_are_those_that_can_be_read() -> None:
    from holdfast.prompts import combined
    from holdfast.prompts.load import READERS

    assert {*READERS, combined.KIND} == {"LORA", *adapters.PROMPTS}
