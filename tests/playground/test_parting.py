"""Where two answers part: the place, and the probabilities there, as plain transformers has them."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import holdfast
from holdfast import Model, Sampling
from holdfast.playground.bench import compared
from holdfast.playground.parting import part
from tests.training import tiny

PROMPTS = ["w1 w2 w3", "w4 w5", "w6 w7 w8 w9"]
LONG = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def models() -> tuple[Model, Model]:
    """A random model, and the same with a few numbers moved, so that their answers begin alike and then part."""
    base, other = tiny.pretrained(), tiny.pretrained()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in other.model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return Model(base), Model(other)


def test_both_go_on_with_their_likeliest_token_where_they_part(models: tuple[Model, Model]) -> None:
    base, other = models
    assert [model.written(PROMPTS[0], LONG)[1] for model in models] == [
        m.generate([PROMPTS[0]], LONG)[0] for m in models
    ]
    parted = 0
    for prompt in PROMPTS:
        written = [model.written(prompt, LONG)[0] for model in models]
        parting = part(prompt, base, written[0], other, written[1], LONG)
        if written[0] == written[1]:
            assert parting is None
            continue
        assert parting is not None
        parted += 1
        texts = [model.generate([prompt], LONG)[0] for model in models]
        assert all(text.startswith(parting.shared) for text in texts)
        # Greedy: what each wrote next is what it finds likeliest there, and they are not the same.
        likeliest = [max(parting.choices, key=lambda c: c.base or 0), max(parting.choices, key=lambda c: c.other or 0)]
        assert likeliest[0].token != likeliest[1].token
        for text, choice in zip(texts, likeliest, strict=True):
            assert text[len(parting.shared) :].strip().startswith(choice.token.strip())
    assert parted, "no prompt shows anything"


def test_the_probabilities_are_those_of_a_plain_forward(models: tuple[Model, Model]) -> None:
    base = models[0]
    prompt = PROMPTS[0]
    written, _ = base.written(prompt, LONG)
    tokens = base.pretrained.tokenizer(prompt)["input_ids"]
    shares = base.next_shares(prompt, written[:3])
    with torch.inference_mode():
        plain = base.pretrained.model(torch.tensor([[*tokens, *written[:3]]])).logits[0, -1].float().softmax(-1)
    # 1e-5 covers another order of sums; a position that is off by one moves them by tenths.
    assert torch.allclose(shares, plain, atol=1e-5)
    assert not torch.allclose(base.next_shares(prompt, written[:2]), plain, atol=1e-2)


def test_a_model_beside_itself_says_the_same(models: tuple[Model, Model]) -> None:
    base = models[0]
    written, _ = base.written(PROMPTS[0], LONG)
    assert part(PROMPTS[0], base, written, base, written, LONG) is None


def test_an_answer_that_ends_earlier_parts_at_its_end(models: tuple[Model, Model]) -> None:
    base = models[0]
    written, _ = base.written(PROMPTS[0], LONG)
    parting = part(PROMPTS[0], base, written[:4], base, written, LONG)
    assert parting is not None
    assert parting.shared == base.pretrained.tokenizer.decode(written[:4])


def test_any_two_models_are_named_by_what_tells_them_apart_and_asked_alike(tmp_path: Path) -> None:
    from tests.recipes.worlds import write_world

    world = write_world(tmp_path, pick=["w3", "w4"])
    (tmp_path / "other").mkdir()
    (world / "model").rename(tmp_path / "other" / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "other" / "model")
    base = write_world(tmp_path, pick=["w3", "w4"]) / "model"
    with torch.no_grad():
        model.lm_head.weight.mul_(-1)
    model.save_pretrained(tmp_path / "other" / "model")
    bench = compared([str(base), str(tmp_path / "other" / "model")], [str(world / "pick")])
    assert list(bench.models) == [f"{tmp_path.name}/model", "other/model"]
    assert len(bench.samples) == 4
    first, second = bench.ask(bench.prompt(bench.samples[0].text, "pick", 2), "pick", 4)
    assert first.parting is None
    assert (second.parting is None) == (second.text == first.text)
    with pytest.raises(ValueError, match="named twice"):
        compared([str(base), str(base)])


def test_a_run_is_asked_for_where_no_second_model_is_named(tmp_path: Path) -> None:
    from holdfast.playground.bench import opened

    with pytest.raises(ValueError, match="--against MODEL"):
        opened(holdfast.lab.folder())
