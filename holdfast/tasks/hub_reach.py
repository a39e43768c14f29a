"""Reach of the Hugging Face hub: where it cannot be asked, its clients go on from their cache, and do not try again for minutes."""

import os
import sys
from functools import cache
from typing import Literal

TIMEOUT = 5  # seconds to connect, or to wait for the answer


@cache  # a model and its tokenizer are looked for several times in a command
def unreachable(name: str, contents: Literal["model", "dataset"] = "model") -> str:
    """Return why the hub cannot be asked for a model or a dataset; empty where it answered, whatever it said, or is only slow."""
    from huggingface_hub import HfApi

    if _offline():
        return "HF_HUB_OFFLINE is set"
    try:
        getattr(HfApi(), f"{contents}_info")(name, timeout=TIMEOUT)
    except Exception as error:  # of the hub's client, of its network library, or of the system: all that counts is if there was an answer
        text = str(error).strip()
        # It was connected where reading took too long: slow is not away, and what follows waits longer.
        # By its text, since the client's network library has another name in each of its versions.
        slow = "ReadTimeout" in repr(error)
        if slow or isinstance(error, ValueError) or getattr(error, "response", None) is not None:
            return ""
        return text.splitlines()[0][:100] if text else type(error).__name__
    return ""


def go_offline(reason: str) -> None:
    """Let the hub's clients work from their cache for the rest of this process, and say so once."""
    from huggingface_hub import constants

    if _offline():
        return
    constants.HF_HUB_OFFLINE = True
    os.environ["HF_HUB_OFFLINE"] = "1"  # for what is imported, or started, later
    if datasets := sys.modules.get("datasets"):
        datasets.config.HF_HUB_OFFLINE = True
    print(
        f"holdfast: the hub cannot be reached ({reason}), so its cache is taken as it is; HF_HUB_OFFLINE=1 asks for that at once",
        file=sys.stderr,
        flush=True,
    )


def _offline() -> bool:
    from huggingface_hub import constants

    datasets = sys.modules.get("datasets")  # which has read the environment for itself
    return constants.is_offline_mode() or (datasets is not None and datasets.config.HF_HUB_OFFLINE)
