"""Models with an encoder answer many prompts together as `model.generate` answers each alone; T5's sentinels come off.

`small_models.t5` has an ordinary tokenizer; here are T5 and mT5 with theirs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from holdfast.inference import encoder_decoder_batch
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.inference.stopping import Stops
from holdfast.models import describe
from holdfast.prefix.encoder_decoder import Encoded
from tests.encoder_decoder import KINDS, model, pretrained, prompt_of, tokenizer
from tests.inference.engines import generate

NEW = 10
NOISE = 1e-4  # On log-likelihoods of the order of 10 rounding makes 1e-5; every bug below makes more than 0.1.
QUESTIONS = (
    "Q: what is the capital of France? A:",
    "Q: what is the capital of Italy? A:",
    "Translate English to French: the cat",
    "w3",
    " ".join(f"w{i}" for i in range(3, 36)),
    "a cat sat Is it true or false? answer:",
)


def prompts(kind: str) -> list[tuple[int, ...]]:
    return [tuple(tokenizer(kind)(text)["input_ids"]) for text in QUESTIONS]


def alone(plain: Any, tokens: tuple[int, ...], prompt: Tensor | None = None, **settings: Any) -> list[int]:
    """What transformers generates for this prompt and no other, up to the end token; the default settings of a search."""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=NEW, eos_token_id=1, pad_token_id=0, decoder_start_token_id=0, **settings
    )
    words = plain.get_input_embeddings()(torch.tensor([tokens]))
    embeds = words if prompt is None else torch.cat([prompt[None], words], 1)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    new = plain.generate(inputs_embeds=embeds, attention_mask=mask, generation_config=config)[0].tolist()[1:]
    return new[: new.index(1)] if 1 in new else new


@pytest.mark.parametrize("soft", [0, 7])
@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_equal_generate_on_each_prompt_alone(kind: str, num_beams: int, soft: int) -> None:
    plain = model(kind)
    prompt = prompt_of(soft).detach() if soft else None
    assert encoder_decoder_batch.writes(plain)
    stops = Stops(tokenizer(kind), eos=[1])
    found = generate(plain, prompts(kind), stops, max_new_tokens=NEW, prompt=prompt, num_beams=num_beams)
    assert found == [alone(plain, tokens, prompt, num_beams=num_beams) for tokens in prompts(kind)]
    assert len(set(map(tuple, found))) > 2
    for budget in (1, 150):
        again = generate(
            plain,
            prompts(kind)[::-1],
            stops,
            max_new_tokens=NEW,
            prompt=prompt,
            num_beams=num_beams,
            batch_tokens=budget,
        )
        assert again == found[::-1]


def padding_is_seen(patch: pytest.MonkeyPatch) -> None:
    real = encoder_decoder_batch.encode

    def encode(*given: Any) -> Encoded:
        found = real(*given)
        return Encoded(found.states, torch.ones_like(found.mask))

    patch.setattr(encoder_decoder_batch, "encode", encode)


def the_soft_prompt_is_ignored(patch: pytest.MonkeyPatch) -> None:
    real = encoder_decoder_batch.encode
    patch.setattr(
        encoder_decoder_batch, "encode", lambda plain, inputs, vectors: real(plain, inputs, [None] * len(inputs))
    )


def the_decoder_begins_with_another_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(encoder_decoder_batch, "decoder_start", lambda plain: 1)


def a_row_keeps_the_encoder_of_one_that_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(encoder_decoder_batch.Answers, "_encoder_rows", lambda kept, rows: _first(kept, len(rows)))


def _first(kept: encoder_decoder_batch.Answers, count: int) -> None:
    kept.encoded = kept.encoded.take(torch.arange(count))
    kept.both.cross_attention_cache.batch_select_indices(torch.arange(count))


BUGS = [
    padding_is_seen,
    the_soft_prompt_is_ignored,
    the_decoder_begins_with_another_token,
    a_row_keeps_the_encoder_of_one_that_left,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_comparison_notices_a_planted_bug(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, prompt = model("t5"), prompt_of(5).detach()
    expected = [alone(plain, tokens, prompt) for tokens in prompts("t5")]
    # One answer ends after its first token, so that rows leave the batch.
    ends = next(new[0] for new in expected if new and sum(new[0] in other for other in expected) < len(expected))
    cut = [new[: new.index(ends)] if ends in new else new for new in expected]
    stops = Stops(tokenizer("t5"), eos=[1, ends])
    assert generate(plain, prompts("t5"), stops, max_new_tokens=NEW, prompt=prompt) == cut
    monkeypatch.setattr(encoder_decoder_batch, "writes", lambda plain: True)
    bug(monkeypatch)
    assert generate(plain, prompts("t5"), stops, max_new_tokens=NEW, prompt=prompt) != cut


def test_a_model_that_wants_forced_tokens_goes_through_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = model("t5")
    plain.generation_config.forced_bos_token_id = 7
    assert not encoder_decoder_batch.writes(plain)
    found = generate(plain, prompts("t5")[:2], Stops(tokenizer("t5"), eos=[1]), max_new_tokens=3)
    assert [new[0] for new in found] == [7, 7]


def test_every_input_is_encoded_once_for_all_beams(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, counts, real = model("t5"), [], encoder_decoder_batch.encode
    monkeypatch.setattr(encoder_decoder_batch, "encode", lambda *given: counts.append(len(given[1])) or real(*given))
    encoder_decoder_batch.writes(plain)
    counts.clear()
    generate(plain, prompts("t5") * 3, Stops(tokenizer("t5"), eos=[1]), max_new_tokens=4, num_beams=4)
    assert sum(counts) == len(QUESTIONS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{0} Paris{1} w3", "Paris"),  # The paper's post-processing: what stands between the first two sentinels.
        ("{0} Paris", "Paris"),
        ("w4{0} Paris{1}", "Paris"),
        ("Paris{1} w3", "Paris"),
        ("Paris", "Paris"),
        ("{0} Paris Q: what is{1} w3", "Paris"),  # And up to the next example's beginning, a stop string.
        ("{0}{1} Paris", ""),
    ],
)
def test_an_answer_between_sentinels_is_what_stands_there(kind: str, written: str, expected: str) -> None:
    pieces, pair = tokenizer(kind), describe.sentinels(tokenizer(kind))
    assert pair is not None
    tokens: list[int] = []
    for part in written.replace("{0}", "|0|").replace("{1}", "|1|").split("|"):
        own = [pair[int(part)]] if part in ("0", "1") else pieces(part, add_special_tokens=False)["input_ids"]
        tokens += own
    assert Stops(pieces, ["Q:"], [1], pair).text(tokens).strip() == expected
    if pair[1] in tokens:  # The closing sentinel ends the text: nothing is generated behind it.
        reached = [n for n in range(1, len(tokens) + 1) if Stops(pieces, [], [1], pair).reached(tokens[:n])]
        assert reached[0] == tokens.index(pair[1]) + 1


def opened(plain: Any, pair: tuple[int, int]) -> None:
    """Make the model open every answer: the sentinel's row of the head looks where its decoder's first state looks."""
    hidden: list[Tensor] = []
    handle = plain.lm_head.register_forward_pre_hook(lambda module, given: hidden.append(given[0]))
    plain(input_ids=torch.tensor([[5, 6, 1]]), decoder_input_ids=torch.tensor([[0]]))
    handle.remove()
    with torch.no_grad():
        plain.lm_head.weight[pair[0]] += hidden[0][0, 0] * 4


@torch.no_grad()
def test_generation_takes_sentinels_off_and_scoring_counts_them() -> None:
    loaded = pretrained("mt5")
    pair = describe.sentinels(loaded.tokenizer)
    assert pair is not None
    opened(loaded.model, pair)
    ours, plain = Model(loaded), loaded.model
    raw = alone(plain, prompts("mt5")[0])
    assert raw[0] == pair[0]  # It does open its answer.
    between = raw[: raw.index(pair[1])] if pair[1] in raw else raw
    expected = loaded.tokenizer.decode([token for token in between if token != pair[0]])
    assert ours.generate([QUESTIONS[0]], Sampling(max_new_tokens=NEW)) == [expected]

    target = loaded.tokenizer("Paris", add_special_tokens=False)["input_ids"]
    ways = []
    for line in (target, [pair[0], *target]):
        given = torch.tensor([prompts("mt5")[0]])
        logits = plain(input_ids=given, decoder_input_ids=torch.tensor([[0, *line[:-1]]])).logits[0]
        ways.append(float(logits.log_softmax(-1)[range(len(line)), line].sum()))
    found = ours.loglikelihood([(QUESTIONS[0], " Paris")])[0]
    assert ways[1] > ways[0] + 1  # Left out, the answer behind the sentinel would be missed.
    assert found.value == pytest.approx(np.logaddexp(*ways), abs=NOISE)
    assert found.tokens == len(target)


def test_a_decoder_that_does_not_know_its_beginning_is_refused() -> None:
    plain = model("t5")
    del plain.config.decoder_start_token_id
    plain.generation_config.decoder_start_token_id = None
    with pytest.raises(ValueError, match="set `decoder_start_token_id` there"):
        describe.decoder_start(plain)
