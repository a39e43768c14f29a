"""The boundary between what is read and what is predicted, the beginning and the end of a row, and what is cut."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from holdfast.row import Row
from holdfast.tasks.text import tokenization
from holdfast.tasks.text.templates import Rendered
from holdfast.tasks.text.tokenization import encode, encode_pairs, encode_prompt

SHARED = Path(__file__).parents[4] / "shared" / "models"
CORPUS = [
    "Is it true? Answer: yes",
    "Is it false? Answer: no",
    "the cat sat on the mat 😀 é naïve",
    "def f(x):\n\treturn x",
]
ROOM: dict[str, Any] = {"max_length": 10_000}


def wrapped(tokenizer: Tokenizer, bos: bool = False, eos: bool = False) -> Any:
    """As transformers sees it; `bos` and `eos` are what the tokenizer adds by itself."""
    tokenizer.add_special_tokens(["<s>", "</s>"])
    if bos or eos:
        parts = ["<s>"] * bos + ["$A"] + ["</s>"] * eos
        ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=parts, special_tokens=ids)  # pyright: ignore
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def byte_level(trim: bool = False, **added: bool) -> Any:
    """Byte-level BPE as of GPT-2; `trim` leaves the space of a token out of its offsets, as RoBERTa's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS * 4, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    return wrapped(tokenizer, **added)


def sentencepiece_like(**added: bool) -> Any:
    """BPE over characters with a space put in front and bytes for what is unknown, as of Llama 2."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(CORPUS[:2] * 4, trainers.BpeTrainer(vocab_size=330, special_tokens=special))
    plain = Tokenizer.from_str(tokenizer.to_str().replace('"special":true', '"special":false'))
    return wrapped(plain, **added)


def word_level(**added: bool) -> Any:
    """Whole words: spaces belong to no token."""
    words = ["<unk>", "Is", "it", "true", "?", "Answer", ":", "yes", "no"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return wrapped(tokenizer, **added)


def bytes_of(piece: str, byte_chars: dict[str, int] | None) -> int:
    """How many bytes of text a piece stands for, read from its spelling alone: no offsets."""
    if byte_chars is not None:
        return len(piece)
    return 1 if len(piece) == 6 and piece.startswith("<0x") else len(piece.replace("▁", " ").encode())


def expected_weights(tokenizer: Any, row: Row, boundary: int, put_in_front: int, byte_spelled: bool) -> list[float]:
    """1 for every token that ends behind byte `boundary`, counted by adding up the tokens' spellings."""
    end, weights = -put_in_front, []
    for piece in tokenizer.convert_ids_to_tokens(list(row.tokens)):
        end += bytes_of(piece, {} if byte_spelled else None)
        weights.append(float(end > boundary))
    return weights


TEXT = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n\tabé😀e\u0301'")), max_size=24)
UNMARKED = TEXT.map(lambda text: text.replace("▁", ""))  # a sentencepiece spells a space so; the count could not tell
BYTE_LEVEL = {"plain": byte_level(), "trimmed": byte_level(trim=True)}
SENTENCEPIECE = {"trained": sentencepiece_like()}
if SHARED.exists():
    BYTE_LEVEL["gpt2"] = AutoTokenizer.from_pretrained(SHARED / "gpt2-tokenizer")
    SENTENCEPIECE["stories260k"] = AutoTokenizer.from_pretrained(SHARED / "stories260k")


@pytest.mark.parametrize("kind", ["plain", "trimmed", "gpt2"])
@settings(max_examples=150, deadline=None)
@given(prompt=TEXT, target=TEXT.filter(bool))
def test_byte_level_bpe_predicts_every_token_with_a_byte_of_the_target(kind: str, prompt: str, target: str) -> None:
    if kind not in BYTE_LEVEL:
        pytest.skip("../shared/models is not here")
    tokenizer = BYTE_LEVEL[kind]
    row = encode(tokenizer, Rendered(prompt, target), eos=False, prompt=0, **ROOM)
    assert tokenizer.decode(row.tokens, clean_up_tokenization_spaces=False) == prompt + target
    assert list(row.weights) == expected_weights(tokenizer, row, len(prompt.encode()), 0, byte_spelled=True)


@settings(max_examples=150, deadline=None)
@given(prompt=UNMARKED.filter(bool), target=UNMARKED.filter(bool))
def test_sentencepiece_predicts_every_token_with_a_byte_of_the_target(prompt: str, target: str) -> None:
    tokenizer = SENTENCEPIECE["trained"]
    row = encode(tokenizer, Rendered(prompt, target), eos=False, prompt=0, **ROOM)
    assert list(row.weights) == expected_weights(tokenizer, row, len(prompt.encode()), 1, byte_spelled=False)


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/models is not here")
@settings(max_examples=150, deadline=None)
@given(prompt=UNMARKED.filter(bool), target=UNMARKED.filter(bool))
def test_stories260k_predicts_every_token_with_a_byte_of_the_target(prompt: str, target: str) -> None:
    tokenizer = SENTENCEPIECE["stories260k"]
    row = encode(tokenizer, Rendered(prompt, target), eos=False, **ROOM)
    bare = Row(row.tokens[1:], row.weights[1:])
    assert row.tokens[0] == tokenizer.bos_token_id
    assert row.weights[0] == 0
    assert list(bare.weights) == expected_weights(tokenizer, bare, len(prompt.encode()), 1, byte_spelled=False)


@pytest.mark.parametrize(
    ("prompt", "target", "words", "weights"),
    [
        ("Is it true? Answer:", " yes", ["Is", "it", "true", "?", "Answer", ":", "yes"], [0, 0, 0, 0, 0, 0, 1]),
        ("Is it true? Answer: ", "yes no", ["Is", "it", "true", "?", "Answer", ":", "yes", "no"], [0] * 6 + [1, 1]),
        ("Is", "it", ["<unk>"], [1]),
    ],
)
def test_whole_words_belong_to_the_side_of_their_last_letter(
    prompt: str, target: str, words: list[str], weights: list[int]
) -> None:
    tokenizer = word_level()
    row = encode(tokenizer, Rendered(prompt, target), eos=False, prompt=0, **ROOM)
    assert tokenizer.convert_ids_to_tokens(list(row.tokens)) == words
    assert list(row.weights) == weights


def test_a_token_across_the_boundary_is_predicted_and_the_text_is_not_tokenised_in_two() -> None:
    tokenizer = byte_level()
    row = encode(tokenizer, Rendered("Is it true? Ans", "wer: yes"), eos=False, **ROOM)
    apart = tokenizer("Is it true? Ans")["input_ids"] + tokenizer("wer: yes")["input_ids"]
    assert list(row.tokens) == tokenizer("Is it true? Answer: yes")["input_ids"] != apart
    assert tokenizer.decode([row.tokens[row.labels[0]]]) == " Answer"


def test_scoring_puts_the_boundary_where_training_does() -> None:
    tokenizer = byte_level(bos=True)
    trained = encode(tokenizer, Rendered("Is it true? Answer:", " yes"), eos=True, **ROOM)
    scored = encode_pairs(tokenizer, "Is it true? Answer:", [" yes"], **ROOM)[0]
    assert scored.tokens == trained.tokens[:-1]
    assert scored.weights == trained.weights[:-1]
    assert scored.tokens[: scored.labels[0]] == encode_prompt(tokenizer, "Is it true? Answer:", **ROOM)


@pytest.mark.parametrize("make", [byte_level, sentencepiece_like, word_level])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("target", [" yes", " yes</s>"])
def test_a_training_row_ends_in_one_end_token_of_weight_1(make: Any, adds: bool, target: str) -> None:
    tokenizer = make(eos=adds)
    row = encode(tokenizer, Rendered("Answer:", target), eos=True, **ROOM)
    assert row.tokens.count(tokenizer.eos_token_id) == 1
    assert (row.tokens[-1], row.weights[-1]) == (tokenizer.eos_token_id, 1.0)


@pytest.mark.parametrize("adds", [False, True])
def test_a_scored_row_and_a_prompt_carry_no_end_token(adds: bool) -> None:
    tokenizer = byte_level(eos=adds)
    assert tokenizer.eos_token_id not in encode_pairs(tokenizer, "Answer:", [" yes"], **ROOM)[0].tokens
    assert tokenizer.eos_token_id not in encode_prompt(tokenizer, "Answer:", **ROOM)


def test_what_a_chat_template_writes_behind_an_answer_is_trained_and_not_scored() -> None:
    tokenizer = byte_level()
    rendered = Rendered("Answer:", " yes", end="\n")
    trained = encode(tokenizer, rendered, eos=True, **ROOM)
    scored = encode(tokenizer, rendered, eos=False, **ROOM)
    assert tokenizer.decode(trained.tokens) == "Answer: yes\n</s>"
    assert tokenizer.decode(scored.tokens) == "Answer: yes"
    assert len(trained.labels) == len(scored.labels) + 2


@pytest.mark.parametrize("make", [byte_level, sentencepiece_like, word_level])
@pytest.mark.parametrize("written", ["", "<s>"])
@pytest.mark.parametrize("adds", [False, True])
def test_the_beginning_token_is_there_once_where_the_tokenizer_or_the_text_puts_it(
    make: Any, written: str, adds: bool
) -> None:
    tokenizer = make(bos=adds)
    row = encode(tokenizer, Rendered(written + "Answer:", " yes"), eos=True, **ROOM)
    prompt = encode_prompt(tokenizer, written + "Answer:", **ROOM)
    for tokens in (row.tokens, prompt):
        assert tokens.count(tokenizer.bos_token_id) == bool(adds or written)
        assert (tokens[0] == tokenizer.bos_token_id) == bool(adds or written)
    assert row.weights[0] == 0


def test_an_empty_prompt_is_what_the_tokenizer_begins_with() -> None:
    assert encode_prompt(byte_level(), "", **ROOM) == ()
    tokenizer = byte_level(bos=True, eos=True)
    assert encode_prompt(tokenizer, "", **ROOM) == (tokenizer.bos_token_id,)


def test_a_first_token_is_predicted_only_behind_a_soft_prompt() -> None:
    tokenizer = word_level()
    assert encode_pairs(tokenizer, "", ["yes no"], **ROOM)[0].weights == (0.0, 1.0)
    assert encode_pairs(tokenizer, "", ["yes no"], prompt=3, **ROOM)[0].weights == (1.0, 1.0)
    assert encode_pairs(word_level(bos=True), "", ["yes no"], **ROOM)[0].weights == (0.0, 1.0, 1.0)


def test_truncation_cuts_the_oldest_of_the_input_behind_the_beginning_and_never_the_target() -> None:
    tokenizer = word_level(bos=True)
    rendered = Rendered("Is it true? Answer:", " yes no")
    whole = encode(tokenizer, rendered, eos=True, **ROOM)
    assert whole.cut == 0
    for length in range(4, len(whole.tokens) + 1):
        row = encode(tokenizer, rendered, max_length=length, eos=True)
        assert row.cut == len(whole.tokens) - length
        assert row.tokens == whole.tokens[:1] + whole.tokens[1 + row.cut :]
        assert row.weights[-3:] == (1.0, 1.0, 1.0)
        assert sum(row.weights) == 3
    assert encode_prompt(tokenizer, rendered.prompt, max_length=3) == (whole.tokens[0], *whole.tokens[5:7])


def test_a_target_that_does_not_fit_is_refused_with_its_name_and_lengths() -> None:
    with pytest.raises(ValueError, match=r"rte/train\[3\]: the target is 3 tokens long .* max_length=3"):
        encode(word_level(), Rendered("Is it", " yes no"), max_length=3, eos=True, name="rte/train[3]")
    with pytest.raises(ValueError, match="max_length=0"):
        encode_prompt(word_level(), "Is it", max_length=0)


def test_loss_on_all_weights_the_answers_of_the_demonstrations_too() -> None:
    tokenizer = word_level()
    prompt = "Is it true? Answer: yes\n\nIs it? Answer: no\n\nIs it true? Answer:"
    answers = ((19, 23), (39, 42))
    assert [prompt[a:b] for a, b in answers] == [" yes", " no"]
    rendered = Rendered(prompt, " yes", answers=answers)

    def predicted(**options: Any) -> list[str]:
        row = encode(tokenizer, rendered, eos=True, **options)
        return tokenizer.convert_ids_to_tokens([row.tokens[i] for i in row.labels])

    assert predicted(**ROOM) == ["yes", "</s>"]
    assert predicted(loss_on="all", **ROOM) == ["yes", "no", "yes", "</s>"]
    assert predicted(loss_on="all", max_length=12) == ["no", "yes", "</s>"]


def test_a_tokenizer_without_offsets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SimpleNamespace does not say which characters .*tokenizer\.json"):
        encode_prompt(SimpleNamespace(is_fast=False), "text", max_length=5)


def test_a_target_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="no token of the target"):
        encode_pairs(word_level(), "Answer:", ["  "], **ROOM)


def unsplit(kind: str) -> Any:
    """A tokenizer that sees a whole text as one word, as Llama 2's does: nothing but its merges (or its scores) says where tokens end."""
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.train_from_iterator(
            [*CORPUS, LONG], trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"])
        )
        return wrapped(tokenizer, bos=True)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.train_from_iterator([*CORPUS, LONG], trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"]))
    return wrapped(tokenizer, bos=True)


LONG = "Review: the food was cold, and 1234567 people aaaaaaaaa waited.\n\n Sentiment: no\t é😀猫 </s> yes " * 20
LONG_CONTEXT_TOKENIZERS: dict[str, Any] = {
    "byte level": lambda: byte_level(bos=True),
    "byte level, trimmed": lambda: byte_level(trim=True, bos=True, eos=True),
    "word level": word_level,
    "one word, byte pairs": lambda: unsplit("bpe"),
    "one word, unigram": lambda: unsplit("unigram"),
}


@pytest.mark.parametrize("kind", LONG_CONTEXT_TOKENIZERS)
def test_continuations_of_a_long_context_have_the_tokens_of_the_whole_text(kind: str) -> None:
    """Cut anywhere, also inside words, runs of digits or of one letter, characters of several bytes and special tokens."""
    tokenizer = LONG_CONTEXT_TOKENIZERS[kind]()
    answers = [" yes", "aaa", "89", *["\n\n"] * (kind != "word level"), "/s>", "s>", "é", ", and", "</s>", " no"]
    for end in (*range(1500, 1600), 1900):
        context = LONG[:end]
        rows = encode_pairs(tokenizer, context, answers, **ROOM)
        for answer, row in zip(answers, rows, strict=True):
            expected = encode(tokenizer, Rendered(context, answer), eos=False, **ROOM)
            assert row == expected, (end, answer)
    for context in ("a" * 2000, "7" * 2000, " " * 2000 + "x", "猫" * 2000):
        expected = [encode(tokenizer, Rendered(context, answer), eos=False, **ROOM) for answer in ("a", "7", "猫x")]
        assert encode_pairs(tokenizer, context, ["a", "7", "猫x"], **ROOM) == expected
    assert encode_pairs(tokenizer, LONG, answers, max_length=200)[3] == encode(
        tokenizer, Rendered(LONG, answers[3]), eos=False, max_length=200
    )


def test_fifty_labels_tokenise_a_long_context_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens made in all: those of the context, and the end of it with each label; not fifty times the context."""
    tokenizer, made = byte_level(), []
    real = type(tokenizer).__call__

    def counted(self: Any, text: Any, **options: Any) -> Any:
        found = real(self, text, **options)
        made.extend([found["input_ids"]] if isinstance(text, str) else found["input_ids"])
        return found

    monkeypatch.setattr(type(tokenizer), "__call__", counted)
    context, labels = LONG + "Answer:", [f" label{i}" for i in range(50)]
    once = len(tokenization._tokens(tokenizer, context, "")[0])
    made.clear()
    assert len(encode_pairs(tokenizer, context, labels, **ROOM)) == 50
    share = (
        2 * tokenization.TAIL / len(context)
    )  # of the context, with each label; twice, for tokens are of uneven length
    assert sum(map(len, made)) < once * (1 + 50 * share)
    assert sum(map(len, made)) < 50 * once / 2
