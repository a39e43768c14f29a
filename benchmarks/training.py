"""One optimizer step behind a soft prompt: holdfast's packed rows against PEFT's prompt tuning.

The same Llama, rows, initial prompt and optimizer, alternately in one process. Stage 1 trains the prompt in front of the
frozen model, stage 2 the model behind the frozen prompt. PEFT gets its batch as its users make it: padded on the right,
-100 where nothing is predicted. `max_difference` is the largest of: the relative difference of the first step's loss, of
its gradients (largest difference of any entry / largest entry), and of the last step's loss.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import peft
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import harness
from holdfast.prefix.model import PrefixModel
from holdfast.prefix.soft_prompt import SoftPrompt
from holdfast.rows import Row

ROWS, VECTORS, LABELS = 16, 100, 4
VOCABULARY, LAYERS, WIDTH = 32_000, 6, 256
Step = Callable[[], Tensor]


def build(layers: int, width: int, vocabulary: int) -> Any:
    """A random Llama with head size 64, as wide in its MLP as Llama is."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def random_rows(length: int, vocabulary: int) -> list[Row]:
    """B rows of T random tokens that share nothing; the last four are predicted."""
    random = torch.Generator().manual_seed(1)
    weights = (*[0.0] * (length - LABELS), *[1.0] * LABELS)
    tokens = torch.randint(vocabulary, (ROWS, length), generator=random).tolist()
    return [Row(tuple(line), weights, prompt=0) for line in tokens]


def ours(base: Any, start: Tensor, rows: list[Row], stage: int) -> tuple[Step, nn.Module]:
    """A training step through `PrefixModel`, which packs the rows anew each time."""
    model = PrefixModel(base, [SoftPrompt(start)]).train()
    model.model.requires_grad_(stage == 2)
    model.prompts.requires_grad_(stage == 1)

    def loss() -> Tensor:
        output = model(rows)
        return F.cross_entropy(output.logits, output.labels)

    return step(model, loss), model


def theirs(base: Any, start: Tensor, rows: list[Row], stage: int) -> tuple[Step, nn.Module]:
    """A training step through `PeftModel`."""
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(start))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model: Any = peft.get_peft_model(base, config).train()
    prompt = model.prompt_encoder["default"].embedding.weight
    prompt.data.copy_(start)
    model.base_model.requires_grad_(stage == 2)
    prompt.requires_grad_(stage == 1)
    tokens = torch.tensor([row.tokens for row in rows])
    labels = tokens.masked_fill(torch.tensor([row.weights for row in rows]) == 0, -100)
    mask = torch.ones_like(tokens)
    return step(model, lambda: model(input_ids=tokens, attention_mask=mask, labels=labels).loss), model


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """Forward, backward and optimizer step; gives the loss and leaves the gradients to look at."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def run() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return run


def gradients(model: nn.Module) -> list[Tensor]:
    """Of what trains, by size of the tensor: the two sides hold equal parameters under different names."""
    return [p.grad.flatten() for p in model.parameters() if p.grad is not None]


def difference(mine: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference of any entry, relative to the largest entry of all."""
    assert [len(a) for a in mine] == [len(b) for b in other]
    scale = max(float(a.abs().max()) for a in other)
    return max(float((a - b).abs().max()) for a, b in zip(mine, other, strict=True)) / scale


def cases(small: bool) -> Iterator[harness.Result]:
    """Stages 1 and 2, short and long rows."""
    layers, width, vocabulary, rounds = (2, 128, 1000, 3) if small else (LAYERS, WIDTH, VOCABULARY, 7)
    base = build(layers, width, vocabulary)
    for stage in (1, 2):
        for length in (32, 128):
            rows = random_rows(length, vocabulary)
            start = base.get_input_embeddings().weight.detach()[100 : 100 + VECTORS]
            my_step, my_model = ours(copy.deepcopy(base), start, rows, stage)
            their_step, their_model = theirs(copy.deepcopy(base), start, rows, stage)
            first = my_step(), their_step()
            worst = difference(gradients(my_model), gradients(their_model))
            seconds = harness.alternate(my_step, their_step, rounds)
            for mine, other in (first, (my_step(), their_step())):
                worst = max(worst, float((mine - other).abs() / other))
            case = f"stage {stage}, P={VECTORS}, B={ROWS}, T={length}"
            yield harness.Result("training step", case, *seconds, worst)


if __name__ == "__main__":
    harness.main("training", str(__doc__).partition("\n")[0], cases)
