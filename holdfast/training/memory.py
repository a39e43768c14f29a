"""The token budget of a forward: as many tokens as the free memory holds, and half as many after an out-of-memory error."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from holdfast.row import Row
from holdfast.training.batches import whole_groups

MOST = {"cpu": 4096, "cuda": 65536}  # More at once is not faster: on a CPU, fewer even stay in its cache.
SHARE = 0.6  # Of the free memory; the rest is for what a backward pass holds for a moment, and for others.
SAMPLE = 512  # Tokens that pass the model to find out what one costs.
OPTIMIZER = 3  # A gradient and two moments for every number that moves, none of which exist before the first step.
CGROUP = Path("/sys/fs/cgroup")


def token_budget(
    device: torch.device, per_token: float, moving: Iterable[nn.Parameter], processes: int = 1
) -> tuple[int, str]:
    """Return the most tokens that may pass the model at once, and a sentence that says why.

    Args:
        per_token: Bytes kept for the backward pass, for every token (see `kept_per_token`).
        moving: The parameters that get gradients and optimizer states.
        processes: That share the memory of a CPU.
    """
    free = available(device) // (processes if device.type == "cpu" else 1)
    states = OPTIMIZER * sum(p.numel() * p.element_size() for p in moving)
    room, most = SHARE * (free - states), MOST["cuda" if device.type == "cuda" else "cpu"]
    # A power of two, so that a little more or less free memory makes no other run.
    tokens = min(most, 2 ** int(math.log2(max(1.0, room / per_token))))
    why = f"{_size(free)} free, {_size(states)} for gradients and optimizer, {_size(per_token)} for a token"
    return tokens, f"forwards of up to {tokens} tokens ({why})" + ("" if room > 0 else "; this may well not fit")


def kept_per_token(model: nn.Module, loss: Callable[[Sequence[Row]], Tensor], rows: Sequence[Row]) -> float:
    """Return the bytes a token that a forward of the first of these rows keeps for its backward pass, without the weights."""
    chosen: list[Row] = []
    for group in whole_groups(rows):
        if sum(len(row.tokens) for row in chosen) < SAMPLE:
            chosen += group
    # By storage, not by tensor: views of one storage, such as a transposed weight, are saved again and again and cost nothing more.
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.is_sparse:  # It has no storage; its values were counted where they are saved themselves.
            return tensor.detach()
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        # An operation that saves its own output would otherwise hold itself, in a cycle that is never collected.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        held = loss(chosen)  # While it lives nothing is freed, so that no address comes twice.
    del held
    return max(1.0, sum(kept.values()) / sum(len(row.tokens) for row in chosen))


def recomputed(per_token: float, layers: int, width: int) -> float:
    """Return the bytes a token under gradient checkpointing: every layer's input, and all of one layer at a time."""
    return per_token / layers + 4 * layers * width  # 4 bytes: a float32 number of the input `[T, width]`.


def available(device: torch.device) -> int:
    """Return the bytes that can still be allocated: on a GPU, or in this machine's memory and this container's share of it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # The driver counts as used what torch's allocator reserved and holds ready.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = psutil.virtual_memory().available
    try:
        limit, used = (int((CGROUP / name).read_text(encoding="utf-8")) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # No cgroup of version 2, or "max": no limit.
        return free
    lines = dict(line.split() for line in (CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines())
    # Pages of files that nobody uses count as used, and the kernel gives them up when memory is short.
    return max(0, min(free, limit - used + int(lines["inactive_file"])))


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or in the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # On a CPU torch raises a RuntimeError, as for everything else; only its text names the allocator.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def halved(parts: Sequence[Sequence[Row]], stage: str, processes: int) -> int:
    """Return the token budget to try after these forwards ran out of memory.

    Raises:
        ValueError: every forward was of a single row, or other processes wait for this one.
    """
    largest = max(sum(len(row.tokens) for row in part) for part in parts)
    if processes > 1:
        raise ValueError(
            f"{stage}: out of memory at {largest} tokens, and {processes} processes cannot go back together; run again with "
            f"--set {stage}.token_budget={max(1, largest // 2)}"
        )
    if all(len(part) == 1 for part in parts):
        raise ValueError(
            f"{stage}: out of memory with one row of {largest} tokens at a time; try --set {stage}.gradient_checkpointing=true, "
            f"a smaller {stage}.max_length, or a method that moves fewer weights, such as lora"
        )
    return max(1, largest // 2)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
