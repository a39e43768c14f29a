"""The meaning of a MODEL argument whose weights are here: a folder, a hub id, a GGUF file, a PEFT adapter's folder, `lab` or `smollm2`.

A model behind a server (`openai:URL#NAME`) is `holdfast.models.endpoint`; where weights are needed it is refused here.
"""

import hashlib
import sys
from pathlib import Path

from holdfast import lab
from holdfast.atomic_files import whole_folder
from holdfast.models import chat_date, merging
from holdfast.models import loading as checkpoints
from holdfast.models.adapter import Adapter, check_fit, is_adapter, read_adapter
from holdfast.models.cache import cache_folder
from holdfast.models.endpoint import endpoint_of, refuse_endpoint
from holdfast.models.fingerprint import fingerprint
from holdfast.models.gguf_folder import converted
from holdfast.models.loading import Pretrained
from holdfast.models.precision import AUTO, Loading
from holdfast.models.smollm2 import smollm2


def resolve(argument: str, base: str | None = None) -> str:
    """Return the folder or hub id of the weights behind a MODEL argument: of an adapter, those of its base.

    A GGUF file is converted into a folder the first time.

    Raises:
        ValueError: a GGUF file is missing, damaged, or cannot be converted; an adapter cannot be used (`read_adapter`); or the model is
            behind a server.
    """
    refuse_endpoint(argument)
    if argument == "lab":
        return str(lab.folder())
    if argument == "smollm2" and not Path(argument).exists():
        return resolve(smollm2())
    adapter = adapter_of(argument, base)
    if adapter is not None:
        return resolve(adapter.base)
    return str(converted(Path(argument))) if argument.endswith(".gguf") else argument


def adapter_of(argument: str, base: str | None = None) -> Adapter | None:
    """Return the adapter that a MODEL argument is, on its base or on the one that is given; None where it is a whole model.

    Raises:
        ValueError: it cannot be used (`read_adapter`), or a base is given for a model that is none.
    """
    if is_adapter(argument):
        return read_adapter(argument, base)
    if base is not None:
        raise ValueError(f"{argument}: is a whole model and no adapter, so it needs no --base")
    return None


def version(argument: str, base: str | None = None) -> str:
    """Return hex digits that change with any byte of the model behind a MODEL argument; a hub id is its own, and so is a server's model.

    `base` is that of an adapter, where it is not the one that its configuration names.

    Raises:
        ValueError: there is no such model; a prompt, or a LoRA of another model than its base.
    """
    if endpoint_of(argument) is not None:
        return argument
    adapter = adapter_of(argument, base)
    if adapter is None:
        return fingerprint(resolve(argument))
    _check(adapter)
    return _joint(adapter)


def weights_version(argument: str) -> str:
    """Return hex digits that change with the weights of a whole model in a folder, whatever else lies there; empty for all others."""
    if endpoint_of(argument) is not None or is_adapter(argument):
        return ""
    folder = Path(resolve(argument))
    return fingerprint(str(folder), (".safetensors",)) if folder.is_dir() else ""


def _check(adapter: Adapter) -> None:
    """Refuse what cannot be merged, before anything is loaded."""
    if not adapter.merges:
        raise ValueError(
            f"{adapter.folder}: is a prompt and changes no weights; use its base, {adapter.base}, here, and give this folder where a model "
            "is asked (`evaluate`, `generate`)"
        )
    check_fit(adapter, resolve(adapter.base))


def _joint(adapter: Adapter) -> str:
    # The folder of an adapter alone does not say on which weights it stands.
    parts = f"{version(adapter.base)} {fingerprint(str(adapter.folder))}"
    return hashlib.sha256(parts.encode()).hexdigest()[:12]


def merged(argument: str, base: str | None = None) -> str:
    """Return the folder or hub id that holds a whole model: a LoRA is merged into its base once, in a folder of the cache.

    Raises:
        ValueError: as `load` does.
    """
    adapter = adapter_of(argument, base)
    if adapter is None:
        return resolve(argument)
    folder = cache_folder() / "merged" / f"{adapter.folder.resolve().name}-{_joint(adapter)}"
    if not folder.is_dir():
        pretrained = load(argument, base=base)
        print(f"holdfast: {argument}: is merged into its base once, in {folder}", file=sys.stderr, flush=True)
        with whole_folder(folder) as part:
            checkpoints.save(pretrained, part)
    return str(folder)


def load(
    argument: str,
    stage: Path | None = None,
    *,
    base: str | None = None,
    loading: Loading = AUTO,
    trust_remote_code: bool = False,
    date: str | None = None,
) -> Pretrained:
    """Load the resolved argument, or what a stage or a run made of it.

    That is its `model/`, else its `adapter/` merged into the model, else, where only a prompt was trained, the model as it was.
    An argument that is a LoRA's folder is its base with the LoRA merged; `base` names another one than its configuration does.

    Raises:
        ValueError: there is no such model; or the argument is a prompt, which is no model without its base.
    """
    whole = stage / "model" if stage is not None and (stage / "model").is_dir() else None
    adapter = None if whole else adapter_of(argument, base)
    if adapter is None:
        source = whole or resolve(argument)
        pretrained = checkpoints.load(source, loading, trust_remote_code=trust_remote_code, date=date)
    else:
        pretrained = _load_adapter(adapter, loading, trust_remote_code=trust_remote_code, date=date)
    if stage is not None and whole is None and (stage / "adapter").is_dir():
        merging.merge(pretrained, stage / "adapter")
    # The source is what the user named, and not the run's folder or the cache: reports and adapters name it.
    pretrained.source = argument
    return pretrained


def _load_adapter(adapter: Adapter, loading: Loading, *, trust_remote_code: bool, date: str | None) -> Pretrained:
    """Return the base with a LoRA merged, and with the LoRA's tokenizer where it has one: its texts were made with that."""
    _check(adapter)
    try:
        pretrained = load(adapter.base, loading=loading, trust_remote_code=trust_remote_code, date=date)
    except ValueError as error:
        raise ValueError(
            f"{adapter.folder}: its base cannot be loaded; name another with --base MODEL: {error}"
        ) from error
    merging.merge(pretrained, adapter.folder)
    if adapter.has_tokenizer:
        tokenizer = checkpoints.load_tokenizer(adapter.folder, trust_remote_code=trust_remote_code)
        rows = pretrained.model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise ValueError(
                f"{adapter.folder}: its tokenizer has {len(tokenizer)} tokens, and its base {adapter.base} {rows}; resize the base "
                "(`resize_token_embeddings`) and save it, or take the tokenizer's files out of the folder"
            )
        checkpoints.prepare_tokenizer(tokenizer, str(adapter.folder))
        chat_date.fix_date(tokenizer, date)
        pretrained.tokenizer = tokenizer
    return pretrained
