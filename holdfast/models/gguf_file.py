"""Read GGUF, the one-file format of llama.cpp: metadata by name, and tensors that are dequantised when they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAGIC = b"GGUF"


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file: `metadata` has its numbers, strings and lists by their full names, `tensors` those of the `gguf` package."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """Return the architecture by llama.cpp's name."""
        return str(self.metadata.get("general.architecture", ""))

    def fact(self, name: str) -> Any:
        """Return what the file says of its architecture under a name such as `attention.head_count`; None where it says nothing."""
        return self.metadata.get(f"{self.architecture}.{name}")

    def bits(self, name: str) -> float:
        """Return the bits that the file spends on a weight of a tensor, scales included."""
        import gguf

        size, count = gguf.GGML_QUANT_SIZES[self.tensors[name].tensor_type][::-1]
        return 8 * size / count

    def tensor(self, name: str, rows: slice = slice(None)) -> Tensor:
        """Return a tensor, or so many of its rows, in the narrowest type that holds it exactly: as it is, or float32 where it is quantised.

        Raises:
            ValueError: the type of quantisation is one that the gguf package cannot undo.
        """
        import gguf

        entry = self.tensors[name]
        if entry.data.ndim == 0:
            raise ValueError(f"{self.path}: {name} has no dimension, so the file is damaged; download it again")
        types, stored = gguf.GGMLQuantizationType, entry.data[rows]
        if entry.tensor_type in (types.F32, types.F16, types.F64):
            return torch.from_numpy(np.array(stored))  # a copy: the file's own pages are read-only
        try:
            value = torch.from_numpy(gguf.dequantize(stored, entry.tensor_type))
        except (NotImplementedError, KeyError) as error:
            raise ValueError(
                f"{self.path}: {name} is quantised as {entry.tensor_type.name}, which cannot be turned back into numbers here; "
                "take a file of another type, such as Q8_0, Q6_K or Q4_K_M"
            ) from error
        return value.to(torch.bfloat16) if entry.tensor_type == types.BF16 else value

    def check_types(self) -> None:
        """Refuse a type of quantisation that cannot be undone, before any work: one row of each type is tried.

        Raises:
            ValueError: there is such a tensor.
        """
        for name in {entry.tensor_type: name for name, entry in self.tensors.items()}.values():
            self.tensor(name, slice(0, 1))


def read_gguf(path: Path) -> GgufFile:
    """Open a GGUF file: its metadata is read, its tensors are not.

    Raises:
        ValueError: the file is missing, no GGUF file, cut short, or one part of several; or the gguf package is missing.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    with path.open("rb") as file:
        magic, version = file.read(4), file.read(4)
    if magic != MAGIC:
        raise ValueError(f"{path}: is no GGUF file (it does not begin with the letters GGUF); download it again")
    try:
        import gguf
    except ImportError as error:
        raise ValueError(
            f"{path}: to read a GGUF file, install the gguf package: pip install 'holdfast[gguf]'"
        ) from error
    # In the byte order of the machine that wrote it.
    numbers = {int.from_bytes(version, "little"), int.from_bytes(version, "big")}
    if len(version) == 4 and numbers.isdisjoint(gguf.READER_SUPPORTED_VERSIONS):
        raise ValueError(f"{path}: is of a version of GGUF that the gguf package does not know; convert it again")
    try:

        class BoundedReader(gguf.GGUFReader):
            """Refuse a list that says it has more entries than the file has bytes: each would be looked for, for hours."""

            def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
                if (
                    raw_type == gguf.GGUFValueType.ARRAY
                    and int(self._get(orig_offs + 4, np.uint64)[0]) > self.data.size
                ):
                    raise ValueError("a list longer than the file")
                return super()._get_field_parts(orig_offs, raw_type)

        reader = BoundedReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: is damaged, or cut short at {path.stat().st_size:,} bytes; download it again"
        ) from error
    if metadata.get("split.count", 1) > 1:
        raise ValueError(
            f"{path}: is part {metadata.get('split.no', 0) + 1} of {metadata['split.count']}; join them first with "
            "`llama-gguf-split --merge`"
        )
    return GgufFile(path, metadata, {entry.name: entry for entry in reader.tensors})
