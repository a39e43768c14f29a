"""The verdict on a run in plain sentences, each a list of pieces, so that a page can mark the numbers in it."""

from typing import NamedTuple

from holdfast.report import verdict
from holdfast.report.summary import Estimate, Line, Summary
from holdfast.report.units import points


class Number(NamedTuple):
    """A number inside a sentence: its text, and which summary it is."""

    text: str
    of: str


Piece = str | Number


def interval(estimate: Estimate) -> str:
    return f"[{points(estimate.low)}, {points(estimate.high)}]"


def verdict_on(summary: Summary) -> list[list[Piece]]:
    """One sentence on the target and one on the general tasks, as far as they were measured."""
    return [sentence for sentence in (_target(summary), _general(summary)) if sentence]


def plain(sentences: list[list[Piece]]) -> str:
    """Sentences as text."""
    return " ".join("".join(p.text if isinstance(p, Number) else p for p in sentence) for sentence in sentences)


def _target(summary: Summary) -> list[Piece]:
    gain = summary.gain
    names = _names(summary.first_metric("target"))
    if gain is None:
        return [f"No change was measured on {names}."] if names else ["No target task was measured."]
    said = verdict.word(gain.low, gain.high, verdict.MARGIN)
    limits = Number(interval(gain), "gain")
    size = [Number(points(abs(gain.value)), "gain"), " points ", limits, "."]
    signed = [Number(points(gain.value, True), "gain"), " points ", limits, "."]
    if said == "gained":
        return [f"Gained on {names}: ", *size]
    if said == "lost":
        return [f"Lost on {names}, the task it was tuned for: ", *size]
    if said == "kept":
        return [f"No gain on {names}: the change is ", *signed]
    return [f"Whether anything was gained on {names} is not resolvable at this n: ", *signed]


def _general(summary: Summary) -> list[Piece]:
    found = summary.words("general")
    count = len({line.task for group in found.values() for line in group})
    if not count:
        return ["No general task was compared, so nothing can be said about forgetting."]
    sentence: list[Piece] = []
    if summary.retention:
        size, limits = f"{points(summary.retention.value)} %", interval(summary.retention)
        sentence += ["Retained ", Number(size, "retention"), " ", Number(limits, "retention")]
        sentence.append(" of the base's mean score on ")
    else:
        sentence.append("On ")
    sentence += [Number(str(count), "tasks"), " general task" + ("s" if count > 1 else "")]
    lost, unclear = found.get("lost", []), found.get("unclear", [])
    sentence.append(f"; lost: {_list(lost)}" if lost else "; a loss was measured on none")
    if unclear:
        sentence.append(f"; not resolvable at this n: {_list(unclear)}")
    return [*sentence, "."]


def _names(found: list[Line]) -> str:
    names = list(dict.fromkeys(line.task for line in found))
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _list(found: list[Line], most: int = 4) -> str:
    """Task names, with the shots where a task was lost at some and not at others; long lists are cut."""
    shots: dict[str, list[int]] = {}
    for line in found:
        shots.setdefault(line.task, []).append(line.shots)
    names = [f"{task} ({'/'.join(map(str, counts))}-shot)" for task, counts in shots.items()]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
