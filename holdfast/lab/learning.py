"""The lab's models and how they are pretrained: one loop for both sizes, on a processor or on a GPU."""

import os
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.lab.course import Course, World
from holdfast.lab.positions import look_back
from holdfast.lab.settings import LabSettings

FIRST = 50  # steps whose losses a manifest tells, every tenth


def build_model(settings: LabSettings, tokenizer: Any) -> LlamaForCausalLM:
    """Return a Llama of the settings' size with random weights."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.inner,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.positions,
        tie_word_embeddings=True,
        attention_bias=True,  # lets a head look by distance alone; see `look_back`
        initializer_range=settings.spread,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    look_back(model)
    return model


class Pretraining:
    """The model, its optimizer, and the step at which they are. Without a course, that of the lab's own world.

    On a GPU matrices are multiplied in bfloat16 (weights and optimizer stay in single precision) and the layers are compiled.
    """

    def __init__(self, settings: LabSettings, course: Course | None = None, device: str = "cpu") -> None:
        self.settings, self.step, self.device = settings, 0, torch.device(device)
        self.course = course or World(settings)
        self.model: Any = build_model(settings, self.course.tokenizer).to(self.device)  # pyright: ignore[reportArgumentType]
        self.on_gpu = self.device.type == "cuda"
        if self.on_gpu:
            # Layer by layer and not the whole: compiled, it would make a mask, which flash attention refuses.
            for layer in self.model.model.layers:
                layer.compile()
        # Matrices of the layers alone: to shrink embeddings would weaken rare words, and biases hold the heads that look back.
        decayed = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        matrices = {id(p) for p in decayed}  # by identity: `in` would compare tensors element by element
        rest = [p for p in self.model.parameters() if id(p) not in matrices]
        groups = [{"params": decayed, "weight_decay": settings.decay}, {"params": rest, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.97), fused=True)
        self.first_losses: list[float] = []
        self.ahead: tuple[int, tuple[Tensor, Tensor]] = -1, (torch.empty(0), torch.empty(0))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return tokens and loss weights of the present step, `[B, T]` each."""
        step, made = self.ahead
        return made if step == self.step else self.course.batch(self.step)

    def advance(self) -> float:
        """Do one step; return its loss, a weighted mean over tokens."""
        tokens, weights = self.batch()
        total, losses = weights[:, 1:].sum().item(), []
        self.model.zero_grad()
        size = max(1, self.settings.micro // tokens.shape[1])
        for piece, weight in zip(tokens.split(size), weights[:, 1:].split(size), strict=True):
            loss = self.loss(piece, weight) / total  # of the whole step, so that the size of the pieces changes nothing
            loss.backward()
            losses.append(loss.detach())
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        scale = self.course.rate(self.step)
        for group in self.adam.param_groups:
            group["lr"] = self.settings.learning_rate * scale
        self.adam.step()
        self.step += 1
        if self.on_gpu:  # which is still at work on this step
            self.ahead = self.step, self.course.batch(self.step)
        value = sum(loss.item() for loss in losses)
        if len(self.first_losses) < min(FIRST, self.step):
            self.first_losses.append(value)
        return value

    def loss(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted sum of the losses of `tokens[:, 1:]`, `[B, T]` with weights `[B, T - 1]`."""
        places = weights.flatten().nonzero().squeeze(1)  # here, because asking the GPU would wait for it
        counted = weights.flatten()[places].to(self.device)
        labels = tokens[:, 1:].flatten()[places].to(self.device)
        places, tokens = places.to(self.device), tokens.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_gpu):
            hidden = self.model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
            logits = self.model.lm_head(hidden.flatten(0, 1)[places])
            return (F.cross_entropy(logits, labels, reduction="none") * counted).sum()

    def look(self) -> dict[str, Any]:
        """Return the course's glance at the model."""
        # Its texts have many lengths, and compiling for each would take minutes.
        with torch.compiler.set_stance("force_eager") if self.on_gpu else nullcontext():
            return self.course.look(self.model)

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on; the file appears whole or not at all."""
        state = {
            "step": self.step,
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "adam": self.adam.state_dict(),
            "first_losses": self.first_losses,
        }
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint.

        Raises:
            ValueError: it was made with other settings.
        """
        state = torch.load(path, weights_only=True, map_location=self.device)
        theirs = asdict(LabSettings()) | state["settings"]  # a setting that it does not know had its default
        differing = [f.name for f in fields(LabSettings) if getattr(self.settings, f.name) != theirs[f.name]]
        if differing:
            raise ValueError(f"{path} was made with another {', '.join(differing)}; choose another --out")
        self.model.load_state_dict(state["model"])
        self.adam.load_state_dict(state["adam"])
        self.step = state["step"]
        self.first_losses = state.get("first_losses", [])
