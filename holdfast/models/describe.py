"""Facts of a loaded model that its configuration states: room, window, width, first tokens."""

import re
from typing import Any

import torch


def max_length(model: Any) -> int:
    """Return the most positions that the configuration allows; 2**30 where it names none."""
    config = model.config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 2**30


def decoder_start(model: Any) -> int:
    """Return the token that a decoder behind an encoder begins with.

    Raises:
        ValueError: neither configuration names it.
    """
    for settings in (model.config, getattr(model, "generation_config", None)):
        token = getattr(settings, "decoder_start_token_id", None)
        if isinstance(token, int):
            return token
    raise ValueError(
        "the model has an encoder, and its config.json does not say what its decoder begins with; set "
        "`decoder_start_token_id` there (T5 and mT5 begin with their pad token, 0)"
    )


def sentinels(tokenizer: Any) -> tuple[int, int] | None:
    """Return the tokens that open and close the first answer of a model that was pretrained to fill gaps; None where there are none.

    T5 writes `<extra_id_0>`, what belongs into the first gap, `<extra_id_1>` (Raffel et al. 2020, section 3.1.4). mT5's
    vocabulary spells them with a word boundary before them.
    """
    for opening, closing in (("<extra_id_0>", "<extra_id_1>"), ("▁<extra_id_0>", "▁<extra_id_1>")):
        first, second = tokenizer.convert_tokens_to_ids([opening, closing])
        # A tokenizer answers with its unknown token, and not with an error, where it lacks one.
        if None not in (first, second) and tokenizer.unk_token_id not in (first, second):
            return first, second
    return None


def window(model: Any) -> int | None:
    """Return the sliding attention window in tokens, or None where no layer has one."""
    config = model.config.get_text_config()
    size = getattr(config, "sliding_window", None)
    # Qwen2 has a window in its configuration that its layers do not use; newer models list the layers that do.
    layers = getattr(config, "layer_types", None)
    slides = (
        getattr(config, "use_sliding_window", True) if layers is None else any("sliding" in layer for layer in layers)
    )
    return int(size) if size and slides else None


# An integer of such a name counts widths, numbers or tokens, and is no length of a text.
OTHER = re.compile(
    r"(^|_)(vocab|hidden|intermediate|ffn|inner|embd|embed|dims?|heads?|layers?|experts?|groups?|states?|conv|kernel|ids?|token|label2id|num|topk"
    r"|rank|theta|scalar|factor|buckets|seed|d)(_|$)"
)


def limits(model: Any) -> tuple[int, ...]:
    """Return every integer of the configuration that may be a length in tokens beyond which the model computes otherwise, ascending.

    Windows and chunks have many names; what is named as something else is left out, and a sliding window that no layer uses.
    """
    lengths: set[int] = set()
    values = list(model.config.get_text_config().to_dict().items())
    while values:
        name, value = values.pop()
        if OTHER.search(str(name).lower()) or (name == "sliding_window" and window(model) is None):
            continue
        if isinstance(value, dict):
            values += value.items()
        elif isinstance(value, list | tuple):
            values += [(name, entry) for entry in value]
        elif isinstance(value, int) and value > 1:  # True is 1.
            lengths.add(value)
    return tuple(sorted(lengths))


def embedding_rms(model: Any) -> float:
    """Return the root mean square of the word embeddings: the natural size of a soft prompt's entries."""
    words = model.get_input_embeddings()
    with torch.no_grad():
        # Of what the module returns and not of its weight, because some models scale inside it.
        return float(words(torch.arange(len(words.weight), device=words.weight.device)).float().pow(2).mean().sqrt())


def layers_and_width(model: Any) -> tuple[int, int]:
    """Return the number of layers, and the width D of the states that go from one to the next."""
    return int(model.config.get_text_config().num_hidden_layers), model.get_input_embeddings().weight.shape[1]


def epsilon(model: Any) -> float:
    """Return the relative rounding error of what a model computes: that of its type, or of activations that are rounded to 8 bits."""
    exact = torch.finfo(model.get_input_embeddings().weight.dtype).eps
    # bitsandbytes' int8 layers round each token's vector to 127 steps of its largest number, so that neighbours in a batch matter.
    return max(exact, 1 / 127) if getattr(model, "is_loaded_in_8bit", False) else exact
