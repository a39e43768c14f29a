"""Upload a finished run to a model hub: weights, card and scores in one commit. Nothing is sent unless this is called."""

import re
import sys
from pathlib import Path
from typing import Any

from holdfast.models.architecture import of_run
from holdfast.report.card import HUB_ID, card
from holdfast.results import run_folder
from holdfast.results.visible import one_line

SUFFIXES = (
    ".safetensors",
    ".json",
    ".jinja",
    ".model",
    ".txt",
    ".spm",
    ".tiktoken",
    ".vocab",
    ".codes",
)  # of weights and tokenizers
TOKEN = re.compile(r"hf_[A-Za-z0-9]{4,}|(?<=Bearer )\S+")


def push(path: str | Path, repo: str, *, public: bool = False, report: bool = False, api: Any = None) -> str:
    """Upload a run to `repo` (owner/name), made private where it is new, and return its address.

    The model lies at the top, so that `from_pretrained(repo)` is the model without the prompt; `prompt/` and `adapter/` keep their
    folders. The answers to single items stay here, for they hold your data; with `report` the page goes too, which shows some of them.
    `api` is a `huggingface_hub.HfApi`; by default that of whoever is logged in.

    Raises:
        ValueError: the folder holds no weights, `repo` is no owner/name, or the hub refuses.
    """
    # Here, because only this function talks to the hub.
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]  -- httpx in its older versions, httpx2 since

    run = run_folder.read(path)
    if not run.pieces:
        raise ValueError(
            f"{path}: no model/, prompt/ or adapter/ to push; give the folder of a finished `holdfast tune`"
        )
    if not HUB_ID.fullmatch(repo):
        raise ValueError(f"{repo}: not the name of a repository; write OWNER/NAME")
    files: dict[str, Path | bytes] = {"README.md": card(run, of_run(run.path), repo).encode()}
    layout = run_folder.RunFolder(run.path)
    always = (layout.scores_file, layout.config_file, layout.log_file)
    for path in (*always, *((layout.page,) if report else ())):
        if path.exists() and _inside(path, run.path):
            files[path.name] = path
    for piece in run.pieces:
        home = run.path / piece
        # The model at the top, where `from_pretrained(repo)` looks for it.
        top = "" if piece == "model" else f"{piece}/"
        for path in sorted(path for path in home.rglob("*") if path.is_file() and path.name != "README.md"):
            if path.suffix in SUFFIXES and not path.name.startswith(".") and _inside(path, run.path):
                files[top + path.relative_to(home).as_posix()] = path
            else:
                # Said: a run that somebody sent may hold a link to a key, and a folder of weights a note of the user's.
                print(f"holdfast: {path}: is no file of a model, or lies elsewhere; it stays here", file=sys.stderr)
    api = api or HfApi()
    # One commit, so that a repository never has new weights beside an old card.
    try:
        api.create_repo(repo, private=not public, exist_ok=True)
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        done = api.create_commit(repo, operations, commit_message=f"{run.name}, by holdfast")
    except (OSError, RuntimeError, HTTPError) as error:  # the hub's refusals, its client's, and those of the way there
        # A server may repeat the header that it was sent.
        message = TOKEN.sub("hf_...", one_line(str(error)))
        raise ValueError(
            f"{repo}: not pushed: {message}; is the name right, and are you logged in (`hf auth login`)?"
        ) from error
    return str(done.repo_url)


def _inside(path: Path, folder: Path) -> bool:
    """Return whether a file lies in a folder itself, and is no link to one elsewhere."""
    return path.resolve().is_relative_to(folder.resolve())
