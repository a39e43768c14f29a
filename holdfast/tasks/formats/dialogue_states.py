"""The state of a dialogue after a turn: the values that a user wants by function and slot, and when two are equal."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

State = dict[str, dict[str, Any]]
"""Values by function and slot. A list holds all values that count as right."""

UNREADABLE = "unreadable call"
DONTCARE = "dontcare"


def normal(value: object) -> str:
    """Return a value as it is compared: in lower case, without superfluous space; truth values as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).casefold().split())


def merged(before: State, update: State) -> State:
    """Return a state with the values of another put over it; empty values and functions without values are left out."""
    state = {name: dict(slots) for name, slots in before.items()}
    for name, slots in update.items():
        full = {slot: value for slot, value in slots.items() if value not in (None, "", [])}
        if full:
            state[name] = {**state.get(name, {}), **full}
    return state


def after_calls(
    before: State, calls: Sequence[tuple[str, Any]], functions: Sequence[Mapping[str, Any]]
) -> tuple[State, bool]:
    """Return the state after calls, and whether each of them could be read: a function of the schema, with an object of arguments.

    Arguments that the function has no slot for, and values that a closed slot does not list, are left out; `dontcare` always counts.
    """
    known = {function["name"]: function["parameters"]["properties"] for function in functions}
    state, readable = before, True
    for name, arguments in calls:
        if name not in known or not isinstance(arguments, Mapping):
            readable = False
            continue
        kept = {}
        for slot, value in arguments.items():
            text, parameter = normal("" if value is None else value), known[name].get(slot)
            closed = {normal(v) for v in (parameter or {}).get("enum", ())}
            if parameter is not None and (not closed or text in closed or text == DONTCARE):
                kept[slot] = text
        state = merged(state, {name: kept})
    return state, readable


def same(gold: State, tracked: State) -> bool:
    """Return whether every slot of every function has a value that counts as right, and no other slot has any."""
    if {name: slots.keys() for name, slots in gold.items()} != {name: slots.keys() for name, slots in tracked.items()}:
        return False
    pairs = chain.from_iterable(
        ((values, tracked[name][s]) for s, values in slots.items()) for name, slots in gold.items()
    )
    return all(_accepts(values, value) for values, value in pairs)


def _accepts(values: Any, value: Any) -> bool:
    return normal(value) in [normal(v) for v in (values if isinstance(values, list) else [values])]


def write_states(states: Sequence[State], readable: Sequence[bool] = ()) -> str:
    """Return one line of JSON for each turn, with a remark behind those whose call could not be read."""
    remarks = [*("" if ok else f" # {UNREADABLE}" for ok in readable), *[""] * len(states)]
    return "\n".join(
        json.dumps(state, ensure_ascii=False) + remark for state, remark in zip(states, remarks, strict=False)
    )


def read_states(text: str) -> list[State]:
    """Return the states that `write_states` wrote."""
    return [json.JSONDecoder().raw_decode(line)[0] for line in text.split("\n")]


def turns_right(target: str, answer: str) -> tuple[int, int]:
    """Return of how many turns the whole state is right, and the number of turns; both texts are of `write_states`."""
    gold, tracked = read_states(target), read_states(answer)
    return sum(same(a, b) for a, b in zip(gold, tracked, strict=True)), len(gold)
