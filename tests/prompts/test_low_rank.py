"""Low-rank updates that come off again: exact with several in one call, the same in PEFT, and gone when they are off.

TOLERANCE as in test_parity; without the updates, or with another row's, logits move by more than 1e-1.
"""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from holdfast.inference import prefix_scoring
from holdfast.inference.stopping import Stops
from holdfast.prefix import packed, reference
from holdfast.prefix.attached import Attached, detached
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.prompts.low_rank import LowRank, initial
from holdfast.row import Row
from tests.inference.engines import generate
from tests.prefix.test_parity import RAGGED, TOLERANCE
from tests.prefix.tiny import prompt_of, rows_of, tiny


def trained(model: Any, seed: int = 0, **options: Any) -> LowRank:
    """Updates that change something."""
    updates = initial(model, 2, 4.0, seed=seed, **options)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for up in updates.up:
            up += 0.3 * torch.randn(up.shape, generator=random)
    return updates


@torch.no_grad()
@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_rows_with_several_updates_a_soft_prompt_and_nothing_in_one_call(name: str) -> None:
    model = tiny(name)
    updates = [trained(model, seed) for seed in (0, 1)]
    prompts = [updates[0](), prompt_of(4).detach(), updates[1]()]
    rows = [row for prompt in (2, 0, None, 1, 0) for row in rows_of(RAGGED[:2], prompt, seed=9)]
    expected = torch.cat([reference.label_logits(model, [row], prompts) for row in rows])
    none = Attached()
    plain = torch.cat([reference.label_logits(model, [row], [none, prompts[1], none]) for row in rows])
    assert float((expected - plain).abs().max()) > 1e-1
    for found in (packed.label_logits(model, rows, prompts), prefix_scoring.label_logits(model, rows, prompts)):
        assert float((found - expected).abs().max()) < TOLERANCE
    assert torch.equal(reference.label_logits(model, rows[4:6], []), plain[8:12])  # nothing is left attached


def test_gradients_reach_both_matrices_and_nothing_else() -> None:
    model = tiny("Llama")
    updates = trained(model)
    wrapped = PrefixModel(model, [updates])
    wrapped.requires_grad_(False)
    updates.requires_grad_(True)
    wrapped(rows_of(RAGGED)).logits.logsumexp(-1).sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in updates.parameters())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_peft_reads_what_we_save_and_computes_the_same(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    updates = trained(model)
    updates.save(tmp_path, base="acme/base")
    rows = rows_of((9, 9))
    ours = PrefixModel(model, [updates])(rows).logits.detach()
    again = load.load(tmp_path)
    assert again.mismatch(model) == ""
    assert torch.equal(PrefixModel(model, [again])(rows).logits, ours)
    theirs = peft.PeftModel.from_pretrained(tiny(name), tmp_path).eval()
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor([row.tokens for row in rows])).logits[:, -3:-1]
    torch.testing.assert_close(ours, logits.flatten(0, 1), atol=1e-5, rtol=0)  # Rounding of logits of the order of 5.
    assert "this LoRA is for a module" in again.mismatch(tiny("OPT"))


@torch.no_grad()
def test_generation_goes_on_with_the_updates() -> None:
    model = tiny("Llama")
    attached = detached(trained(model)())

    class Tokenizer:
        def decode(self, tokens: list[int], **_: Any) -> str:
            return " ".join(map(str, tokens))

    prompts = [row.tokens for row in rows_of(RAGGED)]
    stops = Stops(Tokenizer(), (), set())
    found = generate(model, prompts, stops, max_new_tokens=4, prompt=attached)
    assert found != generate(model, prompts, stops, max_new_tokens=4)
    for tokens, new in zip(prompts, found, strict=True):
        row = Row((*tokens, *new), (0.0,) * len(tokens) + (1.0,) * 4, 0)
        assert reference.label_logits(model, [row], [attached]).argmax(-1).tolist() == new


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    model = tiny("Llama")
    with pytest.raises(
        ValueError, match=r"target='q_proj,vproj': no linear module is called vproj; there are down_proj, .*q_proj"
    ):
        initial(model, 2, 4.0, "q_proj,vproj")
    with pytest.raises(ValueError, match=r"target=' , ': no linear module is called so"):
        initial(model, 2, 4.0, " , ")
    assert len(initial(model, 2, 4.0, "q_proj, v_proj").names) == 6
    updates = trained(model)
    updates.save(tmp_path)
    config = (tmp_path / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(config.replace('"bias"', '"use_dora": true, "bias"'))
    with pytest.raises(ValueError, match="a LoRA with use_dora, which cannot be attached; merge it"):
        load.load(tmp_path)
    # Its A and B are added to weights that lack what the two were at the start.
    (tmp_path / "adapter_config.json").write_text(
        config.replace('"bias"', '"init_lora_weights": "pissa_niter_16", "bias"')
    )
    with pytest.raises(ValueError, match="a LoRA with init_lora_weights=pissa_niter_16, whose start was taken out"):
        load.load(tmp_path)
    model.train().activation_checkpointing_enable()
    with pytest.raises(ValueError, match="gradient checkpointing loses a deep prefix and an attached LoRA"):
        PrefixModel(model, [updates])(rows_of((5, 6)))
