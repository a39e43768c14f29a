"""One optimizer step, as holdfast takes it and as others do: what the benchmarks of time and of memory compare.

Each builder copies the model, and returns a step (forward, backward, clipping, optimizer; it gives the loss, and leaves the gradients
to look at) with the model that it trains. Others get their batch as their users make it: padded on the right, -100 where nothing is
predicted. All use fused AdamW.
"""

import copy
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer

from benchmarks import words
from benchmarks.harness import quietly
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.row import Row
from holdfast.training.loss import token_loss

LABELS = 4
RATE, CLIP = 1e-4, 1.0
SHARED = Path(__file__).resolve().parents[2] / "shared"
TOKENIZER, TASKS = SHARED / "models/gpt2-tokenizer", SHARED / "data/tasks"
REAL_VOCABULARY = 50257
REAL_LAYERS, REAL_WIDTH = 6, 384  # About 30 million parameters with that vocabulary.
Step = Callable[[], Tensor]
Built = tuple[Step, nn.Module]


def prompt_of(base: Any, length: int) -> Tensor:
    """Initial vectors [P, D] of a soft prompt: some words."""
    return base.get_input_embeddings().weight.detach()[100 : 100 + length].clone()


def random_rows(lengths: Sequence[int], vocabulary: int, prompt: int | None = 0) -> list[Row]:
    """B rows of T random tokens each that share nothing; the last four are predicted."""
    draw = random.Random(1)
    return [
        Row(
            tuple(draw.randrange(vocabulary) for _ in range(length)),
            (*[0.0] * (length - LABELS), *[1.0] * LABELS),
            prompt,
        )
        for length in lengths
    ]


def real_rows(task: str, count: int, limit: int = 512, tokenizer: Any = None, prompt: int | None = None) -> list[Row]:
    """The first examples of a task's train split in the tokens of `tokenizer` (None: GPT-2's), the answer predicted.

    Where the data is not beside the repository: random tokens, of lengths like those of such tasks.
    """
    if not (TASKS / task).is_dir() or not TOKENIZER.is_dir():
        draw = random.Random(task)
        median = {"rte": 70, "sst2": 25}[task]
        lengths = [min(limit, max(8, round(draw.lognormvariate(0, 0.6) * median))) for _ in range(count)]
        return random_rows(lengths, REAL_VOCABULARY, None)
    tokenizer = tokenizer or AutoTokenizer.from_pretrained(TOKENIZER)
    rows = []
    with (TASKS / task / "train.jsonl").open() as file:
        for line in islice(file, count):
            example = json.loads(line)
            context = tokenizer(example["input"] + "\nAnswer:")["input_ids"][-limit:]
            answer = [*tokenizer(" " + example["target"])["input_ids"], tokenizer.eos_token_id]
            rows.append(Row((*context, *answer), (*[0.0] * len(context), *[1.0] * len(answer)), prompt))
    return rows


def adapter() -> peft.LoraConfig:
    """LoRA as both sides use it."""
    return peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def ours(
    base: Any, rows: list[Row], *, start: Tensor | None = None, trains: str = "model", bf16: bool = False
) -> Built:
    """Through `PrefixModel`, which packs the rows anew each time; `trains` is prompt, model or lora."""
    base = copy.deepcopy(base)
    if trains == "lora":
        base = _with_adapter(base)
    model = PrefixModel(base, [] if start is None else [SoftPrompt(start)]).to(base.device).train()
    model.prompts.requires_grad_(trains == "prompt")
    if trains != "lora":
        model.model.requires_grad_(trains == "model")
    total = sum(sum(row.weights) for row in rows)

    def loss() -> Tensor:
        with torch.autocast(base.device.type, torch.bfloat16, enabled=bf16):
            return model(rows).total(token_loss) / total

    return step(model, loss), model


def prompt_tuning(base: Any, rows: list[Row], *, start: Tensor, trains: str, bf16: bool = False) -> Built:
    """Through PEFT's prompt tuning."""
    base = copy.deepcopy(base)
    with quietly():
        model: Any = peft.get_peft_model(
            base, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(start))
        ).train()
    prompt = model.prompt_encoder["default"].embedding.weight
    prompt.data.copy_(start)
    model.base_model.requires_grad_(trains == "model")
    prompt.requires_grad_(trains == "prompt")
    model.to(base.device)
    batch = padded(rows, base.device)

    def loss() -> Tensor:
        with torch.autocast(base.device.type, torch.bfloat16, enabled=bf16):
            return model(**batch).loss

    return step(model, loss), model


def plain(base: Any, rows: list[Row], *, trains: str = "model", bf16: bool = False, last: int = 0) -> Built:
    """Through transformers' own forward, without a prompt. With `last`, logits at the last so many places only."""
    model = copy.deepcopy(base).train().requires_grad_(True)
    batch = padded(rows, base.device)
    labels = batch.pop("labels") if last else None

    def loss() -> Tensor:
        with torch.autocast(base.device.type, torch.bfloat16, enabled=bf16):
            if labels is None:
                return model(**batch, use_cache=False).loss
            logits = model(**batch, use_cache=False, logits_to_keep=last + 1).logits[:, :-1].flatten(0, 1)
            return F.cross_entropy(logits.float(), labels[:, -last:].flatten())

    return step(model, loss), model


def sft(base: Any, rows: list[Row], *, lora: bool = False, bf16: bool = False) -> Built:
    """Through the collator and the training step of TRL's SFTTrainer.

    Its gradient checkpointing, which is on by default and costs a third more, is off.
    """
    with quietly():
        trainer = _sft_trainer(copy.deepcopy(base), rows, lora=lora, bf16=bf16)
    # As `train` does before its first step: without it `bf16=True` would change nothing, and its steps would be in float32.
    model: Any = trainer.accelerator.prepare_model(trainer.model)
    examples = [{"input_ids": list(row.tokens), "labels": labelled(row)} for row in rows]
    count = torch.tensor(sum(len(row.labels) for row in rows), device=model.device)
    optimizer = trainer.optimizer
    trainable = [p for p in model.parameters() if p.requires_grad]

    def run() -> Tensor:
        optimizer.zero_grad()
        batch = trainer.data_collator([dict(example) for example in examples])
        value = trainer.training_step(model, batch, count)
        torch.nn.utils.clip_grad_norm_(trainable, CLIP)
        optimizer.step()
        return value.detach()

    return run, model


def _sft_trainer(base: Any, rows: list[Row], *, lora: bool, bf16: bool) -> Any:
    try:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportPrivateImportUsage]
    except ImportError:
        raise SystemExit("this compares with TRL: pip install 'holdfast[bench]'") from None
    folder = tempfile.mkdtemp()
    settings = SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=len(rows),
        use_cpu=base.device.type == "cpu",
        bf16=bf16,
        gradient_checkpointing=False,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_length=None,
        max_steps=1000,
        report_to="none",
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    data = Dataset.from_list([{"input_ids": list(row.tokens), "labels": labelled(row)} for row in rows])
    trainer = SFTTrainer(
        model=base.train().requires_grad_(True),
        args=settings,
        train_dataset=data,
        processing_class=words.tokenizer(100),
        peft_config=adapter() if lora else None,
    )
    assert trainer.model is not None
    _start_alike(trainer.model)
    trainer.create_optimizer_and_scheduler(1000)
    trainer.current_gradient_accumulation_steps = 1
    shutil.rmtree(folder)
    return trainer


def _with_adapter(base: Any) -> Any:
    with quietly():
        peft.get_peft_model(base, adapter())
    _start_alike(base)
    return base


def _start_alike(model: nn.Module) -> None:
    """The same initial numbers in every adapter, whatever random state its library made it in."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_A" in name:
                weight.copy_(0.05 * torch.randn(weight.shape, generator=draw))


def labelled(row: Row) -> list[int]:
    """Labels as transformers wants them: -100 where nothing is predicted."""
    return [token if weight else -100 for token, weight in zip(row.tokens, row.weights, strict=True)]


def padded(rows: list[Row], device: torch.device) -> dict[str, Tensor]:
    """A batch padded on the right."""
    width = max(len(row.tokens) for row in rows)
    lines = [[*row.tokens, *[0] * (width - len(row.tokens))] for row in rows]
    labels = [[*labelled(row), *[-100] * (width - len(row.tokens))] for row in rows]
    masks = [[1] * len(row.tokens) + [0] * (width - len(row.tokens)) for row in rows]
    names = ("input_ids", "labels", "attention_mask")
    return {n: torch.tensor(values, device=device) for n, values in zip(names, (lines, labels, masks), strict=True)}


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """Forward, backward, clipping and optimizer step; gives the loss and leaves the gradients to look at."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=RATE, fused=True)

    def run() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(trainable, CLIP)
        optimizer.step()
        return value.detach()

    return run


def gradients(model: nn.Module) -> list[Tensor]:
    """Of what trains, in order: the two sides hold equal parameters under different names."""
    return [p.grad.flatten() for p in model.parameters() if p.grad is not None]


def difference(mine: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference of any entry, relative to the largest entry of all."""
    assert [len(a) for a in mine] == [len(b) for b in other]
    scale = max(float(a.abs().max()) for a in other)
    return max(float((a - b).abs().max()) for a, b in zip(mine, other, strict=True)) / scale
