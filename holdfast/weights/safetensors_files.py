"""Read and write safetensors files a slice at a time, with plain file calls.

A memory map would count every page that was touched, and `save_file` needs all tensors of a file at once; here memory
holds a slice. The format: eight bytes with the header's length, the header as JSON, then the tensors end to end.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
# Types of numbers by their names in a file, in full: F64 begins as F6_E2M3 does.
FLOATING = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
COUNTING = {"BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file: its bytes' position and type. `dtype` is None for what is no floating-point number."""

    path: Path
    shape: tuple[int, ...]
    dtype_name: str
    start: int
    size: int

    @property
    def dtype(self) -> torch.dtype | None:
        return FLOATING.get(self.dtype_name)

    @property
    def editable(self) -> bool:
        """Return whether an edit can treat this tensor: floating numbers by arithmetic; integers and booleans stay."""
        # Codes of 8 bits or less mean nothing without their scales, and there is no arithmetic here for complex numbers.
        return self.dtype_name in FLOATING or self.dtype_name in COUNTING


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file: its first bytes as they are, and its tensors in the order of their bytes."""

    path: Path
    header: bytes
    tensors: dict[str, Stored]


def shard(path: Path) -> Shard:
    """Read the header of a safetensors file.

    Raises:
        ValueError: the file is missing, cut short, or no safetensors file.
    """
    try:
        with safe_open(path, "pt"):  # Checks the header, and that the tensors fill the file without a gap.
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a safetensors file ({error}); copy or download it again") from None
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        text = file.read(length)  # `safe_open` has refused a length beyond the end of the file.
    begin = 8 + length
    entries = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
    tensors = {}
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        tensors[name] = Stored(path, tuple(entry["shape"]), entry["dtype"], begin + start, end - start)
    return Shard(path, struct.pack("<Q", length) + text, tensors)


def shards(folder: Path) -> list[Shard]:
    """Return the weight files of a model folder, as its index lists them.

    Raises:
        ValueError: there are no safetensors weights, the index is damaged or names a file outside the folder, or a file of
            it is missing or broken.
    """
    if (folder / INDEX).exists():
        return [shard(folder / name) for name in _indexed_files(folder / INDEX)]
    if (folder / SINGLE).exists():
        return [shard(folder / SINGLE)]
    # Looked for only to say why there is nothing to edit: they are never opened.
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth"})
    if pickled:
        raise ValueError(
            f"{folder}: its weights ({pickled[0]}) are pickled, and unpickling runs code; convert them once with "
            "`model.save_pretrained(folder)` in an environment that you trust"
        )
    raise ValueError(f"{folder}: no {SINGLE} and no {INDEX}; a model is a folder as `save_pretrained` writes it")


def _indexed_files(index: Path) -> list[str]:
    """Return the sorted names of the weight files in an index."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(
            f"{index}: is no index of weights (JSON with a weight_map from tensors to files); copy or download it again"
        ) from None
    # A name with a folder in it could lead out of the model's folder, to any file of this machine.
    outside = [
        name for name in names if not isinstance(name, str) or name in {"", ".", ".."} or "/" in name or "\\" in name
    ]
    if outside or not names:
        listed = repr(outside[0])[:80] if outside else "no file"
        raise ValueError(f"{index}: names {listed}; weights lie beside their index. Copy or download the model again")
    return sorted(names)


class Reader(ExitStack):
    """Open files, read by slices. Close it (or use it in a `with`) when done."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[Path, FileIO] = {}

    def fill(self, stored: Stored, start: int, data: Tensor) -> None:
        """Fill uint8 `[size]` with the bytes of a tensor from byte `start`."""
        if stored.path not in self._files:
            self._files[stored.path] = self.enter_context(stored.path.open("rb", buffering=0))
        file = self._files[stored.path]
        file.seek(stored.start + start)
        view, filled = data.numpy().data, 0
        while filled < len(view):
            # A single read returns at most 2 GiB on Linux, and less where it is interrupted.
            count = file.readinto(view[filled:])
            if not count:
                raise ValueError(f"{stored.path}: ended while it was read; is something else writing to it?")
            filled += count

    def read(self, stored: Stored, start: int, size: int) -> Tensor:
        """Return `size` bytes of a tensor from byte `start`: uint8 `[size]`."""
        data = torch.empty(size, dtype=torch.uint8)
        self.fill(stored, start, data)
        return data

    def whole(self, stored: Stored) -> Tensor:
        """Return a floating-point tensor in its stored dtype and shape."""
        assert stored.dtype is not None
        return self.read(stored, 0, stored.size).view(stored.dtype).view(stored.shape)

    def chunks(self, stored: Stored, size: int) -> Iterator[Tensor]:
        """Yield the bytes of a tensor, `size` at a time."""
        for start in range(0, stored.size, size):
            yield self.read(stored, start, min(size, stored.size - start))


def write(file: BinaryIO, tensor: Tensor) -> None:
    """Append a tensor's bytes."""
    if tensor.numel():
        file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)


def tied_copies(tensors: Sequence[tuple[str, Stored]], reader: Reader, chunk: int) -> dict[str, str]:
    """Map later copies of equal matrices to the first, comparing bytes: tied weights that are stored twice."""
    firsts: list[tuple[str, Stored]] = []
    copies = {}
    for name, stored in tensors:
        equal = (n for n, other in firsts if _equal(stored, other, reader, chunk))
        # Matrices alone: two norms that are all ones are equal and not tied.
        first = next(equal, None) if len(stored.shape) > 1 else None
        if first is None:
            firsts.append((name, stored))
        else:
            copies[name] = first
    return copies


def _equal(left: Stored, right: Stored, reader: Reader, chunk: int) -> bool:
    if (left.shape, left.dtype_name) != (right.shape, right.dtype_name):
        return False
    pieces = zip(reader.chunks(left, chunk), reader.chunks(right, chunk), strict=True)
    # Stops at the first chunk that differs, so two untied matrices cost one chunk each.
    return all(torch.equal(a, b) for a, b in pieces)
