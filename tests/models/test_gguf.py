"""A GGUF file is the model it was made from: its weights, its positions, and the tokens of any text."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
from tokenizers import Regex, pre_tokenizers

import holdfast
from holdfast.models import gguf_folder, gguf_model, gguf_tokenizer, resolve
from holdfast.models.gguf_file import read_gguf
from tests.models import gguf_files
from tests.models.gguf_files import MODELS, ODD, bpe_facts, byte_level, quantized, write

GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def plain(path: Path, name: str = "llama", facts: dict[str, Any] | None = None, **extra: Any) -> Path:
    """A file of a small model with a small tokenizer."""
    return write(path, gguf_files.model(name), name, facts or bpe_facts(byte_level(GPT2)), **extra)


@pytest.mark.parametrize("name", MODELS)
def test_the_converted_model_computes_the_same_logits(tmp_path: Path, name: str) -> None:
    model = gguf_files.model(name)
    path = write(tmp_path / "m.gguf", model, name, bpe_facts(byte_level(GPT2)))
    loaded = resolve.load(str(path))
    tokens = torch.randint(300, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, logits = model(tokens).logits, loaded.model(tokens).logits
    # Gemma's norms are stored as 1 + weight in float32, which costs the last digits; all else is exact. A wrong norm, row, scale,
    # window or frequency moves logits of this size by more than a hundredth.
    tolerance = 1e-4 if "gemma" in name else 0.0
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)
    assert loaded.source == str(path)


def test_weights_are_what_the_gguf_package_reads(tmp_path: Path) -> None:
    """Quantised in blocks of 32: turned back into the numbers that the package gives, and stored in float32."""
    model = gguf_files.model("qwen2", hidden_size=64, intermediate_size=64)
    kinds = gguf.GGMLQuantizationType
    stored = quantized(model.state_dict()["model.layers.0.mlp.up_proj.weight"].numpy(), kinds.Q4_0)
    half = model.state_dict()["model.layers.0.mlp.gate_proj.weight"].half().numpy()
    path = write(
        tmp_path / "m.gguf", model, "qwen2", bpe_facts(byte_level(GPT2)),
        tensor__blk__0__ffn_up__weight=stored, tensor__blk__0__ffn_gate__weight=half,
    )  # fmt: skip
    mlp = resolve.load(str(path)).model.model.layers[0].mlp
    assert torch.equal(mlp.up_proj.weight, torch.from_numpy(gguf.dequantize(*stored)))
    assert torch.equal(mlp.gate_proj.weight, torch.from_numpy(half).float())


def test_large_weights_are_written_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path / "m.gguf")
    whole = resolve.load(str(path)).model.state_dict()
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(gguf_folder, "SHARD", 20_000)
    folder = Path(resolve.resolve(str(path)))
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert all(torch.equal(whole[name], value) for name, value in resolve.load(str(path)).model.state_dict().items())


@pytest.mark.parametrize("finer", ["token_embd", "output"])
def test_a_tied_matrix_in_two_roundings_is_one_matrix_in_the_finer(tmp_path: Path, finer: str) -> None:
    """The bug: a model with a head of its own, larger than the published one, whose embedding is the coarse one."""
    model = gguf_files.model("qwen2")
    matrix = model.state_dict()["model.embed_tokens.weight"].numpy()
    kinds = gguf.GGMLQuantizationType
    fine, coarse = quantized(matrix, kinds.Q8_0), quantized(matrix, kinds.Q4_0)
    copies = {"token_embd": coarse, "output": coarse} | {finer: fine}
    extra = {f"tensor__{name}__weight": value for name, value in copies.items()}
    loaded = resolve.load(str(write(tmp_path / "m.gguf", model, "qwen2", bpe_facts(byte_level(GPT2)), **extra))).model
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded.lm_head.weight, torch.from_numpy(gguf.dequantize(*fine)))


@pytest.mark.parametrize("kind", ["F32", "Q4_0"])
def test_a_head_of_its_own_stays_one(tmp_path: Path, kind: str) -> None:
    """Unrounded, even where it is nearly the embedding; rounded, where the two differ by more than rounding."""
    model = gguf_files.model("qwen2")
    matrix = model.state_dict()["model.embed_tokens.weight"].numpy()
    near = matrix * np.float32(1.001) if kind == "F32" else matrix[::-1].copy()
    kinds = gguf.GGMLQuantizationType
    tensors = {"token_embd": matrix, "output": near}
    extra = {
        f"tensor__{key}__weight": value if kind == "F32" else quantized(value, kinds.Q4_0)
        for key, value in tensors.items()
    }
    path = write(tmp_path / "m.gguf", model, "qwen2", bpe_facts(byte_level(GPT2)), **extra)
    assert not resolve.load(str(path)).model.config.tie_word_embeddings


def rule(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


RULES = {
    "gpt-2": GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "qwen2": rule(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "llama-bpe": rule(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}


@pytest.mark.parametrize("pre", RULES)
def test_byte_level_tokens_are_those_of_the_original(tmp_path: Path, pre: str) -> None:
    """On odd texts, with the rule by which the tokenizer was trained: other rules show in spaces, digits and line ends."""
    original = byte_level(RULES[pre], 400)
    path = write(
        tmp_path / "m.gguf", gguf_files.model("llama", 400), "llama", bpe_facts(original, pre, add_bos_token=False)
    )
    tokenizer = resolve.load(str(path)).tokenizer
    normal = {text: original.normalizer.normalize_str(text) if original.normalizer else text for text in ODD}
    if pre == "qwen2":  # whose tokenizer composes accents first
        normal["e\u0301"] = "\u00e9"
    for text in ODD:
        assert tokenizer(text).input_ids == original.encode(normal[text]).ids, text
        assert tokenizer.decode(tokenizer(text).input_ids) == normal[text]


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("smollm", "a   123", ["a", "ĠĠĠ", "1", "2", "3"]),
        ("gpt-2", "a   123", ["a", "ĠĠ", "Ġ123"]),
        ("llama-bpe", "a   12345", ["a", "ĠĠ", "Ġ", "123", "45"]),
        ("qwen2", "I'LL go\n\n1", ["I", "'LL", "Ġgo", "ĊĊ", "1"]),
        ("tekken", "fooBar 12", ["foo", "Bar", "Ġ", "1", "2"]),
        ("gpt-4o", "fooBar's 1234", ["foo", "Bar's", "Ġ", "123", "4"]),
    ],
)
def test_text_is_cut_by_the_rule_that_the_file_names(tmp_path: Path, pre: str, text: str, pieces: list[str]) -> None:
    facts = bpe_facts(byte_level(GPT2), pre)
    tokenizer = gguf_tokenizer.tokenizer_of(read_gguf(plain(tmp_path / "m.gguf", facts=facts)), 128)
    assert [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)] == pieces


@pytest.mark.parametrize(
    ("pre", "flag", "first"),
    [("llama-bpe", None, [0]), ("llama-bpe", False, []), ("smollm", None, []), ("smollm", True, [0])],
)
def test_a_text_begins_as_the_file_says(tmp_path: Path, pre: str, flag: bool | None, first: list[int]) -> None:
    """Where it says nothing, as llama.cpp takes it for the tokenizer's family."""
    facts = bpe_facts(byte_level(GPT2), pre, add_bos_token=flag)
    tokenizer = resolve.load(str(plain(tmp_path / "m.gguf", facts=facts))).tokenizer
    bare = tokenizer("hello", add_special_tokens=False).input_ids
    assert tokenizer("hello").input_ids == first + bare


def test_the_chat_template_comes_along(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|end|>{{ m['content'] }}{% endfor %}"
    path = plain(tmp_path / "m.gguf", tokenizer__chat_template=template)
    tokenizer = resolve.load(str(path)).tokenizer
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<|end|>hi"


def sentence_piece_facts(folder: Path, *, prefix: bool) -> tuple[sentencepiece.SentencePieceProcessor, dict[str, Any]]:
    """A SentencePiece model trained on the corpus, and what llama.cpp's converter writes of it."""
    (folder / "corpus.txt").write_text("\n".join(gguf_files.CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "sp"), vocab_size=360, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix, minloglevel=2,
        split_digits=True, hard_vocab_limit=False, character_coverage=0.98,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
    indices = range(pieces.vocab_size())
    types = [
        2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1 for i in indices
    ]
    facts = {
        "model": "llama", "pre": "default", "tokens": [pieces.id_to_piece(i) for i in indices], "token_type": types,
        "scores": [float(pieces.get_score(i)) for i in indices], "unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "add_space_prefix": prefix,
    }  # fmt: skip
    return pieces, facts


@pytest.mark.parametrize("prefix", [True, False])
def test_sentence_piece_tokens_are_those_of_the_original(tmp_path: Path, prefix: bool) -> None:
    """The merges stand in no file: they follow from the scores, and what is left is spelled in bytes."""
    original, facts = sentence_piece_facts(tmp_path, prefix=prefix)
    size = original.vocab_size()
    path = write(tmp_path / "m.gguf", gguf_files.model("llama", size), "llama", facts)
    tokenizer = resolve.load(str(path)).tokenizer
    for text in ODD:
        # Nothing stands before no text; SentencePiece and transformers agree on that.
        assert tokenizer(text).input_ids == [1, *original.encode(text)], text
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    assert tokenizer("<s>The</s>", add_special_tokens=False).input_ids[0] == 1


def test_a_second_call_converts_nothing(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plain(tmp_path / "m.gguf")
    folder = Path(resolve.resolve(str(path)))
    assert folder.parent == cache / "gguf"
    assert "is converted once" in capsys.readouterr().err
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve.resolve(str(path)) == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert capsys.readouterr().err == ""
    # By its content: the same name with other weights is another model.
    write(path, gguf_files.model("llama"), "llama", bpe_facts(byte_level(GPT2)), llama__rope__freq_base=7e5)
    assert resolve.resolve(str(path)) != str(folder)


def test_a_conversion_that_stops_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path / "m.gguf")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gguf_folder, "save_file", stop)
        with pytest.raises(KeyboardInterrupt):
            resolve.resolve(str(path))
    assert list((cache / "gguf").iterdir()) == []
    assert resolve.load(str(path)).model is not None


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            {"general__architecture": "mamba"},
            r"its architecture is mamba, which cannot be converted; those that can: llama, ",
        ),
        ({"llama__expert_count": 8}, r"says llama\.expert_count = 8, which holdfast does not know"),
        ({"llama__rope__scaling__type": "ntk"}, r"its positions are scaled by 'ntk'"),
        ({"llama__block_count": None}, r"lacks llama\.block_count"),
        ({"tensor__blk__1__attn_q__weight": None}, r"lacks blk\.1\.attn_q\.weight, which llama needs"),
        (
            {"tensor__blk__0__odd__weight": np.ones(4, np.float32)},
            r"holds blk\.0\.odd\.weight, which llama does not have",
        ),
        (
            {"tensor__output_norm__weight": np.ones(4, np.float32)},
            r"output_norm\.weight is \[4\], and llama needs \[32\]",
        ),
        (
            {"tensor__rope_freqs__weight": np.full(4, 3, np.float32)},
            r"its rope_freqs\.weight is of no scaling that is known",
        ),
        ({"tokenizer__ggml__pre": "martian"}, r"its tokenizer cuts text by the rule 'martian'"),
        ({"tokenizer__ggml__pre": None}, r"its tokenizer cuts text by the rule 'default'"),
        ({"tokenizer__ggml__model": "bert"}, r"its tokenizer \(bert\) cannot be rebuilt"),
        ({"tokenizer__ggml__merges": None}, r"its tokenizer has no list of merges"),
        ({"split__count": 3}, r"is part 1 of 3; join them first"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(
    tmp_path: Path, cache: Path, extra: dict[str, Any], message: str
) -> None:
    path = plain(tmp_path / "m.gguf", **extra)
    with pytest.raises(ValueError, match=message) as caught:
        holdfast.load(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert not cache.exists() or not list(cache.glob("gguf/*"))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.999])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    """In its metadata, and in its last tensor."""
    path = plain(tmp_path / "m.gguf")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"m\.gguf: is damaged, or cut short at [0-9,]+ bytes; download it again"):
        holdfast.load(path)


def test_a_file_that_is_missing_or_no_gguf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.gguf: there is no such GGUF file"):
        holdfast.load(tmp_path / "none.gguf")
    (tmp_path / "m.gguf").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="is no GGUF file"):
        holdfast.load(tmp_path / "m.gguf")


def test_every_architecture_has_a_model_here() -> None:
    assert set(gguf_model.CONVERSIONS) == {architecture for _, architecture, _ in MODELS.values()}


def test_evaluate_gives_the_scores_of_the_converted_folder(tmp_path: Path) -> None:
    path = plain(tmp_path / "m.gguf", "qwen2")
    folder = resolve.resolve(str(path))
    scores = [holdfast.evaluate(model, "lab:sentiment", shots=(0, 4), limit=8) for model in (str(path), folder)]
    assert [score.value for score in scores[0]] == [score.value for score in scores[1]]
    assert scores[0][0].model_hash == scores[1][0].model_hash


def test_a_tensor_without_a_dimension_is_one_line(tmp_path: Path) -> None:
    """Found by fuzzing: a header whose tensor says that it has none."""

    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.array(1.0, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"a\.gguf: token_embd\.weight has no dimension"):
        read_gguf(path).check_types()


def test_a_list_longer_than_the_file_is_refused_at_once(tmp_path: Path) -> None:
    """Found by fuzzing: gguf's reader would look for each of its entries, for hours."""
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["aa", "bb"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    data = path.read_bytes()
    read_gguf(path)
    position = data.index(b"aa") - 16  # before the first entry's length, that of the list
    path.write_bytes(data[:position] + (10**12).to_bytes(8, "little") + data[position + 8 :])
    with pytest.raises(ValueError, match=r"a\.gguf: is damaged"):
        read_gguf(path)
