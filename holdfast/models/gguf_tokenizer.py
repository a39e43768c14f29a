"""Rebuild a tokenizer from the vocabulary in a GGUF file, with the rule by which its text was cut before it was trained.

The file names that rule (`tokenizer.ggml.pre`) and does not hold it. With another rule the same text becomes other tokens, and the
model answers as if it were worse.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from holdfast.models.gguf_file import GgufFile

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # types of tokens in a file
SPACE = "▁"  # a space within a word piece

# The rules by their names, as regular expressions that match one piece after another; published with the models.
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + REST
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*%s|"
TEKKEN = CASED % ("", "") + r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + REST
GPT4O = CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?") + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + REST
SPLITS = {
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "dbrx", "smaug-bpe"), LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez"), QWEN2),
    "tekken": TEKKEN,
    **dict.fromkeys(("gpt-4o", "llama4"), GPT4O),
}
GPT2_RULE = ("gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais")
DIGITS_FIRST = (
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "codeshell",
    "exaone",
)  # each digit alone, then GPT-2's rule
WHOLE_WORDS = (
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "pixtral",
    "tekken",
)  # a word of the vocabulary needs no merges
BEGIN_WITH_BOS = ("llama3", "llama-v3", "llama-bpe", "tekken")  # where the file does not say
# Files from before the rule was named, whose architecture has only had one.
UNNAMED = {"gpt2": "gpt-2", "qwen2": "qwen2", "qwen3": "qwen2"}


def tokenizer_of(file: GgufFile, longest: int) -> Any:
    """Return transformers' tokenizer of the model in a file; `longest` is the model's number of positions.

    Raises:
        ValueError: the file has no vocabulary, or one of a sort or rule that is not known here.
    """
    vocabulary = _vocabulary(file)
    tokenizer = _byte_level(vocabulary) if vocabulary.sort == "gpt2" else _sentence_piece(vocabulary)
    # Phi-3's marks swallow the spaces after them, but for these.
    swallows = file.architecture == "phi3" and vocabulary.sort == "llama"
    for token, sort in zip(vocabulary.tokens, vocabulary.types, strict=True):
        # Runs of spaces are ordinary word pieces, which merges build.
        if sort in (CONTROL, USER_DEFINED) and token.strip(" "):
            right = swallows and sort == CONTROL and token not in ("<s>", "<unk>", "<|endoftext|>")
            mark = AddedToken(token, normalized=False, special=sort == CONTROL, rstrip=right)
            vocabulary.marks.append(mark)
    tokenizer.add_tokens(vocabulary.marks)
    named = vocabulary.named
    first = [named["bos_token"]] if vocabulary.begins and "bos_token" in named else []
    last = [named["eos_token"]] if vocabulary.facts.get("add_eos_token") and "eos_token" in named else []
    if first or last:
        added = [(token, tokenizer.token_to_id(token)) for token in {*first, *last}]
        second = [f"{token}:1" for token in first], [f"{token}:1" for token in last]
        pair = [*first, "$A", *last, *second[0], "$B:1", *second[1]]
        tokenizer.post_processor = processors.TemplateProcessing([*first, "$A", *last], pair, added)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=longest, clean_up_tokenization_spaces=False, **named
    )
    wrapped.chat_template = file.metadata.get("tokenizer.chat_template")
    return wrapped


@dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of a file: tokens and their types by index, and whatever else the file says of its tokenizer."""

    path: Path
    architecture: str
    sort: str
    tokens: list[str]
    types: list[int]
    facts: dict[str, Any]
    marks: list[AddedToken] = field(default_factory=list)

    @property
    def rule(self) -> str:
        """Return the name of the rule that cuts text before merges are applied.

        Raises:
            ValueError: it is none that is known here.
        """
        rule = str(self.facts.get("pre") or "default")
        rule = UNNAMED.get(self.architecture, rule) if rule == "default" else rule
        if rule not in SPLITS and rule not in (*GPT2_RULE, *DIGITS_FIRST):
            raise ValueError(
                f"{self.path}: its tokenizer cuts text by the rule {rule!r}, which is not known here; use the model's folder or hub id "
                "instead"
            )
        return rule

    @property
    def begins(self) -> bool:
        """Return whether a text begins with the first token, by llama.cpp's defaults where the file does not say."""
        default = self.sort == "llama" or self.facts.get("pre") in BEGIN_WITH_BOS
        return bool(self.facts.get("add_bos_token", default))

    @property
    def named(self) -> dict[str, str]:
        """Return the tokens that have a part to play, by transformers' names."""
        keys = {
            "bos_token": "bos",
            "eos_token": "eos",
            "unk_token": "unknown",
            "pad_token": "padding",
            "mask_token": "mask",
        }
        indices = {name: self.facts.get(f"{key}_token_id", -1) for name, key in keys.items()}
        return {name: self.tokens[index] for name, index in indices.items() if 0 <= index < len(self.tokens)}

    def indices(self) -> dict[str, int]:
        """Return token -> index, without those that fill up the embedding."""
        return {token: i for i, token in enumerate(self.tokens) if self.types[i] != UNUSED}


def _vocabulary(file: GgufFile) -> Vocabulary:
    start = "tokenizer.ggml."
    facts = {key.removeprefix(start): value for key, value in file.metadata.items() if key.startswith(start)}
    tokens, sort = facts.get("tokens") or [], str(facts.get("model"))
    if not tokens or sort not in ("gpt2", "llama"):
        raise ValueError(
            f"{file.path}: its tokenizer ({sort if tokens else 'without tokens'}) cannot be rebuilt; those that can are gpt2 (byte-level "
            "BPE) and llama (SentencePiece). Use the model's folder or hub id instead"
        )
    return Vocabulary(
        file.path, file.architecture, sort, tokens, facts.get("token_type") or [NORMAL] * len(tokens), facts
    )


def _byte_level(vocabulary: Vocabulary) -> Tokenizer:
    """Return a byte-level BPE: the merges stand in the file."""
    rule, prefix = vocabulary.rule, bool(vocabulary.facts.get("add_space_prefix"))
    merges = [tuple(merge.split(" ")) for merge in vocabulary.facts.get("merges") or []]
    if not merges or any(len(pair) != 2 for pair in merges):
        raise ValueError(
            f"{vocabulary.path}: its tokenizer has no list of merges, pairs with a space between; convert the model again"
        )
    tokenizer = Tokenizer(models.BPE(vocabulary.indices(), merges, ignore_merges=rule in WHOLE_WORDS))
    steps: list[Any] = []
    if rule in DIGITS_FIRST:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if rule in SPLITS:
        steps.append(pre_tokenizers.Split(Regex(SPLITS[rule]), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=rule not in SPLITS))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if SPLITS.get(rule) == QWEN2:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(vocabulary: Vocabulary) -> Tokenizer:
    """Return a BPE over word pieces with a fall-back to bytes: its merges follow from the pieces and their scores."""
    # llama.cpp spells runs of spaces out; the pieces have a sign for each.
    pieces = [token if token.strip(" ") else SPACE * len(token) for token in vocabulary.tokens]
    indices = {piece: i for i, piece in enumerate(pieces) if vocabulary.types[i] != UNUSED}
    merges = list(_merges(vocabulary, pieces, indices))
    unknown = vocabulary.named.get("unk_token")
    tokenizer = Tokenizer(models.BPE(indices, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = bool(vocabulary.facts.get("add_space_prefix", True))
    replace = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replace]) if prefix else replace
    backwards: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*backwards, decoders.Strip(" ", 1, 0)] if prefix else backwards)
    return tokenizer


def _merges(vocabulary: Vocabulary, pieces: Sequence[str], indices: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield the pairs that may be joined, the first first: those whose whole has the best score, as SentencePiece joins them."""
    scores, types = vocabulary.facts.get("scores") or [0.0] * len(pieces), vocabulary.types
    # Pieces that users defined have no score of their own; they were put before all others.
    wholes = [i for i, sort in enumerate(types) if sort in (NORMAL, USER_DEFINED) and len(pieces[i]) > 1]
    wholes.sort(key=lambda i: (types[i] != USER_DEFINED, -scores[i] if types[i] == NORMAL else 0.0, i))
    for i in wholes:
        piece = pieces[i]
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        yield from (pair for pair in halves if pair[0] in indices and pair[1] in indices)
