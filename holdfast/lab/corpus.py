"""Real text for the large lab model: files as documents, a tokenizer trained on them, and their tokens as one long row."""

import tarfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from holdfast.lab import vocabulary as w

VOCABULARY = 8192  # GPT-2's 50,257 words alone would fill the 40 MB that the large model may have
BREAK = "<|doc|>"  # a line of its own between the documents of a file
HELD_OUT = "heldout"  # in a file's name: measured, never read in training
SPECIAL = (w.PAD, w.BOS, w.EOS)  # the first tokens
PIECE = 20_000  # characters tokenised together
SAMPLED = 6  # one piece of so many trains the tokenizer: its frequent pairs are those of the whole

Ids = np.ndarray[Any, np.dtype[np.uint16]]


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of every `.txt` file in a folder, and of those in its `.tar.xz` and `.tar.gz` archives, by name.

    Raises:
        ValueError: there is none.
    """
    empty = True
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".txt":
            empty = False
            yield path.name, path.read_text(encoding="utf-8")
        elif path.name.endswith((".tar.xz", ".tar.gz")):
            with tarfile.open(path) as archive:
                for member in sorted(archive.getmembers(), key=lambda member: member.name):
                    inside = archive.extractfile(member) if member.name.endswith(".txt") else None
                    if inside:
                        empty = False
                        yield member.name, inside.read().decode("utf-8")
    if empty:
        raise ValueError(f"{folder}: no .txt file and no .tar.xz archive of them; give the folder of the corpus")


def documents(text: str) -> list[str]:
    """Return the documents of a file, without those that are blank."""
    parts = text.replace("\r\n", "\n").split(f"{BREAK}\n")
    return [part.strip() for part in parts if part.strip()]


def train_tokenizer(texts: Iterable[str], positions: int, vocabulary: int = VOCABULARY) -> Any:
    """Return a tokenizer of byte pairs (Sennrich et al., 2016) on bytes, so that any text can be written and comes back exactly.

    A newline is always a token of its own: texts that are tokenised apart and then put together at a newline give the tokens of the
    whole, and `\\n` ends an answer whatever follows.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(w.NEWLINE, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    every = chain.from_iterable(map(pieces, texts))
    tokenizer.train_from_iterator(islice(every, 0, None, SAMPLED), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{w.BOS} $A", pair=f"{w.BOS} $A $B", special_tokens=[(w.BOS, tokenizer.token_to_id(w.BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=w.BOS,
        eos_token=w.EOS,
        pad_token=w.PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=positions,
    )


def encode(tokenizer: Any, texts: Iterable[str]) -> list[Ids]:
    """Return the tokens of each text, without any that the tokenizer adds."""
    # The backend at once: through transformers' wrapper each text becomes Python objects that are thrown away again.
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    # 8,192 words fit into 16 bits, half of the memory that int32 takes.
    return [np.array(encoding.ids, dtype=np.uint16) for encoding in encodings]


def stream(tokenizer: Any, text: str) -> Ids:
    """Return the documents of a file as one row of tokens, each between a first and an end token."""
    opening, closing = (np.array([i], dtype=np.uint16) for i in (tokenizer.bos_token_id, tokenizer.eos_token_id))
    parts: list[Ids] = []
    for document in documents(text):
        parts += [opening, *encode(tokenizer, pieces(document)), closing]
    return np.concatenate(parts)


def pieces(text: str) -> Iterator[str]:
    """Yield a text in parts of about `PIECE` characters that end with a newline, where its tokens are parted anyway."""
    start = 0
    while start < len(text):
        cut = text.find(w.NEWLINE, min(len(text), start + PIECE)) + 1 or len(text)  # -1 + 1: no newline is left
        yield text[start:cut]
        start = cut
