"""A real GGUF file: the weights, the tokenizer and the scores of SmolLM2 in 4 bits, as `holdfast demo --model smollm2` fetches it."""

import random
from itertools import accumulate
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import pre_tokenizers

import holdfast
from holdfast.models import resolve
from holdfast.models.cache import cache_folder
from holdfast.models.loading import load_tokenizer
from holdfast.models.smollm2 import FILE
from tests.models.gguf_files import ODD

PATH = cache_folder() / "models" / FILE
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PATH.exists(), reason=f"{PATH} is not here; `holdfast demo --model smollm2` fetches it"),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(resolve.resolve(str(PATH)))


def test_every_weight_is_what_the_gguf_package_reads(folder: Path) -> None:
    """Bit by bit; rows of q and k where transformers has them, by their own formula: row 2i+j of a head is row j*half+i there."""
    stored = load_file(folder / "model.safetensors")
    values = {
        entry.name: torch.tensor(gguf.dequantize(entry.data, entry.tensor_type))
        for entry in gguf.GGUFReader(PATH).tensors
    }
    assert len(stored) == len(values) == 272
    parts = {"v_proj": "attn_v", "o_proj": "attn_output"}
    for block in range(30):
        for part, name in parts.items():
            assert torch.equal(
                stored[f"model.layers.{block}.self_attn.{part}.weight"], values[f"blk.{block}.{name}.weight"]
            )
        for part in ("gate", "up", "down"):
            assert torch.equal(
                stored[f"model.layers.{block}.mlp.{part}_proj.weight"], values[f"blk.{block}.ffn_{part}.weight"]
            )
        for part, heads in (("q", 9), ("k", 3)):
            order = [head * 64 + 2 * (row % 32) + row // 32 for head in range(heads) for row in range(64)]
            expected = values[f"blk.{block}.attn_{part}.weight"][order]
            assert torch.equal(stored[f"model.layers.{block}.self_attn.{part}_proj.weight"], expected)
    assert torch.equal(stored["model.embed_tokens.weight"], values["token_embd.weight"])


def test_text_is_cut_before_each_digit_and_by_gpt_2_elsewhere(folder: Path) -> None:
    """The rule of the published tokenizer; transformers' conversion has GPT-2's alone, which shows in spaces before a number."""
    tokenizer = load_tokenizer(folder)
    rule = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    rng = random.Random(0)
    texts = [*ODD, *("".join(rng.choices("ab Z  019\n\t.,'!é日😀½", k=20)) for _ in range(500))]
    for text in texts:
        pieces = [piece for piece, _ in rule.pre_tokenize_str(text)]
        tokens = tokenizer.tokenize(text)
        assert "".join(tokens) == "".join(pieces)
        # No token reaches from one piece into the next.
        assert set(accumulate(map(len, pieces))) <= set(accumulate(map(len, tokens))), text
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.tokenize("a   12") == ["a", "ĠĠĠ", "1", "2"]
    assert tokenizer("<|im_start|>user").input_ids[0] == 1


def test_the_scores_of_the_file_are_those_of_its_folder(folder: Path) -> None:
    first, second = (
        holdfast.evaluate(model, "everyday:facts", shots=(0, 4), limit=10) for model in (str(PATH), str(folder))
    )
    assert [(s.metric, s.shots, s.value, s.model_hash) for s in first] == [
        (s.metric, s.shots, s.value, s.model_hash) for s in second
    ]
