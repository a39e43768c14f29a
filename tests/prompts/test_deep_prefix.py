"""A deep prefix: rows packed behind several of them equal each row alone, PEFT computes the same, and nothing else moves.

TOLERANCE as in test_parity: two right implementations differ by 1e-6 to 2e-5; the bugs planted below by more than 1e-2.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from holdfast.inference import prefix_scoring
from holdfast.inference.stopping import Stops
from holdfast.prefix import packed, reference
from holdfast.prefix.attached import Attached, Prompt, detached
from holdfast.prefix.attention import masks
from holdfast.prefix.cache import layers_of
from holdfast.prefix.capability import capability
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.prompts.deep_prefix import DeepPrefix, of_vectors
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.row import Row
from tests.inference.engines import generate
from tests.prefix.test_parity import RAGGED, TOLERANCE
from tests.prefix.tiny import compare, prompt_of, rows_of, tiny


def states_of(model: Any, length: int, seed: int = 1) -> Tensor:
    """Random keys and values [L, 2, H, P, d] as large as words', that want a gradient."""
    with torch.no_grad():
        layers = layers_of(model, prompt_of(length, seed, model.get_input_embeddings().weight.shape[1]))
        states = torch.stack([torch.stack([keys[0], values[0]]) for keys, values in layers])
    noise = torch.randn(states.shape, generator=torch.Generator().manual_seed(seed))
    return (states + states.std() * noise).requires_grad_()


def attach(states: Tensor) -> Attached:
    return Attached(layers=tuple((keys[None], values[None]) for keys, values in states))


def prompts_of(leaves: Sequence[Tensor]) -> list[Prompt]:
    return [leaf if leaf.ndim == 2 else attach(leaf) for leaf in leaves]


def alone(model: Any, rows: Sequence[Row], leaves: Sequence[Tensor]) -> Tensor:
    return reference.label_logits(model, rows, prompts_of(leaves))


def together(model: Any, rows: Sequence[Row], leaves: Sequence[Tensor]) -> Tensor:
    return packed.label_logits(model, rows, prompts_of(leaves), 30)


@pytest.mark.parametrize(
    ("name", "attention"),
    [("Llama", "sdpa"), ("Llama", "eager"), ("GPT2", "sdpa"), ("Gemma2", "eager"), ("Gemma3", "sdpa"), ("OPT", "sdpa")],
)
def test_rows_behind_several_prefixes_a_soft_prompt_and_nothing_share_a_forward(name: str, attention: str) -> None:
    model = tiny(name, attention)
    assert capability(model, deep=True).packed
    leaves = [states_of(model, 5), prompt_of(4), states_of(model, 3, seed=2)]
    rows = [row for prompt in (0, 1, 2, None) for row in rows_of(RAGGED[:3], prompt, seed=9)]
    found = compare(alone, together, model, rows, leaves)
    assert found.worst < TOLERANCE, found


@torch.no_grad()
def test_a_prefix_is_seen_and_a_foreign_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bugs: every row sees every prefix; positions do not count the prefix."""
    model = tiny("Llama")
    rows = [*rows_of(RAGGED, 0), *rows_of(RAGGED, 1)]
    leaves = [states_of(model, 5), states_of(model, 3, seed=2)]
    right = alone(model, rows, leaves)

    def all_seen(mask: Tensor, prompt: Tensor, lengths: Sequence[int]) -> Tensor:
        return torch.nn.functional.pad(mask, (sum(lengths), 0), value=1)

    with monkeypatch.context() as planted:
        planted.setattr(masks, "with_prefixes", all_seen)
        assert float((together(model, rows, leaves) - right).abs().max()) > 100 * TOLERANCE
    pack = packed.pack

    def early(*given: Any) -> Any:
        layout = pack(*given)
        return replace(layout, positions=layout.positions - 3)

    with monkeypatch.context() as planted:
        planted.setattr(packed, "pack", early)
        assert float((together(model, rows, leaves) - right).abs().max()) > 100 * TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("name", ["Llama", "Gemma3"])
def test_scoring_and_generation_behind_it_equal_rows_alone(name: str) -> None:
    model = tiny(name)
    attached = detached(attach(states_of(model, 5)))
    common = rows_of((9,), seed=4)[0].tokens
    rows = [Row(common + row.tokens, (0.0,) * 9 + row.weights, 0) for row in rows_of((3, 3, 4, 5, 2, 6, 3, 4, 9))]
    rows += rows_of(RAGGED, None)
    expected = reference.label_logits(model, rows, [attached])
    assert float((prefix_scoring.label_logits(model, rows, [attached]) - expected).abs().max()) < TOLERANCE

    class Tokenizer:
        def decode(self, tokens: list[int], **_: Any) -> str:
            return " ".join(map(str, tokens))

    prompts = [row.tokens for row in rows[:4]]
    found = generate(model, prompts, Stops(Tokenizer(), (), set()), max_new_tokens=4, prompt=attached)
    for tokens, new in zip(prompts, found, strict=True):
        whole = (*tokens, *new)
        row = Row(whole, (0.0,) * len(tokens) + (1.0,) * len(new), 0)
        assert reference.label_logits(model, [row], [attached]).argmax(-1).tolist() == new


@pytest.mark.parametrize("name", ["Llama", "Bloom"])  # Bloom has no position_ids, and computes rows one by one.
def test_it_starts_as_the_soft_prompt_and_its_network_moves_nothing_before_training(name: str) -> None:
    model, rows = tiny(name), rows_of(RAGGED)
    vectors = prompt_of(5).detach()
    soft = PrefixModel(model, [SoftPrompt(vectors)])(rows).logits
    for hidden in (0, 16):
        deep = PrefixModel(model, [of_vectors(model, vectors, hidden)])(rows).logits
        # 1e-5: rounding of logits of the order of 5.
        torch.testing.assert_close(deep, soft, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
@pytest.mark.parametrize("hidden", [0, 16])
def test_peft_reads_what_we_save_and_computes_the_same(name: str, hidden: int, tmp_path: Path) -> None:
    model = tiny(name)
    prefix = of_vectors(model, prompt_of(5).detach(), hidden)
    with torch.no_grad():
        for parameter in prefix.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    prefix.save(tmp_path, base="acme/base")
    rows = rows_of((9, 9))
    ours = PrefixModel(model, [prefix])(rows).logits.detach()
    again = load.load(tmp_path)
    assert isinstance(again, DeepPrefix)
    assert again.mismatch(model) == ""
    assert torch.equal(PrefixModel(model, [again])(rows).logits, ours)
    theirs = peft.PeftModel.from_pretrained(tiny(name), tmp_path).eval()
    tokens = torch.tensor([row.tokens for row in rows])
    with torch.no_grad():
        logits = theirs(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[:, -3:-1]
    # 1e-5: rounding of logits of the order of 5; without the prefix they differ by more than 1.
    torch.testing.assert_close(ours, logits.flatten(0, 1), atol=1e-5, rtol=0)


def test_we_read_what_peft_saves(tmp_path: Path) -> None:
    model = tiny("Llama")
    theirs: Any = peft.get_peft_model(model, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
    theirs.save_pretrained(tmp_path)
    prefix = load.load(tmp_path)
    rows = rows_of((9, 9))
    tokens = torch.tensor([row.tokens for row in rows])
    with torch.no_grad():
        logits = theirs.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[:, -3:-1]
        ours = PrefixModel(tiny("Llama"), [prefix])(rows).logits
    torch.testing.assert_close(ours, logits.flatten(0, 1), atol=1e-5, rtol=0)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    model = tiny("Llama")
    prefix = of_vectors(model, prompt_of(5).detach())
    assert "3 layers of 2 heads of 8, and the model 3 layers of 4 heads of 8" in prefix.mismatch(tiny("GPT2"))
    with pytest.raises(ValueError, match=r"no deep prefix for this model: .*use a soft prompt"):
        of_vectors(tiny("Mamba"), prompt_of(5).detach())
    with pytest.raises(ValueError, match="first token is to be predicted, and nothing stands before it"):
        PrefixModel(model, [prefix])([Row((5, 6), (1.0, 1.0), 0)])
    model.train().activation_checkpointing_enable()
    with pytest.raises(ValueError, match="gradient checkpointing loses a deep prefix"):
        PrefixModel(model, [prefix])(rows_of((5, 6)))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(ValueError, match="an adapter of type IA3, which is no prompt"):
        load.load(tmp_path)
