"""Open a model with vLLM as its engine: the Python side of `--engine vllm`."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.inference.engine import Engine
from holdfast.inference.language_model import Origin
from holdfast.inference.model import Model
from holdfast.inference.vllm_engine import NO_RANKS, OTHERWISE, PRECISION, VllmEngine
from holdfast.models import resolve
from holdfast.prefix.attached import as_attached
from holdfast.results.run_folder import RunFolder

SPARE = 2  # Positions that vLLM keeps for the token that it writes, and for one that is only predicted.


@dataclass(slots=True, eq=False)
class VllmModel(Model):
    """A model whose texts and likelihoods vLLM computes; its own weights are not here."""

    llm: Any = None
    embed: Callable[[Tensor], Tensor] | None = None

    @property
    def engine(self) -> Engine:
        """The engine on vLLM, with whatever `decode` puts around it."""
        size = self.pretrained.model.get_output_embeddings().weight.shape[0]
        engine: Engine = VllmEngine(self.llm, size, as_attached(self.prompt).vectors, self.embed)
        return engine if self.decode is None else self.decode(engine)

    @property
    def origin(self) -> Origin:
        """Return the fingerprint of the weights, and vLLM as the device."""
        return Origin(self.pretrained.hash, self.pretrained.loading.dtype, "vllm", self.prompt is not None)

    def check_ranks(self) -> None:
        """Refuse choices behind a soft prompt before anything is asked.

        Raises:
            ValueError: a prompt is attached.
        """
        if self.prompt is not None:
            raise ValueError(NO_RANKS)

    @property
    def room(self) -> int:
        """The positions that what is attached and vLLM leave."""
        return self.pretrained.max_length - SPARE - (0 if self.prompt is None else len(self.prompt))


def check_options(dtype: str, device: str) -> None:
    """Refuse, before any model is loaded, what vLLM does not have, and vLLM where it is missing.

    Raises:
        ValueError: as above.
    """
    if dtype not in ("auto", *PRECISION):
        raise ValueError(f"dtype={dtype}: not with --engine vllm; take fp32, bf16 or fp16")
    if device != "auto":
        raise ValueError(f"device={device}: vLLM finds the GPUs itself; leave --device out with --engine vllm")
    try:
        import vllm  # noqa: F401
    except ImportError:
        raise ValueError(
            "--engine vllm: vLLM is not installed; pip install 'holdfast[vllm]' (Linux with a GPU)"
        ) from None


def on_vllm(loaded: Model, argument: str, base: str | None, *, trust_remote_code: bool) -> VllmModel:
    """Return a model that was loaded on the processor with vLLM as its engine; its weights leave the memory.

    Raises:
        ValueError: vLLM cannot compute this model as it is asked for.
    """
    from vllm import LLM

    pretrained, attached = loaded.pretrained, as_attached(loaded.prompt)
    if not pretrained.architecture.one_sequence:
        raise ValueError(f"{argument}: has an encoder, which vLLM is not asked for here; {OTHERWISE}")
    if attached.layers or attached.updates:
        raise ValueError(
            f"{argument}: vLLM takes vectors in front of a text, and this prompt is more than that; {OTHERWISE}"
        )
    # Worked out before the weights go: of a hub's model it is made of them.
    assert pretrained.hash
    embed = deepcopy(pretrained.model.get_input_embeddings()) if attached.soft else None
    weights, options = _weights(argument, base), {"enable_prompt_embeds": True} if attached.soft else {}
    check_options(pretrained.loading.dtype, "auto")  # What `auto` came to: a checkpoint may be quantised.
    try:
        llm = LLM(
            model=weights, dtype=PRECISION[pretrained.loading.dtype], trust_remote_code=trust_remote_code, seed=0, **options
        )  # fmt: skip
    except (
        Exception
    ) as error:  # No GPU, too little memory, a model that it does not know: each has an error of its own.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ValueError(f"{argument}: vLLM cannot open it ({reason}); leave --engine vllm out") from error
    pretrained.model.to("meta")
    return VllmModel(pretrained, loaded.prompt, llm=llm, embed=embed)


def _weights(argument: str, base: str | None) -> str:
    """Return the folder or hub id that holds the whole model: of a run what it left, an adapter merged."""
    layout = RunFolder(Path(argument))
    if layout.is_run:
        return resolve.merged(str(layout.own_weights() or layout.config["model"]))
    adapter = resolve.adapter_of(argument, base)
    # A prompt's folder changes no weights: its base is what computes.
    return (
        resolve.merged(adapter.base) if adapter is not None and not adapter.merges else resolve.merged(argument, base)
    )
