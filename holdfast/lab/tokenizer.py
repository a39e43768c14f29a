"""A token a word: the tokenizer of the lab's closed vocabulary."""

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from holdfast.lab import vocabulary as w


def build() -> PreTrainedTokenizerFast:
    """Return the tokenizer: words are parted by single spaces, a newline is a token, and `<s>` opens every text.

    Decoding gives the text back exactly, so that stop strings and character offsets hold.
    """
    vocabulary = {word: i for i, word in enumerate(w.vocabulary())}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=w.UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(" +"), "removed"), pre_tokenizers.Split(w.NEWLINE, "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{w.BOS} $A", pair=f"{w.BOS} $A $B", special_tokens=[(w.BOS, vocabulary[w.BOS])]
    )
    spaced = decoders.WordPiece(prefix="##", cleanup=False)  # puts one space between tokens; no word begins with ##
    tokenizer.decoder = decoders.Sequence(
        [spaced, decoders.Fuse(), decoders.Replace(" \n", "\n"), decoders.Replace("\n ", "\n")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=w.BOS,
        eos_token=w.EOS,
        pad_token=w.PAD,
        unk_token=w.UNK,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
