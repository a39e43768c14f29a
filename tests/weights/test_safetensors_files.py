"""Every kind of number that a safetensors file may hold is found where it is, and taken for what it is."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from holdfast.api.edit import edit_model
from holdfast.weights.safetensors_files import COUNTING, FLOATING, INDEX, Reader, shard, shards, write

# Bits of one number of every kind in the format's list (safetensors 0.8, `Dtype`).
BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16,
    "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu, "C64": torch.complex64, "BOOL": torch.bool,
    "I8": torch.int8, "U8": torch.uint8, "I16": torch.int16, "U16": torch.uint16, "I32": torch.int32, "U32": torch.uint32,
    "I64": torch.int64, "U64": torch.uint64,
}  # fmt: skip
EDITED = ["BF16", "F16", "F32", "F64"]


def by_hand(path: Path, kind: str) -> bytes:
    """A file with two tensors of [2, 4] numbers, written without any library; the bytes of the second."""
    size = 8 * BITS[kind] // 8
    header = {
        n: {"dtype": kind, "shape": [2, 4], "data_offsets": [i * size, (i + 1) * size]} for i, n in enumerate("ab")
    }
    text = json.dumps(header).encode()
    data = bytes(range(2 * size))
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return data[size:]


@pytest.mark.parametrize("kind", BITS)
def test_bytes_are_found_and_meant_as_their_kind_says(tmp_path: Path, kind: str) -> None:
    second = by_hand(tmp_path / "model.safetensors", kind)
    stored = shard(tmp_path / "model.safetensors").tensors["b"]
    with Reader() as reader:
        assert reader.read(stored, 0, stored.size).numpy().tobytes() == second
        assert b"".join(chunk.numpy().tobytes() for chunk in reader.chunks(stored, 3)) == second
        assert stored.dtype == (TORCH[kind] if kind in EDITED else None)
        assert stored.editable == (kind in EDITED or kind in COUNTING)
        if stored.dtype is not None:
            half = torch.empty(stored.size // 2, dtype=torch.uint8)
            reader.fill(stored, stored.size // 2, half)
            assert half.numpy().tobytes() == second[stored.size // 2 :]
            assert reader.whole(stored).shape == (2, 4)


@pytest.mark.parametrize("kind", TORCH)
def test_names_of_kinds_are_those_that_safetensors_writes(tmp_path: Path, kind: str) -> None:
    """And the numbers go there and back bit by bit: a table that mixed two kinds of one size up would be seen here."""
    tensor = torch.arange(1, 9).reshape(2, 4).to(TORCH[kind])
    save_file({"x": tensor}, tmp_path / "model.safetensors")
    stored = shard(tmp_path / "model.safetensors").tensors["x"]
    assert stored.dtype_name == kind
    if kind in FLOATING:
        with Reader() as reader, (tmp_path / "copy").open("wb") as file:
            assert torch.equal(reader.whole(stored), tensor)
            write(file, reader.whole(stored))
        assert (tmp_path / "copy").read_bytes() == tensor.view(torch.uint8).numpy().tobytes()


def models(root: Path, kind: str) -> tuple[str, str]:
    """Base and tuned: numbers of that kind beside a float32 matrix, 1 to 8 and twice that."""
    for name, factor in (("base", 1), ("tuned", 2)):
        (root / name).mkdir()
        (root / name / "config.json").write_text("{}")
        numbers = (factor * torch.arange(1, 9).reshape(2, 4)).to(TORCH[kind])
        tensors = {"x": numbers, "y": factor * torch.ones(2, 2)}
        save_file(tensors, root / name / "model.safetensors")
    return str(root / "base"), str(root / "tuned")


@pytest.mark.parametrize("kind", TORCH)
def test_an_edit_computes_with_floats_leaves_integers_and_refuses_the_rest(tmp_path: Path, kind: str) -> None:
    """The middle of 1..8 and 2..16 is 1.5..12; all of it exact in every kind that is edited."""
    base, tuned = models(tmp_path, kind)
    if kind not in EDITED and kind not in COUNTING:
        with pytest.raises(
            ValueError, match=rf"^x: is quantised or complex in base or tuned \({kind}\); use the weights from before"
        ):
            edit_model(base, tuned, "wise_ft", tmp_path / "out", alpha=0.5)
        assert not (tmp_path / "out").exists()
        return
    edit_model(base, tuned, "wise_ft", tmp_path / "out", alpha=0.5)
    stored = shard(tmp_path / "out" / "model.safetensors").tensors["x"]
    factor = 1.5 if kind in EDITED else 2
    expected = (factor * torch.arange(1, 9).reshape(2, 4)).to(TORCH[kind])
    with Reader() as reader:
        assert reader.read(stored, 0, stored.size).numpy().tobytes() == expected.view(torch.uint8).numpy().tobytes()


def test_an_index_leads_to_no_file_outside_its_folder(tmp_path: Path) -> None:
    """Such a file would be read, and its numbers written into the edited model."""
    (tmp_path / "model").mkdir()
    save_file({"x": torch.ones(2)}, tmp_path / "secret.safetensors")
    for name in ("../secret.safetensors", str(tmp_path / "secret.safetensors"), "..", "a\\b.safetensors"):
        (tmp_path / "model" / INDEX).write_text(json.dumps({"weight_map": {"x": name}}))
        with pytest.raises(ValueError, match=rf"{INDEX}: names .*weights lie beside their index"):
            shards(tmp_path / "model")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        '{"weight_map": 1}',
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"x": 1}}',
        '{"weight_map": {"x": ["a"]}}',
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_index_is_one_line_with_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ValueError, match=rf"{INDEX}: (is no index of weights|names )") as caught:
        shards(tmp_path)
    assert "\n" not in str(caught.value)
