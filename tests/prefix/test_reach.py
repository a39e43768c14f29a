"""Locality and positions under any name: rows beyond what a configuration could mean are still right, in training, scoring and generation.

TOLERANCE: two right implementations differ by 1e-6 to 2e-5 here (float32, sums in another order; logits of the order of 1 to 10); where a
limit is not noticed they differ by more than 1e-1 (the last test).
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers

from holdfast.inference import prefix_scoring
from holdfast.inference.model import Model
from holdfast.inference.stopping import Stops
from holdfast.models import describe
from holdfast.models.loading import Pretrained
from holdfast.prefix import model as prefix_model
from holdfast.prefix import reach, reference
from holdfast.prefix.attention import masks
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.row import Row
from tests.inference import small_models
from tests.inference.engines import generate
from tests.prefix.tiny import LLAMA, SPECIAL, VOCABULARY, WIDTH, prompt_of, rows_of, tiny

TOLERANCE = 1e-4
RAGGED = (5, 9, 3, 6, 12, 20, 7, 11)
LONG = 50  # Beyond every window below, with a prompt of 7.
ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "factor": 4.0,
}
LOCAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "local layers by place": (
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        {"hidden_size": WIDTH, "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": 32,
         "max_position_embeddings": 128},
    ),
    "as many places as positions": (
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        {"hidden_size": WIDTH, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 64,
         "max_position_embeddings": 80},
    ),
    "chunks": (
        "Llama4TextConfig",
        "Llama4ForCausalLM",
        LLAMA | {"head_dim": 8, "attention_chunk_size": 32, "intermediate_size_mlp": 48, "num_local_experts": 2, "num_experts_per_tok": 1},
    ),
    "positions that turn": (
        "Phi3Config",
        "Phi3ForCausalLM",
        LLAMA | {"original_max_position_embeddings": 32, "rope_parameters": ROPE, "sliding_window": None},
    ),
    "a sliding window": ("Gemma3TextConfig", "Gemma3ForCausalLM", LLAMA | {"head_dim": 8, "sliding_window": 32}),
}  # fmt: skip


def local(name: str) -> Any:
    config, kind, fields = LOCAL[name]
    torch.manual_seed(0)
    made = getattr(transformers, config)(**fields, vocab_size=VOCABULARY, initializer_range=0.2, **SPECIAL)
    return getattr(transformers, kind)(made).eval()


def shots(common: int, lengths: Sequence[int], prompt: int | None = 0) -> list[Row]:
    """Rows that begin with `common` equal tokens; the last two of each are predicted."""
    beginning = rows_of([50], seed=9)[0].tokens[:common]
    return [Row(beginning + row.tokens, (0.0,) * common + row.weights, prompt) for row in rows_of(lengths)]


@pytest.mark.parametrize("name", LOCAL)
def test_training_equals_each_row_alone(name: str) -> None:
    """Many packed places, and one row that is longer than every limit: logits, and the prompt's gradient."""
    plain = local(name)
    ours = PrefixModel(plain, [SoftPrompt(prompt_of(7))])
    rows = rows_of((*RAGGED, LONG, *RAGGED))
    vectors = ours.prompts[0].get_parameter("vectors")
    expected = reference.label_logits(plain, rows, [vectors])
    found = ours(rows).logits
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    gradients = [torch.autograd.grad(logits.logsumexp(-1).sum(), vectors)[0] for logits in (found, expected)]
    assert (gradients[0] - gradients[1]).norm() / gradients[1].norm() < TOLERANCE


@pytest.mark.parametrize("common", [0, 20, 45])
@pytest.mark.parametrize("name", LOCAL)
@torch.no_grad()
def test_scoring_equals_each_row_alone(name: str, common: int) -> None:
    plain, prompts = local(name), [prompt_of(7)]
    rows = [*shots(common, RAGGED), *rows_of((LONG,), seed=3)]
    expected = reference.label_logits(plain, rows, prompts)
    torch.testing.assert_close(prefix_scoring.label_logits(plain, rows, prompts), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("soft", [0, 7])
@pytest.mark.parametrize("name", LOCAL)
@torch.no_grad()
def test_texts_equal_those_without_a_cache(name: str, soft: int, beams: int) -> None:
    """Prompts before, at and behind the limits; greedy against the plain model, beams against each prompt by itself."""
    plain, prompt = local(name), prompt_of(7).detach() if soft else None
    prompts = [row.tokens for row in (*shots(20, (3, 5, 9, 14)), *rows_of((4, 24, 30, 40)), *shots(45, (2, 4)))]
    found = generate(plain, prompts, Stops(None, eos=[]), max_new_tokens=6, prompt=prompt, num_beams=beams)
    for tokens, new in zip(prompts, found, strict=True):
        if beams > 1:
            alone = generate(plain, [tokens], Stops(None, eos=[]), max_new_tokens=6, prompt=prompt, num_beams=beams)
            assert new == alone[0]
            continue
        text = list(tokens)
        for _ in range(6):
            row = Row((*text, 0), (*[0.0] * len(text), 1.0), None if prompt is None else 0)
            text.append(int(reference.label_logits(plain, [row], [] if prompt is None else [prompt])[0].argmax()))
        assert new == text[len(tokens) :]


def test_a_long_row_goes_alone_and_leaves_the_others_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, rows = PrefixModel(tiny("Gemma3"), [SoftPrompt(prompt_of(7))]), rows_of((5, 9, 30, 6, 12))
    ours(rows)  # What the model is able to is tried once.
    alone: list[int] = []
    heads: list[int] = []
    real = reference.label_logits
    monkeypatch.setattr(
        prefix_model.reference,
        "label_logits",
        lambda model, some, prompts: alone.extend(len(row.tokens) for row in some) or real(model, some, prompts),
    )
    ours.model.get_output_embeddings().register_forward_hook(lambda module, i, output: heads.append(output.shape[1]))
    ours(rows)
    assert alone == [30]
    assert heads == [8, 2]  # The head runs at label places only, for the long row too.


@torch.no_grad()
def test_demonstrations_longer_than_a_sliding_window_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten questions of 7 tokens behind 50 shared ones, where the window is 24."""
    plain, rows, prompts = tiny("Gemma3"), shots(50, [7] * 10), [prompt_of(7)]
    prefix_scoring.label_logits(plain, rows, prompts)
    places: list[int] = []
    plain.model.register_forward_pre_hook(
        lambda module, i, inputs: places.append(
            next(v for k, v in inputs.items() if k in {"input_ids", "inputs_embeds"} and v is not None)
            .shape[:2]
            .numel()
        ),
        with_kwargs=True,
    )
    prefix_scoring.label_logits(plain, rows, prompts)
    assert places == [57, 10 * 6]  # Of a question, all but the token that is predicted last.


@torch.no_grad()
def test_a_long_row_attends_by_the_models_own_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask of T x T entries for one row of T tokens took 17 GB where T is 131,072."""
    plain, rows = tiny("Llama"), rows_of((100, 5, 9), None)
    prefix_scoring.label_logits(plain, rows)  # What the model is able to is tried once.
    monkeypatch.setattr(prefix_scoring, "DENSE", 50)
    real, sizes = masks.for_attention, []
    monkeypatch.setattr(masks, "for_attention", lambda *given: sizes.append(given[1].shape[1]) or real(*given))
    found = prefix_scoring.label_logits(plain, rows)
    torch.testing.assert_close(found, reference.label_logits(plain, rows, []), atol=TOLERANCE, rtol=0)
    assert max(sizes) < 50


def test_a_users_few_shot_scores_are_those_of_the_plain_model_whatever_a_window_is_called() -> None:
    """Twelve questions behind demonstrations that nearly fill GPT-Neo's window: off by nats when rows went beyond it together."""
    config = transformers.GPTNeoConfig(
        **LOCAL["local layers by place"][2] | {"max_position_embeddings": 512}, **small_models.COMMON
    )
    torch.manual_seed(0)
    plain = transformers.GPTNeoForCausalLM(config).eval()
    asked = Model(Pretrained(plain, small_models.tokenizer(), "tiny", "0"))
    pairs = [(f"the cat sat on the mat\nQuestion: what is {i}?\nAnswer:", f" a hat {i}") for i in range(12)]
    for (context, answer), found in zip(pairs, asked.loglikelihood(pairs), strict=True):
        tokens = small_models.tokenizer().encode(context + answer, add_special_tokens=False)
        logprobs = plain(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
        expected = float(logprobs.gather(1, torch.tensor(tokens[1:])[:, None])[-found.tokens :].sum().detach())
        assert found.value == pytest.approx(expected, abs=5e-5)  # Sums of a few log-probabilities, in float32.


def test_the_lengths_that_a_configuration_could_mean() -> None:
    assert describe.limits(local("local layers by place")) == (2, 32, 128)
    assert 32 in describe.limits(local("chunks"))
    assert reach.turns(local("positions that turn")) == (32,)
    assert reach.turns(tiny("Llama")) == ()


@pytest.mark.parametrize("name", [name for name in LOCAL if name != "as many places as positions"])
@torch.no_grad()
def test_the_comparison_notices_a_limit_that_is_not_looked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "limits", lambda model: ())
    monkeypatch.setattr(describe, "window", lambda model: None)
    plain, prompts = local(name), [prompt_of(7)]
    rows = rows_of((*RAGGED, LONG, *RAGGED))
    found = PrefixModel(plain, [SoftPrompt(prompts[0])])(rows).logits
    assert (found - reference.label_logits(plain, rows, prompts)).abs().max() > 1000 * TOLERANCE
