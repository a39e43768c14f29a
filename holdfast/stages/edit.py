"""Edit a tuned model: its weights and the base's go by, slice by slice, and a new model folder comes out."""

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from holdfast.edits.base import Edit
from holdfast.models import resolve
from holdfast.plugins import from_file, members, snake, source, summary, unknown
from holdfast.stages import edit_slices
from holdfast.stages.edit_slices import Pair, edited
from holdfast.weights.layout import Layout, locate
from holdfast.weights.safetensors_files import Reader, Shard, Stored, shards, twins, write

COPIED = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".py"}
DOWNLOADED = ["model*.safetensors", *(f"*{suffix}" for suffix in sorted(COPIED - {".py"}))]


def edit_model(base: str | Path, tuned: str | Path, name: str, out: str | Path, **fields: Any) -> Path:
    """Edit the model `tuned`, which was tuned from `base`; returns `out`, a model folder like that of `tuned`.

    `base` and `tuned` are folders, hub ids or `lab`, and `tuned` may be a run's folder. `name` is an edit (see
    `listing`) or `path/to/file.py:MyEdit`, and `fields` are its fields.

    Raises:
        ValueError: an unknown edit or field, models that do not belong together, or `out` in use; nothing is written.
    """
    how = make(name, fields)
    return edit(model_folder(base), model_folder(tuned), how, Path(out))


def listing() -> list[dict[str, str]]:
    """What edits there are: name, summary and source of each."""
    found = members("holdfast.edits", _is_edit)
    return [{"name": n, "summary": summary(m), "source": source(m)} for n, m in sorted(found.items())]


def make(name: str, given: Mapping[str, Any]) -> Edit:
    """The edit called `name`, with its fields set.

    Raises:
        ValueError: there is no such edit or field, or a value does not fit.
    """
    found = members("holdfast.edits", _is_edit)
    if name not in found and ".py:" not in name:
        raise unknown("edit", name, list(found))
    kind = found.get(name) or from_file(name, _is_edit, "edit")
    known = [field.name for field in fields(kind)]
    for key in given:
        if key not in known:
            raise unknown(f"field of edit {name!r}:", key, known)
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{name}.{'.'.join(map(str, first['loc']))}={first['input']!r}" if first["loc"] else name
        raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _is_edit(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, Edit) and is_dataclass(member)


def model_folder(argument: str | Path) -> Path:
    """The folder of weights behind a MODEL argument: a model's folder, a run's, `lab`, or a hub id (downloaded).

    Raises:
        ValueError: there is no such folder or hub id, or a run that trained no whole model.
    """
    folder = Path(resolve.resolve(str(argument)))
    if not folder.exists():
        return _download(str(argument))
    if (folder / "model").is_dir() and not (folder / "config.json").exists():
        return folder / "model"
    if (folder / "config.yaml").exists() and not (folder / "config.json").exists():
        raise ValueError(
            f"{folder}: this run trained no whole model (no model/ inside), so there are no weights to edit"
        )
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder}: no config.json; a model is a folder as `save_pretrained` writes it")
    return folder


def _download(hub_id: str) -> Path:
    if hub_id.startswith((".", "/", "~")) or hub_id.count("/") > 1:
        raise ValueError(f"{hub_id}: there is no such model folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=DOWNLOADED, ignore_patterns=["*/*"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{hub_id}: is no folder, and could not be had from the hub either ({reason})") from None


def edit(base: Path, tuned: Path, how: Edit, out: Path) -> Path:
    """Write the edited model to `out`, in the files, names and dtypes of `tuned`; returns `out`.

    Numbers of 16 bits are edited in float32. Integers and booleans, configuration and tokenizer are those of `tuned`.
    As many tensors at once as torch has threads, each in a thread of its own. Memory holds for each of them a slice of
    both models; or one whole tensor in all, for an edit that needs to see it whole.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: exists and is not empty; give another folder for the edited model")
    for folder in (base, tuned):
        if "quantization_config" in json.loads((folder / "config.json").read_text()):
            raise ValueError(
                f"{folder}: is quantised, and codes cannot be edited; use the weights from before quantisation"
            )
    written = shards(tuned)
    with Reader() as reader:
        pairs = pair(base, tuned, reader)
        if how.needs_blocks and not any(p.place.blocks for p in pairs.values()):
            raise ValueError(
                f"{tuned}: no tensor name shows a numbered block (`.layers.0.`), and {_name(how)} goes by blocks"
            )
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            for shard in written:
                _write_shard(shard, part, pairs, how)
            _copy_others(tuned, part)
            record = {"edit": _name(how), **asdict(how), "base": str(base), "tuned": str(tuned)}  # pyright: ignore[reportArgumentType]
            (part / "edit.json").write_text(json.dumps(record, indent=1) + "\n")
            os.replace(part, out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return out


def pair(base: Path, tuned: Path, reader: Reader) -> dict[str, Pair]:
    """The base's tensor for each of the tuned model's, by name.

    Tied weights may be stored once in one model and twice in the other; both copies have one place, hence one edit.

    Raises:
        ValueError: a name that the other model lacks, a shape that differs, or numbers of a kind that cannot be edited.
    """
    before, after = ({n: t for shard in shards(folder) for n, t in shard.tensors.items()} for folder in (base, tuned))
    tied = _twins(after, before, reader)
    extra = before.keys() - after.keys()
    known = after.keys() | (_twins(before, after, reader).keys() if extra else set())
    missing = [name for name in after if name not in before and tied.get(name) not in before]
    if odd := sorted(missing) or sorted(before.keys() - known):
        where, lacks = (tuned, base) if missing else (base, tuned)
        raise ValueError(
            f"{_some(odd)}: in {where} and not in {lacks}. Are they the same model, before and after tuning? If so, "
            "load and save both with one version of transformers (`save_pretrained`), so that the names agree"
        )
    layout = Layout({name: stored.shape for name, stored in after.items()})
    pairs = {
        name: Pair(before.get(name) or before[tied[name]], stored, layout.place(tied.get(name, name)))
        for name, stored in after.items()
    }
    _check(pairs)
    return pairs


def _twins(tensors: Mapping[str, Stored], other: Mapping[str, Stored], reader: Reader) -> dict[str, str]:
    """Second copies of tied weights, each with its first; the first is one that the other model has, where any is."""
    outside = sorted((n for n in tensors if locate(n) is None), key=lambda n: (n not in other, n))
    return twins([(name, tensors[name]) for name in outside], reader, edit_slices.SLICE)


def _check(pairs: Mapping[str, Pair]) -> None:
    resized = [
        f"{n} {list(p.base.shape)} and {list(p.tuned.shape)}" for n, p in pairs.items() if p.base.shape != p.tuned.shape
    ]
    if resized:
        raise ValueError(
            f"{_some(resized)}: shapes differ between base and tuned. If the vocabulary was resized for tuning, resize "
            "the base alike (`resize_token_embeddings`) and save it; otherwise they are not the same model"
        )
    small = [n for n, p in pairs.items() if not (p.base.editable and p.tuned.editable)]
    unlike = [n for n, p in pairs.items() if (p.base.dtype is None) != (p.tuned.dtype is None)]
    if small or unlike:
        raise ValueError(
            f"{_some(small or unlike)}: is quantised or complex in base or tuned ({_kinds(pairs[(small or unlike)[0]])}); use the weights "
            "from before quantisation, in F64, F32, F16 or BF16"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _kinds(pair: Pair) -> str:
    return " and ".join(sorted({pair.base.kind, pair.tuned.kind}))


def _write_shard(shard: Shard, folder: Path, pairs: Mapping[str, Pair], how: Edit) -> None:
    """Same names, shapes and dtypes, so the same header: it is taken over as it is, and each tensor has its place."""
    path, threads = folder / shard.path.name, torch.get_num_threads()
    path.write_bytes(shard.header)

    def tensor(name: str) -> None:
        with Reader() as reader, path.open("r+b") as file:
            file.seek(pairs[name].tuned.start)
            for piece in edited(pairs[name], how, reader):
                write(file, piece)

    with ThreadPoolExecutor(threads if how.sliceable else 1) as pool:
        torch.set_num_threads(1 if how.sliceable else threads)  # Of each thread that begins from now on, too.
        try:
            for _ in pool.map(tensor, shard.tensors):  # Where one fails, those not begun are left out.
                pass
        finally:
            torch.set_num_threads(threads)


def _copy_others(tuned: Path, folder: Path) -> None:
    for path in sorted(tuned.iterdir()):
        if path.is_file() and path.suffix in COPIED:
            shutil.copyfile(path, folder / path.name)


def _name(how: Edit) -> str:
    return snake(type(how).__name__)
