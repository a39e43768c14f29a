"""The processes of one launch: `torchrun`, `accelerate launch`, or just this one."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

# While one process evaluates, the others wait in a collective operation, for hours maybe; the usual limit is 10 to 30 minutes.
# A process that dies is noticed at once all the same: the launcher ends the others.
PATIENCE = timedelta(days=7)
SHARDS = "HOLDFAST_SHARDS"  # Set for this process where a launcher asked for FSDP2.
REFUSED = {
    "DeepSpeed": "takes the optimizer's step itself, which is the training loop's here",
    "FSDP1": "makes one vector of frozen weights and of those that move",
}


def processes() -> PartialState:
    """Return this process's state (its index, and how many there are) within the launch; the first call connects them.

    Raises:
        ValueError: there are several, and they cannot be connected: each would train alone, and all write the same files. Or the launcher
            wants to spread weights over them otherwise than the loop can.
    """
    _take_over_shards()
    state = PartialState(cpu=on_cpu(), timeout=PATIENCE)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and state.num_processes == 1:
        raise ValueError(
            f"{world} processes were launched (WORLD_SIZE), and on this machine they cannot work together; launch one, or on CPUs "
            "set ACCELERATE_USE_CPU=1"
        )
    _say_where_one_was_launched_for_several()
    return state


def shards_weights() -> bool:
    """Return whether the launch asks for weights that are spread over the processes, as FSDP2 does.

    Raises:
        ValueError: it asks for that as FSDP1 or DeepSpeed do.
    """
    _take_over_shards()
    return parse_flag_from_env(SHARDS)


def _take_over_shards() -> None:
    """Do what Accelerate's FSDP2 would do in its stead, and refuse other ways to shard weights.

    Accelerate shards a transformers model alone; here prompts stand before it, and their frozen weights stand beside those that move.
    """
    refused = {"DeepSpeed": parse_flag_from_env("ACCELERATE_USE_DEEPSPEED")}
    fsdp = parse_flag_from_env("ACCELERATE_USE_FSDP")
    refused["FSDP1"] = fsdp and os.environ.get("FSDP_VERSION", "1") != "2"
    for name, wanted in refused.items():
        if wanted:
            raise ValueError(
                f"{name}: is not supported, because it {REFUSED[name]}; launch with FSDP2 (fsdp_version: 2, "
                "docs/examples/launch/fsdp2.yaml), which spreads the same, or without it: each process then holds the whole model"
            )
    if fsdp:
        os.environ[SHARDS] = "true"
        del os.environ["ACCELERATE_USE_FSDP"]


@contextmanager
def noticing_lost_processes(what: str) -> Iterator[None]:
    """Say in one line where another process of the launch was killed, instead of what the library says of its connections.

    Raises:
        ValueError: that happened within; `what` is what goes on with the same command.
    """
    try:
        yield
    except RuntimeError as error:
        state = PartialState()
        if state.num_processes == 1 or not re.search(
            r"gloo|NCCL|connection closed|ProcessGroup", str(error), re.IGNORECASE
        ):
            raise
        raise ValueError(
            f"{what}: another of the {state.num_processes} processes has ended (killed, out of memory, or by an error of its own); the "
            "same command goes on from the last checkpoint"
        ) from error


def on_cpu() -> bool:
    """Return whether to compute on the CPU: there is nothing else, or Accelerate was told to."""
    return not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")


def check_device(device: str) -> None:
    """Refuse several processes on a CPU beside a GPU that Accelerate would give them, or with a model that is spread over devices.

    Raises:
        ValueError: there are several, and Accelerate was not told to leave the GPU alone, or each would spread the model.
    """
    if (device == "spread" or device.endswith(".json")) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"device={device}: several processes were launched, and each would spread the model; launch one process"
        )
    if device == "cpu" and not on_cpu() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("device=cpu: several processes were launched for the GPUs; set ACCELERATE_USE_CPU=1 as well")


@cache  # Printed once, though every stage asks for its process.
def _say_where_one_was_launched_for_several() -> None:
    """Warn that a launch for several processes started one."""
    # Accelerate 1.15 takes `--num_processes 2`, sets an address to meet at, and starts one process where no GPUs are to be used.
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if launched and not {"WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"} & os.environ.keys():
        print(
            "holdfast: accelerate launch started one process; for several on CPUs use `torchrun --nproc_per_node N -m holdfast ...` or "
            "`accelerate launch --multi_gpu --num_processes N -m holdfast ...` (without --cpu)",
            file=sys.stderr,
            flush=True,
        )
