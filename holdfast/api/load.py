"""Load a model for use from Python, with a trained prompt attached or removed; or ask one behind a server."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from holdfast.api import vllm_model
from holdfast.api.tune import Run
from holdfast.inference.language_model import NamedModel
from holdfast.inference.model import Model
from holdfast.inference.served_model import served
from holdfast.models import resolve
from holdfast.models.cache import cache_folder
from holdfast.models.endpoint import endpoint_of
from holdfast.models.precision import Loading
from holdfast.prefix.attached import detached
from holdfast.prompts.load import load_prompt
from holdfast.results.run_folder import RunFolder

EngineName = Literal["transformers", "vllm"]


def load(
    model: str | Path | Run,
    prompt: str | Path | None = None,
    *,
    base: str | Path | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    date: str | None = None,
) -> Model:
    """Return a model that generates and scores text; the plain transformers model is inside (`.pretrained.model`).

    `model` is a run, a run's folder, a model folder, a hub id, a GGUF file, a PEFT adapter's folder or `lab`. A LoRA is merged into its
    base, and a soft prompt attached to it: to the base that the adapter's configuration names, or to `base`. For a run, `prompt` is
    "on" (attached, the default where the run trained one), "off" (removed) or, of a run with several targets, the target whose prompt
    it is; otherwise it is a soft prompt's folder, or None. `date` (YYYY-MM-DD) is what a chat template that writes today's date writes:
    by default that of the run, in whose words it was trained, else today's. `dtype` and `device` are as in `tune`; `auto` is the
    precision of the run, else that of the model's own files.

    Raises:
        ValueError: there is no such model, prompt, precision or device, or a run with several prompts is not told which.
    """
    folder = model.folder if isinstance(model, Run) else Path(model)
    on = None if base is None else str(base)
    source, run, prompt_name = str(model), None, None if prompt is None else str(prompt)
    if RunFolder(folder).is_run:
        RunFolder(folder).own_weights()  # Refuses a run whose model is gone, before the base is loaded in its place.
        config = RunFolder(folder).config
        # Both: the run's folder has only what training left, such as an adapter for the model of that name.
        source, run = config["model"], folder
        date = date or config.get("date")  # Other words than in training would be another prompt.
        dtype = config.get("dtype", "fp32") if dtype == "auto" else dtype
        prompt_folder = _prompt_of(folder, prompt_name)
    elif prompt_name in ("on", "off"):
        raise ValueError(f"{model}: prompt={prompt!r} needs the folder of a run; give the prompt's own folder instead")
    else:
        prompt_folder = None if prompt_name is None else Path(prompt_name)
    adapter = resolve.adapter_of(source, on)
    if adapter is not None and not adapter.merges and run is None:
        if prompt_folder is not None:
            raise ValueError(
                f"{model}: is a prompt itself, so that no other is attached; give its base, {adapter.base}, for --prompt"
            )
        source, on, prompt_folder = adapter.base, None, adapter.folder
    loading = Loading(dtype, device)
    pretrained = resolve.load(source, run, base=on, loading=loading, trust_remote_code=trust_remote_code, date=date)
    return Model(pretrained, detached(load_prompt(prompt_folder, pretrained)()) if prompt_folder else None)


@dataclass(frozen=True)
class LoadOptions:
    """The options of `load`, for those who hand them on."""

    prompt: str | Path | None = None
    base: str | Path | None = None
    dtype: str = "auto"
    device: str = "auto"
    trust_remote_code: bool = False

    def load(self, model: str | Path | Run) -> Model:
        """Return what `load` does with these options."""
        return load(
            model,
            self.prompt,
            base=self.base,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
        )


HERE = LoadOptions()  # as the model itself says


@contextmanager
def asking(
    model: str | Path | Run,
    options: LoadOptions = HERE,
    *,
    out: Path | None = None,
    engine: EngineName = "transformers",
) -> Iterator[NamedModel]:
    """Yield what a MODEL argument names, to be asked: the model itself (`load`), or one behind a server (`openai:URL#NAME`).

    With the engine `vllm` a model that is here is computed by vLLM (`holdfast.api.vllm_model`).
    Answers of a server are kept until the block ends well, in `out` or in the user's cache, so that none is paid twice after a kill.

    Raises:
        ValueError: as `load`; or an option that sets how a model is loaded is given for one behind a server.
    """
    endpoint = None if isinstance(model, Run) else endpoint_of(str(model))
    if endpoint is None and engine == "vllm":
        vllm_model.check_options(options.dtype, options.device)
        # On the processor, for its tokenizer, its limits and the vectors of words; vLLM reads the weights itself.
        loaded = replace(options, device="cpu").load(model)
        argument = str(model.folder if isinstance(model, Run) else model)
        base, trusted = None if options.base is None else str(options.base), options.trust_remote_code
        yield vllm_model.on_vllm(loaded, argument, base, trust_remote_code=trusted)
        return
    if endpoint is None:
        yield options.load(model)
        return
    # Whether code of a hub's may run is no business of a server's, and asks nothing of it.
    changed = [name for name in ("prompt", "base", "dtype", "device") if getattr(options, name) != getattr(HERE, name)]
    if wrong := changed + ["engine"] * (engine != "transformers"):
        raise ValueError(
            f"{model}: {', '.join(wrong)}: is the server's business; leave it out here, and start the server with it"
        )
    name = hashlib.sha256(endpoint.argument.encode()).hexdigest()[:12]
    folder = cache_folder() / "received" / name if out is None else out
    with served(endpoint, folder, result=out is not None) as answering:
        yield answering


def _prompt_of(run: Path, name: str | None) -> Path | None:
    """Return the folder of a prompt of a run: the only one, that of a target, or any other."""
    prompts = RunFolder(run).prompts
    # First, because a target may be called "on" or "off".
    if name in prompts:
        return prompts[name]
    if name == "off" or (name is None and not prompts):
        return None
    if name not in (None, "on"):
        if prompts and not Path(name).exists():
            raise ValueError(f"{run}: no prompt {name!r}; there are {', '.join(filter(None, prompts)) or 'on and off'}")
        # Any other prompt, such as that of an earlier run, may be tried on these weights.
        return Path(name)
    if not prompts:
        raise ValueError(f"{run}: this run trained no prompt, so there is none to attach")
    # No default among several: behind the prompt of another target the numbers would be wrong and look right.
    if len(prompts) > 1:
        raise ValueError(
            f"{run}: this run has a prompt for each of its targets; ask for one of {', '.join(prompts)}, or off"
        )
    return next(iter(prompts.values()))
