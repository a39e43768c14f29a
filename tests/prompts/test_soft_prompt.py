"""Soft prompts: where they start, and that what is saved is PEFT's format, both ways."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from holdfast.cli.doctor import examine
from holdfast.methods.base import Context
from holdfast.methods.prefix_tuning import PrefixTuning
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.models.architecture import architecture_of
from holdfast.models.describe import embedding_rms
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt, initial, takes_vectors
from holdfast.row import Row
from tests.inference import small_models
from tests.prefix.tiny import WIDTH, prompt_of, rows_of, tiny

# PEFT asks transformers for a property that transformers is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

WORDS = ["<pad>", "<s>", "</s>", "good", "bad", "film", "a", "the", "plot"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Words to ids, with a beginning-of-sequence token that it adds by itself."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def words(model: Any, *ids: int) -> torch.Tensor:
    return model.get_input_embeddings()(torch.tensor(ids)).detach()


def ids_of(model: Any, prompt: SoftPrompt) -> list[int]:
    """The words whose vectors the prompt is made of."""
    table = words(model, *range(97))
    found = [(table == vector).all(1).nonzero().flatten().tolist() for vector in prompt.vectors.detach()]
    return [one for (one,) in found]


def test_vocabulary_draws_different_seen_tokens_that_are_not_special(tokenizer: Any) -> None:
    model = tiny("Llama")
    rows = [(1, 5, 6, 2), (1, 6, 7, 8, 2), (1, 9, 2)]
    drawn = ids_of(model, initial(model, tokenizer, 4, tokens=rows))
    assert len(set(drawn)) == 4
    assert set(drawn) <= {5, 6, 7, 8, 9}


def test_vocabulary_prefers_frequent_tokens(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.prompts.soft_prompt.FREQUENT", 3)
    model = tiny("Llama")
    rows = [[40, 41, 42] * 3 + list(range(10, 30))]
    assert sorted(ids_of(model, initial(model, tokenizer, 3, tokens=rows))) == [40, 41, 42]
    repeated = ids_of(model, initial(model, tokenizer, 7, tokens=rows))
    assert [repeated.count(i) for i in (40, 41, 42)].count(2) == 2  # Each twice before any is drawn a third time.


def test_the_seed_decides(tokenizer: Any) -> None:
    model, rows = tiny("Llama"), [range(3, 97)]
    for init in ("vocabulary", "uniform"):
        one, same, other = (initial(model, tokenizer, 5, init, seed=s, tokens=rows).vectors for s in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


def test_text_is_repeated_and_cut_and_holds_no_special_token(tokenizer: Any) -> None:
    model = tiny("Llama")
    assert ids_of(model, initial(model, tokenizer, 7, "text:good film")) == [3, 5, 3, 5, 3, 5, 3]
    assert ids_of(model, initial(model, tokenizer, 2, "text:the plot: good film")) == [7, 8]


def test_labels_are_means_of_their_tokens_and_vocabulary_follows(tokenizer: Any) -> None:
    model = tiny("Llama")
    prompt = initial(model, tokenizer, 4, "labels", labels=["good film", "bad"], tokens=[(1, 6, 7)]).vectors.detach()
    torch.testing.assert_close(prompt[0], words(model, 3, 5).mean(0))
    torch.testing.assert_close(prompt[1], words(model, 4)[0])
    assert sorted(ids_of(model, SoftPrompt(prompt[2:]))) == [6, 7]
    assert len(initial(model, tokenizer, 2, "labels", labels=["good", "bad"]).vectors) == 2
    with pytest.raises(ValueError, match=r"at most prompt\.length=1; the training rows have 2 different answers"):
        initial(model, tokenizer, 1, "labels", labels=["good", "bad"])


@pytest.mark.parametrize("name", ["Llama", "Gemma3"])  # Gemma-3 scales its embeddings inside the module.
def test_uniform_is_as_large_as_the_embeddings_as_the_model_reads_them(name: str, tokenizer: Any) -> None:
    model = tiny(name)
    prompt = initial(model, tokenizer, 500, "uniform").vectors.detach()
    size = words(model, *range(97)).pow(2).mean().sqrt()
    assert prompt.pow(2).mean().sqrt() == pytest.approx(
        float(size), rel=0.02
    )  # 16,000 draws: 0.5%; a wrong scale: 40%.
    assert prompt.abs().max() <= size * 3**0.5
    assert embedding_rms(model) == pytest.approx(float(size))


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("vocab", "prompt.init='vocab': use vocabulary, text:SOME TEXT, labels or uniform"),
        ("text:", "text: needs a text behind the colon"),
        ("labels", "needs a task with choices, at most prompt.length=3; the training rows have 0 different answers"),
        ("vocabulary", "drawn from the tokens of the training rows, and there are none"),
    ],
)
def test_a_wrong_init_names_the_choices_and_what_it_lacks(init: str, message: str, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=message):
        initial(tiny("Llama"), tokenizer, 3, init)


def test_a_length_below_one_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="length 0"):
        initial(tiny("Llama"), tokenizer, 0, "uniform")


def test_the_given_vectors_are_copied() -> None:
    given = torch.zeros(2, 4)
    prompt = SoftPrompt(given)
    given += 1
    assert prompt.vectors.abs().sum() == 0


@pytest.mark.parametrize("name", ["Llama", "T5"])
def test_peft_reads_what_we_save_and_computes_the_same(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    prompt = SoftPrompt(prompt_of(7))
    prompt.save(tmp_path, base="acme/base", task_type=architecture_of(model).task_type)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    rows = rows_of((9, 9))
    ours = PrefixModel(model, [prompt])(rows).logits.detach()
    theirs = peft.PeftModel.from_pretrained(tiny(name), tmp_path).eval()
    tokens = torch.tensor([row.tokens for row in rows])
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            logits = theirs(input_ids=tokens[:, :7], labels=tokens[:, 7:].contiguous()).logits
        else:
            logits = theirs(input_ids=tokens).logits[:, -3:-1]
    # 1e-5: rounding of logits of the order of 5; without the prompt they differ by more than 1.
    torch.testing.assert_close(ours, logits.flatten(0, 1), atol=1e-5, rtol=0)


def test_we_read_what_peft_saves(tmp_path: Path) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    theirs: Any = peft.get_peft_model(tiny("Llama"), config)
    theirs.save_pretrained(tmp_path)
    saved = theirs.prompt_encoder["default"].embedding.weight
    assert torch.equal(SoftPrompt.load(tmp_path, WIDTH).vectors, saved)


def test_saving_twice_leaves_the_second_and_nothing_else(tmp_path: Path) -> None:
    for length in (3, 5):
        SoftPrompt(prompt_of(length)).save(tmp_path / "prompt")
    assert torch.equal(SoftPrompt.load(tmp_path / "prompt").vectors, prompt_of(5))
    assert len(list((tmp_path / "prompt").iterdir())) == 2


def test_a_prompt_for_another_width_is_refused(tmp_path: Path) -> None:
    SoftPrompt(prompt_of(3)).save(tmp_path, base="acme/base")
    with pytest.raises(ValueError, match=r"width 32, and this model's have 64.*\(acme/base\)"):
        SoftPrompt.load(tmp_path, 64)


def test_another_kind_of_adapter_is_refused(tmp_path: Path) -> None:
    SoftPrompt(prompt_of(3)).save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "LORA"}))
    with pytest.raises(ValueError, match="an adapter of type LORA with prompt_embeddings"):
        SoftPrompt.load(tmp_path)


@pytest.mark.parametrize("broken", ["missing", "cut", "not json", "a list"])
def test_a_broken_folder_is_one_clear_line(broken: str, tmp_path: Path) -> None:
    if broken != "missing":
        SoftPrompt(prompt_of(3)).save(tmp_path)
    if broken == "cut":
        weights = tmp_path / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-8])
    if broken in ("not json", "a list"):
        (tmp_path / "adapter_config.json").write_text("{" if broken == "not json" else "[]")
    with pytest.raises(ValueError, match="not a saved soft prompt") as caught:
        SoftPrompt.load(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def gemma4() -> Any:
    """Every layer looks up an embedding of its own by token id."""
    config = transformers.Gemma4TextConfig(
        **small_models.COMMON,
        **small_models.WIDTH,
        num_key_value_heads=2,
        max_position_embeddings=128,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=16,
        num_kv_shared_layers=0,
        vocab_size_per_layer_input=small_models.VOCABULARY,
        hidden_size_per_layer_input=8,
    )
    torch.manual_seed(0)
    return transformers.Gemma4ForCausalLM(config).eval()


def test_a_model_that_takes_tokens_only_is_refused_before_a_prompt_is_trained(tmp_path: Path) -> None:
    plain = gemma4()
    pretrained = Pretrained(plain, small_models.tokenizer(), "tiny", "0")
    row = Row((5, 6, 7), (0.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"Gemma4ForCausalLM takes tokens only: .* use a method without a soft prompt"):
        PromptTuning(length=3).prepare(Context(PrefixModel(plain), pretrained, [row]))
    # And no deep prefix, whose start is made of vectors; it was sent to the soft prompt.
    with pytest.raises(ValueError, match=r"Gemma4ForCausalLM takes tokens only"):
        PrefixTuning(length=3).prepare(Context(PrefixModel(plain), pretrained, [row]))
    plain.save_pretrained(tmp_path)
    small_models.tokenizer().save_pretrained(tmp_path)
    assert "takes tokens only" in examine(str(tmp_path))["soft prompts"]


@pytest.mark.parametrize("make", [small_models.llama, small_models.t5, small_models.mamba])
def test_models_that_compute_vectors_are_not_refused(make: Any) -> None:
    assert takes_vectors(make())
