"""Continuing many prompts together gives what `model.generate` gives for each prompt alone."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from holdfast.inference import decoder_batch, transformers_engine
from holdfast.inference.stopping import Stops
from holdfast.prefix import cache, probe
from tests.inference import small_models
from tests.inference.engines import generate
from tests.inference.small_models import EOS, sequences

NEW = 12
MODELS: dict[str, Callable[[], Any]] = {
    "llama": small_models.llama,
    "gpt2": small_models.gpt2,
    "bloom": small_models.bloom,
    "gemma3 within its window": lambda: small_models.gemma3(64),
    "gemma3 beyond its window": lambda: small_models.gemma3(9),
    "mistral beyond its window": lambda: small_models.mistral(9),
    "mamba": small_models.mamba,
    "t5": lambda: small_models.t5(2.0),
}
PROMPTS = [*sequences([14, 11, 17, 12, 11, 23], common=9), *sequences([5, 2, 1], seed=1)]


def stops(*strings: str) -> Stops:
    return Stops(small_models.tokenizer(), strings, eos=[EOS])


def alone(model: Any, tokens: tuple[int, ...], prompt: Tensor | None = None, **settings: Any) -> list[int]:
    """What transformers generates for this prompt and no other, up to the end-of-sequence token."""
    config = GenerationConfig(do_sample=False, max_new_tokens=NEW, eos_token_id=EOS, pad_token_id=EOS, **settings)
    if model.config.is_encoder_decoder:
        config.decoder_start_token_id = EOS
    words = model.get_input_embeddings()(torch.tensor([tokens]))
    embeds = words if prompt is None else torch.cat([prompt[None], words], 1)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    new = model.generate(inputs_embeds=embeds, attention_mask=mask, generation_config=config)[0].tolist()
    new = new[1:] if model.config.is_encoder_decoder else new
    return new[: new.index(EOS)] if EOS in new else new


@pytest.mark.parametrize("soft", [0, 1, 7])
@pytest.mark.parametrize("kind", MODELS)
def test_greedy_equals_generate_on_each_prompt_alone(kind: str, soft: int) -> None:
    model = MODELS[kind]()
    prompt = small_models.prompt(soft, model) if soft else None
    assert cache.shares(model) == (kind not in {"mamba", "t5"})
    found = generate(model, PROMPTS, stops(), max_new_tokens=NEW, prompt=prompt)
    assert found == [alone(model, tokens, prompt) for tokens in PROMPTS]


@pytest.mark.parametrize("soft", [0, 7])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3 beyond its window", "mamba", "t5"])
def test_four_beams_equal_generate_on_each_prompt_alone(kind: str, soft: int) -> None:
    model = MODELS[kind]()
    prompt = small_models.prompt(soft, model) if soft else None
    found = generate(model, PROMPTS, stops(), max_new_tokens=NEW, prompt=prompt, num_beams=4)
    expected = [alone(model, tokens, prompt, num_beams=4) for tokens in PROMPTS]
    assert found == expected
    assert found != generate(model, PROMPTS, stops(), max_new_tokens=NEW, prompt=prompt)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_batch_size_order_and_company_change_nothing(num_beams: int) -> None:
    model = small_models.llama()
    prompt = small_models.prompt(5, model)
    options: Any = {"max_new_tokens": NEW, "prompt": prompt, "num_beams": num_beams}
    together = generate(model, PROMPTS, stops(), **options)
    assert generate(model, PROMPTS[::-1], stops(), **options) == together[::-1]
    assert generate(model, PROMPTS * 2, stops(), **options) == together * 2
    assert generate(model, PROMPTS, stops(), **options, batch_tokens=1) == together
    assert generate(model, PROMPTS, stops(), **options, batch_tokens=100) == together
    assert [generate(model, [tokens], stops(), **options)[0] for tokens in PROMPTS] == together


def pads_are_attended(patch: pytest.MonkeyPatch) -> None:
    real = decoder_batch.step

    def step(model: Any, kept: Any, new: Any, positions: Any, mask: Tensor, index: Any) -> Tensor:
        return real(model, kept, new, positions, torch.ones_like(mask), index)

    patch.setattr(decoder_batch, "step", step)


def positions_count_pads(patch: pytest.MonkeyPatch) -> None:
    real = decoder_batch.step

    def step(model: Any, kept: Any, new: Tensor, positions: Tensor, mask: Tensor, index: Any) -> Tensor:
        places = torch.arange(mask.shape[1] - positions.shape[1], mask.shape[1]).expand_as(positions)
        return real(model, kept, new, places, mask, index)

    patch.setattr(decoder_batch, "step", step)


def the_cache_is_shared_between_batches(patch: pytest.MonkeyPatch) -> None:
    opened: dict[int, Any] = {}
    real = cache.Prefix.open

    def open_once(prefix: cache.Prefix, rows: int, room: int, **options: bool) -> cache.RowCache:
        return opened.setdefault(id(prefix), real(prefix, rows, 500, **options))

    patch.setattr(cache.Prefix, "open", open_once)


def dropped_rows_leave_the_wrong_cache(patch: pytest.MonkeyPatch) -> None:
    real = cache.RowCache.keep
    patch.setattr(cache.RowCache, "keep", lambda kept, order: real(kept, range(len(order))))


def the_soft_prompt_is_ignored(patch: pytest.MonkeyPatch) -> None:
    real = cache.prefill
    patch.setattr(transformers_engine, "prefill", lambda model, prompt, tokens: real(model, prompt * 0, tokens))


BUGS = [
    pads_are_attended,
    positions_count_pads,
    the_cache_is_shared_between_batches,
    dropped_rows_leave_the_wrong_cache,
    the_soft_prompt_is_ignored,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_comparison_notices_a_planted_bug(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_models.llama()
    prompt = small_models.prompt(5, model)
    # The second ends long before the others, so that rows move within the batch.
    expected = [alone(model, tokens, prompt) for tokens in PROMPTS]
    ends = Stops(small_models.tokenizer(), eos=[EOS, expected[1][2]])
    cut = [new[: new.index(expected[1][2])] if expected[1][2] in new else new for new in expected]
    options: Any = {"max_new_tokens": NEW, "prompt": prompt, "batch_tokens": 150}
    assert generate(model, PROMPTS, ends, **options) == cut
    monkeypatch.setattr(transformers_engine, "shares", lambda model: True)
    bug(monkeypatch)
    with contextlib.suppress(RuntimeError, IndexError):  # A shared cache can also show as shapes that do not fit.
        assert generate(model, PROMPTS, ends, **options) != cut


def test_the_probe_notices_a_model_that_ignores_positions() -> None:
    class Deaf(type(small_models.llama())):
        def forward(self, *args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    model = small_models.llama()
    assert cache.shares(model)
    model.__class__ = Deaf
    probe._SEEN.clear()
    assert not cache.shares(model)
    assert generate(model, PROMPTS[:2], stops(), max_new_tokens=NEW) == [alone(model, tokens) for tokens in PROMPTS[:2]]


def test_a_text_ends_with_the_token_that_completes_a_stop_string() -> None:
    model = small_models.llama()
    free = generate(model, PROMPTS, stops(), max_new_tokens=NEW)
    texts = [stops().text(tokens) for tokens in free]
    stop = texts[0][3:5]
    bounded = generate(model, PROMPTS, stops(stop), max_new_tokens=NEW)
    for new, tokens, text in zip(bounded, free, texts, strict=True):
        assert new == tokens[: len(new)]
        assert stops(stop).text(new) == text.split(stop)[0]
        assert len(new) == len(tokens) or stop in stops().text(new)
        assert stop not in stops().text(new[:-1])
    assert len(bounded[0]) < len(free[0])
    for kind in ("mamba", "t5"):
        model = MODELS[kind]()
        free = generate(model, PROMPTS, stops(), max_new_tokens=NEW)
        stop = stops().text(free[0])[2:4]
        found = generate(model, PROMPTS, stops(stop), max_new_tokens=NEW)
        assert [stops(stop).text(new) for new in found] == [stops().text(new).split(stop)[0] for new in free]
        assert len(found[0]) < len(free[0])


def test_a_stop_string_is_found_wherever_tokens_are_cut() -> None:
    tokenizer = small_models.tokenizer()
    text = "the cat sat?\nQuestion: ünd 猫 the hat\n\nof the mat"
    whole = tokenizer.encode(text, add_special_tokens=False)
    letters = [token for letter in text for token in tokenizer.encode(letter, add_special_tokens=False)]
    assert len(letters) > len(whole)
    for tokens in (whole, letters):
        for begin in range(len(text)):
            for end in range(begin + 1, min(begin + 12, len(text)) + 1):
                ends = Stops(tokenizer, [text[begin:end]])
                reached = [n for n in range(1, len(tokens) + 1) if ends.reached(tokens[:n])]
                first = next(n for n in range(1, len(tokens) + 1) if text[begin:end] in tokenizer.decode(tokens[:n]))
                assert reached[0] == first, text[begin:end]
                assert ends.text(tokens) == text[: text.find(text[begin:end])]


def test_the_first_of_several_stop_strings_ends_the_text() -> None:
    tokenizer = small_models.tokenizer()
    tokens = tokenizer.encode("the cat\nsat on", add_special_tokens=False)
    assert Stops(tokenizer, ["sat", "\n", "absent"]).text(tokens) == "the cat"
    assert Stops(tokenizer, ["absent"]).text([*tokens, EOS]) == "the cat\nsat on"


def test_a_stop_string_that_is_a_special_token_ends_the_text() -> None:
    """Decoding leaves special tokens out, so they must be looked for before that."""
    tokenizer = small_models.tokenizer()
    mark = tokenizer.convert_ids_to_tokens(small_models.BOS)
    hello, more = (tokenizer.encode(text, add_special_tokens=False) for text in ("the cat", " sat on"))
    tokens = [*hello, small_models.BOS, *more]
    for string in (mark, "t" + mark, mark + " sat"):
        ends = Stops(tokenizer, ["absent", string])
        reached = [n for n in range(1, len(tokens) + 1) if ends.reached(tokens[:n])]
        whole = next(n for n in range(1, len(tokens) + 1) if string in tokenizer.decode(tokens[:n]))
        assert reached[0] == whole, string
        assert ends.text(tokens) == tokenizer.decode(tokens).split(string)[0]
    both = Stops(tokenizer, ["e", mark])
    assert both.text(tokens) == "th", "the earlier of both ends it"
    assert Stops(tokenizer, ["sat", mark]).text([*hello, *more]) == "the cat "
    assert Stops(tokenizer, ["sat"]).text(tokens) == "the cat ", (
        "a special token that is no stop string is left out, as ever"
    )


def test_generation_ends_at_a_special_token_that_is_a_stop_string() -> None:
    model = small_models.llama()
    (free,) = generate(model, PROMPTS[:1], stops(), max_new_tokens=NEW)
    head = model.lm_head.weight
    head[[small_models.BOS, free[4]]] = head[
        [free[4], small_models.BOS]
    ]  # now it writes <bos> in the place of that token
    ends = stops("<bos>")
    (new,) = generate(model, PROMPTS[:1], ends, max_new_tokens=NEW)
    assert new == [*free[:4], small_models.BOS]
    assert ends.text(new) == ends.decode(free[:4])


def test_only_a_few_tokens_are_decoded_at_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = stops("\n\n")
    lengths = []
    real = ends.decode
    monkeypatch.setattr(ends, "decode", lambda tokens: lengths.append(len(tokens)) or real(tokens))
    tokens = small_models.tokenizer().encode("the cat sat on the mat\n" * 20, add_special_tokens=False)
    assert not any(ends.reached(tokens[:n]) for n in range(1, len(tokens)))
    assert max(lengths) <= 6
    assert len(lengths) < len(tokens)


def test_compaction_moves_the_last_rows_into_the_holes() -> None:
    for mask in range(1, 64):
        going = [row for row in range(6) if mask >> row & 1]
        order = decoder_batch.compact(going, 6)
        assert sorted(order) == going
        assert all(order[place] == place for place in going if place < len(going))


def test_what_cannot_be_continued_is_refused_with_the_fix() -> None:
    model = small_models.llama(max_position_embeddings=32)
    with pytest.raises(ValueError, match="prompt 2 has no tokens"):
        generate(model, [(5,), ()], stops(), max_new_tokens=4)
    with pytest.raises(ValueError, match=r"prompt 1 has 20 tokens; with 7 .* 6 new .* 32 positions; shorten"):
        generate(model, sequences([20]), stops(), max_new_tokens=6, prompt=small_models.prompt(7, model))
    assert (
        len(generate(model, sequences([20]), stops(), max_new_tokens=5, prompt=small_models.prompt(7, model))[0]) <= 5
    )
    with pytest.raises(ValueError, match="stop string is empty"):
        stops("\n", "")


def test_generation_leaves_the_model_as_it_was() -> None:
    model = small_models.mamba().train()
    model.backbone.layers[0].eval()
    before, settings = [module.training for module in model.modules()], model.generation_config
    generate(model, PROMPTS[:2], stops(), max_new_tokens=2)
    assert [module.training for module in model.modules()] == before
    assert model.generation_config is settings


def test_every_prompt_is_reported_finished_once() -> None:
    counts: list[int] = []
    generate(small_models.llama(), PROMPTS * 2, stops(), max_new_tokens=2, batch_tokens=60, progress=counts.append)
    assert sum(counts) == len(PROMPTS) * 2
    assert len(counts) > 1
