"""The memory that methods need, computed from a model's configuration: no weight is read, and nothing is computed.

The model is built of fake tensors, which know their shapes and no numbers. One forward over them tells what a backward pass would find
kept; the rest is counted. Rows are taken as plain ones of equal length: a prompt is computed once for all of them, as `prefix` does.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from holdfast.models.architecture import of_config
from holdfast.models.loading import quiet
from holdfast.models.precision import FLOATS, checkpoint_dtype
from holdfast.prefix.head import LOGITS
from holdfast.training.memory import OPTIMIZER

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int4")
QUANTISED_BYTES = {"int8": 1.0, "int4": 0.5 + 4 / 64}  # nf4 has a float32 scale for every 64 numbers.
PLACES = 8192  # That an evaluation computes together: `Model.batch_tokens`.
# Tensors as large as the widest activation that exist for a moment while a layer is computed or its gradient is.
WORKING = 4
# What a LoRA leaves unused of a processor's memory, in float32 tensors as large as each layer's output: measured (docs/scale.md), not
# derived. In bfloat16 the tensors that come and go are of two sizes, and the smaller ones fill gaps of the larger.
HOLES = {"fp32": 2.0, "bf16": 0.7}


@dataclass(frozen=True)
class Moving:
    """The parts that a method trains: the model's own weights, an adapter beside them, or a prompt; `prefixed` rows stand behind one."""

    weights: bool = False
    adapter: bool = False
    prompt: bool = False
    prefixed: bool = False

    @property
    def any(self) -> bool:
        """Return whether anything is trained."""
        return self.weights or self.adapter or self.prompt


# By the names of `tune --method`. Of two stages the second is meant, which takes no less: it has the prompt in front of its rows too.
METHODS = {
    "prompt_tuning": Moving(prompt=True, prefixed=True),
    "promot": Moving(weights=True, prefixed=True),
    "full": Moving(weights=True),
    "lora": Moving(adapter=True),
    "promot_lora": Moving(adapter=True, prefixed=True),
    "evaluation": Moving(),
}


@dataclass(frozen=True)
class BatchShape:
    """The rows that pass the model at once: `rows` of `tokens` each, of which the last `answer` are predicted, behind `prompt` vectors."""

    rows: int = 16
    tokens: int = 128
    answer: int = 16
    prompt: int = 50
    rank: int = 16
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse an answer that is longer than its row.

        Raises:
            ValueError: it is.
        """
        if self.answer >= self.tokens:
            raise ValueError(
                f"an answer of {self.answer} tokens does not fit into a row of {self.tokens}; raise the length"
            )


@dataclass(frozen=True)
class MemoryNeed:
    """The bytes that one method takes in one precision, part by part; `refused` says why there are none.

    `kept` is what the forward leaves for the backward pass (of an evaluation, keys and values), `working` what exists for a moment,
    `process` Python with its libraries, and `holes` what the heap of a processor cannot use again.
    """

    method: str
    precision: str
    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    kept: int = 0
    working: int = 0
    process: int = 0
    holes: int = 0
    refused: str = ""

    @property
    def total(self) -> int:
        """Return the sum: gradients come while what the forward kept goes, but its memory is not given back before the step's end."""
        parts = self.weights, self.gradients, self.optimizer, self.kept, self.working, self.process, self.holes
        return sum(parts)

    def record(self) -> dict[str, str | int]:
        """Return the parts and the total by name, in bytes."""
        return asdict(self) | {"total": self.total}


class MemoryPlan:
    """The needs of one model, by its configuration alone.

    Raises:
        ValueError: the configuration cannot be read, or describes no language model.
    """

    def __init__(self, source: str | Path, *, trust_remote_code: bool = False) -> None:
        try:
            self.config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        except (OSError, KeyError) as error:
            raise ValueError(f"{source}: its configuration cannot be read: {str(error).splitlines()[0]}") from error
        self.architecture = of_config(self.config)
        self.checkpoint = checkpoint_dtype(source)
        self._kept: dict[tuple[object, ...], tuple[int, int]] = {}

    @cached_property
    def sizes(self) -> "Sizes":
        """Return the numbers of the model's weights."""
        with _faked():
            return Sizes.of(self._model(torch.float32))

    def needs(self, batch: BatchShape) -> list[MemoryNeed]:
        """Return what each method takes in each precision, in the order of `METHODS` and `PRECISIONS`."""
        process = (
            psutil.Process().memory_info().rss
        )  # Before the passes: what this process holds is what any has imported.
        return [self.need(method, precision, batch, process) for method, precision in product(METHODS, PRECISIONS)]

    def need(self, method: str, precision: str, batch: BatchShape, process: int = 0) -> MemoryNeed:
        """Return what one method takes in one precision, beside a process of so many bytes."""
        trained = METHODS[method]
        if trained.any and precision == "fp16":
            return MemoryNeed(method, precision, refused="small gradients become 0 in float16")
        if trained.weights and precision in QUANTISED_BYTES:
            return MemoryNeed(method, precision, refused="whole numbers cannot be trained")
        sizes, compute = self.sizes, FLOATS[self.checkpoint if precision in QUANTISED_BYTES else precision]
        # Trained weights are held in float32, whatever they are computed in.
        weights = sizes.held(precision, compute) if not trained.weights else 4 * sizes.all
        if not trained.any:
            kept, working = self._evaluation_bytes(batch, compute.itemsize)
            return MemoryNeed(method, precision, weights, kept=kept, working=working, process=process)
        places = batch.rows * batch.tokens + (batch.prompt if trained.prefixed else 0)
        kept, widest = self._pass(trained, compute, batch, places)
        width, layers = self.config.get_text_config().hidden_size, self.config.get_text_config().num_hidden_layers
        if batch.checkpointing:
            # Of every layer its input, and all of one layer at a time.
            kept = kept // layers + places * layers * width * (4 if trained.weights else compute.itemsize)
        adapter = batch.rank * sizes.lora_sides if trained.adapter else 0
        moving = sizes.all * trained.weights + adapter + batch.prompt * width * trained.prompt
        weights += 4 * adapter
        labels = min(batch.rows * batch.answer, max(1, LOGITS // sizes.vocabulary))
        # Of the logits the gradient too, and as float32 what a model in 16 bits computes.
        working = WORKING * widest + 2 * 4 * labels * sizes.vocabulary
        if trained.weights and sizes.tied:
            # The gradients of head and embeddings meet, and each is as large as the matrix.
            working += 4 * sizes.embeddings
        if precision in QUANTISED_BYTES:
            working += 2 * compute.itemsize * sizes.largest_linear  # unpacked for its product
        # Beside each adapted layer tensors as large as its output come and go among those that are kept, and the C library's heap, which
        # puts every tensor at a multiple of 64 bytes, fills such gaps badly. A GPU's allocator does not.
        gaps = (
            HOLES["fp32" if compute == torch.float32 else "bf16"]
            if trained.adapter and not torch.cuda.is_available()
            else 0
        )
        # With layers that are computed twice, one layer at a time leaves them.
        holes = int(gaps * 4 * places * sizes.outputs) // (layers if batch.checkpointing else 1)
        states = 4 * moving * (OPTIMIZER - 1)
        return MemoryNeed(method, precision, weights, 4 * moving, states, kept, working, process, holes)

    def _evaluation_bytes(self, batch: BatchShape, itemsize: int) -> tuple[int, int]:
        """Return the bytes of keys and values while an evaluation generates, and what exists for a moment while it reads its prompts."""
        text = self.config.get_text_config()
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        keys = 2 * text.num_hidden_layers * heads * size * itemsize
        inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
        return PLACES * keys, WORKING * PLACES * inner * itemsize

    def _pass(self, trained: Moving, compute: torch.dtype, batch: BatchShape, places: int) -> tuple[int, int]:
        """Return the bytes that a forward of so many places keeps for its backward pass, and those of the widest tensor among them."""
        key = (replace(trained, prefixed=False), compute, batch.rank, places, batch.rows * batch.answer)
        if key not in self._kept:
            self._kept[key] = self._fake_pass(trained, compute, batch, places)
        return self._kept[key]

    def _fake_pass(self, trained: Moving, compute: torch.dtype, batch: BatchShape, places: int) -> tuple[int, int]:
        with _faked():
            low = trained.weights and compute != torch.float32
            model = self._model(torch.float32 if low else compute)
            model.requires_grad_(trained.weights).train()
            if trained.adapter:
                self._adapt(model, batch.rank)
            weights = {p.untyped_storage()._cdata for p in model.parameters()}
            kept: dict[int, Tensor] = {}

            def note(tensor: Tensor) -> Tensor:
                storage = tensor.untyped_storage()
                if storage._cdata not in weights:
                    kept[storage._cdata] = tensor  # Held, so that no other storage gets its address.
                return tensor

            hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
            with hooks, torch.autocast("cpu", torch.bfloat16, enabled=low):
                widest = self._loss(model, trained, batch, places)
            return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), widest

    def _adapt(self, model: Any, rank: int) -> None:
        """Add what PEFT's LoRA computes beside every linear layer but the head: in float32, on a float32 copy of the layer's input."""

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            down, up = (
                nn.Parameter(torch.zeros(shape)) for shape in ((rank, inputs[0].shape[-1]), (output.shape[-1], rank))
            )
            return (output + F.linear(F.linear(inputs[0].float(), down), up) * 2.0).to(output.dtype)

        for module in _linear(model):
            module.register_forward_hook(add)

    def _loss(self, model: Any, trained: Moving, batch: BatchShape, places: int) -> int:
        """Run the forward of rows, up to their loss; return the bytes of the widest activation of a layer."""
        widest = 0

        def note(module: Any, inputs: Any, output: Any) -> None:
            nonlocal widest
            widest = max(widest, output.untyped_storage().nbytes())

        head = model.get_output_embeddings()
        for module in _linear(model):
            module.register_forward_hook(note)
        rows = min(batch.rows, places)
        inputs = model.get_input_embeddings()(torch.zeros(rows, -(-places // rows), dtype=torch.long))
        if trained.prompt:
            inputs = inputs.clone().requires_grad_(True)
        labels = batch.rows * batch.answer
        if not self.architecture.one_sequence:
            written = torch.zeros(rows, batch.answer, dtype=torch.long)
            logits = model(inputs_embeds=inputs, **self.architecture.decoder_inputs(written), use_cache=False).logits
            logits = logits.flatten(0, 1)
        else:
            states = model.get_decoder()(inputs_embeds=inputs, use_cache=False).last_hidden_state.flatten(0, 1)
            # More labels go through the head a part at a time, and are computed again in the backward pass.
            logits = head(states[: min(labels, max(1, LOGITS // self.sizes.vocabulary))])
        F.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.long), reduction="sum")
        return widest

    def _model(self, dtype: torch.dtype) -> Any:
        auto_class = getattr(transformers, self.architecture.auto_class)
        with quiet():
            return auto_class.from_config(self.config, dtype=dtype)


@dataclass(frozen=True)
class Sizes:
    """Counts of a model's numbers: of all weights, of those in linear layers but the head, of the embeddings, what LoRA adds a rank,
    and the widths of all linear layers' outputs."""

    all: int
    linear: int
    embeddings: int
    largest_linear: int
    lora_sides: int
    outputs: int
    vocabulary: int
    tied: bool

    @classmethod
    def of(cls, model: Any) -> "Sizes":
        """Return the counts of a model."""
        head, words = model.get_output_embeddings(), model.get_input_embeddings()
        layers = _linear(model)
        counts = [layer.weight.numel() for layer in layers]
        sides = sum(sum(layer.weight.shape) for layer in layers)
        outputs = sum(layer.weight.shape[1 if isinstance(layer, Conv1D) else 0] for layer in layers)
        tied = head is not None and head.weight is words.weight
        total = sum(parameter.numel() for parameter in model.parameters())
        # A tied matrix is one parameter, which `parameters` gives once.
        return cls(
            total,
            sum(counts),
            words.weight.numel(),
            max(counts, default=0),
            sides,
            outputs,
            words.weight.shape[0],
            tied,
        )

    def held(self, precision: str, dtype: torch.dtype) -> int:
        """Return the bytes of frozen weights; of quantised ones the rest has the type `dtype`."""
        if precision not in QUANTISED_BYTES:
            return self.all * dtype.itemsize
        return int(self.linear * QUANTISED_BYTES[precision]) + (self.all - self.linear) * dtype.itemsize


def _linear(model: Any) -> list[Any]:
    """Return the linear layers, which LoRA adapts and bitsandbytes quantises; the head is none of them."""
    head = model.get_output_embeddings()
    return [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]


def _faked() -> FakeTensorMode:
    """Return a context in which tensors have shapes and no numbers."""
    return FakeTensorMode(allow_non_fake_inputs=True)
