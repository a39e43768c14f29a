"""Pretrain the lab model: `python -m holdfast.lab.pretrain --out DIR`. Killed and started again, it resumes."""

import argparse
import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.lab import documents, words, world
from holdfast.lab.curriculum import lesson
from holdfast.lab.positions import look_back
from holdfast.lab.tokenizer import build
from holdfast.tasks.task import Task
from holdfast.templates import choose_demonstrations, render


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the weights. The data of a step follow from `seed` and the step alone."""

    seed: int = 0
    steps: int = 4400
    tokens: int = 4096  # of one step
    micro: int = 768  # tokens computed at once: what stays in a core's cache is faster
    layers: int = 5
    width: int = 128
    heads: int = 4
    inner: int = 384
    learning_rate: float = 3e-3
    decay: float = 0.05  # of the weights of matrices (AdamW)


def build_model(settings: Settings) -> LlamaForCausalLM:
    """A Llama of the settings' size with random weights."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(words.vocabulary()),
        hidden_size=settings.width,
        intermediate_size=settings.inner,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        attention_bias=True,  # lets a head look by distance alone; see `look_back`
        initializer_range=0.05,
        bos_token_id=words.SPECIAL.index(words.BOS),
        eos_token_id=words.SPECIAL.index(words.EOS),
        pad_token_id=words.SPECIAL.index(words.PAD),
    )
    model = LlamaForCausalLM(config)
    look_back(model)
    return model


class Pretraining:
    """The model, its optimizer, and the step at which they are."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.step = settings, 0
        self.tokenizer = build()
        self.ids = self.tokenizer.get_vocab()
        self.model = build_model(settings)
        decayed = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        among = {id(p) for p in decayed}
        rest = [p for p in self.model.parameters() if id(p) not in among]
        groups = [{"params": decayed, "weight_decay": settings.decay}, {"params": rest, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.97), fused=True)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Tokens and loss weights of the present step, `[B, T]` each."""
        plan = lesson(self.step, self.settings.steps)
        rng = random.Random(f"{self.settings.seed}/{self.step}")
        rows = [documents.row(rng, plan) for _ in range(self.settings.tokens // plan.length)]
        tokens = torch.tensor([[self.ids[word] for word in row] for row, _ in rows])
        return tokens, torch.tensor([weights for _, weights in rows])

    def advance(self) -> float:
        """One step; returns its loss, a weighted mean over tokens."""
        tokens, weights = self.batch()
        total, value = weights[:, 1:].sum(), 0.0
        self.model.zero_grad()
        size = max(1, self.settings.micro // tokens.shape[1])
        for piece, weight in zip(tokens.split(size), weights[:, 1:].split(size), strict=True):
            hidden = self.model.model(input_ids=piece, use_cache=False).last_hidden_state[:, :-1]
            logits = self.model.lm_head(hidden[weight > 0])
            losses = F.cross_entropy(logits, piece[:, 1:][weight > 0], reduction="none")
            loss = (losses * weight[weight > 0]).sum() / total
            loss.backward()
            value += loss.item()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        scale = lesson(self.step, self.settings.steps).rate
        for group in self.adam.param_groups:
            group["lr"] = self.settings.learning_rate * scale
        self.adam.step()
        self.step += 1
        return value

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on; the file appears whole or not at all."""
        state = {
            "step": self.step,
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "adam": self.adam.state_dict(),
        }
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint.

        Raises:
            ValueError: it was made with other settings.
        """
        state = torch.load(path, weights_only=True)
        ours, theirs = asdict(self.settings), state["settings"]
        differing = [key for key in ours if ours[key] != theirs.get(key)]
        if differing:
            raise ValueError(f"{path} was made with another {', '.join(differing)}; choose another --out")
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        self.step = state["step"]


def asked(tokenizer: Any, task: Task, shots: int, limit: int, split: str) -> Iterator[tuple[list[int], list[int]]]:
    """(prompt, answer) as token ids; the answer includes the newline that ends it."""
    for index, example in enumerate(task.splits[split][:limit]):
        shown = choose_demonstrations(task.splits["train"], shots, mode="sampled", seed=0, index=index, exclude=example)
        rendered = render(task.template, example, shown)
        prompt = tokenizer(rendered.prompt)["input_ids"]
        yield prompt, tokenizer(rendered.target + words.NEWLINE, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def exact_match(model: Any, tokenizer: Any, task: Task, shots: int, *, limit: int = 200, split: str = "test") -> float:
    """Share of answers that greedy decoding gets exactly right.

    The right answer is shown to the model whole: greedy decoding gives exactly it if and only if each of its tokens is
    the most likely one behind the tokens before it.
    """
    items = sorted(asked(tokenizer, task, shots, limit, split), key=lambda item: len(item[0]) + len(item[1]))
    right = 0
    for start in range(0, len(items), 32):
        part = items[start : start + 32]
        longest = max(len(prompt) + len(answer) for prompt, answer in part)
        tokens = torch.full((len(part), longest), tokenizer.pad_token_id)
        for i, (prompt, answer) in enumerate(part):
            tokens[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        best = model(input_ids=tokens, use_cache=False).logits.argmax(-1)
        for i, (prompt, answer) in enumerate(part):
            found = best[i, len(prompt) - 1 : len(prompt) + len(answer) - 1]
            right += found.tolist() == answer
    return right / len(items)


def abilities(
    model: Any, tokenizer: Any, tasks: Sequence[str], shots: Sequence[int], *, limit: int = 200, split: str = "test"
) -> dict[str, dict[str, float]]:
    """Exact match by task and number of demonstrations."""
    table: dict[str, dict[str, float]] = {}
    for name in tasks:
        task = world.task(name)
        table[name] = {
            str(k): round(exact_match(model, tokenizer, task, k, limit=limit, split=split), 4) for k in shots
        }
    return table


def mean(table: dict[str, dict[str, float]], shots: int) -> float:
    """The mean over tasks."""
    return sum(row[str(shots)] for row in table.values()) / len(table)


def export(training: Pretraining, folder: Path, command: str) -> None:
    """Write weights in half precision, the tokenizer, and the manifest with what the written weights can do."""
    model = LlamaForCausalLM(training.model.config).eval()
    model.load_state_dict({name: tensor.half() for name, tensor in training.model.state_dict().items()})
    table = {
        "general": abilities(model, training.tokenizer, world.general(), (0, 1, 4)),
        "targets": abilities(model, training.tokenizer, world.targets(), (0, 4)),
    }
    first_items = {
        name: exact_match(model, training.tokenizer, world.task(name), 4, limit=40)
        for name in ("who", "sentiment", "to-zan", "demo-mark")
    }
    again = Pretraining(training.settings)
    first_losses = [again.advance() for _ in range(50)][::10]
    model.half().save_pretrained(folder)
    training.tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"  # stored in half precision, computed in full: processors are slow at halves
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = folder / "model.safetensors"
    manifest = {
        "command": command,
        "commit": commit(),
        "settings": asdict(training.settings),
        "steps": training.step,
        "tokens": training.step * training.settings.tokens,
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "means": {f"general at {k}": round(mean(table["general"], k), 4) for k in (0, 1, 4)},
        "first_items": first_items,  # exact match on the first 40 items at 4 demonstrations, for a quick check
        "first_losses": first_losses,  # of steps 1, 11, 21, 31 and 41
        "abilities": table,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def commit() -> str:
    """The repository's commit, or nothing outside of one."""
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.lab.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, the log and the model")
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--seed", type=int, default=Settings().seed)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--look-every", type=int, default=300, help="steps between checkpoints with a look at abilities"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    training = Pretraining(Settings(seed=options.seed, steps=options.steps))
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.pt"
    if checkpoint.exists():
        training.resume(checkpoint)
    start, losses = time.monotonic(), []
    with (options.out / "log.jsonl").open("a", encoding="utf-8", buffering=1) as log:
        while training.step < options.steps:
            losses.append(training.advance())
            if training.step % 20 == 0:
                seconds = round(time.monotonic() - start)
                log.write(json.dumps({"step": training.step, "loss": sum(losses) / len(losses), "s": seconds}) + "\n")
                losses.clear()
            if training.step % options.look_every == 0:
                training.save(checkpoint)
                look = abilities(
                    training.model, training.tokenizer, world.general(), (1, 4), limit=24, split="validation"
                )
                means = [round(mean(look, k), 3) for k in (1, 4)]
                log.write(json.dumps({"step": training.step, "means": means, "abilities": look}) + "\n")
    training.save(checkpoint)
    export(
        training,
        options.out / "model",
        f"python -m holdfast.lab.pretrain --steps {options.steps} --seed {options.seed}",
    )


if __name__ == "__main__":
    main()
