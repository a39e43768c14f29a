"""The model that an edit leaves: base and tuned weights are read slice by slice, and a new model folder is written."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch

from holdfast.edits.base import Edit, Slices
from holdfast.models import resolve
from holdfast.models.adapter import is_adapter
from holdfast.plugins import name_of
from holdfast.results.run_folder import RunFolder
from holdfast.stages import edit_slices
from holdfast.stages.edit_slices import MatchedTensors, edited
from holdfast.weights.layout import Layout, TensorLocation, locate
from holdfast.weights.safetensors_files import Reader, Shard, Stored, shards, tied_copies, write

COPIED = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".py"}
KEPT = 24 << 20  # Bytes; 32 << 20 is the most that counts.
DOWNLOADED = ["model*.safetensors", *(f"*{suffix}" for suffix in sorted(COPIED - {".py"}))]


def weights_folder(argument: str | Path, base: str | Path | None = None) -> Path:
    """Return the folder of weights for a MODEL argument: a model's folder, a run's, a LoRA's, `lab`, or a hub id (downloaded).

    A LoRA is merged into `base`, or into the base that its configuration names.

    Raises:
        ValueError: there is no such folder or hub id, a run that trained no whole model, or a prompt.
    """
    on = str(base) if base is not None and is_adapter(str(argument)) else None
    folder = Path(resolve.merged(str(argument), on))
    if not folder.exists():
        return _download(str(argument))
    if (folder / "model").is_dir() and not (folder / "config.json").exists():
        return folder / "model"
    if (folder / "config.yaml").exists() and not (folder / "config.json").exists():
        RunFolder(folder).own_weights()  # Another reason, where a study removed them.
        raise ValueError(
            f"{folder}: this run trained no whole model (no model/ inside), so there are no weights to edit"
        )
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder}: no config.json; a model is a folder as `save_pretrained` writes it")
    return folder


def _download(hub_id: str) -> Path:
    # A path that is mistyped is no hub id: the hub would answer with a message about its own names.
    if hub_id.startswith((".", "/", "~")) or hub_id.count("/") > 1:
        raise ValueError(f"{hub_id}: there is no such model folder")
    # Here, because edits of folders need no network library.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=DOWNLOADED, ignore_patterns=["*/*"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{hub_id}: is no folder, and could not be had from the hub either ({reason})") from None


def write_edited_model(base: Path, tuned: Sequence[Path], edit: Edit, out: Path) -> Path:
    """Write the edited model to `out`, in the files, names and dtypes of the first tuned model; return `out`.

    Numbers of 16 bits are edited in float32. Integers and booleans, configuration and tokenizer are those of the first
    tuned model. As many tensors at once as torch has threads, each in a thread of its own. Memory holds for each of them a
    slice of every model; or one whole tensor in all, for an edit that needs to see it whole.

    Raises:
        ValueError: the edit takes one tuned model and there are several, the models do not belong together, or `out` is in
            use; nothing is written.
    """
    if not tuned or (len(tuned) > 1 and not edit.takes_several):
        raise ValueError(f"{name_of(edit)} takes one tuned model, not {len(tuned)}; task_arithmetic adds several")
    if len(tuned) < edit.fewest:
        raise ValueError(
            f"{name_of(edit)} takes {edit.fewest} models after the base, not {len(tuned)}; see `holdfast edits`"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: exists and is not empty; give another folder for the edited model")
    for folder in (base, *tuned):
        if "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
            raise ValueError(
                f"{folder}: is quantised, and codes cannot be edited; use the weights from before quantisation"
            )
    files = shards(tuned[0])
    with Reader() as reader:
        tensors = match_tensors(base, tuned, reader)
        if edit.needs_blocks and not any(t.location.blocks for t in tensors.values()):
            raise ValueError(
                f"{tuned[0]}: no tensor name shows a numbered block (`.layers.0.`), and {name_of(edit)} goes by blocks"
            )
        # Linux's allocator keeps of what is freed twice its largest block so far, and gives the rest back, to be had page by page for the
        # next slice: a third of the time. This block is never touched, so it costs nothing.
        torch.empty(KEPT, dtype=torch.uint8)
        ready = edit.prepare(_each_once(tensors, edit, reader))
        # Beside `out` and renamed at the end: an edit that fails leaves nothing that could be taken for a model.
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            for shard in files:
                _write_shard(shard, part, tensors, ready)
            _copy_others(tuned[0], part)
            sources = str(tuned[0]) if len(tuned) == 1 else [str(folder) for folder in tuned]
            record = {"edit": name_of(edit), **asdict(edit), "base": str(base), "tuned": sources, **ready.facts}  # pyright: ignore[reportArgumentType]
            (part / "edit.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            os.replace(part, out)
        except BaseException:  # Ctrl-C too.
            shutil.rmtree(part, ignore_errors=True)
            raise
    return out


def match_tensors(base: Path, tuned: Sequence[Path], reader: Reader) -> dict[str, MatchedTensors]:
    """Find the base's tensor, and that of every other tuned model, for each tensor of the first tuned model, by name.

    Tied weights may be stored once in one model and twice in another; both copies have one location, hence one edit.

    Raises:
        ValueError: a name that another model lacks, a shape that differs, or numbers that cannot be edited.
    """
    first = _tensors(tuned[0])
    before, locations = _match(first, tuned[0], base, reader)
    others = [_match(first, tuned[0], folder, reader)[0] for folder in tuned[1:]]
    layout = Layout({name: stored.shape for name, stored in first.items()})
    tensors = {
        name: MatchedTensors(
            before[name], (stored, *(other[name] for other in others)), layout.locate(locations.get(name, name))
        )
        for name, stored in first.items()
    }
    _check(tensors)
    return tensors


def _each_once(
    tensors: Mapping[str, MatchedTensors], edit: Edit, reader: Reader
) -> list[tuple[Slices, TensorLocation]]:
    """Return the tensors that an edit changes, second copies of tied weights left out."""
    names: set[str] = set()
    model = []
    for t in tensors.values():
        if t.tuned[0].dtype is not None and t.tuned[0].size and t.location.name not in names:
            names.add(t.location.name)
            model.append((edit_slices.slices_of(t, edit, reader), t.location))
    return model


def _tensors(folder: Path) -> dict[str, Stored]:
    """Return all tensors of a model folder by name."""
    tensors: dict[str, Stored] = {}
    for shard in shards(folder):
        tensors |= shard.tensors
    return tensors


def _match(
    first: Mapping[str, Stored], tuned: Path, folder: Path, reader: Reader
) -> tuple[dict[str, Stored], dict[str, str]]:
    """Return the tensor of the model in `folder` for each of `first`, and the names of second copies with their firsts."""
    other = _tensors(folder)
    tied = _tied(first, other, reader)
    extra = other.keys() - first.keys()
    known = first.keys() | (_tied(other, first, reader).keys() if extra else set())
    missing = [name for name in first if name not in other and tied.get(name) not in other]
    if odd := sorted(missing) or sorted(other.keys() - known):
        has, lacks = (tuned, folder) if missing else (folder, tuned)
        raise ValueError(
            f"{_listed(odd)}: in {has} and not in {lacks}. Are they the same model, before and after tuning? If so, "
            "load and save both with one version of transformers (`save_pretrained`), so that the names agree"
        )
    return {name: other.get(name) or other[tied[name]] for name in first}, tied


def _tied(tensors: Mapping[str, Stored], other: Mapping[str, Stored], reader: Reader) -> dict[str, str]:
    """Map second copies of tied weights to their first, which is one that the other model has, if any is."""
    # Only outside the blocks: embeddings and head are what models tie.
    outside = sorted((n for n in tensors if locate(n) is None), key=lambda n: (n not in other, n))
    return tied_copies([(name, tensors[name]) for name in outside], reader, edit_slices.SLICE)


def _check(tensors: Mapping[str, MatchedTensors]) -> None:
    resized = [
        f"{name} {list(t.base.shape)} and {list(side.shape)}"
        for name, t in tensors.items()
        if (side := next((side for side in t.tuned if side.shape != t.base.shape), None)) is not None
    ]
    if resized:
        raise ValueError(
            f"{_listed(resized)}: shapes differ between base and tuned. If the vocabulary was resized for tuning, resize "
            "the base alike (`resize_token_embeddings`) and save it; otherwise they are not the same model"
        )
    # An edit of quantised codes would compute numbers that mean nothing.
    codes = [name for name, t in tensors.items() if not all(side.editable for side in t.sides)]
    unlike = [name for name, t in tensors.items() if len({side.dtype is None for side in t.sides}) > 1]
    if codes or unlike:
        dtypes = sorted({side.dtype_name for side in tensors[(codes or unlike)[0]].sides})
        raise ValueError(
            f"{_listed(codes or unlike)}: is quantised or complex in base or tuned ({' and '.join(dtypes)}); use the weights "
            "from before quantisation, in F64, F32, F16 or BF16"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _write_shard(shard: Shard, folder: Path, tensors: Mapping[str, MatchedTensors], edit: Edit) -> None:
    """Write a weight file: names, shapes and dtypes are the tuned model's, so its header and all offsets hold as they are."""
    path, threads = folder / shard.path.name, torch.get_num_threads()
    path.write_bytes(shard.header)

    def write_tensor(name: str) -> None:
        # Files of its own, because threads that share one would move each other's position.
        with Reader() as reader, path.open("r+b") as file:
            file.seek(tensors[name].tuned[0].start)
            for piece in edited(tensors[name], edit, reader):
                write(file, piece)

    with ThreadPoolExecutor(threads if edit.sliceable else 1) as pool:
        torch.set_num_threads(1 if edit.sliceable else threads)  # Of each thread that begins from now on, too.
        try:
            for _ in pool.map(write_tensor, shard.tensors):  # Where one fails, those not begun are left out.
                pass
        finally:
            torch.set_num_threads(threads)


def _copy_others(tuned: Path, folder: Path) -> None:
    for path in sorted(tuned.iterdir()):
        # Not whatever lies there: checkpoints and other weights would double the folder.
        if path.is_file() and path.suffix in COPIED:
            shutil.copyfile(path, folder / path.name)
