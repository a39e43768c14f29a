"""Readers of tasks in several files, or in formats of other tools: schemas of dialogues, grids of languages, tables, files that stay on the
disk."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import mutations as m

SHAREGPT: list[Any] = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "Be short."},
    {"conversations": [{"from": "human", "value": "3 + 4?"}, {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 3}}'},
        {"from": "observation", "value": "7"}, {"from": "gpt", "value": "7"}],
        "tools": '[{"type": "function", "function": {"name": "add", "parameters": {}}}]'},
    {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n"
        "</tool_call>"}], "tools": '[{"type": "function", "function": {"name": "f"}}]'},
]  # fmt: skip
SCHEMA: list[Any] = [
    {"service_name": "hotel", "description": "Find a hotel.", "slots": [
        {"name": "hotel-area", "description": "where", "is_categorical": True, "possible_values": ["north", "south"]},
        {"name": "hotel-time", "description": "arrival"}], "intents": [{"required_slots": ["hotel-area"]}]},
    {"name": "taxi", "description": "Order a taxi.", "parameters": {"properties": {"leave": {"type": "string"}}}, "service": "taxi"},
]  # fmt: skip
TURNS: list[Any] = [
    {"user": "North?", "state": {"hotel": {"area": "north"}}, "system": "Which time?"},
    {"user": "Ten.", "state": '{"hotel": {"hotel-area": "north", "time": ["10:00", "ten"]}}', "system": "Booked."},
]
DIALOGUES: list[Any] = [
    {"turns": TURNS},
    {"turns": [{"speaker": "USER", "utterance": "Hi", "state": {}}, {"speaker": "SYSTEM", "utterance": "Hello"}]},
]
GRID = {
    "name": "r", "data": {"en": "en", "de": "en"}, "groups": {"unseen": ["de"]},
    "prompts": {
        "en": ["{{ input }}\nGood?"],
        "fr": [{"input": "{{ input }}\nBon ?", "answers": {"yes": "oui", "no": "non"}}],
    },
}  # fmt: skip
GOOD = b"".join(
    m.as_json({"input": f"q{i}", "target": "yes" if i % 2 else "no", "choices": ["yes", "no"]}) + b"\n"
    for i in range(4)
)


def dialogues(data: bytes, folder: Path) -> object:
    """Read dialogues whose schema is spoilt, or, where the first byte is odd, one of whose lines is."""
    from holdfast.tasks.loaders.readers import read_folder

    spoilt, good = data[1:], m.as_json({"turns": TURNS})
    (folder / "schema.json").write_bytes(m.as_json(SCHEMA) if data and data[0] % 2 else spoilt)
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_bytes(spoilt if data and data[0] % 2 else good)
    return read_folder(folder)


def grid(data: bytes, folder: Path) -> object:
    """Read a grid and all its cells; data that it names elsewhere are not looked for."""
    from holdfast.tasks.loaders import language_grid
    from holdfast.tasks.loaders.readers import read_folder

    (folder / "en").mkdir()
    (folder / "en" / "test.jsonl").write_bytes(GOOD)
    (folder / "grid.yaml").write_bytes(data)

    def load(argument: str) -> Any:
        if Path(argument) != folder / "en":
            raise ValueError("not among the data here")
        return read_folder(Path(argument))

    return [language_grid.task(name, load) for name in language_grid.arguments(f"grid:{folder}/grid.yaml")]


def streamed(suffix: str) -> Callable[[bytes, Path], object]:
    """Return a reader of a task whose test file stays on the disk, which then goes through its examples."""

    def read(data: bytes, folder: Path) -> object:
        from unittest import mock

        from holdfast.tasks.loaders import readers

        (folder / f"test.{suffix}").write_bytes(data)
        with mock.patch.object(readers, "LARGE", 0):
            examples = readers.read_folder(folder).splits["test"]
        whole = list(examples)
        assert len(whole) == len(examples)
        assert [examples[i] for i in range(len(examples))] == whole == list(examples[:])
        return whole

    return read


def dialogue_inputs(draw: Random) -> bytes:
    """Return a spoilt schema or spoilt lines, behind the byte that says which."""
    if draw.random() < 0.5:
        return b"\0" + m.json_files([SCHEMA])(draw)
    return b"\1" + m.line_files(DIALOGUES, lines=2)(draw)
