"""Write the small tasks of the studies of rows 2, 35 and 38: `python docs/studies/papers/tool_world.py MODEL OUT`.

MODEL is a folder; the studies took a Llama of 260 thousand parameters that was trained on TinyStories.

Calls of six tools, dialogues with two domains, and, for what a model could do before, its own stories, drawn from MODEL: which of two
endings belongs to the beginning? Everything follows from one seed. Texts are short, because MODEL may have 512 positions.
"""

import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.models import loading

TOWNS = (
    "Rome", "Bath", "Bern", "Lima", "Oslo", "Cork", "Nice", "York", "Bonn", "Ulm", "Kiel", "Turin", "Paris", "Delhi", "Cairo", "Perth",
)  # fmt: skip
DAYS = ("Monday", "Friday", "Sunday")
SIZES = ("one", "two", "three")
# Names share beginnings on purpose: what tells two tools apart is a token in the middle of a name.
TOOLS: Mapping[str, tuple[str, ...]] = {
    "find_train": ("start", "end"),
    "find_bus": ("start", "end"),
    "find_room": ("town", "day"),
    "book_room": ("town", "day", "beds"),
    "book_table": ("town", "people"),
    "weather": ("town",),
}
WISHES: Mapping[str, tuple[str, ...]] = {
    "find_train": ("Is there a train from {start} to {end}?", "By train from {start}, to {end}."),
    "find_bus": ("Is there a bus from {start} to {end}?", "By bus from {start}, to {end}."),
    "find_room": ("Is there a room in {town} on {day}?", "I look for a room in {town}, {day}."),
    "book_room": ("I take a room in {town} on {day} with {beds} beds.", "Book a room in {town}, {day}, {beds} beds."),
    "book_table": ("Book a table in {town} for {people}.", "I want a table for {people} in {town}."),
    "weather": ("How is the weather in {town}?", "Is it cold in {town}?"),
}
VALUES = {"start": TOWNS, "end": TOWNS, "town": TOWNS, "day": DAYS, "beds": SIZES, "people": SIZES}
PLAIN = "{% for turn in messages if turn.role != 'system' %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}assistant:"
AREAS, STARS = ("north", "south", "old town"), ("two", "three", "four")
SCHEMA = [
    {
        "service_name": name,
        "description": description,
        "slots": [
            {"name": slot, "description": slot, "possible_values": list(values), "is_categorical": True}
            for slot, values in slots.items()
        ],
    }
    for name, description, slots in (
        ("hotel", "Find a hotel", {"area": AREAS, "stars": STARS}),
        ("train", "Find a train", {"to": TOWNS, "day": DAYS}),
    )
]


def schema(name: str) -> dict[str, Any]:
    """Return a tool as conversations describe it."""
    properties = {parameter: {"type": "string"} for parameter in TOOLS[name]}
    described = {"name": name, "description": name, "parameters": {"type": "object", "properties": properties}}
    return {"type": "function", "function": described}


def called(name: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the assistant's message that calls a tool."""
    return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


def mistaken(name: str, arguments: Mapping[str, str], rng: random.Random) -> list[dict[str, Any]]:
    """Return a call that fails, and the tool's answer: an argument is missing, or a tool or an argument does not exist."""
    fault = rng.choice(("missing", "unexpected", "unknown"))
    if fault == "unknown":
        wrong = name.replace("_", "_a_") if "_" in name else f"get_{name}"
        return [called(wrong, arguments), {"role": "tool", "content": f"error: no such tool {wrong}"}]
    first, *rest = arguments
    if fault == "missing":
        text = f"error: missing 1 required argument {first}"
        return [called(name, {key: arguments[key] for key in rest}), {"role": "tool", "content": text}]
    renamed = {"place" if key == first else key: value for key, value in arguments.items()}
    return [called(name, renamed), {"role": "tool", "content": "error: unexpected keyword argument place"}]


def conversations(rng: random.Random, failing: float) -> Iterable[dict[str, Any]]:
    """Yield conversations, each wish once: a part of them with a call that fails before the one that is right."""
    wishes = [
        (name, dict(zip(parameters, values, strict=True)))
        for name, parameters in TOOLS.items()
        for values in product(*(VALUES[parameter] for parameter in parameters))
        if len(set(values)) == len(values)
    ]
    rng.shuffle(wishes)
    for name, arguments in wishes:
        text = rng.choice(WISHES[name])
        before = mistaken(name, arguments, rng) if rng.random() < failing else []
        messages = [{"role": "user", "content": text.format(**arguments)}, *before, called(name, arguments)]
        yield {"messages": messages, "tools": [schema(tool) for tool in TOOLS]}


def dialogues(rng: random.Random) -> Iterable[dict[str, Any]]:
    """Yield dialogues about a hotel, a train, or one after the other; each line of values once."""
    kinds = (("hotel",), ("train",), ("hotel", "train"), ("train", "hotel"))
    everything = [(kind, *values) for kind in kinds for values in product(AREAS, STARS, TOWNS, DAYS)]
    rng.shuffle(everything)
    seen: set[str] = set()
    for kind, area, stars, town, day in everything:
        turns: list[dict[str, Any]] = []
        state: dict[str, dict[str, str]] = {}
        for domain in kind:
            texts = (
                (
                    (f"I need a hotel in the {area}.", {"area": area}, "How many stars?"),
                    (f"{stars.title()} stars, please.", {"area": area, "stars": stars}, "I have one."),
                )
                if domain == "hotel"
                else (
                    (f"When is a train to {town}?", {"to": town}, "On which day?"),
                    (f"On {day}.", {"to": town, "day": day}, "There are many."),
                )
            )
            # Of two domains each is told in one turn, so that a dialogue fits into 512 tokens.
            for user, slots, system in texts[:1] if len(kind) == 2 else texts:
                state = {**state, domain: slots}
                turns.append({"user": user, "state": state, "system": system})
        turns.append({"user": "Thank you.", "state": state, "system": "You are welcome."})
        line = {"turns": turns}
        if (text := json.dumps(line)) not in seen:
            seen.add(text)
            yield line


def stories(model: Model, count: int) -> list[dict[str, Any]]:
    """Return questions about stories that the model wrote itself: its own ending, or that of another story."""
    drawn = Sampling(max_new_tokens=48, temperature=1.0, seed=0, samples=count)
    begun = model.generate(["Once upon a time"], drawn)
    begun = [f"Once upon a time{text}" for text in begun]
    ends = [text.strip() for text in model.generate(begun, Sampling(max_new_tokens=24, temperature=0.7, seed=1))]
    return [
        {"input": begin, "target": end, "choices": [end, ends[(number + 1) % count]]}
        for number, (begin, end) in enumerate(zip(begun, ends, strict=True))
        if end
    ]


def write(folder: Path, settings: Mapping[str, Any], splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write a task's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.yaml").write_text(json.dumps({"name": folder.name, **settings}) + "\n")
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main(name: str, out: Path) -> None:
    """Write all tasks."""
    lines = list(conversations(random.Random(1), failing=0.5))
    whole = [line for line in lines if len(line["messages"]) == 2]
    mended = [line for line in lines if len(line["messages"]) > 2]
    names = "{% for tool in tools %}{{ tool.function.name }} {% endfor %}\n"
    settings = {"metric": "tool_call", "input": names + PLAIN}
    # Asked for the first call, where no mistake went before; `mended` asks behind one.
    parts = {"validation": whole[:20], "test": whole[20:140], "train": [*whole[140:340], *mended[120:320]]}
    random.Random(2).shuffle(parts["train"])
    write(out / "tools", settings, parts)
    write(out / "mended", settings, {"train": parts["train"], "test": mended[:120]})
    write(out / "calls", settings, {**parts, "train": whole[140:340]})
    talks = list(dialogues(random.Random(3)))
    talked = {"validation": talks[:8], "test": talks[8:58], "train": talks[58:]}
    for loss in ("call", "all"):
        write(out / f"dialogues-{loss}", {"input": PLAIN, "loss": loss, "call_steps": 1}, talked)
        (out / f"dialogues-{loss}" / "schema.json").write_text(json.dumps(SCHEMA))
    told = stories(Model(loading.load(Path(name))), 140)
    write(out / "stories", {"choices": "choices", "input": "{{ input }}"}, {"train": told[:20], "test": told[20:]})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
