"""Load, save and describe a model and its tokenizer. The only file that names a model class."""

import hashlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoTokenizer
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as hf_logging

from holdfast.models import spread
from holdfast.models.architecture import Architecture, architecture_of, of_config
from holdfast.models.chat_date import fix_date
from holdfast.models.describe import max_length
from holdfast.models.fingerprint import fingerprint
from holdfast.models.hub import cached_folder, check_reachable
from holdfast.models.model_files import check_model, check_tokenizer, check_writes_text, explain_tokenizer
from holdfast.models.precision import FLOATS, FP32_ON_CPU, Loading

_told: set[tuple[str, ...]] = set()  # what was said of which model: a run loads its model several times


@dataclass(slots=True)
class Pretrained:
    """A transformers model with its tokenizer, and where it came from.

    `files` is the folder whose content the model is; None where it is a hub's, or was changed since. `loading` says the precision that
    it is asked and written in, and its device; nothing in it is `auto`. `trust_remote_code` says whether code of its folder may run, in
    case that it is read again. `attached` says what stands in the model and is no part of its weights, such as an adapter that cannot be
    merged; empty where nothing does. Such a model is asked as it is, and a prompt may be trained in front of it.
    """

    model: Any
    tokenizer: Any
    source: str
    identity: str = ""
    files: Path | None = None
    loading: Loading = FP32_ON_CPU
    trust_remote_code: bool = False
    attached: str = ""

    @property
    def hash(self) -> str:
        """The fingerprint of the folder that the model was loaded from, else of its weights; worked out when it is first asked for."""
        if not self.identity:
            self.identity = weights_hash(self.model) if self.files is None else fingerprint(str(self.files))
        return self.identity

    @property
    def architecture(self) -> Architecture:
        """The model's architecture, which says what it can do."""
        return architecture_of(self.model)

    @property
    def max_length(self) -> int:
        """The most positions (tokens, soft prompt included) the model was made for."""
        return max_length(self.model)

    def check_plain(self, label: str) -> None:
        """Refuse to train, merge or save the model's weights where something is attached that is no part of them.

        Raises:
            ValueError: something is; `label` begins the message.
        """
        if self.attached:
            raise ValueError(
                f"{label}: {self.attached} is no part of the weights, so there is no plain model to train, merge or save; evaluate, "
                "generate, load and serve its adapter/ as it is, or train a prompt in front of it"
            )


def load(
    source: str | Path,
    loading: Loading = FP32_ON_CPU,
    *,
    trust_remote_code: bool = False,
    date: str | None = None,
) -> Pretrained:
    """Return the model and tokenizer in a folder, or under a hub id.

    Weights are read from safetensors only. `date` is what a chat template that writes the date writes (YYYY-MM-DD; None: that of
    today), as long as this model is used.

    Raises:
        ValueError: the folder is missing, holds no config, no tokenizer or no safetensors weights, lacks a weight of the model or has
            it in another shape, the tokenizer has no end-of-sequence token, or this machine cannot load it so.
    """
    folder = Path(source)
    check_reachable(source)
    if folder.exists():
        check_model(folder, trust_remote_code=trust_remote_code)
    loading = loading.resolved(source)
    # Passed to configuration, model and tokenizer alike: code of the model's folder runs in all three or in none.
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    with _in_one_line(source, "cannot be loaded as a language model"):
        config = AutoConfig.from_pretrained(source, **options)
    architecture = of_config(config)
    check_writes_text(str(source), config, architecture)
    if loading.quantised:
        _check_quantises(str(source), config, architecture, loading)
    if loading.spread:
        spread.check_map(config, architecture, loading.device)
        options["offload_folder"] = str(spread.offload_folder())
    with _in_one_line(source, "cannot be loaded as a language model"), quiet(), _no_warnings():
        # A weight of another shape is refused below, with its name.
        loaded: Any = getattr(transformers, architecture.auto_class).from_pretrained(
            source,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **loading.options(source),
            **options,
        )
    tokenizer = load_tokenizer(source, trust_remote_code=trust_remote_code)
    model, report = loaded
    _check_weights(str(source), report)
    prepare_tokenizer(tokenizer, str(source))
    fix_date(tokenizer, date)
    architecture.check(model)
    # Frozen: a method asks for what it trains.
    model.requires_grad_(False).eval()
    if loading.plain:  # bitsandbytes and Accelerate have put it in its place, and refuse to move it.
        model.to(loading.device)
    for module in model.modules():
        # The first time that it asks, it would rearrange the weights for a kernel that has no gradient, and training comes later.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    files = folder if folder.exists() else None
    return Pretrained(model, tokenizer, str(source), files=files, loading=loading, trust_remote_code=trust_remote_code)


def _check_quantises(source: str, config: Any, architecture: Architecture, loading: Loading) -> None:
    """Refuse a model of which bitsandbytes would quantise nothing: it takes linear layers alone; by its configuration.

    Raises:
        ValueError: most of its weights are in no linear layer, or it is quantised already.
    """
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"{source}: is quantised already; leave --dtype={loading.dtype} out")
    if type(config) not in transformers.MODEL_MAPPING:
        return  # Code of the model's own folder, which is not run only to look at it.
    with _in_one_line(source, "cannot be loaded as a language model"):
        model = spread.hollow(config, architecture)
    outside = {id(model.get_input_embeddings().weight), id(getattr(model.get_output_embeddings(), "weight", None))}
    inner = {id(p): p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in outside}
    linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear | Conv1D)}
    if sum(size for key, size in inner.items() if key in linear) < 0.5 * sum(inner.values()):
        raise ValueError(
            f"{source}: dtype={loading.dtype} would quantise less than half of its weights, for bitsandbytes takes linear layers alone, "
            f"and {type(model).__name__} has others; use bf16"
        )


def load_tokenizer(source: str | Path, *, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer of a model alone.

    Raises:
        ValueError: there is none that can be loaded.
    """
    check_reachable(source)
    folder = Path(source)
    if folder.is_dir():
        check_tokenizer(folder)
    try:
        with _in_one_line(source, "its tokenizer cannot be loaded"):
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except ValueError:
        explain_tokenizer(str(source), folder if folder.is_dir() else cached_folder(str(source)))
        raise
    # transformers takes whatever stands there, and fails at the first text.
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ValueError(
            f"{source}: `model_max_length` in its tokenizer_config.json is no number; write one, or remove it"
        )
    return tokenizer


@contextmanager
def _in_one_line(source: str | Path, what: str) -> Iterator[None]:
    """Say in one line what a library fails with: what is wrong with a file shows in any type of error (tokenizers: bare `Exception`)."""
    try:
        yield
    except MemoryError:
        raise  # The model may well be whole.
    except Exception as error:
        missing = "" if Path(source).exists() else "no such folder here, and as a hub id "
        whose = "it " if missing and not what.startswith("its ") else ""
        raise ValueError(f"{source}: {missing}{whose}{what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Return the beginning of an error, with its type where the text alone says nothing: the text of KeyError is a word."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0][:500] if lines else ""
    # pydantic's and huggingface_hub's first line ends in a colon, and says what is wrong in the next.
    text = " ".join((text, lines[1][:300])) if text.endswith(":") and len(lines) > 1 else text
    return text if isinstance(error, OSError | ValueError | ImportError) and text else f"{type(error).__name__}: {text}"


def _check_weights(source: str, report: Mapping[str, Any]) -> None:
    """Refuse weights that transformers has made up, and name on stderr those that it has left aside.

    Raises:
        ValueError: a weight of the model is missing (one that is tied to another is not), or has another shape.
    """
    wrong = {
        "lacks": sorted(report["missing_keys"]),
        "has in another shape": sorted(str(mismatch[0]) for mismatch in report["mismatched_keys"]),
    }
    for fault, names in wrong.items():
        if names:
            raise ValueError(
                f"{source}: its weights do not fit its config.json: it {fault} {listed(names)}; they would be random numbers, so get "
                "the whole model again"
            )
    if report["error_msgs"]:
        raise ValueError(f"{source}: cannot be loaded: {str(report['error_msgs'][0]).splitlines()[0]}")
    unexpected = sorted(report["unexpected_keys"])
    if unexpected and (source, *unexpected) not in _told:
        _told.add((source, *unexpected))
        print(f"holdfast: {source}: the model does not use {listed(unexpected)}", file=sys.stderr, flush=True)


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more tensors" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence transformers' table of weights that do not fit, and Accelerate's note that it laid weights aside, within the context."""
    # The first is said in one line, by `_check_weights`, and the second was asked for.
    before, accelerate = hf_logging.get_verbosity(), logging.getLogger("accelerate")
    level = accelerate.level
    hf_logging.set_verbosity_error()
    accelerate.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hf_logging.set_verbosity(before)
        accelerate.setLevel(level)


def prepare_tokenizer(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer that cannot end a text, and give it a pad token where it has none."""
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{source}: the tokenizer has no end-of-sequence token, so a trained answer could not end; set `eos_token` in "
            "tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        # Padding is masked, so that any token will do: a new one would need a new row of embeddings.
        tokenizer.pad_token = tokenizer.eos_token


def weights_hash(model: nn.Module) -> str:
    """Return the first 16 hex digits of SHA-256 over names, shapes and bytes of every weight."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor if tensor.device.type != "meta" else spread.laid_aside(model, name)
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Switch off transformers' progress bars within the context."""
    # They would break up ours.
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def save(pretrained: Pretrained, folder: Path) -> None:
    """Write weights (safetensors), configuration and tokenizer as transformers reads them, in the precision that the model is asked in.

    A model that was held in float32 to be trained is rounded in memory too: its training is over.

    Raises:
        ValueError: something is attached that is no part of the weights.
    """
    pretrained.check_plain(pretrained.source)
    # The parameters alone: buffers, such as the frequencies of rotary positions, are not written, and have to stay exact.
    for parameter in pretrained.model.parameters():
        if pretrained.loading.trained:
            parameter.data = parameter.data.to(FLOATS[pretrained.loading.dtype])
    with quiet():
        pretrained.model.save_pretrained(folder)
    pretrained.tokenizer.save_pretrained(folder)
